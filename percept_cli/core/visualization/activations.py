"""Statistics of features before and after each activation of a network, over many photographs, and their plot."""

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

    zeros: share of values that are exactly 0. dead: share of channels that are 0 everywhere. low, median, high: the
    percentiles 1, 50 and 99 of the values, over their root mean square. contrast: standard deviation over the places,
    about the channels' means, over the same: what is left to tell places apart. brightness: change of the features when
    the photograph gets a fifth darker, over the distance of two unrelated places of it.
    """

    layer: str
    zeros: float
    dead: float
    low: float
    median: float
    high: float
    contrast: float
    brightness: float


Measured = tuple[str, list[LayerFigures]]  # of one photograph, by its name


def layer_figures(layer: str, features: Tensor, darker: Tensor) -> LayerFigures:
    """The statistics of features (1, C, h, w). darker: the features of the same photograph times `DARKER`."""
    values = features[0].flatten(1).float()
    square = values.square().mean(dtype=torch.float64)
    size = square.sqrt().clamp_min(1e-30)
    # What is left about the means of the channels.
    variance = (square - values.mean(1, dtype=torch.float64).square().mean()).clamp_min(0)
    moved = (values - darker[0].flatten(1).float()).square().mean(dtype=torch.float64)
    silent = values == 0
    low, median, high = (_percentiles(values) / size).tolist()
    return LayerFigures(
        layer=layer,
        zeros=silent.mean(dtype=torch.float64).item(),
        dead=silent.all(1).mean(dtype=torch.float64).item(),
        low=low,
        median=median,
        high=high,
        contrast=(variance.sqrt() / size).item(),
        # Of two unrelated places the squared distance is twice the variance.
        brightness=(moved / (2 * variance).clamp_min(1e-30)).sqrt().item(),
    )


def choose_pairs(architecture: Architecture, layers: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The names (before, after the activation) of these layers, by default of all with places, from shallow to deep.

    Raises UsageError for a layer without an activation, and for a code of the whole picture.
    """
    with_places = [pair for pair in activation_pairs(architecture) if not pair[0].startswith("fc")]
    asked = {activation_pair(architecture, layer) for layer in layers}
    for pair in asked - set(with_places):
        raise UsageError(f"{pair[1]} of {architecture.name} is a code of the whole picture, without places to compare.")
    return [pair for pair in with_places if not asked or pair in asked]


@torch.inference_mode()
def measure_activations(extractor: FeatureExtractor, images: Iterable[tuple[str, Tensor]]) -> Iterator[Measured]:
    """The statistics of every tapped layer for each named photograph (1, 3, H, W) in [0, 1], one photograph at a time.

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


def _percentiles(values: Tensor) -> Tensor:
    sample = evenly_sampled(values.flatten())
    return sample.quantile(sample.new_tensor(PERCENTILES))


def activation_plot(
    measured: Mapping[str, Sequence[LayerFigures]], pairs: Sequence[tuple[str, str]], title: str, note: str = ""
) -> Plot:
    """Four panels over the layers: zeros, range, contrast and answer to brightness, each before and after the activation.

    Lines are medians over the photographs, bands reach from the least to the most. pairs: of `choose_pairs`. note: what
    else must be known of the photographs.
    """
    count = len(measured)
    counted = "one photograph" if count == 1 else f"{count} photographs: medians, bands from least to most"
    notes = [f"{counted}; {note}" if note else counted]
    return Plot(title, notes, lambda figure: _draw(figure, measured, pairs), height=8.2)


def _table(measured: Mapping[str, Sequence[LayerFigures]], layers: Sequence[str], name: str) -> np.ndarray:
    """One figure, (photographs, layers)."""
    by_layer = [{figures.layer: getattr(figures, name) for figures in row} for row in measured.values()]
    return np.array([[row[layer] for layer in layers] for row in by_layer])


def _curves(axes: "Axes", tables: Sequence[np.ndarray], title: str, unit: str) -> None:
    for table, color, marker, side in zip(tables, canvas.LINES, "os", SIDES, strict=False):
        places = np.arange(table.shape[1])
        axes.plot(places, np.median(table, 0), color=color, marker=marker, label=side)
        if len(table) > 1:
            axes.fill_between(places, table.min(0), table.max(0), color=color, alpha=0.18, linewidth=0)
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)


def _ranges(axes: "Axes", measured: Mapping[str, Sequence[LayerFigures]], sides: Sequence[Sequence[str]]) -> None:
    for number, (layers, color, side) in enumerate(zip(sides, canvas.LINES, SIDES, strict=False)):
        low, median, high = (np.median(_table(measured, layers, name), 0) for name in ("low", "median", "high"))
        places = np.arange(len(layers)) + 0.3 * (number - 0.5)
        axes.vlines(places, low, high, color=color, linewidth=5, label=side)
        axes.scatter(places, median, color="white", edgecolor=color, zorder=3, s=28)
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
