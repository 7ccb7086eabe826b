"""Gram matrices of pictures and the distances between their styles: numbers and plots."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.plots import Plot, color_map
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WRITTEN_OUT = 12  # styles, up to which the cells of the distance matrix contain numbers
THUMBNAIL = 96  # pixels
MATRICES = 8  # styles, up to which the Gram matrices are drawn
CHANNELS = 32  # of a drawn Gram matrix
STRONG_SHARE = 0.995  # the quantile of the entries at the end of the color scale


@dataclass(frozen=True)
class Tree:
    """A hierarchical clustering of n items. order: the items as leaves of the tree, so that its lines do not cross.

    lines: those of the drawn tree, each a sequence of points (distance, position in the order from 0).
    """

    order: tuple[int, ...]
    lines: tuple[tuple[tuple[float, float], ...], ...]


@torch.inference_mode()
def style_grams(extractor: FeatureExtractor, images: Iterable[Tensor]) -> list[dict[str, Tensor]]:
    """The Gram matrices (C, C) of every tapped layer for each picture (1, 3, H, W) in [0, 1], on the CPU.

    Raises UsageError for a fully connected layer.
    """
    for layer in extractor.layers:
        if extractor.grid(layer) is None:
            raise UsageError(
                f"{layer} of {extractor.architecture.name} is a code of the whole picture and has no Gram matrix."
            )
    return [{layer: gram_matrix(features)[0].cpu() for layer, features in extractor(image).items()} for image in images]


def gram_distances(grams: Sequence[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    """‖A − B‖ / (‖A‖ + ‖B‖) of all pairs of Gram matrices at every layer: `{layer: (n, n)}`, from 0 (equal) to 1.

    Norms are Frobenius norms. The style loss of Johnson et al. 2016 (eq. 4) is the square of the numerator; the denominator
    makes layers comparable, and styles with large and small entries.
    """
    distances = {}
    for layer in grams[0]:
        flat = torch.stack([each[layer].flatten().double() for each in grams])
        norms = flat.norm(dim=1)
        # Differences are taken entry by entry: ‖A‖² + ‖B‖² − 2⟨A, B⟩ is inaccurate for similar matrices.
        differences = torch.stack([(flat - one).norm(dim=1) for one in flat])
        distances[layer] = (differences / (norms[:, None] + norms).clamp_min(1e-30)).numpy()
    return distances


def strongest_grams(grams: Sequence[Mapping[str, Tensor]], layer: str, most: int) -> tuple[list[int], list[Tensor]]:
    """The `most` channels of a layer with the largest mean square over all pictures, largest first, and their Gram entries.

    The entries are an (n, n) part of the Gram matrix (C, C) for each picture.
    """
    power = torch.stack([each[layer].diagonal() for each in grams]).mean(0)
    chosen = power.argsort(descending=True, stable=True)[:most]
    return chosen.tolist(), [each[layer][chosen][:, chosen] for each in grams]


def gram_records(
    names: Sequence[str], grams: Sequence[Mapping[str, Tensor]], most: int = CHANNELS
) -> Iterator[dict[str, object]]:
    """A row for every entry of the `strongest_grams` on and above the diagonal; Gram matrices are symmetric."""
    for layer in grams[0]:
        channels, matrices = strongest_grams(grams, layer, most)
        for name, matrix in zip(names, matrices, strict=True):
            values = matrix.tolist()
            for row, column in itertools.combinations_with_replacement(range(len(channels)), 2):
                yield {
                    "style": name, "layer": layer, "channel": channels[row], "other": channels[column],
                    "gram": values[row][column],
                }  # fmt: skip


def cluster(distances: np.ndarray) -> Tree:
    """Average linkage clustering of two or more items by their distances (n, n)."""
    from scipy.cluster.hierarchy import dendrogram, linkage
    from scipy.spatial.distance import squareform

    links = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    drawn = dendrogram(links, no_plot=True)
    # scipy places the leaves at 5, 15, 25 and so on.
    lines = [
        tuple((float(distance), (place - 5) / 10) for distance, place in zip(row, places, strict=True))
        for row, places in zip(drawn["dcoord"], drawn["icoord"], strict=True)
    ]
    return Tree(tuple(drawn["leaves"]), tuple(lines))


def distance_records(names: Sequence[str], distances: Mapping[str, np.ndarray]) -> list[dict[str, object]]:
    """A row for every pair of styles and every layer, and for the mean over layers."""
    mean = np.mean(list(distances.values()), axis=0)
    return [
        {"a": names[first], "b": names[second], "layer": layer, "distance": float(values[first, second])}
        for layer, values in {**distances, "mean": mean}.items()
        for first, second in itertools.combinations(range(len(names)), 2)
    ]


def gram_plot(
    names: Sequence[str],
    thumbnails: Sequence[Tensor],
    grams: Sequence[Mapping[str, Tensor]],
    distances: Mapping[str, np.ndarray],
    title: str,
    size: int,
) -> Plot:
    """Distances between styles: pictures, the mean over layers as a matrix and a tree, every layer, and Gram matrices.

    Rows are in the order of the tree. thumbnails: each style as (1, 3, `THUMBNAIL`, `THUMBNAIL`) in [0, 1]. grams: of each
    style, drawn for up to `MATRICES` styles, for a single one without distances. size: the short side of the pictures in
    pixels.
    """
    count = len(names)
    notes = [f"Pictures at a short side of {size} pixels."]
    if count > 1:
        notes.insert(
            0,
            "Distances: |A - B| / (|A| + |B|) of Gram matrices: 0 where they are equal, at most 1. All is in the tree's order.",
        )
    if count <= MATRICES:
        notes.append(
            f"Gram matrices: the {CHANNELS} strongest channels over all pictures, strongest first; colors by square roots."
        )
    else:
        notes.append(f"The Gram matrices themselves are drawn of {MATRICES} pictures at most.")
    title = f"{'Distances between styles' if count > 1 else 'Gram matrices'} in {title}"
    grams_height = 1.3 + count * min(2.2, 11.0 / (len(grams[0]) + 0.6))
    if count == 1:
        return Plot(title, notes, lambda figure: _grams(figure, names, thumbnails, grams, [0]), height=grams_height)
    mean = np.mean(list(distances.values()), axis=0)
    tree = cluster(mean)
    order = list(tree.order)
    ordered = np.ix_(order, order)
    most = max(values.max() for values in distances.values())
    side = min(7.0, max(3.0, 0.9 * count))
    several = len(distances) > 1  # with one layer the mean is that layer
    heights = [side + 1.2]
    if several:
        heights.append(2.6)
    if count <= MATRICES:
        heights.append(grams_height)

    def draw(figure: "Figure") -> None:
        parts = cast("Any", np.ravel(cast("Any", figure.subfigures(len(heights), 1, height_ratios=heights))))
        top = parts[0]
        pictures, matrix, branches = top.subplots(1, 3, width_ratios=[0.8, side, 3.4])
        thumbs = np.concatenate([thumbnails[each][0].permute(1, 2, 0).numpy() for each in order])
        pictures.imshow(thumbs, extent=(0, 1, count - 0.5, -0.5), aspect="auto", interpolation="nearest")
        pictures.set_axis_off()
        image = _matrix(matrix, mean[ordered], most)
        labels = [names[each] for each in order]
        matrix.set_xticks(range(count), labels, rotation=45, ha="right", rotation_mode="anchor")
        matrix.set_yticks(range(count), labels)
        matrix.set_title("Mean over layers" if several else next(iter(distances)))
        if count <= WRITTEN_OUT:
            _write(matrix, mean[ordered], most)
        for line in tree.lines:
            branches.plot(*zip(*line, strict=True), color=canvas.LINES[0], linewidth=2)
        branches.set_ylim(count - 0.5, -0.5)
        branches.set_yticks([])
        branches.set_xlim(left=0)
        branches.grid(axis="y", visible=False)
        branches.spines["left"].set_visible(False)
        branches.set_title("Which belong together")
        branches.set_xlabel("distance at which they join")
        part, panels = top, branches
        if several:
            part = parts[1]
            panels = list(part.subplots(1, len(distances)))
            for axes, (layer, values) in zip(panels, distances.items(), strict=True):
                _matrix(axes, values[ordered], most)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_title(layer)
        part.colorbar(image, ax=panels, label="distance", shrink=0.9)
        if count <= MATRICES:
            _grams(parts[-1], names, thumbnails, grams, order)

    return Plot(title, notes, draw, height=0.6 + sum(heights))


def _grams(
    figure: Any, names: Sequence[str], thumbnails: Sequence[Tensor], grams: Sequence[Mapping[str, Tensor]],
    order: Sequence[int],
) -> None:  # fmt: skip
    """Draw Gram matrices: a row for every style, a column for every layer with one color scale and order of channels."""
    from matplotlib.colors import FuncNorm

    layers = list(grams[0])
    panels = figure.subplots(len(order), len(layers) + 1, width_ratios=[0.6] + [1] * len(layers), squeeze=False)
    for row, each in enumerate(order):
        panels[row, 0].imshow(thumbnails[each][0].permute(1, 2, 0).numpy())
        panels[row, 0].set_title(names[each])
        panels[row, 0].set_axis_off()
    for column, layer in enumerate(layers, start=1):
        channels, matrices = strongest_grams(grams, layer, CHANNELS)
        # A few entries, of the strongest channels with themselves, are far above the rest.
        most = torch.stack(matrices).abs().flatten().quantile(STRONG_SHARE).item() or 1.0
        signed = min(matrix.min().item() for matrix in matrices) < 0
        norm = FuncNorm((_signed_root, _signed_square), vmin=-most if signed else 0.0, vmax=most)
        colors = color_map(canvas.DIVERGING if signed else canvas.SEQUENTIAL)
        for row, each in enumerate(order):
            axes = panels[row, column]
            image = axes.imshow(matrices[each].numpy(), cmap=colors, norm=norm, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
        panels[0, column].set_title(f"{layer}\n{len(channels)} of {grams[0][layer].shape[0]} channels")
        ticks = [-most, 0, most] if signed else [0, most / 4, most]
        bar = figure.colorbar(
            image, ax=list(panels[:, column]), location="bottom", label="Gram entry", shrink=0.8,
            extend="both" if signed else "max",
        )  # fmt: skip
        bar.set_ticks(ticks, labels=[canvas.format_number(tick) for tick in ticks])
        bar.ax.minorticks_off()


def _signed_root(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.sqrt(np.abs(values))


def _signed_square(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.square(values)


def _matrix(axes: "Axes", values: np.ndarray, most: float) -> "AxesImage":
    image = axes.imshow(values, cmap=color_map(), vmin=0, vmax=most, interpolation="nearest")
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    return image


def _write(axes: "Axes", values: np.ndarray, most: float) -> None:
    for row, column in np.ndindex(values.shape):
        color = "black" if values[row, column] > 0.6 * most else "white"
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", color=color)
