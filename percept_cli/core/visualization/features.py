"""Maps of the features of one picture: the strongest channels or the principal components of layers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.sheets import GAP, Panel, contact_sheet, wrap
from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.extractors.geometry import activation_pair, shallow_to_deep
from percept_cli.core.extractors.graph import Grid
from percept_cli.core.images.photo import LUMA, resize_image
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

SIDE = 236  # pixels, the width of the column that describes the rows
COLUMNS = 4
TALLEST = 900
BEYOND = 0.005  # the share of the units of a map above the color scale, and below it


@dataclass(frozen=True)
class ChannelFigures:
    """Statistics of one channel over its places. rms: root mean square. zeros: share of values that are exactly 0."""

    channel: int
    rms: float
    mean: float
    low: float
    high: float
    zeros: float


@dataclass(frozen=True)
class Components:
    """Principal components of features as colors (1, 3, h, w) in [0, 1]. shares: of the variance, by component."""

    image: Tensor
    shares: tuple[float, ...]


def channel_figures(features: Tensor) -> list[ChannelFigures]:
    """The statistics of every channel of features (1, C, h, w), in the order of the channels."""
    flat = features[0].flatten(1).double()
    zeros = (flat == 0).double().mean(1)
    columns = (flat.square().mean(1).sqrt(), flat.mean(1), flat.amin(1), flat.amax(1), zeros)
    return [ChannelFigures(number, *row) for number, row in enumerate(torch.stack(columns, dim=1).tolist())]


def strongest_channels(figures: Sequence[ChannelFigures], count: int) -> list[int]:
    """The channels with the largest root mean square, strongest first; of equal ones the lower number first."""
    return [figure.channel for figure in sorted(figures, key=lambda figure: (-figure.rms, figure.channel))[:count]]


def principal_components(features: Tensor) -> Components:
    """The first three principal components of features (1, C, h, w) over their places, as red, green and blue.

    Percentiles 1 and 99 of each become 0 and 1. The sign of a component is arbitrary: its largest weight is made positive,
    so that the same features give the same colors.
    """
    flat = features[0].flatten(1).double()
    centered = flat - flat.mean(1, keepdim=True)
    variances, directions = torch.linalg.eigh(centered @ centered.T / flat.shape[1])
    kept = min(3, len(flat))
    main = directions[:, -kept:].flip(1)
    main = main * main.gather(0, main.abs().argmax(0, keepdim=True)).sign()
    planes = main.T @ centered
    sample = evenly_sampled(planes)
    low, high = sample.quantile(0.01, dim=1, keepdim=True), sample.quantile(0.99, dim=1, keepdim=True)
    # Constant features are gray.
    colors = torch.where(high > low, (planes - low) / (high - low).clamp_min(1e-12), 0.5).clamp(0, 1)
    colors = torch.cat((colors, colors.new_full((3 - kept, flat.shape[1]), 0.5)))
    total = variances.sum().clamp_min(1e-30)
    shares = (variances[-kept:].flip(0) / total).tolist()
    return Components(colors.view(1, 3, *features.shape[-2:]).float(), tuple(shares))


def evenly_sampled(values: Tensor, most: int = 1 << 18) -> Tensor:
    """About `most` values of each row of (..., places), evenly spaced, for percentiles; all where there are no more.

    The step is odd, so that the samples cover all columns of a map with rows of even length.
    """
    step = max(1, values.shape[-1] // most)
    return values[..., :: step + (step % 2 == 0)]


def lay_over_pixels(units: Tensor, grid: Grid, image_size: tuple[int, int], height: int, width: int) -> Tensor:
    """Units (N, C, h, w) as maps (N, C, `height`, `width`): every pixel has the value of the unit whose cell contains it.

    image_size: the (height, width) of the network's input. Pixels outside all cells have the value of the nearest one.
    """

    def nearest(shown: int, given: int, count: int) -> Tensor:
        centers = (torch.arange(shown, device=units.device) + 0.5) * (given / shown)
        return ((centers - grid.offset) / grid.stride).floor().long().clamp(0, count - 1)

    rows, columns = nearest(height, image_size[0], units.shape[-2]), nearest(width, image_size[1], units.shape[-1])
    return units[..., rows, :][..., columns]


@dataclass(frozen=True)
class Taps:
    """The layers of one row of a sheet. sides: `layer` itself, or both sides of its activation."""

    layer: str
    sides: tuple[str, ...]


def choose_taps(architecture: Architecture, layers: Sequence[str] = (), *, before_after: bool = False) -> list[Taps]:
    """A row for every layer, by default for the style layers, from shallow to deep.

    before_after: both sides of a layer's activation in one row. Raises UsageError for an unknown layer, and for one
    without an activation where `before_after`.
    """
    names = shallow_to_deep(architecture, layers or architecture.style_layers)
    rows: dict[tuple[str, ...], Taps] = {}
    for name in names:
        sides = activation_pair(architecture, name) if before_after else (name,)
        rows.setdefault(sides, Taps(name, sides))  # both names of one activation share a row
    return list(rows.values())


@torch.inference_mode()
def feature_sheet(
    extractor: FeatureExtractor,
    image: Tensor,
    rows: Sequence[Taps],
    runtime: Runtime,
    *,
    title: str,
    notes: Sequence[str] = (),
    count: int = 8,
    channels: Sequence[int] = (),
    components: bool = False,
    overlay: bool = False,
) -> tuple[Tensor, list[dict[str, object]]]:
    """The features of a picture (1, 3, H, W) in [0, 1] as a sheet (1, 3, h, w), and a record of every channel.

    rows: of `choose_taps`; the extractor has to tap their sides. Each shows the `count` strongest channels, or those of
    `channels`, by number from 0, or the principal `components` as red, green and blue. overlay: blended with the picture.
    Raises UsageError for a fully connected layer and for an unknown channel.
    """
    drawn = _FeatureRows(extractor, image, extractor(runtime.place(image)), overlay)
    blocks = [drawn.components(each) if components else drawn.channels(each, count, channels) for each in rows]
    what = "Principal components" if components else "Channels" if channels else "Strongest channels"
    heading = canvas.heading(f"{what} of {title}", notes)
    return canvas.frame(canvas.column([heading, *blocks], gap=18)), drawn.records


class _FeatureRows:
    """The rows of a sheet; the first also shows the picture. records: those of the rows drawn so far."""

    def __init__(self, extractor: FeatureExtractor, image: Tensor, features: Mapping[str, Tensor], overlay: bool):
        self.image, self.overlay = image.cpu().float(), overlay
        self.features = {layer: each.float().cpu() for layer, each in features.items()}
        self.records: list[dict[str, object]] = []
        self.first_row = True
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
        """The `count` strongest channels of a layer, or the chosen ones."""
        figures = {side: channel_figures(self.features[side]) for side in taps.sides}
        own = figures[taps.layer]
        for channel in chosen:
            if not 0 <= channel < len(own):
                raise UsageError(f"{taps.layer} has the channels 0 to {len(own) - 1}, not {channel}.")
        shown = list(chosen) or strongest_channels(own, count)
        for side in taps.sides:
            self.records += [
                {"layer": side, "channel": figure.channel, "shown": figure.channel in shown, **asdict(figure)}
                for figure in figures[side]
            ]
        scale = self._scale(taps, shown)
        panels = []
        width, height = self._panel_size(len(shown) * len(taps.sides))
        for channel in shown:
            for side in taps.sides:
                values = self._map(side, self.features[side][:, channel : channel + 1], height, width)
                # Over the picture, values near 0 are transparent.
                opacity = 0.9 * (values.abs() / max(scale.high, 1e-30)).clamp(0, 1)
                figure = figures[side][channel]
                extent = f"{canvas.format_number(figure.low)} to {canvas.format_number(figure.high)}"
                name = f"{side if len(taps.sides) > 1 else 'channel'} {channel}"
                captions = (name, f"{extent}, {100 * figure.zeros:.0f} % zeros")
                panels.append(Panel(self._over(scale.paint(values), opacity), captions))
        which = f"{len(shown)} of" if chosen else f"{len(shown)} strongest of"
        facts = [f"{which} {len(own)} channels", self._size(taps)]
        return self._row(taps, facts, panels, [canvas.color_bar(scale, SIDE)])

    def components(self, taps: Taps) -> Tensor:
        """The three principal components of a layer as red, green and blue."""
        panels = []
        width, height = self._panel_size(len(taps.sides))
        for side in taps.sides:
            found = principal_components(self.features[side])
            for number, share in enumerate(found.shares):
                self.records.append({"layer": side, "component": number + 1, "variance_share": round(share, 6)})
            painted = self._map(side, found.image, height, width)
            named = zip(("red", "green", "blue"), found.shares, strict=False)
            captions = (side, ", ".join(f"{color} {100 * share:.0f} %" for color, share in named) + " of the variance")
            panels.append(Panel(self._over(painted, torch.tensor(0.5)), captions))
        return self._row(taps, ["principal components 1 to 3 as red, green, blue", self._size(taps)], panels)

    def _map(self, side: str, units: Tensor, height: int, width: int) -> Tensor:
        image_size = (self.image.shape[-2], self.image.shape[-1])
        return lay_over_pixels(units, self.grids[side], image_size, height, width)

    def _over(self, painted: Tensor, opacity: Tensor) -> Tensor:
        if not self.overlay:
            return painted
        return torch.lerp(resize_image(self.gray, painted.shape[-2], painted.shape[-1]), painted, opacity)

    def _panel_size(self, count: int) -> tuple[int, int]:
        columns = min(COLUMNS, count)
        width = (canvas.WIDTH - 3 * canvas.GAP - SIDE - GAP * (columns + 1)) // columns
        height = round(width * self.image.shape[-2] / self.image.shape[-1])
        if height > TALLEST:
            width, height = max(1, round(width * TALLEST / height)), TALLEST
        return width, max(1, height)

    def _size(self, taps: Taps) -> str:
        features, grid = self.features[taps.layer], self.grids[taps.layer]
        pixels = "1 pixel" if grid.stride == 1 else f"{grid.stride} pixels"
        return f"{features.shape[-1]}x{features.shape[-2]} units, one every {pixels}"

    def _scale(self, taps: Taps, shown: Sequence[int]) -> canvas.Scale:
        """The color scale of all maps of a row, on both sides of an activation."""
        # A few units are several times as strong as all others: a scale up to the strongest would leave these dark.
        samples = [
            evenly_sampled(self.features[side][0, channel].flatten()) for side in taps.sides for channel in shown
        ]
        low = min(sample.quantile(BEYOND).item() for sample in samples)
        high = max(sample.quantile(1 - BEYOND).item() for sample in samples)
        label = f"activation ({100 * BEYOND:.1f} % of a map beyond)"
        return canvas.Scale.about_zero(max(-low, high), label) if low < 0 else canvas.Scale(0.0, high, label)

    def _row(self, taps: Taps, facts: Sequence[str], panels: Sequence[Panel], legend: Sequence[Tensor] = ()) -> Tensor:
        parts = [
            canvas.text([" and ".join(taps.sides)], SIDE, size=18),
            canvas.text(facts, SIDE, size=canvas.SMALL, color=canvas.MUTED),
            *legend,
        ]
        if self.first_row:
            height = max(1, round(SIDE * self.image.shape[-2] / self.image.shape[-1]))
            photograph = resize_image(self.image, height, SIDE)
            parts.append(canvas.column([photograph, canvas.text(["the photograph"], SIDE)], gap=4))
            self.first_row = False
        return canvas.row([canvas.column(parts, gap=8), contact_sheet(wrap(panels, COLUMNS))])
