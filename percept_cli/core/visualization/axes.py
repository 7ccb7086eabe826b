"""The axes of a sweep, parsed from text, and the options of each of its pictures. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from percept_cli.core.choices import INITS
from percept_cli.core.losses.style_losses import STYLE_LOSSES, parse_scales
from percept_cli.core.strokes import LARGEST, SMALLEST, SMALLEST_PAINTING
from percept_cli.errors import UsageError, unknown_name

Value = float | int | str
Setting = Mapping[str, Value]
MOST = 64  # pictures of one sheet


@dataclass(frozen=True)
class Axis:
    """One option and its values, in the order of the sheet; an empty name and one value where there is no axis."""

    name: str = ""
    values: tuple[Value, ...] = ("",)


# Options of `percept stylize` that can be an axis, for optimization and for trained models.
OPTIMIZED = (
    "style", "style-weight", "content-weight", "tv-weight", "style-size", "style-scales", "style-layers", "content-layers",
    "loss", "init", "steps", "strength", "stroke",
)  # fmt: skip
TRAINED = ("model", "strength", "stroke")
AXES = (*OPTIMIZED, "model")
NUMBERS: Mapping[str, tuple[type[int] | type[float], float, float]] = {  # type, least and largest value
    "style-weight": (float, 0, math.inf),
    "content-weight": (float, 0, math.inf),
    "tv-weight": (float, 0, math.inf),
    "style-size": (int, SMALLEST_PAINTING, math.inf),
    "steps": (int, 1, math.inf),
    "strength": (float, 0, 1),
    "stroke": (float, SMALLEST, LARGEST),
}
CHOICES: Mapping[str, Sequence[str]] = {"loss": tuple(STYLE_LOSSES), "init": INITS}


def parse_axis(option: str, text: str | None) -> Axis:
    """Parse an axis, as `style-weight=1,5,20`. Raises UsageError for other texts and for unknown names."""
    if text is None:
        return Axis()
    name, equals, listed = text.partition("=")
    name = name.strip()
    if name not in AXES:
        raise UsageError(unknown_name(f"option of {option}", name, AXES))
    values = [part.strip() for part in listed.split(",")]
    if not equals or not all(values):
        raise UsageError(f"{option} {text}: give values, as in {option} {name}=A,B,C.")
    parsed = tuple(_parse_value(name, value) for value in values)
    if len(set(parsed)) < len(parsed):
        raise UsageError(f"{option} {text}: one value stands there twice.")
    return Axis(name, parsed)


def _parse_value(name: str, text: str) -> Value:
    if name in CHOICES and text not in CHOICES[name]:
        raise UsageError(unknown_name(name, text, CHOICES[name]))
    if name == "style-scales":
        parse_scales(text.replace("+", ","))  # raises
    if name not in NUMBERS:
        return text
    kind, low, high = NUMBERS[name]
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high or math.isinf(value):
        limits = f"of {low:g} or more" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise UsageError(f"{name}={text}: give {'whole ' if kind is int else ''}numbers {limits}.")
    return value


def check_axes(rows: Axis, columns: Axis, *, style: bool, model: bool) -> bool:
    """Whether the pictures are made by trained models instead of by optimization.

    style, model: whether each was given as an option. Raises UsageError for axes and options that contradict each other,
    where one is missing, and for more than `MOST` pictures.
    """
    names = [axis.name for axis in (rows, columns) if axis.name]
    if not names:
        raise UsageError(f"Give --rows or --columns, as in --rows style-weight=1,5,20. Known: {', '.join(AXES)}.")
    if len(set(names)) < len(names):
        raise UsageError(f"--rows and --columns are both {names[0]}: give two options.")
    trained, optimized = model or "model" in names, style or "style" in names
    if trained and optimized:
        raise UsageError("A model and a style cannot be swept at once: leave one of them out.")
    if not trained and not optimized:
        raise UsageError("Give --style PICTURE, or -m MODEL or --rows model=A,B.")
    if (model and "model" in names) or (style and "style" in names):
        raise UsageError(f"{'-m' if model else '--style'} is an axis already: leave one of them out.")
    for name in names:
        if trained and name not in TRAINED:
            raise UsageError(f"{name} does not change what a trained model does. Known: {', '.join(TRAINED)}.")
    count = len(rows.values) * len(columns.values)
    if count > MOST:
        raise UsageError(f"{len(rows.values)} x {len(columns.values)} are more than the {MOST} pictures of one sheet.")
    return trained


def settings(rows: Axis, columns: Axis) -> list[list[dict[str, Value]]]:
    """The options of each picture of the sheet, row by row."""
    return [
        [
            {axis.name: value for axis, value in ((rows, row), (columns, column)) if axis.name}
            for column in columns.values
        ]
        for row in rows.values
    ]
