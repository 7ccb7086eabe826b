"""How much of an image the unit of a layer sees, and how much of that it looks at: by gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.feature_distances import layer_grids
from percept_cli.errors import UsageError

HELD = 0.95  # of the squared gradient: what the effective field holds


@dataclass(frozen=True)
class ReceptiveField:
    """What the middle unit of a layer sees: `side` pixels at most, and in `effective` of them `HELD` of its gradient.

    `gradients` (side, side): root mean square over starts and channels of how far a pixel moves the unit, the most
    being 1. `held` (side,): the share of the squared gradient within the middle square of each odd or even side from 1.
    """

    layer: str
    side: int
    effective: int
    gradients: Tensor
    held: Tensor


def theoretical_side(extractor: FeatureExtractor, layer: str) -> int:
    """How many pixels a side can reach a unit at all. Raises UsageError for layers that see the whole picture."""
    grids = layer_grids(extractor)
    if grids is None or layer not in grids:
        raise UsageError(
            f"{layer} of {extractor.architecture.name} sees the whole picture: give a convolution or a pooling."
        )
    grid = grids[layer]
    return grid.before + grid.stride + grid.after


def measure_receptive_field(extractor: FeatureExtractor, layer: str, seed: int = 0, starts: int = 8) -> ReceptiveField:
    """The effective receptive field (Luo et al. 2016) of the middle unit of a layer over `starts` images of noise.

    The gradient that is sent back is random over the channels, so that its square is, on average, the sum over channels
    of their squared gradients. Departs from the paper: the mean of squares instead of that of gradients, whose signs
    cancel. Raises UsageError as `theoretical_side`.
    """
    side = theoretical_side(extractor, layer)
    grids = layer_grids(extractor)
    assert grids is not None
    grid = grids[layer]
    parameter = next(extractor.network.parameters())
    chance = torch.Generator().manual_seed(seed)
    # Wide enough that the field of the middle unit lies within the image.
    place = -(-grid.before // grid.stride)
    width = max(place * grid.stride + grid.stride + grid.after, extractor.smallest_side)
    first = place * grid.stride - grid.before
    total = torch.zeros(side, side, dtype=torch.float64)
    for _ in range(starts):
        noise = extractor.mean.cpu() + extractor.std.cpu() * torch.randn((1, 3, width, width), generator=chance)
        image = noise.to(parameter.device).requires_grad_(True)
        unit = extractor(image, [layer])[layer][0, :, place, place]
        weights = torch.randn(len(unit), generator=chance).to(unit.device, unit.dtype)
        (gradient,) = torch.autograd.grad((unit * weights).sum(), image)
        square = gradient[0].double().square().sum(0).cpu()
        total += square[first : first + side, first : first + side]
    held = _held(total)
    effective = int((held >= HELD).nonzero()[0]) + 1
    return ReceptiveField(layer, side, effective, (total / total.max().clamp_min(1e-30)).sqrt().float(), held)


def _held(squares: Tensor) -> Tensor:
    """The share of (side, side) values within the middle squares of every side from 1."""
    side = len(squares)
    whole = squares.sum().clamp_min(1e-30)
    shares = []
    for inner in range(1, side + 1):
        start = (side - inner) // 2
        shares.append(squares[start : start + inner, start : start + inner].sum() / whole)
    return torch.stack(shares)
