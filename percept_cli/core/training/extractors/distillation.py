"""The training of `compact` to predict the features of real networks (Hinton et al. 2015, on features)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.data.batches import batches_from
from percept_cli.core.data.photos import Crops, find_photos, load_square
from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.extractors.compact import teacher_layers
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.pretrained.extractors import ExtractorChoice, parse_named_file
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.runtime import Runtime, seed_everything
from percept_cli.core.training.extractors.learner import ADAM_BETAS, CLIP_NORM, WARMUP, ExtractorTraining
from percept_cli.core.training.loop import Training, TrainingStep
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import ImageError, UsageError

# SqueezeNet 1.0 does not pad its first convolution. With 6 more pixels on each side its maps have the sizes of VGG's: 1/8
# of the image at fires 5 to 8 and 1/16 at fire 9, centered within 4 pixels.
SQUEEZENET_PADDING = 6
DISTURBED_SHARE = 0.25
NEGATIVE_SLOPE = 0.3
MEASURED_BATCHES = 32  # for the statistics of the teachers' layers
HELD_OUT_SIZE = 256  # pixels


@dataclass(frozen=True, kw_only=True)
class DistillationTraining(ExtractorTraining):
    """The options of distillation; names and meanings as in `percept train extractor --method distil`.

    teacher: NAME or NAME=FILE of each network whose features are predicted. start: a trained `compact`, whose weights
    the training begins with. held_out: photographs, or folders of them, for the measurement at the end.
    """

    steps: int = 8000
    batch: int = 8
    size: int = 128
    learning_rate: float = 2e-3
    teacher: Sequence[str] = ("vgg19", "squeezenet1_0")
    start: Path | None = None
    held_out: Sequence[Path] = ()


def train_by_distillation(photos: Sequence[Path], run: Run, options: DistillationTraining) -> Iterator[TrainingStep]:
    """Trains `compact` to predict its teachers' features, step by step; the weights are written after the last step.

    `run.figures` are then the unexplained variances of the layers on the held-out photographs. Raises UsageError for
    unknown teachers, ModelError for missing weights, and as `Run.train`.
    """
    runtime, (rank, world), seed = run.runtime, run.shard, options.seed
    chosen = [ExtractorChoice(*parse_named_file("--teacher", given)) for given in options.teacher]
    teachers = Teachers(
        {each.name: runtime.freeze(each.create(teacher_taps(each.name), announce=run.announce)) for each in chosen}
    )
    seed_everything(seed)
    student = create_student()
    crops = Crops(photos, options.size, seed, options.steps * options.batch * world)
    statistics = measure_statistics(teachers, islice(batches_from(crops, options.batch, 0), MEASURED_BATCHES), runtime)
    if options.start:
        continue_from(student, load_weights(options.start), statistics, str(options.start))
    else:
        center_readouts(student, statistics)
    # What no teacher reaches has no gradient, and several processes would wait for it.
    student.requires_grad_(False)
    for module in student.leading_to(statistics):
        module.requires_grad_(True)
    network = run.place(student)
    training = Training(network, torch.optim.Adam(network.parameters(), betas=ADAM_BETAS), options.steps)
    settings = options.settings(
        photos, start=options.start.stem if options.start else "", teachers=[each.name for each in chosen]
    )

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        disturbed = disturb(images, seed, step, rank, world)
        return distillation_loss(network, teachers, statistics, disturbed, step, runtime)

    def measure_and_save() -> None:
        fold_scales(student, statistics)
        weights = {name: tensor.to(torch.float16) for name, tensor in student.named_weights().items()}
        if options.held_out:
            exact = Teachers({each.name: each.create(teacher_taps(each.name)) for each in chosen})
            student.load_weights(weights, str(run.output))  # measured as it is saved, rounded to 16 bits
            pictures = []
            for path in find_photos(options.held_out):
                try:
                    pictures.append(load_square(path, HELD_OUT_SIZE))
                except ImageError as error:
                    run.announce(f"--held-out {path} was left out: {error}")
            if not pictures:
                raise UsageError("--held-out holds no photograph that can be read.")
            run.figures = measure_unexplained(student.cpu().float(), exact.cpu().float(), pictures)
        recipe = {**run.settings, "final_loss": "mean unexplained variance behind a leaky ReLU"}
        metadata = {"role": "extractor", "architecture": "compact", "recipe": recipe}
        run.save(weights, {**metadata, "unexplained_variance": run.figures})

    return run.train(
        training, crops, options.batch, compute_loss, options.learning_rate, settings, warmup=WARMUP,
        clip_norm=CLIP_NORM, finish=measure_and_save,
    )  # fmt: skip


class Teachers(nn.Module):
    """The real networks, combined to one that gives the target of each layer of `compact`: `{layer: features}`."""

    def __init__(self, extractors: Mapping[str, FeatureExtractor]):
        super().__init__()
        self.extractors = nn.ModuleDict(extractors)

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The targets, before the activation, for images (N, 3, H, W) in [0, 1], H and W multiples of 16."""
        features = {}
        for name, extractor in self.extractors.items():
            padding = SQUEEZENET_PADDING if name == "squeezenet1_0" else 0
            features[name] = extractor(F.pad(images, [padding] * 4, mode="reflect") if padding else images)
        return {
            layer: features[teacher][target]
            for layer, (teacher, target) in teacher_layers().items()
            if teacher in self.extractors
        }


