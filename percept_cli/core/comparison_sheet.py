"""Pictures of one thing beside each other, as papers show them: whole, and enlarged where they differ most."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from percept_cli.core import look
from percept_cli.core.difference_places import Place
from percept_cli.core.images import resize_image
from percept_cli.core.metrics import psnr

COLUMNS = 4
GAP, COLUMN_GAP = 6, 18  # pixels of the sheet
TALLEST = 800
SMALLEST_CROP = 118


@dataclass(frozen=True)
class Shown:
    """One of the pictures that are compared, (1, 3, H, W) in [0, 1], under the name that it has on the sheet."""

    label: str
    pixels: Tensor


@dataclass(frozen=True)
class Heat:
    """Maps (1, 1, h, w) of every picture but the first, by label, and what they measure."""

    maps: Mapping[str, Tensor]
    label: str


def comparison_sheet(pictures: Sequence[Shown], places: Sequence[Place], heat: Heat | None = None) -> Tensor:
    """The pictures in columns, each with its squares enlarged below it and its PSNR to the first, (1, 3, H, W).

    The squares have the colour of their outline in the pictures. Heat maps stand below those; the first picture, from
    which they are taken, has their colour bar.
    """
    width = column_width(len(pictures))
    scale = None
    if heat is not None:
        most = max((values.max().item() for values in heat.maps.values()), default=0.0)
        scale = look.Scale(0.0, most, heat.label)
    cells = []
    for number, shown in enumerate(pictures):
        parts = [_with_outlines(shown.pixels, places, width), *_crops(shown.pixels, places, width)]
        if heat is not None and scale is not None:
            if number == 0:
                parts.append(look.color_bar(scale, width))
            else:
                painted = scale.paint(heat.maps[shown.label])
                parts.append(F.interpolate(painted, size=parts[0].shape[-2:], mode="nearest-exact"))
        names = look.text([shown.label], width), look.text([_against(shown, pictures[0])], width, color=look.MUTED)
        cells.append(look.down([*names, look.down(parts, gap=GAP)], gap=1))
    columns = _columns(len(cells))
    rows = [look.across(cells[start : start + columns], gap=COLUMN_GAP) for start in range(0, len(cells), columns)]
    return look.down(rows, gap=2 * look.GAP)


def column_width(count: int) -> int:
    """How wide each of so many pictures is on the sheet, in pixels."""
    columns = _columns(count)
    return (look.WIDTH - 2 * look.GAP - COLUMN_GAP * (columns - 1)) // columns


def crops_beside_each_other(width: int) -> int:
    """How many enlarged squares fit below a picture that is so wide on the sheet."""
    return max(1, (width + GAP) // (SMALLEST_CROP + GAP))


def _columns(count: int) -> int:
    rows = -(-count // COLUMNS)
    return -(-count // rows)


def difference_records(pictures: Sequence[Shown], places: Sequence[Place]) -> list[dict[str, object]]:
    """How far every picture but the first is from it: as a whole (`place` 0) and in every square, in grey levels of 255."""
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


def _with_outlines(pixels: Tensor, places: Sequence[Place], width: int) -> Tensor:
    factor = min(width / pixels.shape[-1], TALLEST / pixels.shape[-2])
    height, width = max(1, round(pixels.shape[-2] * factor)), max(1, round(pixels.shape[-1] * factor))
    small = resize_image(pixels, height, width)
    down, across = height / pixels.shape[-2], width / pixels.shape[-1]
    for number, place in enumerate(places):
        region = place.region
        box = (
            round(region.top * down), round(region.left * across), round(region.bottom * down),
            round(region.right * across),
        )  # fmt: skip
        small = look.boxed(small, box, look.LINES[number % len(look.LINES)])
    return small


def _crops(pixels: Tensor, places: Sequence[Place], width: int) -> list[Tensor]:
    """Rows of enlarged squares, as many beside each other as can be seen well."""
    per_row = max(1, min(len(places), crops_beside_each_other(width)))
    side = (width - GAP * (per_row - 1)) // per_row
    enlarged = []
    for number, place in enumerate(places):
        crop = pixels[(..., *place.region.slices)]
        if side >= crop.shape[-1]:
            # Pixels stay squares: what is enlarged here is not to be smoothed by it.
            crop = F.interpolate(crop, size=(side, side), mode="nearest-exact")
        else:
            crop = resize_image(crop, side, side)
        enlarged.append(look.boxed(crop, (0, 0, side, side), look.LINES[number % len(look.LINES)]))
    return [look.across(enlarged[start : start + per_row], gap=GAP) for start in range(0, len(enlarged), per_row)]


def _against(shown: Shown, first: Shown) -> str:
    if shown is first:
        return f"{shown.pixels.shape[-1]}x{shown.pixels.shape[-2]} pixels"
    decibels = psnr(shown.pixels, first.pixels).item()
    return "equal to the first" if math.isinf(decibels) else f"PSNR {decibels:.2f} dB to the first"
