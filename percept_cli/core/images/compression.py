"""How much a lossy file lost, as its header tells: the quality of a JPEG of the reference encoder that loses as much."""

import math
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from percept_cli.core.images import vp8

# ITU-T T.81, table K.1: the steps of luminance, row by row. libjpeg scales them by the quality.
_K1 = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
BEST, WORST = 100, 1

# Index of a WebP's quantizers, and the quality of the JPEG with the same squared error of luma, the mean of 24 photographs
# (bench/compression.py). The errors of single photographs differ: by 9 where the quality is 50, by 1 where it is 92.
_VP8_INDICES = (0, 4, 8.5, 14, 19, 25, 32, 38, 44, 51, 60, 73, 84, 127)
_VP8_QUALITIES = (98, 96, 92, 88, 84, 78, 69, 62, 52, 40, 28, 19, 14, 7)


def _steps_of(quality: int) -> list[int]:
    # jpeg_quality_scaling and jpeg_add_quant_table of libjpeg
    scaling = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(255, max(1, (step * scaling + 50) // 100)) for step in _K1]


STANDARD_STEPS: NDArray[np.float64] = np.array([_steps_of(quality) for quality in range(WORST, BEST + 1)], np.float64)
"""The steps (100, 64) of luma in libjpeg's tables for the qualities from 1 to 100, row by row."""


def quality_of_steps(steps: Sequence[float] | NDArray[Any], positions: Sequence[int] | slice = slice(None)) -> int:
    """The quality from 1 to 100 of libjpeg's table whose steps are nearest: the mean of |log(step / its step)| is least.

    steps: of luma, for all 64 coefficients row by row, or for those at `positions`. A step below 1 is taken as 1.
    """
    logarithms = np.log(np.maximum(np.asarray(steps, np.float64), 1))
    distances = np.abs(np.log(STANDARD_STEPS[:, positions]) - logarithms).mean(axis=1)
    return int(distances.argmin()) + WORST


def file_quality(image: Any, stream: BinaryIO) -> int | None:
    """The equivalent JPEG quality (1 to 100) of an opened file of Pillow by its own header; None where that tells nothing.

    A JPEG tells it by its quantization table of luma, a lossy WebP by the indices of its quantizers.
    """
    if image.format in ("JPEG", "MPO"):
        return _jpeg_quality(image)
    if image.format == "WEBP":
        index = vp8.quantizer_index(stream)
        return None if index is None else round(float(np.interp(index, _VP8_INDICES, _VP8_QUALITIES)))
    return None


def _jpeg_quality(image: Any) -> int | None:
    tables: dict[int, Sequence[int]] = image.quantization
    layers = getattr(image, "layer", None)
    # The first component is luma; its table is usually, not always, number 0.
    number = layers[0][3] if layers and len(layers[0]) > 3 else min(tables, default=0)
    steps = tables.get(number)
    if steps is None or len(steps) != math.prod((8, 8)):
        return None
    return quality_of_steps(steps)
