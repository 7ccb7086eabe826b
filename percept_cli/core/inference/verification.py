"""Verification that a picture made in tiles equals the untiled one, by comparing parts of it with other tiles."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from percept_cli.core.images.tiles import Region, Tile

VERIFIED_PLACES = 8


@dataclass(frozen=True)
class Verification:
    """The largest difference of tiles from the whole, in gray levels of 256, and the number of places compared.

    whole: whether the whole picture was compared. A tile and the whole may be convolved by different algorithms, which
    round sums in another order. In float32 this changes values of an exact generator (see `Upscaler.is_exact`) by less
    than 1e-5: levels of 16 bits by one at most, and levels of 8 bits only next to a rounding boundary.
    """

    difference: float
    places: int
    whole: bool

    @property
    def passed(self) -> bool:
        return self.difference <= 1


def level_difference(written: NDArray[Any], again: NDArray[Any], *, by_opacity: bool) -> float:
    """The largest difference of levels (H, W, C) of one type, in gray levels of 256.

    by_opacity: multiplies differences of color by alpha, the fourth channel. The colors were divided by it, which makes
    rounding errors large where alpha is small and the color invisible.
    """
    most = np.iinfo(written.dtype).max
    apart = np.abs(again.astype(np.float32) - written)
    if by_opacity:
        apart[..., :3] *= written[..., 3:].astype(np.float32) / most
    return float(apart.max()) * 255 / most


def places_across_seams(tiles: list[Tile], height: int, width: int, margin: int, multiple: int) -> list[Tile]:
    """Tiles of a picture of height x width pixels whose centers are corners of some of the `tiles`.

    Each has the size of that tile and a source with `margin` pixels around it, within the picture and aligned to
    `multiple`.
    """

    def span(edge: int, length: int, limit: int) -> tuple[int, int, int, int]:
        start = max(0, min((edge or length) - length // 2, limit - length)) // multiple * multiple
        stop = start + length
        first = max(0, start - margin) // multiple * multiple
        return start, stop, first, min(limit, -(-(stop + margin) // multiple) * multiple)

    places = []
    for tile in random.Random(0).sample(tiles, min(VERIFIED_PLACES, len(tiles))):
        target = tile.target
        top, bottom, first_row, last_row = span(target.top, target.height, height)
        left, right, first_column, last_column = span(target.left, target.width, width)
        places.append(Tile(Region(first_row, first_column, last_row, last_column), Region(top, left, bottom, right)))
    return places
