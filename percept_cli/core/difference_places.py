"""Where pictures of one thing differ most: the places that a comparison in a paper shows enlarged."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.tiling import Region

ROWS = 64


@dataclass(frozen=True)
class Place:
    """A square of pixels, and how far the pictures are apart in it: root mean square, in grey levels of 255."""

    region: Region
    difference: float


def spread_map(pictures: Sequence[Tensor]) -> Tensor:
    """How far pictures (1, 3, H, W) of one size are from their mean, squared, at every pixel: (1, 1, H, W).

    The mean over pictures and channels; of two pictures a quarter of their squared difference.
    """
    height, width = pictures[0].shape[-2:]
    squares = pictures[0].new_empty(1, 1, height, width)
    # Some rows at a time, which stay in the processor's cache.
    for top in range(0, height, ROWS):
        bands = [picture[..., top : top + ROWS, :] for picture in pictures]
        mean = torch.stack(bands).mean(0)
        apart = sum((band - mean).square().mean(dim=1, keepdim=True) for band in bands)
        squares[..., top : top + ROWS, :] = apart / len(bands)
    return squares


def differing_places(pictures: Sequence[Tensor], side: int, count: int) -> list[Place]:
    """The squares of `side` pixels in which pictures (1, 3, H, W) of one size differ most, none overlapping another.

    Fewer than `count` where no more fit, and none where the pictures are equal; of equal ones the first from the top
    left. Squares begin at multiples of an eighth of their side.
    """
    squares = spread_map(pictures)
    height, width = squares.shape[-2:]
    side = min(side, height, width)
    step = max(1, side // 8)
    tops, lefts = torch.arange(0, height - side + 1, step), torch.arange(0, width - side + 1, step)
    # A sum over a square is the difference of running sums, first down and then across: no window is summed pixel by pixel.
    down = squares[0, 0].cumsum(0, dtype=torch.float64)
    above = torch.where((tops > 0)[:, None], down[(tops - 1).clamp_min(0)], 0.0)
    across = F.pad((down[tops + side - 1] - above).cumsum(1), (1, 0))
    inside = across[:, lefts + side] - across[:, lefts]
    means = (inside / side**2).clamp_min(0)
    places: list[Place] = []
    while len(places) < count:
        best = int(means.argmax())
        row, column = divmod(best, means.shape[1])
        value = means[row, column].item()
        # What the sums round to where there is no difference.
        if value <= 1e-12:
            break
        top, left = int(tops[row]), int(lefts[column])
        places.append(Place(Region(top, left, top + side, left + side), 255 * value**0.5))
        overlapping = ((tops - top).abs() < side)[:, None] & ((lefts - left).abs() < side)[None]
        means = means.masked_fill(overlapping, -1.0)
    return places
