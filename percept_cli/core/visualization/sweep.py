"""A grid over two options of restyling: what may be swept, read from text and checked before anything runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.images.photo import fit_short_side, resize_image
from percept_cli.core.losses.style_losses import STYLE_LOSSES
from percept_cli.core.optimization.style_transfer import INITS
from percept_cli.errors import UsageError, unknown_name

Value = float | int | str
Setting = Mapping[str, Value]
MOST = 64  # pictures of one sheet


@dataclass(frozen=True)
class Axis:
    """One option and its values, in the order of the sheet; no name and one value where an axis was not asked for."""

    name: str = ""
    values: tuple[Value, ...] = ("",)


def _number(low: float, high: float = math.inf, *, whole: bool = False) -> Callable[[str, str], Value]:
    def parse(name: str, text: str) -> Value:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            limits = f"of {low:g} or more" if math.isinf(high) else f"from {low:g} to {high:g}"
            raise UsageError(f"{name}={text}: give {'whole ' if whole else ''}numbers {limits}.")
        return value

    return parse


def _choice(choices: Sequence[str]) -> Callable[[str, str], Value]:
    def parse(name: str, text: str) -> Value:
        if text not in choices:
            raise UsageError(unknown_name(name, text, choices))
        return text

    return parse


def _any(name: str, text: str) -> Value:
    return text


# Names as `percept stylize` has them; layers of one value are joined by `+`, commas being between values.
OPTIMIZED: Mapping[str, Callable[[str, str], Value]] = {
    "style": _any,
    "style-weight": _number(0),
    "content-weight": _number(0),
    "tv-weight": _number(0),
    "style-size": _number(32, whole=True),
    "style-layers": _any,
    "content-layers": _any,
    "loss": _choice(tuple(STYLE_LOSSES)),
    "init": _choice(INITS),
    "steps": _number(1, whole=True),
    "strength": _number(0, 1),
}
TRAINED: Mapping[str, Callable[[str, str], Value]] = {"model": _any, "strength": _number(0, 1)}


def parse_axis(option: str, text: str | None) -> Axis:
    """An axis from `style-weight=1,5,20`. Raises UsageError, with what is allowed, for a text or a name that is none."""
    if text is None:
        return Axis()
    known = {**OPTIMIZED, **TRAINED}
    name, equals, listed = text.partition("=")
    name = name.strip()
    if name not in known:
        raise UsageError(unknown_name(f"option of {option}", name, known))
    values = [part.strip() for part in listed.split(",")]
    if not equals or not all(values):
        raise UsageError(f"{option} {text}: give values, as in {option} {name}=A,B,C.")
    parsed = tuple(known[name](name, value) for value in values)
    if len(set(parsed)) < len(parsed):
        raise UsageError(f"{option} {text}: one value stands there twice.")
    return Axis(name, parsed)


def check_axes(rows: Axis, columns: Axis, *, style: bool, model: bool) -> bool:
    """Whether trained models are swept, and not an optimization; `style` and `model` say which was given as an option.

    Raises UsageError for axes that do not go together, or with neither, and for more pictures than a sheet holds.
    """
    names = [axis.name for axis in (rows, columns) if axis.name]
    if not names:
        raise UsageError(
            f"Give --rows or --columns, as in --rows style-weight=1,5,20. Known: {', '.join({**OPTIMIZED, **TRAINED})}."
        )
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
    """What each picture of the sheet is made with, row by row."""
    return [
        [
            {axis.name: value for axis, value in ((rows, row), (columns, column)) if axis.name}
            for column in columns.values
        ]
        for row in rows.values
    ]


def label(name: str, value: Value) -> str:
    """A value of an axis as it stands on the sheet; of a file its name."""
    if name in ("style", "model"):
        return str(value).replace("\\", "/").rsplit("/", 1)[-1]
    if name == "style-size":
        return f"{value} pixels"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("+", " + ")


LABEL = 118  # pixels, of the column of labels
GIVEN = 96  # pixels, the short side of what the sweep was given
NARROWEST = 90  # pixels, of a column


def sweep_sheet(
    title: str,
    notes: Sequence[str],
    given: Sequence[tuple[str, Tensor]],
    rows: Axis,
    columns: Axis,
    pictures: Sequence[Sequence[Tensor]],
) -> Tensor:
    """All of it as one picture (1, 3, H, W): what was given, by name, above the grid; pictures (1, 3, h, w) of one size."""
    width = max(NARROWEST, pictures[0][0].shape[-1])
    parts = [canvas.heading(title, notes)]
    if given:
        parts.append(canvas.row([_captioned(name, image) for name, image in given]))
    if columns.name:
        heads = [canvas.text([f"{columns.name}", label(columns.name, value)], width) for value in columns.values]
        parts.append(canvas.row([_blank(1, LABEL), *heads]))
    for value, row in zip(rows.values, pictures, strict=True):
        side = canvas.text([rows.name, label(rows.name, value)], LABEL) if rows.name else _blank(1, LABEL)
        wide = [torch.nn.functional.pad(each, (0, width - each.shape[-1]), value=1.0) for each in row]
        parts.append(canvas.row([side, *wide]))
    return canvas.frame(canvas.column(parts))


def _captioned(name: str, image: Tensor) -> Tensor:
    small = resize_image(image, *fit_short_side(image.shape[-2], image.shape[-1], GIVEN))
    return canvas.column([small, canvas.text([name], max(NARROWEST, small.shape[-1]), size=canvas.SMALL)], gap=2)


def _blank(height: int, width: int) -> Tensor:
    return torch.ones(1, 3, height, width)
