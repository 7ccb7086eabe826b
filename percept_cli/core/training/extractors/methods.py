"""The ways `percept train extractor` trains one, each from its options to the saved file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.commands.train.session import follow
from percept_cli.console import Console
from percept_cli.core.data.photos import Crops, Examples, batches_from, find_photos, fingerprint, load_square
from percept_cli.core.drawing.sheets import Panel, contact_sheet
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.pretrained.extractors import create_extractor, parse_named_file
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.extractors import distillation, exemplar, ranking
from percept_cli.core.training.extractors.learner import ACTIVATIONS, Headed, create_learner, match_scales
from percept_cli.core.training.loop import Parts, Training
from percept_cli.core.training.run import Run, place_preview

DEFAULT_TEACHERS = ("vgg19", "squeezenet1_0")
HELD_OUT_SIZE = 256
# Photographs by which the layers of a network without a teacher get their scales
SCALE_CROPS, SCALE_SIZE = 8, 96
# On the sheet of examples, and pairs that a ranking is measured on
SHOWN, MEASURED_PAIRS = 8, 128
# Wang & Gupta 2015, section 4.2: negatives at random to begin with, hard ones after that.
RANDOM_SHARE = 0.4
# The head's learning rate to the trunk's: at the trunk's own, the head knows no class when the trunk has moved on.
HEAD_SHARE = 20.0


@dataclass(frozen=True)
class Plan:
    """What every method is asked for: on which photographs, how long, and on how much at a time."""

    photos: list[Path]
    steps: int
    batch: int
    size: int
    learning_rate: float
    seed: int

    def settings(self, **own: Any) -> dict[str, Any]:
        """What must be the same for a run to be resumed, with the method's own."""
        return {
            "steps": self.steps, "batch": self.batch, "size": self.size, "learning_rate": self.learning_rate,
            "seed": self.seed, **own, "photos": len(self.photos), "photos_digest": fingerprint(self.photos),
        }  # fmt: skip


def distil(
    run: Run, console: Console, plan: Plan, teacher: list[str] | None, held_out: list[Path] | None, start: Path | None
) -> None:
    """Predicts the features of real networks (see `core/distillation.py`)."""
    runtime, (rank, world) = run.runtime, run.shard
    named = [parse_named_file("--teacher", given) for given in teacher or DEFAULT_TEACHERS]
    teachers = distillation.Teachers(
        {
            name: runtime.freeze(create_extractor(name, distillation.teacher_taps(name), file, announce=console.say))
            for name, file in named
        }
    )

    seed_everything(plan.seed)
    student = distillation.create_student()
    crops = Crops(plan.photos, plan.size, plan.seed, plan.steps * plan.batch * world)
    statistics = distillation.measure_statistics(
        teachers, (crops_ for crops_, _ in zip(batches_from(crops, plan.batch, 0), range(32), strict=False)), runtime
    )
    if start:
        distillation.continue_from(student, load_weights(start), statistics, str(start))
    else:
        distillation.center_readouts(student, statistics)
    network = run.place(student)
    training = Training(network, torch.optim.Adam(network.parameters(), betas=(0.9, 0.99)), plan.steps)
    settings = plan.settings(start=start.stem if start else "", teachers=[name for name, _ in named])

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, Parts]:
        disturbed = distillation.disturb(images, plan.seed, step * world + rank)
        return distillation.distillation_loss(network, teachers, statistics, disturbed, step, runtime)

    loop = run.train(training, crops, plan.batch, compute_loss, plan.learning_rate, settings, warmup=200, clip_norm=1.0)
    follow(run, loop, console)
    if not run.is_main:
        return

    distillation.fold_scales(student, statistics)
    weights = {name: tensor.to(torch.float16) for name, tensor in student.named_weights().items()}
    figures = {}
    if held_out:
        exact = distillation.Teachers(
            {name: create_extractor(name, distillation.teacher_taps(name), file) for name, file in named}
        )
        student.load_weights(weights, str(run.output))  # measured as it is saved, rounded to 16 bits
        pictures = [load_square(path, HELD_OUT_SIZE) for path in find_photos(held_out)]
        figures = distillation.measure_unexplained(student.cpu().float(), exact.cpu().float(), pictures)
    recipe = {**settings, "final_loss": "mean unexplained variance behind a leaky ReLU"}
    run.save(
        weights,
        {"role": "extractor", "architecture": "compact", "recipe": recipe, "unexplained_variance": figures},
    )
    for layer, share in figures.items():
        console.result(f"{layer}  unexplained variance {share:.4f}", layer=layer, unexplained_variance=share)
    console.result(str(run.output), output=str(run.output), steps=plan.steps)


