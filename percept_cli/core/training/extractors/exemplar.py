"""The training of an extractor to classify transformed patches (Exemplar-CNN, Dosovitskiy et al. 2014)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from percept_cli.core.data.detail import draw_place, draw_side, gradient_energy
from percept_cli.core.data.photos import PhotoReader, shuffled
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.runtime import Runtime, seed_everything
from percept_cli.core.training.extractors.learner import (
    ExtractorTraining,
    Headed,
    create_learner,
    save_learner,
    show_examples,
    train_headed,
)
from percept_cli.core.training.loop import TrainingStep
from percept_cli.core.training.runs.run import Run

# The paper's ranges (section 2): in sides of the patch, times, degrees; then for colors in [0, 1]
TRANSLATION = 0.2
SCALING = (0.7, 1.4)
ROTATION = 20.0
PRINCIPAL_FACTOR = (0.5, 2.0)
HSV_POWER, HSV_FACTOR, HSV_SHIFT = (0.25, 4.0), (0.7, 1.4), 0.1
# The side of a patch with its surroundings, in sides of the patch; one moved by 0.2, turned by 20 degrees and scaled by
# 0.7 needs 2.24.
SURROUNDINGS = 2.25
BATCH = 128  # of the measurement
# Classes on the sheet of examples, and transformations of each
SHOWN = 8
COLOR_PATCHES = 500  # the approximate number of patches on which the principal colors are measured


@dataclass(frozen=True, kw_only=True)
class ExemplarTraining(ExtractorTraining):
    """The options of Exemplar-CNN; names and meanings as in `percept train extractor --method exemplar`."""

    classes: int = 2000


def train_by_exemplars(photos: Sequence[Path], run: Run, options: ExemplarTraining) -> Iterator[TrainingStep]:
    """Trains an extractor to classify transformed patches, step by step; its weights are written after the last step.

    `run.figures` then has `surrogate_accuracy`. Raises UsageError if no photograph can be read, and as `Run.train`.
    """
    runtime, (rank, world), classes = run.runtime, run.shard, options.classes
    seed_everything(options.seed)
    network = Headed(create_learner(), classes)
    seeds = sample_seed_patches(photos, classes, options.size, options.seed, options.steps * options.batch * world)
    colors = principal_colors(seeds.patches[:: max(1, classes // COLOR_PATCHES)].float() / 255)

    def transform(patches: Tensor, number: int, part: int = 0, parts: int = 1) -> Tensor:
        # Drawn for the batches of all processes, so that those of one with the whole batch are the same.
        drawn = draw_transformations(parts * len(patches), training_random(options.seed, number))
        return transform_patches(patches, drawn.part(part, len(patches)), colors, options.size)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        first = (step * world + rank) * options.batch
        patches = runtime.place(transform(images, step, rank, world))
        with runtime.autocast():
            logits = network(patches)
        return surrogate_loss(logits, seeds.labels(first, options.batch).to(images.device))

    def measure_and_save() -> None:
        network.eval()
        accuracy = surrogate_accuracy(network, seeds, colors, options.size, runtime)
        save_learner(photos, run, network.extractor, settings, {"surrogate_accuracy": accuracy})

    shown = torch.stack([seeds[number] for number in range(min(SHOWN, classes))])
    show_examples(run, list(zip(*(transform(shown, number) for number in range(SHOWN)), strict=True)))
    settings = options.settings(
        photos, method="exemplar", classes=classes, precision=runtime.precision, processes=world
    )
    return train_headed(run, options, network, seeds, compute_loss, settings, measure_and_save)


@dataclass(frozen=True)
class Transformations:
    """The transformations of N patches. principal_factors is (N, 3), all others are (N,).

    shift_x, shift_y: in sides of the patch. zoom: above 1 enlarges. angle: in radians. principal_factors: of the
    principal components of the colors. Saturation and value s become s^power · factor + shift. hue: is added to the hue,
    in circles.
    """

    shift_x: Tensor
    shift_y: Tensor
    zoom: Tensor
    angle: Tensor
    principal_factors: Tensor
    power: Tensor
    factor: Tensor
    shift: Tensor
    hue: Tensor

    def part(self, number: int, count: int) -> "Transformations":
        """Those of patches `number * count` to `(number + 1) * count`."""
        kept = slice(number * count, (number + 1) * count)
        return Transformations(**{each.name: getattr(self, each.name)[kept] for each in fields(self)})


def draw_transformations(count: int, random: np.random.Generator) -> Transformations:
    """`count` random transformations in the paper's ranges.

    Departs from the paper, which draws 100 for each patch beforehand: every step draws new ones. The paper gives no
    distributions: factors and powers are log-uniform, the others uniform.
    """

    def uniform(most: float) -> Tensor:
        return torch.from_numpy(random.uniform(-most, most, count)).float()

    def times(smallest: float, largest: float, *columns: int) -> Tensor:
        return torch.from_numpy(
            np.exp(random.uniform(math.log(smallest), math.log(largest), (count, *columns)))
        ).float()

    return Transformations(
        shift_x=uniform(TRANSLATION), shift_y=uniform(TRANSLATION), zoom=times(*SCALING),
        angle=uniform(math.radians(ROTATION)), principal_factors=times(*PRINCIPAL_FACTOR, 3), power=times(*HSV_POWER),
        factor=times(*HSV_FACTOR), shift=uniform(HSV_SHIFT), hue=uniform(HSV_SHIFT),
    )  # fmt: skip


def training_random(seed: int, number: int) -> np.random.Generator:
    """The random generator of the transformations of training batch `number`."""
    return np.random.default_rng((seed, number, 2))


def held_out_random(seed: int, draw: int, first: int) -> np.random.Generator:
    """The random generator of transformations for the measurement, for the classes from number `first` on."""
    return np.random.default_rng((seed, draw, first, 3))


@dataclass(frozen=True)
class PrincipalColors:
    """The mean color of pixels, (3,), and the principal components of their colors, the columns of (3, 3)."""

    mean: Tensor
    components: Tensor


def principal_colors(patches: Tensor) -> PrincipalColors:
    """The principal colors of all pixels of patches (N, 3, H, W)."""
    pixels = patches.transpose(0, 1).flatten(1).double()
    mean = pixels.mean(dim=1)
    centered = pixels - mean[:, None]
    _, components = torch.linalg.eigh(centered @ centered.T / pixels.shape[1])
    return PrincipalColors(mean.float(), components.float())


def transform_patches(seeds: Tensor, done: Transformations, colors: PrincipalColors, size: int) -> Tensor:
    """Transformed patches (N, 3, size, size) in [0, 1] from patches with their surroundings (N, 3, side, side).

    A patch is the middle of `size` pixels. It is moved, scaled and turned; then the paper's two changes of contrast and
    that of hue follow, clipped to [0, 1].
    """
    device, share = seeds.device, size / seeds.shape[-1]
    cosine, sine = (done.angle.cos() / done.zoom).to(device), (done.angle.sin() / done.zoom).to(device)
    # In torch's units: half the side of the surroundings.
    rows = [
        torch.stack([share * cosine, -share * sine, 2 * share * done.shift_x.to(device)], dim=1),
        torch.stack([share * sine, share * cosine, 2 * share * done.shift_y.to(device)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), [len(seeds), 3, size, size], align_corners=False)
    patches = F.grid_sample(seeds, grid, padding_mode="border", align_corners=False)

    components, mean = colors.components.to(device), colors.mean.to(device).view(1, 3, 1, 1)
    factors = torch.diag_embed(done.principal_factors.to(device))
    contrast = components @ factors @ components.T  # (N, 3, 3), multiplies each principal component by its factor
    patches = mean + torch.einsum("nij,njhw->nihw", contrast, patches - mean)

    power, factor, shift, turn = (
        amount.to(device).view(-1, 1, 1) for amount in (done.power, done.factor, done.shift, done.hue)
    )
    hue, saturation, value = rgb_to_hsv(patches.clamp(0, 1)).unbind(dim=1)
    saturation, value = ((part.pow(power) * factor + shift).clamp(0, 1) for part in (saturation, value))
    return hsv_to_rgb(torch.stack([(hue + turn) % 1, saturation, value], dim=1))


def rgb_to_hsv(images: Tensor) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] to hue, saturation and value in [0, 1]; grays have hue 0."""
    red, green, blue = images.unbind(dim=1)
    value, least = images.amax(dim=1), images.amin(dim=1)
    chroma = value - least
    some = chroma.clamp_min(1e-12)
    sixths = torch.where(
        value == red,
        (green - blue) / some % 6,
        torch.where(value == green, (blue - red) / some + 2, (red - green) / some + 4),
    )
    hue = torch.where(chroma > 0, sixths / 6, torch.zeros_like(sixths))
    return torch.stack([hue, chroma / value.clamp_min(1e-12), value], dim=1)


