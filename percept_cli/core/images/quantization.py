"""Traces of a JPEG in pixels: its grid, and the steps that its coefficients were rounded to.

The coefficients of each 8x8 block of a decoded JPEG are near multiples of a step, one for each frequency; those of blocks
on another grid are not, nor are a photograph's that was never compressed (Fan and de Queiroz 2003, "Identification of
bitmap compression history"). This holds at high qualities too, where steps between blocks are lost in the texture, and
edges of drawings are no such multiples. A picture that was resized or whose levels were changed has lost these traces.
"""

import numpy as np
from numpy.typing import NDArray

from percept_cli.core.images.compression import quality_of_steps

SIDE = 8  # pixels of a block
_WINDOW = 2 * SIDE - 1  # pixels that hold one block of each of the 64 grids
_FEWEST, _MOST = 24, 2048  # different blocks
_FEWEST_LEVELS = 16  # of luma; a JPEG of black and white has grays at their edges
_FLAT = 2.0  # levels between the darkest and the lightest pixel; such a window tells nothing

# Frequencies (vertical, horizontal): beyond the middle antidiagonal most blocks have nothing. Where both are multiples of
# 4 the waves are of equal whole numbers, so that drawings of two levels have multiples of a step as well.
_FREQUENCIES = [(u, v) for u in range(SIDE) for v in range(SIDE) if 0 < u + v < SIDE and (u % 4 or v % 4)]
_POSITIONS = [u * SIDE + v for u, v in _FREQUENCIES]


def _create_basis() -> NDArray[np.float32]:
    places = np.arange(SIDE)
    waves = np.cos((2 * places + 1) * places[:, None] * np.pi / (2 * SIDE)) / 2
    waves[0] /= np.sqrt(2)
    return np.stack([np.outer(waves[u], waves[v]).ravel() for u, v in _FREQUENCIES], axis=1).astype(np.float32)


_BASIS = _create_basis()  # (64, frequencies), of ITU-T T.81, A.3.3
_BINS, _RESOLUTION = 2048, 8  # of histograms of coefficients, and bins for a unit
_CENTERS = (np.arange(_BINS) + 0.5) / _RESOLUTION
_STEPS = np.arange(2, 129)
# 1 at the multiples of a step, -1 between them
_WAVES = np.cos(2 * np.pi * _CENTERS[:, None] / _STEPS).astype(np.float32)
# What is rounded to 0 by any larger step is no evidence of a step.
_NONZERO = (_CENTERS[:, None] > np.maximum(_STEPS / 2, 1)).astype(np.float32)

# Photographs that were never compressed had a step at 3 frequencies at most. Drawings may have many, but on all grids alike, or
# a grid of their own with 6 at most; JPEGs from quality 20 on, but for 4 of 3,718, had at least 9, and traces 1.14 times stronger.
_DISTINCT = 1.12  # how much stronger the traces of the grid are than those of every other
_FEWEST_STEPS, _SMALLEST_SHARE = 8, 0.3  # how many frequencies have a step, and of those with coefficients above 1
_CERTAIN = 4.0  # standard deviations of chance, of the evidence for a step
_FEWEST_COEFFICIENTS, _FEWEST_VALUES = 6, 6  # that such evidence is made of; the blocks of a drawing repeat few values


def measured_quality(pixels: NDArray[np.float32]) -> int | None:
    """The quality (1 to 100) of the JPEG that a picture was once decoded from, whatever cut it since; None if there is none.

    pixels: (3, H, W) in [0, 1]; up to 2048 windows of 15x15 pixels of them are looked at. The quality is that of libjpeg's
    table with the nearest steps (see `quality_of_steps`). A picture of less than about 64x64 pixels tells too little.
    """
    windows = _textured_windows(pixels)
    if len(windows) < _FEWEST or len(np.unique(windows.round())) < _FEWEST_LEVELS:
        return None
    waves = np.stack([_histogram(_coefficients(windows, grid)) @ _WAVES for grid in range(SIDE**2)])
    # What a photograph's many small coefficients have in common on all grids cancels.
    evidence = ((waves - waves.mean(axis=0)) / np.sqrt(len(windows) / 2)).max(axis=2).sum(axis=1)
    grid = int(evidence.argmax())
    if evidence[grid] < _DISTINCT * np.delete(evidence, grid).max():
        return None
    # The blocks of a drawing repeat, as letters of 8x8 pixels do; those of a photograph differ by the rounding of pixels.
    different = np.unique(_coefficients(windows, grid).round(2), axis=0)
    if len(different) < _FEWEST:
        return None
    histogram = _histogram(different)
    steps = _steps(histogram)
    known = [place for place, step in enumerate(steps) if step]
    telling = (histogram[:, _RESOLUTION:].sum(axis=1) >= _FEWEST_COEFFICIENTS).sum()
    if len(known) < max(_FEWEST_STEPS, _SMALLEST_SHARE * telling):
        return None
    return quality_of_steps([steps[place] for place in known], [_POSITIONS[place] for place in known])


def _textured_windows(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Luma in levels (0 to 255) of different windows (N, 15, 15) that are not flat, spread over the picture."""
    height, width = pixels.shape[-2:]
    if min(height, width) < _WINDOW:
        return np.empty((0, _WINDOW, _WINDOW), np.float32)
    views = np.lib.stride_tricks.sliding_window_view(pixels, (_WINDOW, _WINDOW), axis=(1, 2))[:, ::SIDE, ::SIDE]
    rows, columns = views.shape[1:3]
    total = rows * columns
    # By chance, as a regular choice could fall on one column alone; of twice as many the flat ones are left out.
    places = np.sort(np.random.default_rng(0).choice(total, min(total, 2 * _MOST), replace=False))
    chosen = views[:, places // columns, places % columns]
    luma = 255 * (0.299 * chosen[0] + 0.587 * chosen[1] + 0.114 * chosen[2]).reshape(len(places), -1)
    luma = luma[luma.max(axis=1) - luma.min(axis=1) > _FLAT]
    return np.unique(luma[:_MOST].astype(np.float32), axis=0).reshape(-1, _WINDOW, _WINDOW)


def _coefficients(windows: NDArray[np.float32], grid: int) -> NDArray[np.float32]:
    """The sizes (N, frequencies) of the coefficients of one block of each window; grid: which of the 64."""
    top, left = divmod(grid, SIDE)
    blocks = windows[:, top : top + SIDE, left : left + SIDE].reshape(len(windows), -1)
    return np.abs(blocks @ _BASIS)


def _histogram(coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the coefficients (N, frequencies) of each frequency: (frequencies, bins)."""
    count = coefficients.shape[1]
    bins = np.minimum(coefficients * _RESOLUTION, _BINS - 1).astype(np.int64) + np.arange(count) * _BINS
    return np.bincount(bins.ravel(), minlength=count * _BINS).reshape(count, _BINS).astype(np.float32)


def _steps(histogram: NDArray[np.float32]) -> list[int]:
    """The step of each frequency, 0 where there is no certain one."""
    counts = histogram @ _NONZERO
    evidence = histogram @ (_WAVES * _NONZERO) / np.sqrt(np.maximum(counts, 1) / 2)
    evidence[counts < _FEWEST_COEFFICIENTS] = 0
    values = (histogram[:, _RESOLUTION:] > 0).sum(axis=1)
    certain = (evidence.max(axis=1) > _CERTAIN) & (values >= _FEWEST_VALUES)
    return [int(step) if sure else 0 for step, sure in zip(_STEPS[evidence.argmax(axis=1)], certain, strict=True)]
