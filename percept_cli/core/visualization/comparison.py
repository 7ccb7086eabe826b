"""Pictures of one thing on a page: any two under a slider, and enlarged where they differ most."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing import page as html
from percept_cli.core.images.photo import fit_long_side, resize_image
from percept_cli.core.images.tiles import Region
from percept_cli.core.measures.pixels import SSIM_SMALLEST_SIDE, psnr, ssim

ROWS = 64


@dataclass(frozen=True)
class Place:
    """A square of pixels, and how far the pictures are apart in it: root mean square, in gray levels of 255."""

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

    The squares have the color of their outline in the pictures. Heat maps stand below those; the first picture, from
    which they are taken, has their color bar.
    """
    width = column_width(len(pictures))
    scale = None
    if heat is not None:
        most = max((values.max().item() for values in heat.maps.values()), default=0.0)
        scale = canvas.Scale(0.0, most, heat.label)
    cells = []
    for number, shown in enumerate(pictures):
        parts = [_with_outlines(shown.pixels, places, width), *_crops(shown.pixels, places, width)]
        if heat is not None and scale is not None:
            if number == 0:
                parts.append(canvas.color_bar(scale, width))
            else:
                painted = scale.paint(heat.maps[shown.label])
                parts.append(F.interpolate(painted, size=parts[0].shape[-2:], mode="nearest-exact"))
        names = (
            canvas.text([shown.label], width),
            canvas.text([_against(shown, pictures[0])], width, color=canvas.MUTED),
        )
        cells.append(canvas.column([*names, canvas.column(parts, gap=GAP)], gap=1))
    columns = _columns(len(cells))
    rows = [canvas.row(cells[start : start + columns], gap=COLUMN_GAP) for start in range(0, len(cells), columns)]
    return canvas.column(rows, gap=2 * canvas.GAP)


def column_width(count: int) -> int:
    """How wide each of so many pictures is on the sheet, in pixels."""
    columns = _columns(count)
    return (canvas.WIDTH - 2 * canvas.GAP - COLUMN_GAP * (columns - 1)) // columns


def crops_beside_each_other(width: int) -> int:
    """How many enlarged squares fit below a picture that is so wide on the sheet."""
    return max(1, (width + GAP) // (SMALLEST_CROP + GAP))


def _columns(count: int) -> int:
    rows = -(-count // COLUMNS)
    return -(-count // rows)


def difference_records(pictures: Sequence[Shown], places: Sequence[Place]) -> list[dict[str, object]]:
    """How far every picture but the first is from it: as a whole (`place` 0) and in every square, in gray levels of 255."""
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
        small = canvas.outline(small, box, canvas.LINES[number % len(canvas.LINES)])
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
        enlarged.append(canvas.outline(crop, (0, 0, side, side), canvas.LINES[number % len(canvas.LINES)]))
    return [canvas.row(enlarged[start : start + per_row], gap=GAP) for start in range(0, len(enlarged), per_row)]


def _against(shown: Shown, first: Shown) -> str:
    if shown is first:
        return f"{shown.pixels.shape[-1]}x{shown.pixels.shape[-2]} pixels"
    decibels = psnr(shown.pixels, first.pixels).item()
    return "equal to the first" if math.isinf(decibels) else f"PSNR {decibels:.2f} dB to the first"


LONGEST = 1600  # pixels a side of the pictures under the slider: a page stays small
HEAT_WIDTH = 480


def comparison_page(
    pictures: Sequence[Shown],
    places: Sequence[Place],
    heat: Heat | None,
    title: str,
    notes: Sequence[str],
    quality: int = 95,
) -> str:
    """The whole page: slider, figures against the first picture, squares pixel by pixel, heat maps where there are any.

    quality: that of WebP, of the pictures under the slider.
    """
    height, width = pictures[0].pixels.shape[-2:]
    notes = list(notes)
    if max(height, width) > LONGEST:
        height, width = fit_long_side(height, width, LONGEST)
        notes.append(f"under the slider the pictures are scaled to {width}x{height} pixels")
    shots = [
        html.Shot(each.label, resize_image(each.pixels, height, width), f"{each.label}, the whole picture")
        for each in pictures
    ]
    size = f"{pictures[0].pixels.shape[-1]}x{pictures[0].pixels.shape[-2]} pixels"
    slider = html.swipe(shots, size, quality=quality)
    sections = [html.section("Side by side", [slider], [f"{note}." for note in notes]), _figures(pictures)]
    if places:
        rows = [_place(pictures, place, number) for number, place in enumerate(places, start=1)]
        sections.append(html.section("Where they differ most", rows, ["The pixels as they are, each a square."]))
    if heat is not None:
        sections.append(_heat(heat))
    return html.page(title, "", sections)


def _figures(pictures: Sequence[Shown]) -> str:
    first, rows = pictures[0], []
    for each in pictures[1:]:
        decibels = psnr(each.pixels, first.pixels).item()
        alike = (
            ssim(each.pixels, first.pixels).item() if min(first.pixels.shape[-2:]) >= SSIM_SMALLEST_SIDE else math.nan
        )
        rows.append(
            (
                each.label,
                "equal" if math.isinf(decibels) else f"{decibels:.2f}",
                "–" if math.isnan(alike) else f"{alike:.4f}",
            )
        )
    table = html.table(("picture", "PSNR, dB", "SSIM"), rows, f"Figures against {first.label}")
    return html.section(f"Against {first.label}", [table], ["Over all of RGB, peak 255; percept compare gives more."])


def _place(pictures: Sequence[Shown], place: Place, number: int) -> str:
    region = place.region
    where = f"{region.height} pixels a side, from row {region.top} and column {region.left}"
    crops = [
        html.captioned(
            html.picture(
                each.pixels[(..., *region.slices)], f"{each.label}, place {number}: {where}", quality=html.LOSSLESS,
                kind="crop",
            ),
            each.label,
        )
        for each in pictures
    ]  # fmt: skip
    return html.subheading(f"{number}: {where}") + html.beside(crops, least=150)


def _heat(heat: Heat) -> str:
    most = max((values.max().item() for values in heat.maps.values()), default=0.0)
    scale = canvas.Scale(0.0, most, heat.label)
    parts = []
    for label, values in heat.maps.items():
        height = max(1, round(HEAT_WIDTH * values.shape[-2] / values.shape[-1]))
        painted = F.interpolate(scale.paint(values), size=(height, HEAT_WIDTH), mode="nearest-exact")
        alt = f"{label}, {heat.label}: {values.mean().item():.3g} on average, {values.max().item():.3g} at most"
        parts.append(html.captioned(html.picture(painted, alt), label))
    bar = html.picture(canvas.color_bar(scale, HEAT_WIDTH), f"Colors from 0 to {most:.3g}", quality=html.LOSSLESS)
    return html.section("Perceptual distance", [html.beside(parts), bar], [f"{heat.label}."])
