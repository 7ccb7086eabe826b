"""Pictures of one thing on a page: any two under a slider, and enlarged where they differ most."""

import math
from collections.abc import Sequence

import torch.nn.functional as F

from percept_cli.core import html_page as html
from percept_cli.core import look
from percept_cli.core.comparison_sheet import Heat, Shown
from percept_cli.core.difference_places import Place
from percept_cli.core.images import fit_long_side, resize_image
from percept_cli.core.metrics import SSIM_SMALLEST_SIDE, psnr, ssim

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
    scale = look.Scale(0.0, most, heat.label)
    parts = []
    for label, values in heat.maps.items():
        height = max(1, round(HEAT_WIDTH * values.shape[-2] / values.shape[-1]))
        painted = F.interpolate(scale.paint(values), size=(height, HEAT_WIDTH), mode="nearest-exact")
        alt = f"{label}, {heat.label}: {values.mean().item():.3g} on average, {values.max().item():.3g} at most"
        parts.append(html.captioned(html.picture(painted, alt), label))
    bar = html.picture(look.color_bar(scale, HEAT_WIDTH), f"Colours from 0 to {most:.3g}", quality=html.LOSSLESS)
    return html.section("Perceptual distance", [html.beside(parts), bar], [f"{heat.label}."])
