"""Theoretical and effective receptive fields of layers, by gradients (Luo et al. 2016), and their plot."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.plots import Plot, color_map
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.geometry import theoretical_side
from percept_cli.core.visualization.steps import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD = 0.95  # the share of the squared gradient within the effective receptive field


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of one unit of a layer.

    side: of the theoretical field, in pixels. effective: of the smallest middle square with a share of `HELD` of the squared
    gradient. gradients: (side, side), of the unit to the pixels, root mean square over starts and channels, at most 1.
    held: (side,), the share of the squared gradient within the middle square of each side from 1.
    """

    layer: str
    side: int
    effective: int
    gradients: Tensor
    held: Tensor


def measure_receptive_field(extractor: FeatureExtractor, layer: str, seed: int = 0, starts: int = 8) -> ReceptiveField:
    """The effective receptive field (Luo et al. 2016) of the middle unit of a layer over `starts` images of noise.

    The channels are weighted at random, so that the expected squared gradient is the sum of those of the channels. Departs
    from the paper: squared gradients are averaged instead of gradients, whose signs cancel. Raises UsageError as
    `theoretical_side`.
    """
    side = theoretical_side(extractor, layer)
    grid = extractor.grid(layer)
    assert grid is not None
    parameter = next(extractor.network.parameters())
    random = torch.Generator().manual_seed(seed)
    # The image is wide enough to contain the whole field of the unit.
    place = -(-grid.before // grid.stride)
    width = max(place * grid.stride + grid.stride + grid.after, extractor.smallest_side)
    first = place * grid.stride - grid.before
    total = torch.zeros(side, side, dtype=torch.float64)
    for _ in range(starts):
        noise = extractor.mean.cpu() + extractor.std.cpu() * torch.randn((1, 3, width, width), generator=random)
        image = noise.to(parameter.device).requires_grad_(True)
        unit = extractor(image, [layer])[layer][0, :, place, place]
        weights = torch.randn(len(unit), generator=random).to(unit.device, unit.dtype)
        (gradient,) = torch.autograd.grad((unit * weights).sum(), image)
        square = gradient[0].double().square().sum(0).cpu()
        total += square[first : first + side, first : first + side]
    held = _held(total)
    effective = int((held >= HELD).nonzero()[0]) + 1
    return ReceptiveField(layer, side, effective, (total / total.max().clamp_min(1e-30)).sqrt().float(), held)


def _held(squares: Tensor) -> Tensor:
    """The share of the sum of (side, side) values within the middle square of each side from 1: (side,)."""
    side = len(squares)
    whole = squares.sum().clamp_min(1e-30)
    shares = []
    for inner in range(1, side + 1):
        start = (side - inner) // 2
        shares.append(squares[start : start + inner, start : start + inner].sum() / whole)
    return torch.stack(shares)


def measure_receptive_fields(
    extractor: FeatureExtractor, layers: Sequence[str], seed: int = 0, starts: int = 8
) -> Iterator[Step[list[ReceptiveField]]]:
    """The receptive fields of layers; a step is a layer. Raises UsageError as `theoretical_side`, before any work."""
    for layer in layers:
        theoretical_side(extractor, layer)
    yield Step(len(layers))
    fields = []
    for layer in layers:
        fields.append(measure_receptive_field(extractor, layer, seed, starts))
        yield Step(len(layers))
    yield Step(len(layers), result=fields)


def receptive_field_records(fields: Sequence[ReceptiveField]) -> list[dict[str, object]]:
    """A row for every layer and every side of the middle square, with the share of the squared gradient within it."""
    return [
        {"layer": field.layer, "theoretical": field.side, "effective": field.effective, "square": inner, "held": share}
        for field in fields
        for inner, share in enumerate(field.held.tolist(), start=1)
    ]


def receptive_field_plot(fields: Sequence[ReceptiveField], title: str, starts: int = 8) -> Plot:
    """A map of the gradients for every layer, and below curves of the shares within the middle squares.

    starts: the number of images of noise.
    """
    notes = [
        f"Gradient of a unit to the pixels that can reach it, over {starts} images of noise. "
        f"Outlines: the middle squares that hold {100 * HELD:.0f} % of the squared gradient."
    ]

    def draw(figure: "Figure") -> None:
        from matplotlib.patches import Rectangle

        grid = figure.add_gridspec(2, len(fields), height_ratios=[1.0, 1.15])
        maps = []
        for number, field in enumerate(fields):
            axes = figure.add_subplot(grid[0, number])
            half = field.side / 2
            image = axes.imshow(
                field.gradients.numpy(), cmap=color_map(), vmin=0, vmax=1, extent=(-half, half, half, -half),
                interpolation="nearest",
            )  # fmt: skip
            start = -half + (field.side - field.effective) // 2
            width = field.effective
            axes.add_patch(Rectangle((start, start), width, width, fill=False, color=_color(number), linewidth=2.5))
            axes.set_title(f"{field.layer}\n{field.effective} of {field.side} px")
            axes.grid(visible=False)
            maps.append(axes)
        maps[0].set_ylabel("pixels from the middle")
        figure.colorbar(image, ax=maps, label="gradient (rms, most = 1)", shrink=0.75)
        curves = figure.add_subplot(grid[1, :])
        for number, field in enumerate(fields):
            sides = range(1, field.side + 1)
            curves.plot(sides, 100 * field.held.numpy(), color=_color(number), linewidth=2, label=field.layer)
        curves.axhline(100 * HELD, color=canvas.LINES[-1], linewidth=0.8, linestyle="--")
        curves.set_title(f"Share of the squared gradient within the middle square; dashed: {100 * HELD:.0f} %")
        curves.set_xlabel("side of the square, pixels")
        curves.set_ylabel("%")
        curves.set_xlim(left=1)
        curves.set_ylim(0, 102)
        curves.legend(loc="lower right")

    return Plot(title, notes, draw, height=7.2)


def _color(number: int) -> str:
    # Without black, which is hard to see on the dark end of the map.
    return canvas.LINES[(1, 4, 5, 3, 0, 2)[number % 6]]
