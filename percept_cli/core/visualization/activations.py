"""Statistics of features before and after each activation of a network, over photographs, and their plot."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.plots import Plot, label_layers
from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.extractors.geometry import activation_pair, activation_pairs
from percept_cli.core.visualization.features import evenly_sampled
from percept_cli.errors import ImageError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARKER = 0.8
PERCENTILES = (0.01, 0.5, 0.99)
SIDES = ("before the activation", "after it")


@dataclass(frozen=True)
class LayerFigures:
    """Statistics of one layer's features on one photograph.

    zeros: share of values that are exactly 0. dead: share of channels that are 0 at all places. low, median, high:
    percentiles 1, 50 and 99 of the values, divided by their root mean square. contrast: standard deviation of the values
    about their channel's mean, divided by the same. brightness: root mean square change of the features when the
    photograph is multiplied by `DARKER`, divided by that between two independent places of it.
    """

    layer: str
    zeros: float
    dead: float
    low: float
    median: float
    high: float
    contrast: float
    brightness: float


Measured = tuple[str, list[LayerFigures]]  # the name of a photograph, and its statistics


def layer_figures(layer: str, features: Tensor, darker: Tensor) -> LayerFigures:
    """The statistics of features (1, C, h, w). darker: the features of the photograph multiplied by `DARKER`."""
    values = features[0].flatten(1).float()
    square = values.square().mean(dtype=torch.float64)
    rms = square.sqrt().clamp_min(1e-30)
    variance = (square - values.mean(1, dtype=torch.float64).square().mean()).clamp_min(0)
    moved = (values - darker[0].flatten(1).float()).square().mean(dtype=torch.float64)
    zero = values == 0
    sample = evenly_sampled(values.flatten())
    low, median, high = (sample.quantile(sample.new_tensor(PERCENTILES)) / rms).tolist()
    return LayerFigures(
        layer=layer,
        zeros=zero.mean(dtype=torch.float64).item(),
        dead=zero.all(1).mean(dtype=torch.float64).item(),
        low=low,
        median=median,
        high=high,
        contrast=(variance.sqrt() / rms).item(),
        # The expected squared difference of two independent places is twice the variance.
        brightness=(moved / (2 * variance).clamp_min(1e-30)).sqrt().item(),
    )


def choose_pairs(architecture: Architecture, layers: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The names (before, after the activation) of these layers, from shallow to deep; by default of all convolutions.

    Raises UsageError for a layer without an activation and for a fully connected one.
    """
    with_places = [pair for pair in activation_pairs(architecture) if not pair[0].startswith("fc")]
    asked = {activation_pair(architecture, layer) for layer in layers}
    for pair in asked - set(with_places):
        raise UsageError(f"{pair[1]} of {architecture.name} is a code of the whole picture, without places to compare.")
    return [pair for pair in with_places if not asked or pair in asked]


@torch.inference_mode()
def measure_activations(extractor: FeatureExtractor, images: Iterable[tuple[str, Tensor]]) -> Iterator[Measured]:
    """The statistics of every tapped layer for each of the named photographs (1, 3, H, W) in [0, 1].

    Raises ImageError for a photograph that is too small for the deepest layer.
    """
    for name, image in images:
        height, width = image.shape[-2:]
        if min(height, width) < extractor.smallest_side:
            raise ImageError(
                f"'{name}' is {width}x{height} pixels, but {extractor.layers[-1]} of {extractor.architecture.name} needs "
                f"{extractor.smallest_side} a side: give --size or shallower layers."
            )
        features, darker = extractor(image), extractor(image * DARKER)
        yield name, [layer_figures(layer, features[layer].float(), darker[layer].float()) for layer in features]


def activation_records(measured: Mapping[str, Sequence[LayerFigures]]) -> list[dict[str, object]]:
    """A row for every photograph and layer."""
    return [{"photograph": name, **asdict(figures)} for name, layers in measured.items() for figures in layers]


def activation_plot(
    measured: Mapping[str, Sequence[LayerFigures]], pairs: Sequence[tuple[str, str]], title: str, note: str = ""
) -> Plot:
    """Four panels over the layers: zeros, range, contrast and brightness, each before and after the activation.

    Lines are medians over the photographs, bands reach from the minimum to the maximum. pairs: of `choose_pairs`. note: a
    remark about the photographs.
    """
    count = len(measured)
    counted = "one photograph" if count == 1 else f"{count} photographs: medians, bands from least to most"
    notes = [f"{counted}; {note}" if note else counted]
    return Plot(title, notes, lambda figure: _draw(figure, measured, pairs), height=8.2)


def _table(measured: Mapping[str, Sequence[LayerFigures]], layers: Sequence[str], name: str) -> np.ndarray:
    """One statistic, (photographs, layers)."""
    rows = [{figures.layer: getattr(figures, name) for figures in row} for row in measured.values()]
    return np.array([[row[layer] for layer in layers] for row in rows])


def _curves(axes: "Axes", tables: Sequence[np.ndarray], title: str, unit: str) -> None:
    for table, color, marker, side in zip(tables, canvas.LINES, "os", SIDES, strict=False):
        positions = np.arange(table.shape[1])
        axes.plot(positions, np.median(table, 0), color=color, marker=marker, label=side)
        if len(table) > 1:
            axes.fill_between(positions, table.min(0), table.max(0), color=color, alpha=0.18, linewidth=0)
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)


def _ranges(axes: "Axes", measured: Mapping[str, Sequence[LayerFigures]], sides: Sequence[Sequence[str]]) -> None:
    for number, (layers, color, side) in enumerate(zip(sides, canvas.LINES, SIDES, strict=False)):
        low, median, high = (np.median(_table(measured, layers, name), 0) for name in ("low", "median", "high"))
        positions = np.arange(len(layers)) + 0.3 * (number - 0.5)
        axes.vlines(positions, low, high, color=color, linewidth=5, label=side)
        axes.scatter(positions, median, color="white", edgecolor=color, zorder=3, s=28)
    axes.axhline(0, color=canvas.LINES[-1], linewidth=0.8)
    axes.set_title("Range of the values")
    axes.set_ylabel("percentiles 1, 50 and 99, over the rms")


def _draw(figure: "Figure", measured: Mapping[str, Sequence[LayerFigures]], pairs: Sequence[tuple[str, str]]) -> None:
    sides = [[pair[number] for pair in pairs] for number in range(2)]

    def tables(name: str, factor: float = 1.0) -> list[np.ndarray]:
        return [factor * _table(measured, layers, name) for layers in sides]

    panels = figure.subplots(2, 2)
    _curves(panels[0, 0], tables("zeros", 100), "Silent: values that are 0", "% of all values")
    panels[0, 0].set_ylim(-2, 102)
    _ranges(panels[0, 1], measured, sides)
    _curves(panels[1, 0], tables("contrast", 100), "Contrast: what tells places apart", "deviation over the rms, %")
    _curves(
        panels[1, 1], tables("brightness"), f"Answer to {100 * (1 - DARKER):.0f} % less light",
        "change (1: as to another place)",
    )  # fmt: skip
    for axes in panels.flat:
        label_layers(axes, sides[1])
        axes.grid(axis="x", visible=False)
    figure.align_ylabels()
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=2)
