"""Contact sheets: rows of panels, each a picture with a caption below it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from percept_cli.core.drawing.canvas import INK, PAPER, image_tensor

GAP = 6  # pixels between panels and around them
TEXT_SIZE = 14
LINE = 18


@dataclass(frozen=True)
class Panel:
    """One picture (1, 3, H, W) in [0, 1], None for an empty place, and the lines of text below it."""

    image: Tensor | None
    caption: tuple[str, ...] = ()


def wrap(panels: Sequence[Panel], columns: int) -> list[list[Panel]]:
    """Panels in rows of at most `columns`, as equal in length as possible."""
    rows = -(-len(panels) // columns)
    width = -(-len(panels) // rows) if rows else columns
    return [list(panels[start : start + width]) for start in range(0, len(panels), width)]


def square_sheet(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels in about as many rows as columns."""
    return wrap(panels, math.ceil(math.sqrt(len(panels))))


def contact_sheet(rows: Sequence[Sequence[Panel]]) -> Tensor:
    """Rows of panels as one picture (1, 3, H, W) in [0, 1], with white between them.

    A column is as wide as its widest picture or caption, a row as high as its highest; no picture is resized.
    """
    font = ImageFont.load_default(TEXT_SIZE)
    widths, heights = [0] * max(len(row) for row in rows), []
    for row in rows:
        for column, panel in enumerate(row):
            texts = [round(font.getlength(line)) + 1 for line in panel.caption]
            widths[column] = max(widths[column], *texts, 0 if panel.image is None else panel.image.shape[-1])
        pictures = max(0 if panel.image is None else panel.image.shape[-2] for panel in row)
        heights.append((pictures, LINE * max(len(panel.caption) for panel in row)))

    width = GAP + sum(column + GAP for column in widths)
    height = GAP + sum(sum(row) + GAP for row in heights)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = GAP
    for row, (pictures, captions) in zip(rows, heights, strict=True):
        left = GAP
        for column, panel in enumerate(row):
            if panel.image is not None:
                levels = (panel.image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
                sheet.paste(Image.fromarray(levels), (left, top))
            for number, line in enumerate(panel.caption):
                draw.text((left, top + pictures + number * LINE), line, INK, font)
            left += widths[column] + GAP
        top += pictures + captions + GAP
    return image_tensor(sheet)
