"""The plot of `make bench-upscalers`: PSNR against time, a panel for each scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from percept_cli.core.drawing.canvas import LINES
from percept_cli.core.drawing.plots import Plot, plain_log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In pixels: a panel, about; a letter of a label; the distance of a label from its point
PANEL, LETTER, LINE, GAP = (1080, 330), 7.2, 14, 8
MARGINS = (0.06, 0.1)  # shares of the range that stay free on each side


@dataclass(frozen=True)
class Point:
    """A network: seconds a megapixel, decibels, and whether these were measured here."""

    name: str
    seconds: float
    psnr: float
    here: bool


def plot(panels: Mapping[int, Sequence[Point]], conditions: str) -> Plot:
    """PSNR on Set5 against seconds a megapixel, a panel for each scale. conditions: of the measurement, a sentence."""

    def draw(figure: "Figure") -> None:
        drawn = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (scale, points) in zip(drawn, panels.items(), strict=True):
            draw_panel(axes, scale, points)

    notes = (conditions, "Filled: PSNR measured here. Hollow: published.")
    return Plot("What an upscaler gives for its time", notes, draw, height=0.9 + 4.3 * len(panels))


def draw_panel(axes: "Axes", scale: int, points: Sequence[Point]) -> None:
    """The networks of a scale, as points with their names."""
    plain_log_axis(axes, "x")
    axes.set(title=f"x{scale}", xlabel="seconds per megapixel of output", ylabel="PSNR on Set5, dB")
    for point, (right, up) in zip(points, label_offsets(points), strict=True):
        color = LINES[0 if point.here else 1]
        place = (point.seconds, point.psnr)
        axes.scatter(*place, s=45, color=color if point.here else "white", edgecolor=color, zorder=3)
        axes.annotate(point.name, place, (right, up), textcoords="offset pixels", fontsize=9, va="center")
    axes.margins(*MARGINS)


def label_offsets(points: Sequence[Point]) -> list[tuple[float, float]]:
    """How far the left middle of each label is from its point, (right, up) in pixels, so that labels keep apart.

    The first of these places where it covers no point and no label before it: right, above, below, left, the corners, far
    above, far below; right if there is none.
    """
    places = pixels(points)
    taken = [(x - GAP / 2, y - GAP / 2, x + GAP / 2, y + GAP / 2) for x, y in places]
    offsets = []
    for point, (x, y) in zip(points, places, strict=True):
        width = LETTER * len(point.name)
        candidates = (
            (GAP, 0.0), (-width / 2, LINE), (-width / 2, -LINE), (-width - GAP, 0.0),
            (GAP, LINE), (GAP, -LINE), (-width - GAP, LINE), (-width - GAP, -LINE),
            (-width / 2, 2 * LINE), (-width / 2, -2 * LINE),
        )  # fmt: skip
        boxes = [(x + right, y + up - LINE / 2, x + right + width, y + up + LINE / 2) for right, up in candidates]
        free = [number for number, box in enumerate(boxes) if not any(overlap(box, other) for other in taken)]
        chosen = free[0] if free else 0
        offsets.append(candidates[chosen])
        taken.append(boxes[chosen])
    return offsets


def pixels(points: Sequence[Point]) -> list[tuple[float, float]]:
    """About where the points are in a panel, from its lower left corner."""
    columns = []
    for values, length, margin in zip(
        ([log(point.seconds) for point in points], [point.psnr for point in points]), PANEL, MARGINS, strict=True
    ):
        low, span = min(values), (max(values) - min(values)) or 1.0
        columns.append([length * (margin + (value - low) / span) / (1 + 2 * margin) for value in values])
    return list(zip(*columns, strict=True))


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Whether two boxes (left, bottom, right, top) have a point in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
