"""Where pictures of one thing differ most: the places that a comparison in a paper shows enlarged."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.tiling import Region


@dataclass(frozen=True)
class Place:
    """A square of pixels, and how far the pictures are apart in it: root mean square, in grey levels of 255."""

    region: Region
    difference: float


def spread_map(pictures: Sequence[Tensor]) -> Tensor:
    """How far pictures (1, 3, H, W) of one size are from their mean, squared, at every pixel: (1, 1, H, W).

    The mean over pictures and channels; of two pictures a quarter of their squared difference.
    """
    total = torch.zeros_like(pictures[0])
    squares = torch.zeros_like(pictures[0][:, :1])
    for picture in pictures:
        total += picture
    total /= len(pictures)
    for picture in pictures:
        squares += (picture - total).square().mean(dim=1, keepdim=True)
    return squares / len(pictures)


def differing_places(pictures: Sequence[Tensor], side: int, count: int) -> list[Place]:
    """The squares of `side` pixels in which pictures (1, 3, H, W) of one size differ most, none overlapping another.

    Fewer than `count` where no more fit, and none where the pictures are equal; of equal ones the first from the top
    left. Squares begin at multiples of an eighth of their side.
    """
    squares = spread_map(pictures).double()
    height, width = squares.shape[-2:]
    side = min(side, height, width)
    step = max(1, side // 8)
    # A sum over a square is four values of the integral: no window is summed pixel by pixel.
    integral = F.pad(squares[0, 0].cumsum(0).cumsum(1), (1, 0, 1, 0))
    tops, lefts = torch.arange(0, height - side + 1, step), torch.arange(0, width - side + 1, step)
    inside = (
        integral[tops + side][:, lefts + side] - integral[tops][:, lefts + side]
        - integral[tops + side][:, lefts] + integral[tops][:, lefts]
    )  # fmt: skip
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
