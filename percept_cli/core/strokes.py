"""How large strokes are, `--stroke`: the same factor in training, in optimization and of a trained network."""

from percept_cli.errors import UsageError

SMALLEST, LARGEST = 0.25, 8.0
AUTO = "auto"
USUAL_SIDE = 512  # pixels of a short side; `auto` makes strokes as large in every photograph as in one of this size
SMALLEST_PAINTING = 32  # pixels, of its short side: --style-size


def check_stroke(stroke: float) -> float:
    """A factor from `SMALLEST` to `LARGEST`. Raises UsageError for others."""
    if not SMALLEST <= stroke <= LARGEST:
        raise UsageError(
            f"--stroke {stroke:g}: give {SMALLEST:g} to {LARGEST:g}; 2 makes strokes twice as large, 0.5 half as large."
        )
    return stroke


def parse_stroke(text: str | float) -> float:
    """The factor from text. Raises UsageError for what is no number, and as `check_stroke`."""
    try:
        stroke = float(text)
    except ValueError:
        raise UsageError(f"--stroke {text}: give a number from {SMALLEST:g} to {LARGEST:g}.") from None
    return check_stroke(stroke)


def parse_stroke_or_auto(text: str | float) -> float | str:
    """`AUTO`, or the factor from text. Raises as `parse_stroke`."""
    return AUTO if text == AUTO else parse_stroke(text)


def stroke_for(stroke: float | str, height: int, width: int) -> float:
    """The factor for a result of height x width pixels; `AUTO` is its short side over `USUAL_SIDE`, from 1 to `LARGEST`."""
    if isinstance(stroke, str):
        return min(max(1.0, min(height, width) / USUAL_SIDE), LARGEST)
    return stroke


def painting_side(style_size: int, stroke: float) -> int:
    """The short side in pixels of a painting whose strokes are `stroke` times as large as at `style_size` pixels.

    Raises UsageError for a painting of less than `SMALLEST_PAINTING` pixels, and as `check_stroke`.
    """
    side = round(style_size * check_stroke(stroke))
    if side < SMALLEST_PAINTING:
        raise UsageError(
            f"--stroke {stroke:g} at --style-size {style_size} makes the painting {side} pixels small: give a larger "
            f"--stroke or --style-size, for {SMALLEST_PAINTING} pixels."
        )
    return side
