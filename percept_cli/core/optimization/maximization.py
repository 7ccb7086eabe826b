"""Activation maximization: images from noise that maximize an objective (Olah et al. 2017, Feature Visualization)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.choices import PARAMETRIZATIONS
from percept_cli.core.extractors.geometry import fixed_side
from percept_cli.core.extractors.graph import FeatureExtractor
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.optimization.inversion import cosine_rates
from percept_cli.core.optimization.loop import optimize_image
from percept_cli.core.optimization.objectives import Objective, objective_parts, tapped_layers
from percept_cli.core.optimization.parametrization import GRAY, Bounded, Frequencies, Parametrization, Pixels
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError, unknown_name

USUAL_SIDE = 160  # pixels
BORDER = 8  # pixels of gray around the image, so that the network's padding has no effect on patterns
START_CONTRAST = 0.01
RATE = 0.015  # of Adam, in units of a photograph's spectrum or of the range of a pixel
DIVERSITY_WEIGHT = 1.0  # of the similarity of the images, in units of the objective


@dataclass(frozen=True)
class MaximizationOptions:
    """Options of maximization; names and meanings as in `percept visualize objective`.

    jitter: pixels. scale: 0.1 is 0.9 to 1.1. rotation: degrees in both directions. count: number of different images.
    """

    steps: int = 160
    parametrization: str = "spectrum"
    jitter: float = 8
    scale: float = 0.1
    rotation: float = 10.0
    count: int = 1
    seed: int = 0


@dataclass(frozen=True)
class MaximizationStep:
    """One update of N images.

    index: its number from 1. values: the objective of each image before it. parts: its weighted terms. similarity: of
    the images' textures, 0 to 1, None for one image. images: (N, 3, side, side) in [0, 1] after it.
    """

    index: int
    values: list[float]
    parts: dict[str, list[float]]
    similarity: float | None
    images: Tensor


def seen_side(extractor: FeatureExtractor, side: int) -> int:
    """The side in pixels of the network's input: that of the image, with a border unless its layers need a fixed side."""
    return side if fixed_side(extractor) else side + 2 * BORDER


def maximize(
    objective: Objective, side: int, extractor: FeatureExtractor, runtime: Runtime, options: MaximizationOptions
) -> Iterator[MaximizationStep]:
    """Maximizes an objective over images (N, 3, side, side) in [0, 1] from noise, yielding every step.

    extractor: frozen by the runtime, tapped at `tapped_layers`. In each step the images are moved, scaled and rotated at
    random, so that patterns do not depend on it. Raises UsageError for an unknown parametrization.
    """
    if options.parametrization not in PARAMETRIZATIONS:
        raise UsageError(unknown_name("parametrization", options.parametrization, PARAMETRIZATIONS))
    taps = tapped_layers(objective, extractor.architecture)
    tapped = tuple(dict.fromkeys(taps.values()))
    generator = torch.Generator().manual_seed(options.seed)
    seen = seen_side(extractor, side)
    parts: dict[str, Tensor] = {}
    similarity: Tensor | None = None

    def loss(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        nonlocal parts, similarity
        views = transform(images, seen, options, generator)
        features = extractor(runtime.place(views), tapped)
        parts = objective_parts(objective, features, taps)
        value = torch.stack(list(parts.values())).sum(0).mean()
        if options.count > 1:
            similarity = torch.stack([texture_similarity(features[layer]) for layer in tapped]).mean()
            # In proportion to the objective, whatever its size and sign.
            value = value - DIVERSITY_WEIGHT * value.detach().abs() * similarity
        return -value, {}  # the optimizer minimizes; the sign changes only here

    space: Parametrization
    if options.parametrization == "spectrum":
        frequencies = Frequencies(side, side, device=runtime.device)
        noise = frequencies.noise(options.count, START_CONTRAST, generator)
        space = Bounded(frequencies)
    else:
        noise = torch.randn((options.count, 3, side, side), generator=generator).to(runtime.device)
        noise = GRAY + START_CONTRAST * noise
        space = Bounded(Pixels())
    rates = cosine_rates(RATE, options.steps)
    for step in optimize_image(noise.clamp(0.01, 0.99), loss, options.steps, parametrization=space, rates=rates):
        terms = {name: part.tolist() for name, part in parts.items()}
        values = [sum(each) for each in zip(*terms.values(), strict=True)]
        alike = None if similarity is None else similarity.item()
        yield MaximizationStep(step.index, values, terms, alike, step.image)


def transform(images: Tensor, seen: int, options: MaximizationOptions, generator: torch.Generator) -> Tensor:
    """Views (N, 3, seen, seen) of images (N, 3, H, W), moved, scaled and rotated by uniform random amounts, on gray.

    Departs from Olah et al. 2017, who resample the image for each of these: a single resampling blurs less.
    """
    count, side = len(images), images.shape[-1]
    draws = 2 * torch.rand(4, count, generator=generator) - 1
    zoom, angle = 1 + options.scale * draws[2], options.rotation * math.pi / 180 * draws[3]
    # In units of half the side, for affine_grid. Jitter is rounded to whole pixels, which does not blur.
    across, down = (options.jitter * draws[:2]).round() * 2 / side
    reach = seen / side / zoom
    cosine, sine = reach * angle.cos(), reach * angle.sin()
    rows = torch.stack([torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)], 1)
    grid = F.affine_grid(rows.to(images.device), [count, 3, seen, seen], align_corners=False)
    return GRAY + F.grid_sample(images - GRAY, grid, padding_mode="zeros", align_corners=False)


def texture_similarity(features: Tensor) -> Tensor:
    """Mean cosine between the Gram matrices of N > 1 images, from features (N, C, ...) (Olah et al. 2017, diversity)."""
    codes = features if features.ndim == 4 else features[..., None, None]
    grams = F.normalize(gram_matrix(codes).flatten(1), dim=1)
    cosines = grams @ grams.T
    count = len(grams)
    return (cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))


@torch.no_grad()
def measure(objective: Objective, images: Tensor, extractor: FeatureExtractor, runtime: Runtime) -> list[float]:
    """The objective of each of N images (N, 3, H, W), not transformed, within the gray border of the search."""
    taps = tapped_layers(objective, extractor.architecture)
    margin = (seen_side(extractor, images.shape[-1]) - images.shape[-1]) // 2
    padded = runtime.place(F.pad(images, [margin] * 4, value=GRAY))
    parts = objective_parts(objective, extractor(padded, tuple(dict.fromkeys(taps.values()))), taps)
    return torch.stack(list(parts.values())).sum(0).tolist()
