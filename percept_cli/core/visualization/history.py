"""Logs of trainings, plotted: every part of the loss, raw and smoothed, below the previews of the training."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.plots import Plot, plain_log_axis
from percept_cli.core.training.run import preview_steps
from percept_cli.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG, PREVIEW = "log.jsonl", "preview.png"
TOTAL = "total"
LOG_AXIS_FROM = 10.0  # times the least: the most of a smoothed curve
SMOOTHED_SHARE = 50  # of the steps: the window of the running mean
COLUMNS = 3
STRIP_HEIGHT, PANEL_HEIGHT = 1.8, 2.6  # hundreds of pixels
SHORT_STRIP = 160  # pixels: previews are shrunk to this height, which keeps SVG files small


@dataclass(frozen=True)
class History:
    """The log of one training. parts: of the loss, by name, the total first, each (steps,), nan where a step did not have it."""

    name: str
    steps: np.ndarray
    parts: dict[str, np.ndarray]
    preview: Path | None = None


def find_log(given: Path) -> Path:
    """The log file of a training, given by itself, its run folder or its model. Raises UsageError where there is none."""
    log = given
    if given.suffix == ".safetensors":
        log = given.with_suffix(".run") / LOG
    elif given.is_dir():
        log = given / LOG
    if not log.is_file():
        hint = f": there is no {log}" if log != given else ""
        raise UsageError(
            f"'{given}' is no log of a training{hint}. Give a log.jsonl, a .run folder or its .safetensors."
        )
    return log


def training_names(logs: Sequence[Path]) -> list[str]:
    """What plots call trainings, by their logs: the run folder, else the file; the whole folder where two are the same."""
    names = [log.parent.stem if log.parent.suffix == ".run" else log.stem for log in logs]
    return names if len(set(names)) == len(names) else [str(log.parent) for log in logs]


def read_history(log: Path, name: str) -> History:
    """Reads a log of `percept train`; a last line that was cut short is left out. Raises UsageError for other files."""
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The log '{log}' cannot be read: {error}.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows.append((int(row["step"]), {TOTAL: float(row["total"]), **row["parts"]}))
        except (ValueError, KeyError, TypeError) as error:
            # A killed training leaves its last line unfinished.
            if number == len(lines) and number > 1:
                break
            raise UsageError(f"Line {number} of '{log}' is not of a training's log: {line[:60]}") from error
    if not rows:
        raise UsageError(f"The log '{log}' holds no step yet.")
    names = list(dict.fromkeys(part for _, parts in rows for part in parts))
    values = {part: np.array([parts.get(part, math.nan) for _, parts in rows], dtype=float) for part in names}
    preview = log.parent / PREVIEW
    return History(name, np.array([step for step, _ in rows]), values, preview if preview.is_file() else None)


def choose_parts(histories: Sequence[History], asked: Sequence[str]) -> list[str]:
    """The names of the parts that any of the logs has, or those asked for: `style` stands for all of its layers too.

    Raises UsageError for a part that none has.
    """
    known = list(dict.fromkeys(part for history in histories for part in history.parts))
    if not asked:
        return known
    chosen = [part for part in known if any(part == name or part.startswith(f"{name}.") for name in asked)]
    for name in asked:
        if not any(part == name or part.startswith(f"{name}.") for part in known):
            raise UsageError(unknown_name("part of the loss", name, known))
    return chosen


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """The running mean over `window` values, of fewer at the ends; nan values do not count and stay nan."""
    reach = window // 2
    there = np.isfinite(values)
    sums = np.concatenate(([0.0], np.cumsum(np.where(there, values, 0.0))))
    counts = np.concatenate(([0], np.cumsum(there)))
    places = np.arange(len(values))
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    number = counts[high] - counts[low]
    means = (sums[high] - sums[low]) / np.maximum(number, 1)
    return np.where(there & (number > 0), means, np.nan)


def smoothing_window(history: History, window: int | None) -> int:
    """The odd number of steps that are averaged: about the one given, else about a fiftieth of the training."""
    return (window or max(1, len(history.steps) // SMOOTHED_SHARE)) // 2 * 2 + 1


def wants_log_axis(curves: Sequence[np.ndarray]) -> bool:
    """Whether smoothed curves need a logarithmic axis: all values are above 0 and the largest is ten times the least."""
    values = np.concatenate([curve[np.isfinite(curve)] for curve in curves])
    return len(values) > 0 and bool(values.min() > 0) and bool(values.max() / values.min() >= LOG_AXIS_FROM)


def history_records(
    histories: Sequence[History], parts: Sequence[str], window: int | None = None
) -> list[dict[str, object]]:
    """A row for every training, step and part."""
    return [
        {"training": history.name, "step": int(step), "part": part, "value": float(value), "smoothed": float(mean)}
        for history in histories
        for part in parts
        if part in history.parts
        for step, value, mean in zip(
            history.steps,
            history.parts[part],
            smoothed(history.parts[part], smoothing_window(history, window)),
            strict=True,
        )
    ]


def history_plot(
    histories: Sequence[History], parts: Sequence[str], title: str, window: int | None = None, previews: bool = True
) -> Plot:
    """A panel for every part of the loss: raw values faint, their running mean bold, a log axis where `wants_log_axis`.

    The previews that the trainings left stand above, in the order of the steps. window: steps averaged, by default a
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
    """The panel of one part of the loss by itself, `width` hundreds of pixels wide."""

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
    return canvas.LINES[number % len(canvas.LINES)]
