"""The kinds of degradation that a translation learns to undo, and their amounts; imports no torch."""

from dataclasses import dataclass

from percept_cli.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Corruption:
    """A kind of degradation: its amount, in `unit`, is drawn from `low` to `high`, which may be set from `least` to `most`."""

    low: float
    high: float
    unit: str
    least: float
    most: float


CORRUPTIONS: dict[str, Corruption] = {
    "noise": Corruption(5, 50, "standard deviation in gray levels of 255", 0, 255),
    "blur": Corruption(0.5, 3, "standard deviation in pixels", 0.1, 20),
    "jpeg": Corruption(8, 50, "quality", 1, 95),
    "mask": Corruption(2, 20, "percent of the image", 1, 80),
    "gray": Corruption(0, 0, "nothing to choose", 0, 0),
    "downscale": Corruption(2, 4, "times smaller", 1, 16),
}


def parse_amount(kind: str, given: str | None) -> tuple[float, float]:
    """The range of amounts from `25` or `5-50`; None gives the usual range of the kind. Raises UsageError for others."""
    if kind not in CORRUPTIONS:
        raise UsageError(unknown_name("degradation", kind, CORRUPTIONS))
    known = CORRUPTIONS[kind]
    if given is None:
        return known.low, known.high
    try:
        low, high = (float(part) for part in (given.split("-") if "-" in given else (given, given)))
    except ValueError:
        low, high = 1.0, 0.0
    if not known.least <= low <= high <= known.most:
        raise UsageError(
            f"--amount {given}: for --degrade {kind} give a number from {known.least:g} to {known.most:g} ({known.unit}), "
            f"or two as in {known.low:g}-{known.high:g}."
        )
    return low, high
