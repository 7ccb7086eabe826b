"""`percept train extractor`: distil the small extractor `compact` from real networks."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options

DEFAULT_TEACHERS = ("vgg19", "squeezenet1_0")
HELD_OUT_SIZE = 256


def train_extractor(
    output: Annotated[Path, typer.Option("-o", "--output", help="The weights file to write.")] = Path(
        "compact.safetensors"
    ),
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=FILE of a real network: vgg19, squeezenet1_0.", metavar="NAME[=FILE]"),
    ] = None,
    data: options.Data = None,
    held_out: Annotated[
        list[Path] | None, typer.Option("--held-out", help="Photographs to measure on, never trained on.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser updates.")] = 8000,
    batch: Annotated[int, typer.Option(min=1, help="Crops a step.")] = 8,
    size: Annotated[int, typer.Option(min=32, help="Side of a crop in pixels, a multiple of 16.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak of the schedule.")] = 2e-3,
    start: Annotated[
        Path | None, typer.Option(help="A `compact` trained before, to go on from with a new schedule.")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Distil `compact`, a small extractor with VGG's layer names, from real networks.

    percept train extractor --teacher vgg19 --teacher squeezenet1_0 --data photos/ --held-out others/
    """
    import torch

    from percept_cli.commands.training_run import TrainingRun, training_photos
    from percept_cli.console import Console
    from percept_cli.core import distillation
    from percept_cli.core.dataset import Crops, batches_from, find_photos, fingerprint, load_square
    from percept_cli.core.extractors.loading import create_extractor, parse_named_file
    from percept_cli.core.runtime import seed_everything
    from percept_cli.core.training import Training
    from percept_cli.core.weights import load_weights
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    if size % 16:
        raise UsageError(f"--size {size}: give a multiple of 16.")
    photos = training_photos(data, "extractor", console)
    run = TrainingRun.open(output, overwrite, resume, device, precision, threads, console)
    runtime, (rank, world) = run.runtime, run.shard
    named = [parse_named_file("--teacher", given) for given in teacher or DEFAULT_TEACHERS]
    teachers = distillation.Teachers(
        {
            name: runtime.freeze(create_extractor(name, distillation.teacher_taps(name), file, announce=console.say))
            for name, file in named
        }
    )

    seed_everything(seed)
    student = distillation.create_student()
    crops = Crops(photos, size, seed, steps * batch * world)
    statistics = distillation.measure_statistics(
        teachers, (crops_ for crops_, _ in zip(batches_from(crops, batch, 0), range(32), strict=False)), runtime
    )
    if start:
        distillation.continue_from(student, load_weights(start), statistics, str(start))
    else:
        distillation.centre_readouts(student, statistics)
    network = run.place(student)
    training = Training(network, torch.optim.Adam(network.parameters(), betas=(0.9, 0.99)), steps)
    settings = {"steps": steps, "batch": batch, "size": size, "learning_rate": learning_rate, "seed": seed,
                "start": start.stem if start else "",
                "teachers": [name for name, _ in named], "photos": len(photos), "photos_digest": fingerprint(photos)}  # fmt: skip

    def compute_loss(network, images, step):  # type: ignore[no-untyped-def]
        disturbed = distillation.disturb(images, seed, step * world + rank)
        return distillation.distillation_loss(network, teachers, statistics, disturbed, step, runtime)

    run.train(training, crops, batch, compute_loss, learning_rate, settings, warmup=200, clip_norm=1.0)
    if not run.is_main:
        return

    distillation.fold_scales(student, statistics)
    weights = {name: tensor.to(torch.float16) for name, tensor in student.named_weights().items()}
    figures = {}
    if held_out:
        exact = distillation.Teachers(
            {name: create_extractor(name, distillation.teacher_taps(name), file) for name, file in named}
        )
        student.load_weights(weights, str(output))  # measured as it is saved, rounded to 16 bits
        pictures = [load_square(path, HELD_OUT_SIZE) for path in find_photos(held_out)]
        figures = distillation.measure_unexplained(student.cpu().float(), exact.cpu().float(), pictures)
    recipe = {**settings, "final_loss": "mean unexplained variance behind a leaky ReLU"}
    run.save(
        weights,
        {"role": "extractor", "architecture": "compact", "recipe": recipe, "unexplained_variance": figures},
    )
    for layer, share in figures.items():
        console.result(f"{layer}  unexplained variance {share:.4f}", layer=layer, unexplained_variance=share)
    console.result(str(output), output=str(output), steps=steps)