def learn_exemplars(run: Run, console: Console, plan: Plan, classes: int) -> None:
    """Tells the surrogate classes apart (Exemplar-CNN, see `core/exemplar.py`)."""
    runtime, (rank, world) = run.runtime, run.shard
    seed_everything(plan.seed)
    network = Headed(create_learner(), classes)
    seeds = exemplar.sample_seed_patches(plan.photos, classes, plan.size, plan.seed, plan.steps * plan.batch * world)
    colors = exemplar.principal_colors(seeds.patches[:: max(1, classes // 500)].float() / 255)

    def transform(patches: Tensor, number: int) -> Tensor:
        done = exemplar.draw_transformations(len(patches), exemplar.training_random(plan.seed, number))
        return exemplar.transform_patches(patches, done, colors, plan.size)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, Parts]:
        number = step * world + rank
        patches = runtime.place(transform(images, number))
        with runtime.autocast():
            logits = network(patches)
        return exemplar.surrogate_loss(logits, seeds.labels(number * plan.batch, plan.batch).to(images.device))

    columns = [transform(torch.stack([seeds[n] for n in range(min(SHOWN, classes))]), n) for n in range(SHOWN)]
    _show_examples(run, [list(row) for row in zip(*columns, strict=True)])
    settings = plan.settings(method="exemplar", classes=classes, precision=runtime.precision, processes=world)
    _train(run, console, plan, network, seeds, compute_loss, settings)
    if not run.is_main:
        return
    network.eval()
    accuracy = exemplar.surrogate_accuracy(network, seeds, colors, plan.size, runtime)
    console.result(
        f"surrogate accuracy {accuracy:.4f} of {classes} classes under held-out transformations",
        surrogate_accuracy=accuracy, classes=classes,
    )  # fmt: skip
    _save(run, console, plan, network.extractor, settings, {"surrogate_accuracy": accuracy})


def rank_frames(run: Run, console: Console, plan: Plan, margin: float, gap: int, held_out: list[Path] | None) -> None:
    """Ranks patches by the frames they are of (VideoNet, see `core/ranking.py`)."""
    runtime, (rank, world) = run.runtime, run.shard
    clips = ranking.find_clips(plan.photos, gap)
    console.say(f"--data: {clips}")
    pairs = ranking.FramePairs(clips, plan.size, gap, plan.seed, plan.steps * plan.batch * world)
    seed_everything(plan.seed)
    network = Headed(create_learner(), ranking.EMBEDDING)
    random_steps = round(RANDOM_SHARE * plan.steps)

    def distances(network: nn.Module, examples: Tensor, clips: list[int]) -> ranking.Distances:
        both = runtime.place(examples.transpose(0, 1).flatten(0, 1))
        with runtime.autocast():
            embedded, later = network(both).chunk(2)
        return ranking.patch_distances(embedded, later, torch.tensor(clips, device=embedded.device))

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, Parts]:
        first = (step * world + rank) * plan.batch
        found = distances(network, images, [pairs.clip(first + number) for number in range(plan.batch)])
        loss = ranking.ranking_loss(found, margin, None if step < random_steps else ranking.HARDEST)
        return loss, {"errors": ranking.ranking_errors(found).detach()}

    _show_examples(run, [[example[:1], example[1:]] for example in (pairs[number] for number in range(SHOWN))])
    settings = plan.settings(
        method="video", clips=len(clips.frames), margin=margin, gap=gap, precision=runtime.precision, processes=world
    )
    _train(run, console, plan, network, pairs, compute_loss, settings)
    if not run.is_main:
        return
    others = ranking.find_clips(find_photos(held_out), gap) if held_out else clips
    # Patches of other places, of the training's own clips unless there are others.
    measured = ranking.FramePairs(others, plan.size, gap, plan.seed + 1, MEASURED_PAIRS)
    network.eval()
    with torch.no_grad():
        examples = torch.stack([measured[number] for number in range(MEASURED_PAIRS)])
        found = distances(network, examples, [measured.clip(number) for number in range(MEASURED_PAIRS)])
    figures = {"ranking_loss": ranking.ranking_loss(found, margin, None).item(),
               "ranking_errors": ranking.ranking_errors(found).item()}  # fmt: skip
    where = "clips never trained on" if held_out else "other places of the same clips"
    console.result(
        f"ranking loss {figures['ranking_loss']:.4f}, {figures['ranking_errors']:.2%} ranked wrongly, in {where}",
        **figures, held_out=bool(held_out),
    )  # fmt: skip
    _save(run, console, plan, network.extractor, settings, figures)


def _train(
    run: Run,
    console: Console,
    plan: Plan,
    network: Headed,
    examples: Examples,
    compute_loss: Any,
    settings: dict[str, Any],
) -> None:
    placed = run.place(network)
    trunk = [parameter for parameter in network.extractor.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trunk}, {"params": network.head.parameters(), "share": HEAD_SHARE}]
    training = Training(placed, torch.optim.Adam(groups, betas=(0.9, 0.99)), plan.steps)
    loop = run.train(
        training, examples, plan.batch, compute_loss, plan.learning_rate, settings, warmup=200, clip_norm=1.0
    )
    follow(run, loop, console)


def _save(
    run: Run,
    console: Console,
    plan: Plan,
    learner: FeatureExtractor,
    settings: dict[str, Any],
    figures: dict[str, float],
) -> None:
    """The extractor alone, without the head that it was trained under, its layers of the size of `compact`'s own."""
    crops = Crops(plan.photos, SCALE_SIZE, plan.seed, SCALE_CROPS)
    photographs = run.runtime.place(torch.stack([crops[number] for number in range(SCALE_CROPS)]))
    reference = create_extractor("compact", ACTIVATIONS).to(run.runtime.device)
    match_scales(learner, reference, photographs)
    metadata = {"role": "extractor", "architecture": "compact", "recipe": settings, **figures}
    run.save(learner.named_weights(), metadata)
    console.say(f"try it: percept compare A B --extractor {run.output}")
    console.result(str(run.output), output=str(run.output), steps=plan.steps, preview=str(run.preview))


def _show_examples(run: Run, rows: list[list[Tensor]]) -> None:
    """A sheet of what the network is to hold for one thing, a row each."""
    if run.is_main:
        sheet = contact_sheet([[Panel(patch.view(1, *patch.shape[-3:])) for patch in row] for row in rows])
        run.preview.unlink(missing_ok=True)
        place_preview(run.preview, sheet, 0)