def hsv_to_rgb(images: Tensor) -> Tensor:
    """Hue, saturation and value (N, 3, H, W) in [0, 1] to RGB in [0, 1]."""
    hue, saturation, value = images.unbind(dim=1)
    planes = []
    for corner in (5, 3, 1):  # red, green and blue, by the corner of the color hexagon where each begins to decrease
        along = (corner + 6 * hue) % 6
        planes.append(value - value * saturation * torch.minimum(along, 4 - along).clamp(0, 1))
    return torch.stack(planes, dim=1)


@dataclass(frozen=True)
class SeedPatches:
    """Patches of photographs with their surroundings, each a surrogate class, as examples of a training.

    patches: 8-bit levels (classes, 3, side, side), side `SURROUNDINGS` times that of a patch. Example number n depends
    only on (seed, n): every epoch has all classes in a new order.
    """

    patches: Tensor
    seed: int
    count: int
    unreadable: dict[Path, str]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        return self.patches[self.label(number)].float() / 255

    def label(self, number: int) -> int:
        """The class of example `number`."""
        order, position = shuffled(len(self.patches), self.seed, number)
        return int(order[position])

    def labels(self, first: int, count: int) -> Tensor:
        """The classes of `count` examples from number `first` on, (count,)."""
        return torch.tensor([self.label(number) for number in range(first, first + count)])


