"""Features as pictures: which channels of a layer speak up, what its main directions are, and where its units look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.graph import Grid
from percept_cli.core.images.photo import LUMA, resize_image
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
    """The main directions of features as colors: `image` (1, 3, h, w) in [0, 1], and their shares of the variance."""

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
    weight is positive, so the same features give the same colors.
    """
    channels = features.shape[1]
    flat = features[0].flatten(1).double()
    centered = flat - flat.mean(1, keepdim=True)
    variances, directions = torch.linalg.eigh(centered @ centered.T / flat.shape[1])
    kept = min(3, channels)
    main = directions[:, -kept:].flip(1)
    main = main * main.gather(0, main.abs().argmax(0, keepdim=True)).sign()
    planes = main.T @ centered
    sample = evenly_sampled(planes)
    low, high = sample.quantile(0.01, dim=1, keepdim=True), sample.quantile(0.99, dim=1, keepdim=True)
    # Features that do not vary at all are gray.
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
        centers = (torch.arange(shown, device=units.device) + 0.5) * (seen / shown)
        return ((centers - grid.offset) / grid.stride).floor().long().clamp(0, count - 1)

    rows, columns = nearest(height, image_size[0], units.shape[-2]), nearest(width, image_size[1], units.shape[-1])
    return units[..., rows, :][..., columns]


SIDE = 236  # pixels of the column that tells what a row is
COLUMNS = 4
TALLEST = 900
BEYOND = 0.005  # of the units of a map: stronger than the scale reaches


@dataclass(frozen=True)
class Taps:
    """One row of a sheet: the layer, and where asked for both sides of its activation, those in order."""

    layer: str
    sides: tuple[str, ...]


