"""Where pictures of one thing differ: aligned, the squares that differ most, and maps of the perceptual distance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.drawing.canvas import Scale
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.images.photo import fit_short_side, resize_image
from percept_cli.core.images.tiles import Region
from percept_cli.core.measures.features import distance_maps
from percept_cli.core.measures.pixels import perceptual_map
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ImageError

ROWS = 64
HEAT_SIDE = 384  # pixels


@dataclass(frozen=True)
class Place:
    """A square of pixels. difference: root mean square of the pictures' differences in it, in gray levels of 255."""

    region: Region
    difference: float


@dataclass(frozen=True)
class Shown:
    """One of the pictures that are compared, (1, 3, H, W) in [0, 1]. label: its name on the sheet."""

    label: str
    pixels: Tensor


@dataclass(frozen=True)
class Heat:
    """Maps (1, 1, h, w) of the distance to the first picture, of every other one by its label. label: what they measure."""

    maps: Mapping[str, Tensor]
    label: str

    @property
    def scale(self) -> Scale:
        """Colors from 0 to the largest distance of all maps."""
        return Scale(0.0, max((values.max().item() for values in self.maps.values()), default=0.0), self.label)


def align_pictures(
    pictures: Sequence[Tensor], labels: Sequence[str], names: Sequence[str]
) -> tuple[list[Shown], list[str]]:
    """Pictures (1, 3, h, w) in [0, 1] at the size of the first of them, and notes for those who look at them.

    names: of the pictures in messages. Raises ImageError for a picture of another shape.
    """
    height, width = pictures[0].shape[-2:]
    shown, notes = [], []
    for pixels, label, name in zip(pictures, labels, names, strict=True):
        own_height, own_width = pixels.shape[-2:]
        if (own_height, own_width) != (height, width):
            # An enlargement's size is rounded by at most a pixel of the small picture.
            if abs(own_width / own_height - width / height) > 1.5 * width / height / min(own_height, own_width):
                raise ImageError(
                    f"'{name}' is {own_width}x{own_height} pixels and '{names[0]}' {width}x{height}: pictures of another "
                    "shape cannot be laid over each other."
                )
            notes.append(f"{label} was {own_width}x{own_height} pixels and is resized (bicubic)")
        shown.append(Shown(label, resize_image(pixels, height, width)))
    return shown, notes


def spread_map(pictures: Sequence[Tensor]) -> Tensor:
    """The variance of pictures (1, 3, H, W) of one size at every pixel, (1, 1, H, W).

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
    """The squares of `side` pixels in which pictures (1, 3, H, W) of one size differ most; they do not overlap.

    Fewer than `count` where no more fit, and none where the pictures are equal; of squares that differ equally the first
    from the top left. Squares begin at multiples of an eighth of their side.
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
        # Rounding of the sums, where there is no difference.
        if value <= 1e-12:
            break
        top, left = int(tops[row]), int(lefts[column])
        places.append(Place(Region(top, left, top + side, left + side), 255 * value**0.5))
        overlapping = ((tops - top).abs() < side)[:, None] & ((lefts - left).abs() < side)[None]
        means = means.masked_fill(overlapping, -1.0)
    return places


def difference_records(pictures: Sequence[Shown], places: Sequence[Place]) -> list[dict[str, object]]:
    """The difference of every picture to the first: of the whole (`place` 0) and in every square, in gray levels of 255."""
    records: list[dict[str, object]] = []
    reference = pictures[0].pixels
    for shown in pictures[1:]:
        squares = (shown.pixels - reference).square().mean(dim=1)[0]
        height, width = squares.shape
        regions = [(0, 0, 0, height, width)]
        regions += [
            (number, place.region.top, place.region.left, place.region.height, place.region.width)
            for number, place in enumerate(places, start=1)
        ]
        for number, top, left, rows, columns in regions:
            mean = squares[top : top + rows, left : left + columns].double().mean().item()
            records.append(
                {"picture": shown.label, "place": number, "top": top, "left": left, "height": rows, "width": columns,
                 "rms_difference": 255 * mean**0.5}
            )  # fmt: skip
    return records


@torch.inference_mode()
def distance_heat(pictures: Sequence[Shown], extractor: FeatureExtractor, runtime: Runtime) -> tuple[Heat, list[str]]:
    """The perceptual distance of every picture to the first, over the tapped layers, and notes for those who look at it.

    Pictures with a short side of more than `HEAT_SIDE` pixels are compared at that size.
    """
    height, width = pictures[0].pixels.shape[-2:]
    notes = []
    if min(height, width) > HEAT_SIDE:
        height, width = fit_short_side(height, width, HEAT_SIDE)
        notes.append(f"distances are those of the pictures scaled to {width}x{height} pixels")
    reference = resize_image(pictures[0].pixels, height, width)
    maps = {}
    for each in pictures[1:]:
        images = resize_image(each.pixels, height, width)
        maps[each.label] = perceptual_map(
            distance_maps(extractor, images, reference, place=runtime.place), height, width
        )
    return Heat(maps, f"distance to the first in {', '.join(extractor.layers)} of {extractor.architecture.name}"), notes
