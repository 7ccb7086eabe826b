"""Power spectra of pictures, plotted with marks at the frequencies of patterns that enlarging leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.plots import DPI, Plot, color_map
from percept_cli.core.measures.spectrum import THRESHOLD, Peak, frequency_peaks, log_power, spectrum_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
MARK = canvas.LINES[1]


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of one picture. power: log power in dB, (side, side), zero frequency first. peaks: of `frequency_peaks`."""

    name: str
    power: np.ndarray
    peaks: Sequence[Peak]

    @property
    def patterns(self) -> list[Peak]:
        """The peaks at which the picture has a pattern."""
        return prominent(self.peaks)


def prominent(peaks: Sequence[Peak]) -> list[Peak]:
    """The peaks of at least `THRESHOLD` dB, which photographs that were not enlarged do not have."""
    return [peak for peak in peaks if peak.height >= THRESHOLD]


def measure_spectrum(pixels: Tensor, name: str, scale: int) -> Spectrum:
    """The spectrum of a picture (1, 3, H, W) in [0, 1] that was enlarged `scale` times. Raises ImageError as `spectrum_side`."""
    power = log_power(pixels, spectrum_side(pixels, scale))
    return Spectrum(name, power.numpy(), frequency_peaks(pixels, scale, power))


def spectrum_records(spectra: Sequence[tuple[str, Spectrum]]) -> list[dict[str, object]]:
    """A row for every picture, given with its name, and every frequency of its peaks."""
    return [
        {"image": name, "period": peak.period, "cycles_down": peak.down, "cycles_across": peak.across,
         "db_over_surroundings": peak.height}
        for name, each in spectra
        for peak in each.peaks
    ]  # fmt: skip


def spectrum_plot(spectra: Sequence[Spectrum], scale: int, title: str, width: float = canvas.WIDTH / DPI) -> Plot:
    """A panel for every picture, with one color scale; circles mark the peaks, with their height in dB from `THRESHOLD` on.

    scale: of the enlargement. width: of the plot, in hundreds of pixels.
    """
    columns = min(COLUMNS, len(spectra))
    rows = -(-len(spectra) // columns)
    low = min(np.percentile(spectrum.power, 1) for spectrum in spectra)
    high = max(np.percentile(spectrum.power, 99.9) for spectrum in spectra)
    notes = [
        f"Log power of luma. Circles: frequencies that enlarging {scale} times can leave; numbered in dB over their surroundings",
        f"where they stand out by {THRESHOLD:g} dB or more, which is what the picture alone does not have.",
    ]

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, columns, squeeze=False)
        for axes, spectrum in zip(panels.flat, spectra, strict=False):
            _panel(axes, spectrum, low, high, 32.5 * width / columns)
        for axes in panels.flat[len(spectra) :]:
            axes.set_axis_off()
        figure.colorbar(panels[0, 0].images[0], ax=list(panels.flat), label="power, dB", shrink=0.8)

    return Plot(title, notes, draw, height=1.2 + rows * width * (0.87 / columns if columns > 1 else 0.625), width=width)


def _panel(axes: "Axes", spectrum: Spectrum, low: float, high: float, mark: float) -> None:
    side = len(spectrum.power)
    # The spectrum is periodic: a little more than one period is shown, so that marks at half a cycle are whole.
    margin = side // 14
    power = np.pad(np.fft.fftshift(spectrum.power), margin, mode="wrap")
    start, end = (-side // 2 - margin - 0.5) / side, (-side // 2 + side + margin - 0.5) / side
    axes.imshow(power, cmap=color_map(), vmin=low, vmax=high, extent=(start, end, end, start), interpolation="nearest")
    for peak in spectrum.peaks:
        stands_out = peak.height >= THRESHOLD
        color, width = (MARK, 2.5) if stands_out else ("white", 1)
        places = [
            (across, down)
            for across in (peak.across - 1, peak.across)
            for down in (peak.down - 1, peak.down)
            if start < across < end and start < down < end
        ]
        columns, rows = zip(*places, strict=True)
        axes.scatter(columns, rows, s=mark, facecolors="none", edgecolors=color, linewidths=width)
        if stands_out:
            axes.annotate(
                f"{peak.height:.0f}", places[0], xytext=(0, -0.75 * mark**0.5), textcoords="offset points", ha="center", va="top",
                color="white", weight="bold",
            )  # fmt: skip
    periods = " and ".join(map(str, sorted({peak.period for peak in spectrum.patterns})))
    found = (
        f"{len(spectrum.patterns)} of {len(spectrum.peaks)} stand out, period {periods}" if periods else "no pattern"
    )
    axes.set_title(f"{spectrum.name}\n{found}")
    axes.set_xlim(start, end)
    axes.set_ylim(end, start)
    axes.set_xlabel("cycles a pixel, across")
    axes.set_ylabel("cycles a pixel, down")
    axes.grid(visible=False)
