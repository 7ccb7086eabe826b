"""The logs of trainings as curves: every part of the loss, raw and smoothed."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_cli.errors import UsageError, unknown_name

LOG, PREVIEW = "log.jsonl", "preview.png"
TOTAL = "total"
LOG_AXIS_FROM = 10.0  # times the least: the most of a smoothed curve
SMOOTHED_SHARE = 50  # of the steps: the window of the running mean


@dataclass(frozen=True)
class History:
    """One training's log: `parts` by name, the total first, each a value (steps,) a step, nan where it was not there."""

    name: str
    steps: np.ndarray
    parts: dict[str, np.ndarray]
    preview: Path | None = None


def find_log(given: Path) -> Path:
    """The log behind a log file, the folder of a run or the model that came of it. Raises UsageError where there is none."""
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


def read_history(log: Path, name: str) -> History:
    """A log as `percept train` writes it; a last line that was cut short is left out. Raises UsageError for other files."""
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
    """The parts of any of the logs in order, or those asked for: `style` stands for `style.relu1_1` and its like too.

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
    """The mean over `window` values about each, over those that are there at the ends; nan does not count."""
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
    """How many steps are averaged, as many before a step as after it: as given or a fiftieth of the training, made odd."""
    return (window or max(1, len(history.steps) // SMOOTHED_SHARE)) // 2 * 2 + 1


def wants_log_axis(curves: Sequence[np.ndarray]) -> bool:
    """Whether smoothed curves span so much that a linear axis would lay most of them on its bottom: all above 0, tenfold."""
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