def teacher_taps(teacher: str) -> list[str]:
    """The layers of a teacher that are targets."""
    return [layer for name, layer in teacher_layers().values() if name == teacher]


def create_student() -> FeatureExtractor:
    """An untrained, trainable `compact` (He initialization), tapped at every layer before its activation."""
    student = FeatureExtractor(create_architecture("compact"), teacher_layers())
    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return student.requires_grad_(True)


@dataclass
class LayerStatistics:
    """Statistics of a teacher's layer on photographs, before its activation.

    mean: of each channel, (C,). scale: the root of the variance, averaged over the channels. leaky_variance: the
    variance after the leaky ReLU of the loss, averaged over the channels, in units of scale squared.
    """

    mean: Tensor
    scale: Tensor
    leaky_variance: Tensor


@torch.no_grad()
def measure_statistics(teachers: Teachers, batches: Iterable[Tensor], runtime: Runtime) -> dict[str, LayerStatistics]:
    """The statistics of every target over batches of images (N, 3, H, W)."""
    collected: dict[str, list[Tensor]] = {}
    for images in batches:
        for layer, target in teachers(runtime.place(images)).items():
            flat = target.float().transpose(0, 1).flatten(1)
            leaky = F.leaky_relu(flat, NEGATIVE_SLOPE)
            moments = [flat.mean(1), flat.square().mean(1), leaky.mean(1), leaky.square().mean(1)]
            collected.setdefault(layer, []).append(torch.stack(moments))
    statistics = {}
    for layer, moments in collected.items():
        mean, square, leaky_mean, leaky_square = torch.stack(moments).mean(0)
        scale = (square - mean.square()).mean().sqrt()
        leaky_variance = (leaky_square - leaky_mean.square()).mean() / scale.square()
        statistics[layer] = LayerStatistics(mean, scale, leaky_variance)
    return statistics


def center_readouts(student: FeatureExtractor, statistics: Mapping[str, LayerStatistics]) -> None:
    """Sets the biases of every readout to the channel means of its target, in units of the target's scale."""
    with torch.no_grad():
        for layer, known in statistics.items():
            bias = student.network[layer].bias
            assert isinstance(bias, Tensor)
            bias.copy_(known.mean / known.scale)


def continue_from(
    student: FeatureExtractor, weights: Mapping[str, Tensor], statistics: Mapping[str, LayerStatistics], source: str
) -> None:
    """Loads the weights of a trained `compact`, its readouts divided by the targets' scales (see `fold_scales`)."""
    student.load_weights(weights, source)
    with torch.no_grad():
        for layer, known in statistics.items():
            for parameter in student.network[layer].parameters():
                parameter.div_(known.scale)


def fold_scales(student: FeatureExtractor, statistics: Mapping[str, LayerStatistics]) -> None:
    """Multiplies the readouts, trained in units of the targets' scales, so that they predict the targets themselves."""
    with torch.no_grad():
        for layer, known in statistics.items():
            for parameter in student.network[layer].parameters():
                parameter.mul_(known.scale)


