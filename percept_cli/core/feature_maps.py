"""Features as pictures: which channels of a layer speak up, what its main directions are, and where its units look."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import Architecture
from percept_cli.core.extractors.graph import Grid
from percept_cli.errors import UsageError


@dataclass(frozen=True)
class ChannelFigures:
    """One channel of a layer in figures, over all its places: `zeros` is the share of values that are just 0."""

    channel: int
    rms: float
    mean: float
    low: float
    high: float
    zeros: float


@dataclass(frozen=True)
class Components:
    """The main directions of features as colours: `image` (1, 3, h, w) in [0, 1], and their shares of the variance."""

    image: Tensor
    shares: tuple[float, ...]


def channel_figures(features: Tensor) -> list[ChannelFigures]:
    """Every channel of features (1, C, h, w), by number from 0."""
    flat = features[0].flatten(1).double()
    columns = (
        flat.square().mean(1).sqrt(), flat.mean(1), flat.amin(1), flat.amax(1), (flat == 0).double().mean(1)
    )  # fmt: skip
    rows = torch.stack(columns, dim=1).tolist()
    return [ChannelFigures(number, *row) for number, row in enumerate(rows)]


def strongest_channels(figures: Sequence[ChannelFigures], count: int) -> list[int]:
    """The channels with the largest root mean square, strongest first; of equals the one that comes first."""
    return [figure.channel for figure in sorted(figures, key=lambda figure: (-figure.rms, figure.channel))[:count]]


def principal_components(features: Tensor) -> Components:
    """The three directions in which features (1, C, h, w) vary most over their places, as red, green and blue.

    The middle 98 % of each become 0 to 1. A direction has no sign of its own: the one is taken in which its largest
    weight is positive, so the same features give the same colours.
    """
    channels = features.shape[1]
    flat = features[0].flatten(1).double()
    centred = flat - flat.mean(1, keepdim=True)
    variances, directions = torch.linalg.eigh(centred @ centred.T / flat.shape[1])
    kept = min(3, channels)
    main = directions[:, -kept:].flip(1)
    main = main * main.gather(0, main.abs().argmax(0, keepdim=True)).sign()
    planes = main.T @ centred
    sample = evenly_sampled(planes)
    low, high = sample.quantile(0.01, dim=1, keepdim=True), sample.quantile(0.99, dim=1, keepdim=True)
    # Features that do not vary at all are grey.
    colors = torch.where(high > low, (planes - low) / (high - low).clamp_min(1e-12), 0.5).clamp(0, 1)
    colors = torch.cat((colors, colors.new_full((3 - kept, flat.shape[1]), 0.5)))
    total = variances.sum().clamp_min(1e-30)
    shares = (variances[-kept:].flip(0) / total).tolist()
    return Components(colors.view(1, 3, *features.shape[-2:]).float(), tuple(shares))


def evenly_sampled(values: Tensor, most: int = 1 << 18) -> Tensor:
    """About `most` values of each row of (..., places), evenly spread: enough for percentiles, whatever the size.

    All of them where there are no more. The step is odd, so that it meets every column of maps with rows of even length.
    """
    step = max(1, values.shape[-1] // most)
    return values[..., :: step + (step % 2 == 0)]


def lay_over_pixels(units: Tensor, grid: Grid, image_size: tuple[int, int], height: int, width: int) -> Tensor:
    """Units (N, C, h, w) as (N, C, `height`, `width`): every pixel of the picture has the value of the unit it is in.

    image_size: the (height, width) that the network saw, of which `height` and `width` are the shown size. Pixels
    beyond the last units, at the right and below, have the nearest one's.
    """

    def nearest(shown: int, seen: int, count: int) -> Tensor:
        centres = (torch.arange(shown, device=units.device) + 0.5) * (seen / shown)
        return ((centres - grid.offset) / grid.stride).floor().long().clamp(0, count - 1)

    rows, columns = nearest(height, image_size[0], units.shape[-2]), nearest(width, image_size[1], units.shape[-1])
    return units[..., rows, :][..., columns]


def activation_pair(architecture: Architecture, layer: str) -> tuple[str, str]:
    """The names of a layer before and after its activation, whichever of them is given.

    Raises UsageError for a layer that belongs to no ReLU, as a pooling.
    """
    name = architecture.resolve(layer)
    for pair in activation_pairs(architecture):
        if name in pair:
            return pair
    raise UsageError(f"{name} of {architecture.name} stands on neither side of a ReLU: leave it or --before-after out.")


def activation_pairs(architecture: Architecture) -> list[tuple[str, str]]:
    """Every layer that goes through a ReLU: the names (before, after), from shallow to deep."""
    known = architecture.layer_names
    return [
        (each.sources[0], each.name)
        for each in architecture.layers
        if each.name in known and each.sources[0] in known and getattr(each.build, "func", each.build) is nn.ReLU
    ]