class FeatureSheet:
    """What an extractor makes of one picture (1, 3, H, W) in [0, 1], drawn layer by layer, the picture itself with the first.

    `overlay` lays the maps over the picture. The records of what was drawn gather in `records`, a row each.
    Raises UsageError for layers without places, as fully connected ones are.
    """

    def __init__(self, extractor: FeatureExtractor, image: Tensor, features: Mapping[str, Tensor], *, overlay: bool):
        self.extractor, self.image, self.features, self.overlay = extractor, image.cpu().float(), features, overlay
        self.records: list[dict[str, object]] = []
        self.rows = 0
        self.grids: dict[str, Grid] = {}
        for layer in features:
            grid = extractor.grid(layer)
            if grid is None:
                raise UsageError(
                    f"{layer} of {extractor.architecture.name} is a code of the whole picture and has no map: "
                    "give a layer before it."
                )
            self.grids[layer] = grid
        weights = torch.tensor(LUMA).view(1, 3, 1, 1)
        self.gray = (self.image * weights).sum(1, keepdim=True).expand(1, 3, -1, -1)

    def channels(self, taps: Taps, count: int, chosen: Sequence[int] = ()) -> Tensor:
        """The `count` strongest channels of a layer, or the chosen ones, as a row of the sheet.

        Raises UsageError for a channel that is not there.
        """
        figures = {side: channel_figures(self._of(side)) for side in taps.sides}
        own = figures[taps.layer]
        for channel in chosen:
            if not 0 <= channel < len(own):
                raise UsageError(f"{taps.layer} has the channels 0 to {len(own) - 1}, not {channel}.")
        shown = list(chosen) or strongest_channels(own, count)
        for side in taps.sides:
            self.records += [_record(side, figure, shown) for figure in figures[side]]
        scale = self._scale(taps, shown)
        tiles = []
        width, height = self._tile_size(len(shown) * len(taps.sides))
        for channel in shown:
            for side in taps.sides:
                values = self._map(side, self._of(side)[:, channel : channel + 1], height, width)
                # Laid over the picture, what is near 0 lets it through.
                opacity = 0.9 * (values.abs() / max(scale.high, 1e-30)).clamp(0, 1)
                figure = figures[side][channel]
                captions = (
                    f"{side if len(taps.sides) > 1 else 'channel'} {channel}",
                    f"{canvas.format_number(figure.low)} to {canvas.format_number(figure.high)}, {100 * figure.zeros:.0f} % zeros",
                )
                tiles.append(Panel(self._over(scale.paint(values), height, width, opacity), captions))
        which = f"{len(shown)} of" if chosen else f"{len(shown)} strongest of"
        facts = [f"{which} {len(own)} channels", self._extent(taps)]
        return self._row(taps, facts, tiles, canvas.color_bar(scale, SIDE))

    def components(self, taps: Taps) -> Tensor:
        """The three principal components of a layer as red, green and blue, as a row of the sheet."""
        tiles = []
        width, height = self._tile_size(len(taps.sides))
        for side in taps.sides:
            found = principal_components(self._of(side))
            for number, share in enumerate(found.shares):
                self.records.append({"layer": side, "component": number + 1, "variance_share": round(share, 6)})
            painted = self._map(side, found.image, height, width)
            named = zip(("red", "green", "blue"), found.shares, strict=False)
            captions = (side, ", ".join(f"{color} {100 * share:.0f} %" for color, share in named) + " of the variance")
            tiles.append(Panel(self._over(painted, height, width, torch.tensor(0.5)), captions))
        return self._row(taps, ["principal components 1 to 3 as red, green, blue", self._extent(taps)], tiles, None)

    def _of(self, side: str) -> Tensor:
        return self.features[side].float().cpu()

    def _map(self, side: str, units: Tensor, height: int, width: int) -> Tensor:
        seen = (self.image.shape[-2], self.image.shape[-1])
        return lay_over_pixels(units, self.grids[side], seen, height, width)

    def _over(self, painted: Tensor, height: int, width: int, opacity: Tensor) -> Tensor:
        if not self.overlay:
            return painted
        return torch.lerp(resize_image(self.gray, height, width), painted, opacity)

    def _tile_size(self, count: int) -> tuple[int, int]:
        columns = min(COLUMNS, count)
        width = (canvas.WIDTH - 2 * canvas.GAP - SIDE - canvas.GAP - 6 * (columns + 1)) // columns
        height = round(width * self.image.shape[-2] / self.image.shape[-1])
        if height > TALLEST:
            width, height = max(1, round(width * TALLEST / height)), TALLEST
        return width, max(1, height)

    def _extent(self, taps: Taps) -> str:
        features, grid = self.features[taps.layer], self.grids[taps.layer]
        pixels = "1 pixel" if grid.stride == 1 else f"{grid.stride} pixels"
        return f"{features.shape[-1]}x{features.shape[-2]} units, one every {pixels}"

    def _scale(self, taps: Taps, shown: Sequence[int]) -> canvas.Scale:
        """One scale for all maps of a row: what an activation takes away is what was blue before it."""
        # Few units are several times as strong as all others, and would leave these in the dark.
        samples = [evenly_sampled(self._of(side)[0, channel].flatten()) for side in taps.sides for channel in shown]
        low = min(sample.quantile(BEYOND).item() for sample in samples)
        high = max(sample.quantile(1 - BEYOND).item() for sample in samples)
        label = f"activation ({100 * BEYOND:.1f} % of a map beyond)"
        return canvas.Scale.about_zero(max(-low, high), label) if low < 0 else canvas.Scale(0.0, high, label)

    def _row(self, taps: Taps, facts: Sequence[str], tiles: Sequence[Panel], bar: Tensor | None) -> Tensor:
        title = canvas.text([" and ".join(taps.sides)], SIDE, size=18)
        parts = [
            title,
            canvas.text(facts, SIDE, size=canvas.SMALL, color=canvas.MUTED),
            *([bar] if bar is not None else []),
        ]
        if not self.rows:
            height = max(1, round(SIDE * self.image.shape[-2] / self.image.shape[-1]))
            parts.append(
                canvas.column([resize_image(self.image, height, SIDE), canvas.text(["the photograph"], SIDE)], gap=4)
            )
        self.rows += 1
        return canvas.row([canvas.column(parts, gap=8), contact_sheet(wrap(tiles, COLUMNS))])


def _record(side: str, figure: ChannelFigures, shown: Sequence[int]) -> dict[str, object]:
    values = {name: getattr(figure, name) for name in ("rms", "mean", "low", "high", "zeros")}
    return {"layer": side, "channel": figure.channel, "shown": figure.channel in shown, **values}
