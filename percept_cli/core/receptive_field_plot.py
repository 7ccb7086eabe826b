"""The figure of `percept visualize receptive-field`: what units look at, layer by layer, and how it grows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from percept_cli.core import look
from percept_cli.core.plots import Plot, color_map
from percept_cli.core.receptive_field import HELD, ReceptiveField

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def receptive_field_plot(fields: Sequence[ReceptiveField], title: str, notes: Sequence[str]) -> Plot:
    """A map for every layer, each over all the pixels that can reach the unit, and below how much their middle holds."""

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
            axes.add_patch(
                Rectangle(
                    (start, start), field.effective, field.effective, fill=False, color=_color(number), linewidth=2.5
                )
            )
            axes.set_title(f"{field.layer}\n{field.effective} of {field.side} px")
            axes.grid(visible=False)
            maps.append(axes)
        maps[0].set_ylabel("pixels from the middle")
        figure.colorbar(image, ax=maps, label="gradient (rms, most = 1)", shrink=0.75)
        curves = figure.add_subplot(grid[1, :])
        for number, field in enumerate(fields):
            sides = range(1, field.side + 1)
            curves.plot(sides, 100 * field.held.numpy(), color=_color(number), linewidth=2, label=field.layer)
        curves.axhline(100 * HELD, color=look.LINES[-1], linewidth=0.8, linestyle="--")
        curves.set_title(f"Share of the squared gradient within the middle square; dashed: {100 * HELD:.0f} %")
        curves.set_xlabel("side of the square, pixels")
        curves.set_ylabel("%")
        curves.set_xlim(left=1)
        curves.set_ylim(0, 102)
        curves.legend(loc="lower right")

    return Plot(title, notes, draw, height=7.2)


def _color(number: int) -> str:
    # Not the last, black: it does not stand out of the map's dark end.
    lines = (look.LINES[1], look.LINES[4], look.LINES[5], look.LINES[3], look.LINES[0], look.LINES[2])
    return lines[number % len(lines)]
