"""Pictures of one subject side by side, on a sheet or on a page with a slider, enlarged where they differ most."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing import page as html
from percept_cli.core.images.photo import fit_long_side, resize_image
from percept_cli.core.measures.pixels import SSIM_SMALLEST_SIDE, psnr, ssim
from percept_cli.core.visualization.differences import Heat, Place, Shown, differing_places

COLUMNS = 4
GAP, COLUMN_GAP = 6, 18  # pixels of the sheet
TALLEST = 800
SMALLEST_CROP = 118
LONGEST = 1600  # pixels, the long side of the pictures under the slider
HEAT_WIDTH = 480


def find_places(
    pictures: Sequence[Shown], crops: int | None = None, crop_size: int | None = None
) -> tuple[list[Place], list[str]]:
    """The squares to enlarge, and notes about them for the readers.

    crops: their number, by default three or as many as fit side by side. crop_size: their side in pixels, by default a
    sixth of the short side of the pictures.
    """
    side = crop_size or max(4, min(pictures[0].pixels.shape[-2:]) // 6)
    count = min(3, crops_beside_each_other(column_width(len(pictures)))) if crops is None else crops
    places = differing_places([each.pixels for each in pictures], side, count)
    if places:
        return places, [f"enlarged: the {len(places)} squares of {places[0].region.height} pixels that differ most"]
    return places, ["the pictures are equal: there is no place where they differ"] if count else []


def titled_sheet(
    pictures: Sequence[Shown], places: Sequence[Place], heat: Heat | None, title: str, notes: Sequence[str]
) -> Tensor:
    """The `comparison_sheet` below its title and notes, (1, 3, H, W)."""
    parts = [canvas.heading(title, notes), comparison_sheet(pictures, places, heat)]
    return canvas.frame(canvas.column(parts))


def comparison_sheet(pictures: Sequence[Shown], places: Sequence[Place], heat: Heat | None = None) -> Tensor:
    """The pictures side by side as a sheet (1, 3, H, W), each with its PSNR to the first above it, enlarged squares below.

    A square has the color of its outline in the picture. Heat maps are below the squares, their color bar below those of
    the first picture, to which the distances are measured.
    """
    width = column_width(len(pictures))
    cells = []
    for number, shown in enumerate(pictures):
        parts = [_with_outlines(shown.pixels, places, width), *_crops(shown.pixels, places, width)]
        if heat is not None:
            if number == 0:
                parts.append(canvas.color_bar(heat.scale, width))
            else:
                painted = heat.scale.paint(heat.maps[shown.label])
                parts.append(F.interpolate(painted, size=parts[0].shape[-2:], mode="nearest-exact"))
        label = canvas.text([shown.label], width)
        fact = canvas.text([_against(shown, pictures[0])], width, color=canvas.MUTED)
        cells.append(canvas.column([label, fact, canvas.column(parts, gap=GAP)], gap=1))
    columns = _columns(len(cells))
    rows = [canvas.row(cells[start : start + columns], gap=COLUMN_GAP) for start in range(0, len(cells), columns)]
    return canvas.column(rows, gap=2 * canvas.GAP)


def column_width(count: int) -> int:
    """The width in pixels of each of `count` pictures on the sheet."""
    columns = _columns(count)
    return (canvas.WIDTH - 2 * canvas.GAP - COLUMN_GAP * (columns - 1)) // columns


def crops_beside_each_other(width: int) -> int:
    """The number of enlarged squares that fit side by side below a picture `width` pixels wide."""
    return max(1, (width + GAP) // (SMALLEST_CROP + GAP))


def _columns(count: int) -> int:
    rows = -(-count // COLUMNS)
    return -(-count // rows)


def _with_outlines(pixels: Tensor, places: Sequence[Place], width: int) -> Tensor:
    factor = min(width / pixels.shape[-1], TALLEST / pixels.shape[-2])
    height, width = max(1, round(pixels.shape[-2] * factor)), max(1, round(pixels.shape[-1] * factor))
    small = resize_image(pixels, height, width)
    down, across = height / pixels.shape[-2], width / pixels.shape[-1]
    for number, place in enumerate(places):
        top, bottom = (round(edge * down) for edge in (place.region.top, place.region.bottom))
        left, right = (round(edge * across) for edge in (place.region.left, place.region.right))
        small = canvas.outline(small, (top, left, bottom, right), canvas.line_color(number))
    return small


def _crops(pixels: Tensor, places: Sequence[Place], width: int) -> list[Tensor]:
    """Rows of enlarged squares, each at least about `SMALLEST_CROP` pixels wide."""
    per_row = max(1, min(len(places), crops_beside_each_other(width)))
    side = (width - GAP * (per_row - 1)) // per_row
    enlarged = []
    for number, place in enumerate(places):
        crop = pixels[(..., *place.region.slices)]
        if side >= crop.shape[-1]:
            # Nearest neighbor: smoothing would hide the differences.
            crop = F.interpolate(crop, size=(side, side), mode="nearest-exact")
        else:
            crop = resize_image(crop, side, side)
        enlarged.append(canvas.outline(crop, (0, 0, side, side), canvas.line_color(number)))
    return [canvas.row(enlarged[start : start + per_row], gap=GAP) for start in range(0, len(enlarged), per_row)]


def _against(shown: Shown, first: Shown) -> str:
    if shown is first:
        return f"{shown.pixels.shape[-1]}x{shown.pixels.shape[-2]} pixels"
    decibels = psnr(shown.pixels, first.pixels).item()
    return "equal to the first" if math.isinf(decibels) else f"PSNR {decibels:.2f} dB to the first"


def comparison_page(
    pictures: Sequence[Shown],
    places: Sequence[Place],
    heat: Heat | None,
    title: str,
    notes: Sequence[str],
    quality: int = 95,
) -> str:
    """An HTML page: a slider, figures against the first picture, squares pixel by pixel, and heat maps where given.

    quality: of WebP, for the pictures under the slider.
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
    large_enough = min(first.pixels.shape[-2:]) >= SSIM_SMALLEST_SIDE
    for each in pictures[1:]:
        decibels = psnr(each.pixels, first.pixels).item()
        similarity = f"{ssim(each.pixels, first.pixels).item():.4f}" if large_enough else "–"
        rows.append((each.label, "equal" if math.isinf(decibels) else f"{decibels:.2f}", similarity))
    table = html.table(("picture", "PSNR, dB", "SSIM"), rows, f"Figures against {first.label}")
    return html.section(f"Against {first.label}", [table], ["Over all of RGB, peak 255; percept compare gives more."])


