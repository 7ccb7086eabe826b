"""Activation maximization: images from noise that make an objective large (Olah et al. 2017, Feature Visualization)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.extractors.geometry import fixed_side
from percept_cli.core.extractors.graph import FeatureExtractor
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.optimization.inversion import cosine_rates
from percept_cli.core.optimization.loop import optimize_image
from percept_cli.core.optimization.objectives import Objective, objective_parts, tapped_layers
from percept_cli.core.optimization.parametrization import GRAY, Bounded, Frequencies, Parametrization, Pixels
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError, unknown_name

PARAMETRIZATIONS = ("spectrum", "pixels")
USUAL_SIDE = 160  # pixels
BORDER = 8  # pixels of gray around the image, so that the network's own padding is not a part of every pattern
START_CONTRAST = 0.01
RATE = 0.015  # of Adam, in units of a photograph's spectrum or of the range of a pixel
DIVERSITY_WEIGHT = 1.0  # of the similarity of the images, in units of the objective itself


@dataclass(frozen=True)
class MaximizationOptions:
    """How an objective is maximized; names and meanings as in `percept visualize objective`.

    jitter: pixels. scale: 0.1 is 0.9 to 1.1. rotation: degrees to either side. count: of images at once, made to differ.
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

    index: its number from 1. values: the objective of each image before it. parts: the same by term, weighted.
    similarity: of the images' textures, 0 to 1, None for one image. images: (N, 3, side, side) after it.
    """

    index: int
    values: list[float]
    parts: dict[str, list[float]]
    similarity: float | None
    images: Tensor


def seen_side(extractor: FeatureExtractor, side: int) -> int:
    """The side in pixels of the network's input for an image: with a gray border where its layers take any size."""
    return side if fixed_side(extractor) else side + 2 * BORDER


def maximize(
    objective: Objective, side: int, extractor: FeatureExtractor, runtime: Runtime, options: MaximizationOptions
) -> Iterator[MaximizationStep]:
    """Maximizes an objective over images (N, 3, side, side) in [0, 1] from noise, yielding every step.

    extractor: frozen by the runtime, tapped at what `tapped_layers` names. Each step sees the images moved, scaled and
    turned at random, so that patterns are found that do not depend on it. Raises UsageError for an unknown
    parametrization.
    """
    if options.parametrization not in PARAMETRIZATIONS:
        raise UsageError(unknown_name("parametrization", options.parametrization, PARAMETRIZATIONS))
    taps = tapped_layers(objective, extractor.architecture)
    tapped = tuple(dict.fromkeys(taps.values()))
    chance = torch.Generator().manual_seed(options.seed)
    seen = seen_side(extractor, side)
    found: dict[str, Tensor] = {}
    alike: list[float] = []

    def loss(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        views = transform(images, seen, options, chance)
        features = extractor(runtime.place(views), tapped)
        parts = objective_parts(objective, features, taps)
        found.clear()
        found.update({name: part.detach() for name, part in parts.items()})
        value = torch.stack(list(parts.values())).sum(0).mean()
        if options.count > 1:
            similarity = torch.stack([texture_similarity(features[layer]) for layer in tapped]).mean()
            alike[:] = [similarity.item()]
            # The same share of an objective of any size and sign.
            value = value - DIVERSITY_WEIGHT * value.detach().abs() * similarity
        return -value, {}  # the optimizer minimizes: the one place where the sign changes

    space: Parametrization
    if options.parametrization == "spectrum":
        frequencies = Frequencies(side, side, device=runtime.device)
        spectra = frequencies.encode(torch.zeros(options.count, 3, side, side, device=runtime.device))
        noise = frequencies.decode(START_CONTRAST * torch.randn(spectra.shape, generator=chance).to(runtime.device))
        space = Bounded(frequencies)
    else:
        noise = GRAY + START_CONTRAST * torch.randn((options.count, 3, side, side), generator=chance).to(runtime.device)
        space = Bounded(Pixels())
    rates = cosine_rates(RATE, options.steps)
    for step in optimize_image(noise.clamp(0.01, 0.99), loss, options.steps, parametrization=space, rates=rates):
        parts = {name: part.tolist() for name, part in found.items()}
        values = [sum(each) for each in zip(*parts.values(), strict=True)]
        yield MaximizationStep(step.index, values, parts, alike[0] if alike else None, step.image)


def transform(images: Tensor, seen: int, options: MaximizationOptions, chance: torch.Generator) -> Tensor:
    """Views (N, 3, seen, seen) of images (N, 3, H, W), moved, scaled and turned by one draw each, on gray.

    Departs from Olah et al. 2017, who resample the image for each of these: one resampling for all blurs less. The draws
    are uniform.
    """
    count, side = len(images), images.shape[-1]
    draws = 2 * torch.rand(4, count, generator=chance) - 1
    zoom, angle = 1 + options.scale * draws[2], options.rotation * math.pi / 180 * draws[3]
    # affine_grid counts in units of half the side. Jitter is in whole pixels, which are moved without blurring.
    across, down = (options.jitter * draws[:2]).round() * 2 / side
    reach = seen / side / zoom
    cosine, sine = reach * angle.cos(), reach * angle.sin()
    rows = torch.stack([torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)], 1)
    grid = F.affine_grid(rows.to(images.device), [count, 3, seen, seen], align_corners=False)
    return GRAY + F.grid_sample(images - GRAY, grid, padding_mode="zeros", align_corners=False)


def texture_similarity(features: Tensor) -> Tensor:
    """Mean cosine of the Gram matrices of every two of N images (Olah et al. 2017, diversity); (N, C, ...), N > 1."""
    codes = features if features.ndim == 4 else features[..., None, None]
    grams = F.normalize(gram_matrix(codes).flatten(1), dim=1)
    cosines = grams @ grams.T
    count = len(grams)
    return (cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))


@torch.no_grad()
def measure(objective: Objective, images: Tensor, extractor: FeatureExtractor, runtime: Runtime) -> list[float]:
    """The objective of each of N images (N, 3, H, W) as they are, not moved, within the gray border of the search."""
    taps = tapped_layers(objective, extractor.architecture)
    margin = (seen_side(extractor, images.shape[-1]) - images.shape[-1]) // 2
    padded = runtime.place(F.pad(images, [margin] * 4, value=GRAY))
    parts = objective_parts(objective, extractor(padded, tuple(dict.fromkeys(taps.values()))), taps)
    return torch.stack(list(parts.values())).sum(0).tolist()
