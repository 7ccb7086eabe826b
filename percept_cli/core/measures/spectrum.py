"""What an enlargement leaves in the frequencies: the checkerboards of strides and transposed convolutions.

A pattern that repeats every p pixels has all its power at multiples of 1/p cycles a pixel, at single points of the
spectrum, while real texture spreads around them (Odena et al. 2016 on where the patterns come from).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.core.measures.pixels import luma
from percept_cli.errors import ImageError

# Decibels over everything around. Measured on 19 photographs, textures, prints and drawings at scales 2, 3, 4 and 8: the
# pictures themselves and their bicubic enlargements give up to 3.5, patterns of 2 gray levels on those enlargements 10
# to 35 at their strongest period.
THRESHOLD = 6.0
SEGMENT = 128
# Bins around a frequency that are its surroundings: beyond the main lobe of the window, nearer than the next frequency.
RING = (3, 7)
# Gray levels. Flat surfaces have no noise, and there a pattern far below what 8 bits hold would stand out.
FLOOR = 0.03


@dataclass(frozen=True)
class Peak:
    """One frequency, `down` and `across` in cycles a pixel from 0 to below 1, and its `height` over what is around it, dB.

    `period`: that of the patterns that have it, in pixels.
    """

    down: float
    across: float
    period: int
    height: float


def checkerboard_peaks(image: Tensor, scale: int) -> dict[int, float]:
    """How far patterns of the periods that enlarging by `scale` can leave stand out of the spectrum: `{period: dB}`.

    image (1, 3, H, W) in [0, 1]. The periods in pixels are the divisors of `scale` from 2 on: 2 and 4 for 4. Each gets
    the highest of its frequencies in the log power spectrum of luma, less the highest of the bins around that frequency.
    About 0 and below is what pictures have; from `THRESHOLD` on, the pattern was added to the picture. A picture that
    is itself periodic with just such a period, as a drawn chessboard may be, counts too.
    Raises ImageError for an image of less than 9 times `scale` pixels a side.
    """
    peaks: dict[int, float] = {}
    for found in frequency_peaks(image, scale):
        peaks[found.period] = max(peaks.get(found.period, -math.inf), found.height)
    return dict(sorted(peaks.items()))


def frequency_peaks(image: Tensor, scale: int, spectrum: Tensor | None = None) -> list[Peak]:
    """What `checkerboard_peaks` takes the highest of: every frequency at which enlarging by `scale` can leave a pattern.

    spectrum: the `log_power` of `spectrum_side` of the image, where that is there already. Raises ImageError as there.
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
    """The side of the segments in which patterns of enlarging by `scale` are looked for: a multiple of it, in pixels.

    So each of the frequencies falls on a bin. Raises ImageError as `checkerboard_peaks`.
    """
    height, width = image.shape[-2:]
    smallest = scale * (RING[1] + 2)
    if min(height, width) < smallest:
        raise ImageError(f"The spectrum of an image enlarged {scale} times needs {smallest} pixels a side.")
    return min(SEGMENT, height, width) // scale * scale


def log_power(image: Tensor, side: int) -> Tensor:
    """Power spectrum of the luma of an image (1, 3, H, W) in dB, (side, side), zero frequency first.

    The mean of the logarithms over windowed segments of `side` pixels that overlap by half: unlike the logarithm of the
    mean, it is that of the whole picture and not of its busiest corner.
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
    """Which bins of a spectrum, zero frequency first, lie within `RING` of zero."""
    bins = torch.arange(side)
    offsets = torch.minimum(bins, side - bins)
    distances = torch.maximum(offsets[:, None], offsets)
    return (distances >= RING[0]) & (distances <= RING[1])
