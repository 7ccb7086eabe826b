"""The figure of `percept visualize gram`: distances between styles as a matrix, a tree, and layer by layer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torch import Tensor

from percept_cli.core import look
from percept_cli.core.plots import Plot, color_map
from percept_cli.core.style_distances import cluster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

WRITTEN_OUT = 12  # styles: figures stand in the cells of so many
THUMBNAIL = 96  # pixels


def gram_plot(
    names: Sequence[str], thumbnails: Sequence[Tensor], distances: Mapping[str, np.ndarray], title: str,
    notes: Sequence[str],
) -> Plot:  # fmt: skip
    """Styles in the order of their tree: pictures, the mean distance over layers, the tree, and every layer below.

    thumbnails: each style as (1, 3, `THUMBNAIL`, `THUMBNAIL`) in [0, 1].
    """
    mean = np.mean(list(distances.values()), axis=0)
    tree = cluster(mean)
    order = list(tree.order)
    most = max(values.max() for values in distances.values())
    count = len(names)
    side = min(7.0, max(3.0, 0.9 * count))

    def draw(figure: "Figure") -> None:
        # With one layer the mean is that layer.
        heights = [side + 1, 2.6] if len(distances) > 1 else [1]
        parts = cast("Any", np.ravel(cast("Any", figure.subfigures(len(heights), 1, height_ratios=heights))))
        top, below = parts[0], parts[1:]
        pictures, matrix, branches = top.subplots(1, 3, width_ratios=[0.8, side, 3.4])
        thumbs = np.concatenate([thumbnails[each][0].permute(1, 2, 0).numpy() for each in order])
        pictures.imshow(thumbs, extent=(0, 1, count - 0.5, -0.5), aspect="auto", interpolation="nearest")
        pictures.set_axis_off()
        image = _matrix(matrix, mean[np.ix_(order, order)], most)
        matrix.set_xticks(
            range(count), [names[each] for each in order], rotation=45, ha="right", rotation_mode="anchor"
        )
        matrix.set_yticks(range(count), [names[each] for each in order])
        matrix.set_title("Mean over layers" if len(distances) > 1 else next(iter(distances)))
        if count <= WRITTEN_OUT:
            _write(matrix, mean[np.ix_(order, order)], most)
        for line in tree.lines:
            branches.plot(*zip(*line, strict=True), color=look.LINES[0], linewidth=2)
        branches.set_ylim(count - 0.5, -0.5)
        branches.set_yticks([])
        branches.set_xlim(left=0)
        branches.grid(axis="y", visible=False)
        branches.spines["left"].set_visible(False)
        branches.set_title("Which belong together")
        branches.set_xlabel("distance at which they join")
        if len(distances) == 1:
            top.colorbar(image, ax=branches, label="distance", shrink=0.9)
        for bottom in below:
            panels = bottom.subplots(1, len(distances), squeeze=False)[0]
            for axes, (layer, values) in zip(panels, distances.items(), strict=True):
                _matrix(axes, values[np.ix_(order, order)], most)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_title(layer)
            bottom.colorbar(image, ax=list(panels), label="distance", shrink=0.9)

    return Plot(title, notes, draw, height=side + (4.4 if len(distances) > 1 else 1.8))


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
