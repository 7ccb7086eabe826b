"""Whether a picture made in tiles is what the untiled one would be: places of it are computed another way and compared."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from percept_cli.core.images.tiles import Region, Tile

VERIFIED_PLACES = 8


@dataclass(frozen=True)
class Verification:
    """How far tiles are from the whole: the largest difference in gray levels of 256, at so many places.

    A tile may be convolved by another algorithm than the whole, so that sums are rounded in another order. In float32
    this moves values of an exact generator (see `Upscaler.is_exact`) by less than 1e-5: no level of 8 bits, but where a
    value falls within that of the edge between two, and no level of 16 bits by more than one.
    """

    difference: float
    places: int
    whole: bool

    @property
    def passed(self) -> bool:
        return self.difference <= 1


def level_difference(written: NDArray[Any], again: NDArray[Any], *, by_opacity: bool) -> float:
    """The largest difference of levels (H, W, C) of one type, in gray levels of 256.

    by_opacity: the fourth channel is alpha, by which the colors were divided: weighted with it, for divided by hardly any
    alpha a rounding becomes many levels of a color that nobody sees.
    """
    most = np.iinfo(written.dtype).max
    apart = np.abs(again.astype(np.float32) - written)
    if by_opacity:
        apart[..., :3] *= written[..., 3:].astype(np.float32) / most
    return float(apart.max()) * 255 / most


def places_across_seams(tiles: list[Tile], height: int, width: int, margin: int, multiple: int) -> list[Tile]:
    """Tiles that have the corners of some of the `tiles` in their middle, of a picture of height x width.

    Each is as large as that tile and sees `margin` pixels around it, within the picture and from multiple to multiple.
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
