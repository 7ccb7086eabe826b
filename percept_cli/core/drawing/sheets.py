"""Contact sheets: panels in rows, each a picture with its caption."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP = 6  # pixels between panels and around them
TEXT_SIZE = 14
LINE = 18
INK, PAPER = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class Panel:
    """One picture (1, 3, H, W) in [0, 1], or None for an empty place, and the lines of text below it."""

    image: Tensor | None
    caption: tuple[str, ...] = ()


def wrap(panels: Sequence[Panel], columns: int) -> list[list[Panel]]:
    """Panels in rows of at most `columns`, as even as they go."""
    rows = -(-len(panels) // columns)
    width = -(-len(panels) // rows) if rows else columns
    return [list(panels[start : start + width]) for start in range(0, len(panels), width)]


def square_sheet(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels in about as many rows as columns."""
    return wrap(panels, math.ceil(math.sqrt(len(panels))))


def contact_sheet(rows: Sequence[Sequence[Panel]]) -> Tensor:
    """One picture (1, 3, H, W) in [0, 1] of all panels, white between them.

    Columns are as wide as their widest picture or caption, rows as high as their highest; pictures keep their pixels.
    """
    font = ImageFont.load_default(TEXT_SIZE)
    columns = max(len(row) for row in rows)
    widths, heights = [0] * columns, []
    for row in rows:
        for column, panel in enumerate(row):
            texts = [round(font.getlength(line)) + 1 for line in panel.caption]
            widths[column] = max(widths[column], panel.image.shape[-1] if panel.image is not None else 0, *texts, 0)
        pictures = max(panel.image.shape[-2] if panel.image is not None else 0 for panel in row)
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
    return torch.from_numpy(np.asarray(sheet).copy()).permute(2, 0, 1)[None].float() / 255
