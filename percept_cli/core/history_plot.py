"""The figure of `percept visualize history`: a panel for every part of the loss, a colour for every training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from percept_cli.core import look
from percept_cli.core.history import TOTAL, History, smoothed, smoothing_window, wants_log_axis
from percept_cli.core.plots import Plot, plain_log_axis
from percept_cli.core.preview import preview_steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
STRIP_HEIGHT, PANEL_HEIGHT = 1.8, 2.6  # hundreds of pixels
SHORT_STRIP = 160  # pixels: previews are shrunk to this height, which keeps SVG files small


def history_plot(
    histories: Sequence[History], parts: Sequence[str], title: str, window: int | None = None, previews: bool = True
) -> Plot:
    """Raw values faint, their running mean bold; a log axis where a linear one would hide most of a curve.

    The previews that a training left stand above, in the order of the steps. window: steps averaged, by default a
    fiftieth of the training.
    """
    shown = [history for history in histories if previews and history.preview is not None]
    columns = min(COLUMNS, len(parts))
    rows = -(-len(parts) // columns)
    windows = sorted({smoothing_window(history, window) for history in histories})
    averaged = " or ".join(str(number) for number in windows)
    notes = ["Weighted parts of the loss at every step."]
    if windows != [1]:
        notes = [f"Weighted parts of the loss at every step, faint; bold: mean over {averaged} steps."]

    def draw(figure: "Figure") -> None:
        heights = [STRIP_HEIGHT] * len(shown) + [PANEL_HEIGHT] * rows
        grid = figure.add_gridspec(len(shown) + rows, columns, height_ratios=heights)
        for number, history in enumerate(shown):
            _strip(figure.add_subplot(grid[number, :]), history)
        for number, part in enumerate(parts):
            row, column = divmod(number, columns)
            axes = figure.add_subplot(grid[len(shown) + row, column])
            _panel(axes, histories, part, window)
            if number + columns >= len(parts):
                axes.set_xlabel("step")
        if len(histories) > 1:
            handles = [
                figure.axes[len(shown)].plot([], [], color=_color(number), linewidth=2)[0]
                for number in range(len(histories))
            ]
            figure.legend(handles, [history.name for history in histories], loc="upper right", ncols=4)

    return Plot(title, notes, draw, height=0.9 + STRIP_HEIGHT * len(shown) + PANEL_HEIGHT * rows)


def part_plot(history: History, part: str, width: float) -> Plot:
    """One part of the loss by itself, `width` hundreds of pixels wide."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        _panel(axes, [history], part, None)
        axes.set_xlabel("step")

    return Plot("", (), draw, height=0.62 * width, width=width)


def _panel(axes: "Axes", histories: Sequence[History], part: str, window: int | None) -> None:
    curves = []
    for number, history in enumerate(histories):
        if part not in history.parts:
            continue
        values = history.parts[part]
        curves.append(smoothed(values, smoothing_window(history, window)))
        axes.plot(history.steps, values, color=_color(number), alpha=0.25, linewidth=0.8)
        axes.plot(history.steps, curves[-1], color=_color(number), linewidth=2)
    if wants_log_axis(curves):
        plain_log_axis(axes)
    axes.set_title("total loss" if part == TOTAL else part)


def _strip(axes: "Axes", history: History) -> None:
    assert history.preview is not None
    with Image.open(history.preview) as picture:
        strip = picture.convert("RGB")
    if strip.height > SHORT_STRIP:
        strip = strip.resize((max(1, round(strip.width * SHORT_STRIP / strip.height)), SHORT_STRIP))
    axes.imshow(np.asarray(strip), aspect="equal")
    axes.grid(visible=False)
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    steps = preview_steps(history.preview)
    width = strip.width / max(1, len(steps))
    places = [(number + 0.5) * width for number in range(len(steps))]
    axes.set_xticks(places, ["photograph" if step == 0 else f"step {step}" for step in steps])
    axes.tick_params(length=0)
    axes.set_title(f"{history.name}: the photograph, then what it became up to step {history.steps[-1]}")


def _color(number: int) -> str:
    return look.LINES[number % len(look.LINES)]
