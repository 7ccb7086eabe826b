"""Plots of curves and matrices by matplotlib, in the style of the sheets."""

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100  # an inch of matplotlib is 100 pixels

_STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "figure.titlesize": 15,
    "figure.constrained_layout.use": True,
    "figure.dpi": DPI,
    # A dollar sign in the name of a file does not begin a formula.
    "text.parse_math": False,
    # Text is written as text, and identifiers are hashes of the content, so that the same figure gives the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "percept",
}


def check_matplotlib() -> None:
    """Raise UsageError where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "This plot needs matplotlib, which is not installed: pip install 'percept[plots]', or pip install matplotlib."
        ) from error


@dataclass(frozen=True)
class Plot:
    """A figure and the function that draws it. notes: text below it. height, width: in hundreds of pixels."""

    title: str
    notes: Sequence[str]
    draw: Callable[["Figure"], None]
    height: float
    width: float = canvas.WIDTH / DPI


def render(plot: Plot) -> Tensor:
    """A plot as pixels, (1, 3, H, W) in [0, 1]. Raises UsageError as `check_matplotlib`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _drawn(plot) as figure:
        drawn = FigureCanvasAgg(figure)
        drawn.draw()
        levels = np.asarray(drawn.buffer_rgba())[..., :3].copy()
    return torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255


def render_svg(plot: Plot) -> bytes:
    """A plot as an SVG file, the same bytes for the same plot. Raises UsageError as `check_matplotlib`."""
    buffer = io.BytesIO()
    with _drawn(plot) as figure:
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    # matplotlib names clip paths after memory addresses; numbers in the order of appearance are reproducible.
    numbers: dict[str, str] = {}
    named = re.sub(
        r"\bp[0-9a-f]{10}\b",
        lambda found: numbers.setdefault(found.group(), f"clip{len(numbers)}"),
        buffer.getvalue().decode(),
    )
    return named.encode()


@contextlib.contextmanager
def _drawn(plot: Plot) -> Iterator["Figure"]:
    """The drawn figure in percept's style, whatever matplotlib's settings are; no window is opened."""
    check_matplotlib()
    from matplotlib import rc_context, rcdefaults
    from matplotlib.figure import Figure

    with rc_context():
        rcdefaults()
        with rc_context(_STYLE):
            figure = Figure(figsize=(plot.width, plot.height))
            if plot.title:
                figure.suptitle(plot.title, x=0.01, ha="left")
            if plot.notes:
                figure.supxlabel("\n".join(plot.notes), x=0.01, ha="left", size=10, color=hex_color(canvas.MUTED))
            plot.draw(figure)
            yield figure


def color_map(colors: Sequence[tuple[int, int, int]] = canvas.SEQUENTIAL) -> Any:
    """A color scale of the sheets as a color map of matplotlib."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("percept", [hex_color(color) for color in colors])


def hex_color(color: tuple[int, int, int]) -> str:
    """Red, green and blue from 0 to 255 as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def label_layers(axes: "Axes", layers: Sequence[str]) -> None:
    """Label the horizontal axis with layers, at positions from 0, turned so that the names do not overlap."""
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(layers) - 0.5)


def plain_log_axis(axes: "Axes", axis: str = "y") -> None:
    """Make an axis, x or y, logarithmic, with plain numbers as labels: 0.2, 0.5, 1 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    chosen = axes.xaxis if axis == "x" else axes.yaxis
    axes.set(**{f"{axis}scale": "log"})
    chosen.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    chosen.set_minor_formatter(NullFormatter())
