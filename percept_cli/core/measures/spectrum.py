"""Checkerboards of strides and transposed convolutions, found in the power spectrum of an image.

A pattern that repeats every p pixels has all its power at multiples of 1/p cycles a pixel, at single points of the
spectrum, while the power of real texture is spread. Odena et al. 2016 explain where the patterns come from.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.core.measures.pixels import luma
from percept_cli.errors import ImageError

# Decibels above the surroundings. Measured on 19 photographs, textures, prints and drawings at scales 2, 3, 4 and 8: the
# pictures and their bicubic enlargements give up to 3.5, patterns of 2 gray levels on those enlargements 10 to 35 at
# their strongest period.
THRESHOLD = 6.0
SEGMENT = 128
# The distances, in bins, of a frequency's surroundings: outside the main lobe of the window, nearer than the next one.
RING = (3, 7)
# Gray levels. On flat surfaces, which have no noise, a pattern far below the precision of 8 bits would exceed 6 dB.
FLOOR = 0.03


@dataclass(frozen=True)
class Peak:
    """One frequency, `down` and `across` in cycles a pixel in [0, 1), and its `height` above its surroundings in dB.

    period: of the patterns that have this frequency, in pixels.
    """

    down: float
    across: float
    period: int
    height: float


def checkerboard_peaks(image: Tensor, scale: int) -> dict[int, float]:
    """The height above the spectrum of the patterns that enlarging by `scale` may leave: `{period: dB}`.

    image: (1, 3, H, W) in [0, 1]. The periods in pixels are the divisors of `scale` from 2 on: 2 and 4 for 4. The height
    of a period is the largest of its frequencies: the log power of luma there, minus the largest in the surroundings.
    Pictures have about 0 or less; from `THRESHOLD` on, the pattern was added. A picture that itself has such a period,
    as a drawn chessboard, counts too. Raises ImageError for an image of less than 9 times `scale` pixels a side.
    """
    peaks: dict[int, float] = {}
    for found in frequency_peaks(image, scale):
        peaks[found.period] = max(peaks.get(found.period, -math.inf), found.height)
    return dict(sorted(peaks.items()))


def frequency_peaks(image: Tensor, scale: int, spectrum: Tensor | None = None) -> list[Peak]:
    """All frequencies at which enlarging by `scale` may leave a pattern, with their heights.

    spectrum: `log_power` of the image at `spectrum_side`, if it is known. Raises as `checkerboard_peaks`.
    """
    side = spectrum_side(image, scale)
    spectrum = log_power(image, side) if spectrum is None else spectrum
    surroundings = _ring(side).to(spectrum.device)
    peaks = []
    for down in range(scale):
        for across in range(scale):
            period = scale // math.gcd(scale, down, across)
            if period > 1:
                centered = spectrum.roll((-down * side // scale, -across * side // scale), (0, 1))
                height = (centered[0, 0] - centered[surroundings].max()).item()
                peaks.append(Peak(down / scale, across / scale, period, height))
    return peaks


def spectrum_side(image: Tensor, scale: int) -> int:
    """The side in pixels of the segments of the spectrum: a multiple of `scale`, so that each frequency is a bin.

    Raises as `checkerboard_peaks`.
    """
    height, width = image.shape[-2:]
    smallest = scale * (RING[1] + 2)
    if min(height, width) < smallest:
        raise ImageError(f"The spectrum of an image enlarged {scale} times needs {smallest} pixels a side.")
    return min(SEGMENT, height, width) // scale * scale


def log_power(image: Tensor, side: int) -> Tensor:
    """Power spectrum of the luma of an image (1, 3, H, W) in dB, (side, side), zero frequency first.

    The mean of the logarithms over windowed segments of `side` pixels that overlap by half. The logarithm of the mean
    would depend mostly on the segments with the most power.
    """
    window = torch.hann_window(side, device=image.device)
    window = window[:, None] * window
    means = []
    for top in range(0, image.shape[-2] - side + 1, side // 2):
        band = luma(image[..., top : top + side, :].float())[0, 0]
        segments = band.unfold(1, side, side // 2).transpose(0, 1)
        segments = segments - segments.mean(dim=(1, 2), keepdim=True)
        power = torch.fft.fft2(segments * window).abs().square()
        means.append(torch.log10(power + (FLOOR * window.sum()) ** 2).mean(0))
    return 10 * torch.stack(means).mean(0)


def _ring(side: int) -> Tensor:
    """Whether each bin of a spectrum, zero frequency first, is one of the surroundings of zero."""
    bins = torch.arange(side)
    offsets = torch.minimum(bins, side - bins)
    distances = torch.maximum(offsets[:, None], offsets)
    return (distances >= RING[0]) & (distances <= RING[1])