def sample_seed_patches(photos: Sequence[Path], classes: int, size: int, seed: int, count: int) -> SeedPatches:
    """Patches drawn from photographs in turn, in proportion to their gradient energy (see `draw_place`).

    Photographs are shrunk to a short side of 4 · size pixels. A patch has a side of `size` to 2 · size pixels, scaled to
    `size`. Photographs are mirrored at their edges. Raises UsageError if no photograph can be read.
    """
    reader = PhotoReader(photos, 4 * size)
    order = np.random.default_rng(seed).permutation(len(photos))
    side = round(SURROUNDINGS * size)
    patches = torch.empty(classes, 3, side, side, dtype=torch.uint8)
    for number in range(classes):
        photo = reader.read_next(order, number)
        random = np.random.default_rng((seed, number))
        own = draw_side(size, min(photo.size), random)
        top, left = draw_place(gradient_energy(photo), own, random)
        patches[number] = _cut_surroundings(photo, top, left, own, side)
    return SeedPatches(patches, seed, count, reader.unreadable)


def _cut_surroundings(photo: Image.Image, top: int, left: int, own: int, side: int) -> Tensor:
    """A patch with a side of `own` pixels and its surroundings, as levels (3, side, side); mirrored at the edges."""
    reach = (SURROUNDINGS - 1) / 2 * own
    margin = math.ceil(reach)
    mirrored = np.pad(np.asarray(photo), ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    box = (left + margin - reach, top + margin - reach, left + margin + own + reach, top + margin + own + reach)
    window = (math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3]))
    around = Image.fromarray(mirrored[window[1] : window[3], window[0] : window[2]])
    inside = (box[0] - window[0], box[1] - window[1], box[2] - window[0], box[3] - window[1])
    levels = np.asarray(around.resize((side, side), Image.Resampling.BICUBIC, box=inside))
    return torch.from_numpy(levels.copy()).permute(2, 0, 1)


def surrogate_loss(logits: Tensor, labels: Tensor) -> LossAndParts:
    """The mean log loss of the classes in nats (eq. 1 of the paper), and the share of errors as its part."""
    loss = F.cross_entropy(logits.float(), labels)
    return loss, {"errors": (logits.argmax(dim=1) != labels).float().mean()}


@torch.no_grad()
def surrogate_accuracy(
    network: nn.Module, seeds: SeedPatches, colors: PrincipalColors, size: int, runtime: Runtime, draws: int = 4
) -> float:
    """The share of patches whose class is found after transformations that no training draws, `draws` of each patch."""
    right = 0
    for draw in range(draws):
        for first in range(0, len(seeds.patches), BATCH):
            chosen = runtime.place(seeds.patches[first : first + BATCH].float() / 255)
            done = draw_transformations(len(chosen), held_out_random(seeds.seed, draw, first))
            patches = transform_patches(chosen, done, colors, size)
            with runtime.autocast():
                found = network(runtime.place(patches)).argmax(dim=1).cpu()
            right += int((found == torch.arange(first, first + len(chosen))).sum())
    return right / (draws * len(seeds.patches))