def distillation_loss(
    student: nn.Module,
    teachers: Teachers,
    statistics: Mapping[str, LayerStatistics],
    images: Tensor,
    step: int,
    runtime: Runtime,
) -> LossAndParts:
    """The unexplained variance after a leaky ReLU, mean over layers; parts by layer. images (N, 3, H, W) in [0, 1].

    Because of the leaky ReLU, squared errors of negative values, which a ReLU makes 0, weigh a tenth. The student
    predicts each target in units of its scale, so that all readouts learn equally fast.
    """
    targets = teachers(images)
    with runtime.autocast():
        features = student(images)
    parts = {}
    for layer, target in targets.items():
        known = statistics[layer]
        # The large maps of the shallow layers are redundant: one quarter of each is enough and takes a quarter of the time.
        window = _corner(target, step) if layer[4] in "12" else (slice(None),)
        expected = F.leaky_relu(target[window] / known.scale.to(target.dtype), NEGATIVE_SLOPE)
        error = F.mse_loss(F.leaky_relu(features[layer][window], NEGATIVE_SLOPE), expected)
        parts[layer.replace("conv", "relu")] = error.float() / known.leaky_variance / len(targets)
    return torch.stack(list(parts.values())).sum(), parts


def _corner(features: Tensor, step: int) -> tuple[slice, ...]:
    height, width = features.shape[-2] // 2, features.shape[-1] // 2
    rows = slice(0, height) if step % 2 else slice(height, None)
    columns = slice(0, width) if step // 2 % 2 else slice(width, None)
    return (slice(None), slice(None), rows, columns)


def disturb(images: Tensor, seed: int, number: int, part: int = 0, parts: int = 1) -> Tensor:
    """Adds noise, blur or another contrast, drawn from (seed, number), to a share of the images.

    part, parts: draws as for a batch of which the images are one of so many parts, that of its process.

    When pixels are optimized, extractors get pictures unlike photographs; a student trained on photographs alone is
    wrong about them. Images (N, 3, H, W) in [0, 1], returned in that range.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    count = parts * len(images)
    own = slice(part * len(images), (part + 1) * len(images))

    def draw(low: float, high: float) -> Tensor:
        return (torch.rand(count, 1, 1, 1, generator=generator)[own] * (high - low) + low).to(images.device)

    noise = torch.randn(count, *images.shape[1:], generator=generator)[own].to(images.device) * draw(0.02, 0.2)
    contrast = (images - 0.5) * draw(0.5, 1.6) + draw(0.35, 0.65)
    blurred = F.avg_pool2d(F.pad(images, [2] * 4, mode="reflect"), 5, stride=1)
    kinds = torch.stack([images + noise, contrast, blurred, (contrast + noise)])
    chosen = torch.randint(len(kinds), (count,), generator=generator)[own].tolist()
    disturbed = torch.stack([kinds[kind, position] for position, kind in enumerate(chosen)]).clamp(0, 1)
    return torch.where(draw(0, 1) < DISTURBED_SHARE, disturbed, images)


@torch.no_grad()
def measure_unexplained(student: FeatureExtractor, teachers: Teachers, images: list[Tensor]) -> dict[str, float]:
    """The unexplained variance of every activation on photographs (1, 3, H, W) in [0, 1], over all of them together."""
    errors: dict[str, float] = {}
    sums: dict[str, tuple[Tensor, float, int]] = {}
    for image in images:
        targets, features = teachers(image), student(image)
        for layer, target in targets.items():
            expected, got = F.relu(target.double()), F.relu(features[layer].double())
            errors[layer] = errors.get(layer, 0.0) + (got - expected).square().sum().item()
            total, squares, count = sums.get(layer, (torch.zeros(1), 0.0, 0))
            sums[layer] = (
                total + expected.sum(dim=(0, 2, 3)),
                squares + expected.square().sum().item(),
                count + expected[:, 0].numel(),
            )
    return {
        layer.replace("conv", "relu"): errors[layer] / (squares - (total.square().sum() / count).item())
        for layer, (total, squares, count) in sums.items()
    }
