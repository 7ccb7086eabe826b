"""Differences of pictures of one subject: the squares that differ most, and maps of the perceptual distance."""

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
    """A square of pixels. difference: standard deviation over the pictures, root mean square in it, in gray levels of 255."""

    region: Region
    difference: float


@dataclass(frozen=True)
class Shown:
    """One of the compared pictures, (1, 3, H, W) in [0, 1], and its name on the sheet."""

    label: str
    pixels: Tensor


@dataclass(frozen=True)
class Heat:
    """Maps (1, 1, h, w) of the distance to the first picture, by the label of the other one. label: the measure."""

    maps: Mapping[str, Tensor]
    label: str

    @property
    def scale(self) -> Scale:
        """Colors from 0 to the largest distance of all maps."""
        return Scale(0.0, max((values.max().item() for values in self.maps.values()), default=0.0), self.label)


def align_pictures(
    pictures: Sequence[Tensor], labels: Sequence[str], names: Sequence[str]
) -> tuple[list[Shown], list[str]]:
    """Pictures (1, 3, h, w) in [0, 1], resized to the size of the first, and notes about that for the readers.

    names: of the pictures in messages. Raises ImageError for a picture of another aspect ratio.
    """
    height, width = pictures[0].shape[-2:]
    shown, notes = [], []
    for pixels, label, name in zip(pictures, labels, names, strict=True):
        own_height, own_width = pixels.shape[-2:]
        if (own_height, own_width) != (height, width):
            # The sides of a reduced picture are rounded to whole pixels, which changes its aspect ratio a little.
            if abs(own_width / own_height - width / height) > 1.5 * width / height / min(own_height, own_width):
                raise ImageError(
                    f"'{name}' is {own_width}x{own_height} pixels and '{names[0]}' {width}x{height}: pictures of another "
                    "shape cannot be laid over each other."
                )
            notes.append(f"{label} was {own_width}x{own_height} pixels and is resized (bicubic)")
        shown.append(Shown(label, resize_image(pixels, height, width)))
    return shown, notes


def spread_map(pictures: Sequence[Tensor]) -> Tensor:
    """The variance over pictures (1, 3, H, W) of one size at every pixel, averaged over channels: (1, 1, H, W).

    For two pictures it is a quarter of their squared difference.
    """
    height, width = pictures[0].shape[-2:]
    squares = pictures[0].new_empty(1, 1, height, width)
    # `ROWS` at a time fit in the cache of the processor.
    for top in range(0, height, ROWS):
        bands = [picture[..., top : top + ROWS, :] for picture in pictures]
        mean = torch.stack(bands).mean(0)
        total = sum((band - mean).square().mean(dim=1, keepdim=True) for band in bands)
        squares[..., top : top + ROWS, :] = total / len(bands)
    return squares


def differing_places(pictures: Sequence[Tensor], side: int, count: int) -> list[Place]:
    """The squares of `side` pixels in which pictures (1, 3, H, W) of one size differ most, without overlap, most first.

    Squares begin at multiples of an eighth of their side; of equal ones the first from the top left is taken. There are
    fewer than `count` where no more differ or fit.
    """
    squares = spread_map(pictures)
    height, width = squares.shape[-2:]
    side = min(side, height, width)
    step = max(1, side // 8)
    tops, lefts = torch.arange(0, height - side + 1, step), torch.arange(0, width - side + 1, step)
    # Sums over squares are differences of cumulative sums, first down and then across.
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
        if value <= 1e-12:  # a rounding error
            break
        top, left = int(tops[row]), int(lefts[column])
        places.append(Place(Region(top, left, top + side, left + side), 255 * value**0.5))
        overlapping = ((tops - top).abs() < side)[:, None] & ((lefts - left).abs() < side)[None]
        means = means.masked_fill(overlapping, -1.0)
    return places


def difference_records(pictures: Sequence[Shown], places: Sequence[Place]) -> list[dict[str, object]]:
    """The difference of every picture to the first, over the whole (`place` 0) and in every square, in gray levels of 255."""
    records: list[dict[str, object]] = []
    reference = pictures[0].pixels
    regions = [Region(0, 0, *reference.shape[-2:]), *(place.region for place in places)]
    for shown in pictures[1:]:
        squares = (shown.pixels - reference).square().mean(dim=1)[0]
        for number, region in enumerate(regions):
            mean = squares[region.slices].double().mean().item()
            records.append(
                {"picture": shown.label, "place": number, "top": region.top, "left": region.left,
                 "height": region.height, "width": region.width, "rms_difference": 255 * mean**0.5}
            )  # fmt: skip
    return records


@torch.inference_mode()
def distance_heat(pictures: Sequence[Shown], extractor: FeatureExtractor, runtime: Runtime) -> tuple[Heat, list[str]]:
    """The perceptual distance of every picture to the first over the tapped layers, and notes for the readers.

    Pictures with a short side of more than `HEAT_SIDE` pixels are reduced to it first.
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
        distances = distance_maps(extractor, images, reference, place=runtime.place)
        maps[each.label] = perceptual_map(distances, height, width)
    return Heat(maps, f"distance to the first in {', '.join(extractor.layers)} of {extractor.architecture.name}"), notes
