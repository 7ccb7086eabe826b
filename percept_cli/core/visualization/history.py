"""Plots of training logs: every part of the loss, raw and smoothed, below the previews of the training."""

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
from percept_cli.core.training.runs.previews import preview_steps
from percept_cli.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG, PREVIEW = "log.jsonl", "preview.png"
TOTAL = "total"
LOG_AXIS_FROM = 10.0  # ratio of the largest to the smallest smoothed value
SMOOTHED_SHARE = 50  # the window of the running mean is this fraction of the steps
COLUMNS = 3
STRIP_HEIGHT, PANEL_HEIGHT = 1.8, 2.6  # hundreds of pixels
STRIP_PIXELS = 160  # higher previews are reduced to this height, which keeps SVG files small


@dataclass(frozen=True)
class History:
    """The log of one training. parts: of the loss by name, `TOTAL` first, each (steps,), NaN where a step lacks it."""

    name: str
    steps: np.ndarray
    parts: dict[str, np.ndarray]
    preview: Path | None = None


def find_log(given: Path) -> Path:
    """The log file of a training, from itself, its run folder or its model. Raises UsageError where there is none."""
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
    """The names of trainings in plots: of the run folder, else of the log; paths of the folders where two names are equal."""
    names = [log.parent.stem if log.parent.suffix == ".run" else log.stem for log in logs]
    return names if len(set(names)) == len(names) else [str(log.parent) for log in logs]


def read_history(log: Path, name: str) -> History:
    """Read a log of `percept train`, without an incomplete last line. Raises UsageError for other files."""
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
            # A training that was killed leaves an incomplete last line.
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
    """The parts of the loss in any of the logs, or those of the names `asked`: `style` includes all of its layers.

    Raises UsageError for a name without a part.
    """
    known = list(dict.fromkeys(part for history in histories for part in history.parts))
    chosen = {name: [part for part in known if part == name or part.startswith(f"{name}.")] for name in asked}
    for name, found in chosen.items():
        if not found:
            raise UsageError(unknown_name("part of the loss", name, known))
    return [part for part in known if not asked or any(part in found for found in chosen.values())]


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """The running mean over `window` values, fewer at the ends; NaN values are left out of it and stay NaN."""
    half = window // 2
    present = np.isfinite(values)
    sums = np.concatenate(([0.0], np.cumsum(np.where(present, values, 0.0))))
    counts = np.concatenate(([0], np.cumsum(present)))
    positions = np.arange(len(values))
    low, high = np.maximum(positions - half, 0), np.minimum(positions + half + 1, len(values))
    means = (sums[high] - sums[low]) / np.maximum(counts[high] - counts[low], 1)
    return np.where(present, means, np.nan)


def smoothing_window(history: History, window: int | None) -> int:
    """The odd number of steps to average: `window`, plus 1 if even; by default a fiftieth of the training."""
    return (window or max(1, len(history.steps) // SMOOTHED_SHARE)) // 2 * 2 + 1


def needs_log_axis(curves: Sequence[np.ndarray]) -> bool:
    """Whether all values of smoothed curves are positive and the largest is at least `LOG_AXIS_FROM` times the smallest."""
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
    """A panel for every part of the loss, raw values faint and their running mean bold, below the previews of the trainings.

    window: steps to average, by default a fiftieth of the training.
    """
    shown = [history for history in histories if previews and history.preview is not None]
    columns = min(COLUMNS, len(parts))
    rows = -(-len(parts) // columns)
    windows = sorted({smoothing_window(history, window) for history in histories})
    averaged = f", faint; bold: mean over {' or '.join(map(str, windows))} steps" if windows != [1] else ""
    notes = [f"Weighted parts of the loss at every step{averaged}."]

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
            first_panel = figure.axes[len(shown)]
            handles = [
                first_panel.plot([], [], color=canvas.line_color(number), linewidth=2)[0]
                for number in range(len(histories))
            ]
            figure.legend(handles, [history.name for history in histories], loc="upper right", ncols=4)

    return Plot(title, notes, draw, height=0.9 + STRIP_HEIGHT * len(shown) + PANEL_HEIGHT * rows)


def part_plot(history: History, part: str, width: float) -> Plot:
    """A plot of one part of the loss, `width` hundreds of pixels wide."""

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
        axes.plot(history.steps, values, color=canvas.line_color(number), alpha=0.25, linewidth=0.8)
        axes.plot(history.steps, curves[-1], color=canvas.line_color(number), linewidth=2)
    if needs_log_axis(curves):
        plain_log_axis(axes)
    axes.set_title("total loss" if part == TOTAL else part)


def _strip(axes: "Axes", history: History) -> None:
    assert history.preview is not None
    with Image.open(history.preview) as picture:
        strip = picture.convert("RGB")
    if strip.height > STRIP_PIXELS:
        strip = strip.resize((max(1, round(strip.width * STRIP_PIXELS / strip.height)), STRIP_PIXELS))
    axes.imshow(np.asarray(strip), aspect="equal")
    axes.grid(visible=False)
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    steps = preview_steps(history.preview)
    width = strip.width / max(1, len(steps))
    middles = [(number + 0.5) * width for number in range(len(steps))]
    axes.set_xticks(middles, ["photograph" if step == 0 else f"step {step}" for step in steps])
    axes.tick_params(length=0)
    axes.set_title(f"{history.name}: the photograph, then what it became up to step {history.steps[-1]}")