def _place(pictures: Sequence[Shown], place: Place, number: int) -> str:
    region = place.region
    where = f"{region.height} pixels a side, from row {region.top} and column {region.left}"
    crops = []
    for each in pictures:
        crop, alt = each.pixels[(..., *region.slices)], f"{each.label}, place {number}: {where}"
        crops.append(html.captioned(html.picture(crop, alt, quality=html.LOSSLESS, kind="crop"), each.label))
    return html.subheading(f"{number}: {where}") + html.beside(crops, least=150)


def _heat(heat: Heat) -> str:
    scale, parts = heat.scale, []
    for label, values in heat.maps.items():
        height = max(1, round(HEAT_WIDTH * values.shape[-2] / values.shape[-1]))
        painted = F.interpolate(scale.paint(values), size=(height, HEAT_WIDTH), mode="nearest-exact")
        alt = f"{label}, {heat.label}: {values.mean().item():.3g} on average, {values.max().item():.3g} at most"
        parts.append(html.captioned(html.picture(painted, alt), label))
    bar = html.picture(canvas.color_bar(scale, HEAT_WIDTH), f"Colors from 0 to {scale.high:.3g}", quality=html.LOSSLESS)
    return html.section("Perceptual distance", [html.beside(parts), bar], [f"{heat.label}."])
