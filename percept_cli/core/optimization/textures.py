"""Textures from Gram matrices: images from noise with the Gram matrices of another image (Gatys et al. 2015)."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.optimization.loop import OptimizationStep, optimize_image, penalize_range
from percept_cli.core.optimization.parametrization import Frequencies
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

EXPONENT = 0.75  # of the optimized spectrum; between shapes (1) and fine texture (0.5)
START_CONTRAST = 0.05  # in units of a photograph's spectrum


def gram_matrices(image: Tensor, layers: Sequence[str], extractor: FeatureExtractor) -> dict[str, Tensor]:
    """The Gram matrices (1, C, C) of an image (1, 3, H, W) in [0, 1]. Raises UsageError for fully connected layers."""
    grams = {}
    for layer, features in extractor(image, tuple(layers)).items():
        if features.ndim != 4:
            raise UsageError(
                f"{layer} of {extractor.architecture.name} is a code of the whole image and has no Gram matrix: leave it "
                "out of the style layers."
            )
        grams[layer] = gram_matrix(features)
    return grams


def relative_gram_losses(grams: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """‖G − G*‖² / ‖G*‖² of each layer of `targets`, a scalar each: 0 for the same style, 1 for features of 0.

    Departs from Gatys et al. 2015, where layers with large features dominate.
    """
    return {
        layer: (grams[layer] - target).square().sum() / target.square().sum().clamp_min(1e-30)
        for layer, target in targets.items()
    }


def synthesize_texture(
    targets: Mapping[str, Tensor], side: int, extractor: FeatureExtractor, runtime: Runtime, steps: int, seed: int = 0
) -> Iterator[OptimizationStep]:
    """Optimizes an image (1, 3, side, side) from noise by L-BFGS until it has the Gram matrices, yielding every step.

    targets: (1, C, C) by layer. The parts of a step are the squared relative errors by layer, whose mean is minimized,
    and `range`. extractor: in float32, as L-BFGS needs losses more precise than bf16.
    """
    layers = tuple(targets)

    def loss(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        parts = relative_gram_losses(gram_matrices(runtime.place(image), layers, extractor), targets)
        return torch.stack(list(parts.values())).mean(), parts

    space = Frequencies(side, side, EXPONENT, runtime.device)
    # Departs from Gatys et al. 2015, who begin with white noise: without coarse shapes at the start, the optimization
    # amplifies those that the network's padding causes at the edges.
    start = space.noise(1, START_CONTRAST, torch.Generator().manual_seed(seed))
    yield from optimize_image(start, penalize_range(loss), steps, "lbfgs", parametrization=space)


@torch.no_grad()
def style_error(image: Tensor, targets: Mapping[str, Tensor], extractor: FeatureExtractor) -> float:
    """The root of the mean of `relative_gram_losses` for an image (1, 3, H, W) in [0, 1]."""
    losses = relative_gram_losses(gram_matrices(image, tuple(targets), extractor), targets)
    return torch.stack(list(losses.values())).mean().sqrt().item()
