"""What the style of an image is to a network: pictures with the same Gram matrices, from noise (Gatys et al. 2015, 2016)."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.optimization.loop import OptimizationStep, fence, optimize_image
from percept_cli.core.optimization.parametrization import Frequencies
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

# How steeply the spectrum that is searched falls: shapes and grain both have to be found.
EXPONENT = 0.75
START_CONTRAST = 0.05  # in units of what photographs have at each frequency


def gram_matrices(image: Tensor, layers: Sequence[str], extractor: FeatureExtractor) -> dict[str, Tensor]:
    """The Gram matrices (1, C, C) of an image (1, 3, H, W) in [0, 1]. Raises UsageError for a layer without places."""
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
    """‖G − G*‖² / ‖G*‖² of each layer of `targets`, a scalar each: 0 is the same style, 1 as far as no features at all.

    Departs from Gatys et al. 2015, whose layers weigh as their features happen to be large.
    """
    return {
        layer: (grams[layer] - target).square().sum() / target.square().sum().clamp_min(1e-30)
        for layer, target in targets.items()
    }


def synthesize_texture(
    targets: Mapping[str, Tensor], side: int, extractor: FeatureExtractor, runtime: Runtime, steps: int, seed: int = 0
) -> Iterator[OptimizationStep]:
    """Finds a picture (1, 3, side, side) with these Gram matrices, from noise by L-BFGS, yielding every step.

    The parts of a step are the squared relative errors by layer, whose mean is minimized, and `range`. L-BFGS
    compares losses more finely than bf16 tells them apart: the extractor has to be in float32.
    """
    layers = tuple(targets)

    def loss(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        parts = relative_gram_losses(gram_matrices(runtime.place(image), layers, extractor), targets)
        return torch.stack(list(parts.values())).mean(), parts

    space = Frequencies(side, side, EXPONENT, runtime.device)
    spectrum = space.encode(torch.zeros(1, 3, side, side, device=runtime.device))
    noise = torch.randn(spectrum.shape, generator=torch.Generator().manual_seed(seed)).to(runtime.device)
    # Departs from Gatys et al. 2015, who begin at white noise: without coarse shapes to begin with, the search takes
    # those that the network's padding makes at the edges.
    start = space.decode(START_CONTRAST * noise)
    yield from optimize_image(start, fence(loss), steps, "lbfgs", parametrization=space)


@torch.no_grad()
def style_error(image: Tensor, targets: Mapping[str, Tensor], extractor: FeatureExtractor) -> float:
    """The root of the mean of `relative_gram_losses` for an image (1, 3, H, W) in [0, 1]."""
    losses = relative_gram_losses(gram_matrices(image, tuple(targets), extractor), targets)
    return torch.stack(list(losses.values())).mean().sqrt().item()
