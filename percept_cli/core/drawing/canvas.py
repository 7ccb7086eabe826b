"""Parts of sheets: colors, scales, text, and functions that place pictures below and beside each other.

A sheet is a picture (1, 3, H, W) in [0, 1], at least `WIDTH` pixels wide, so that its text is legible. Nothing here needs
matplotlib; `plots.py` draws curves in the same colors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

WIDTH = 1200
GAP = 12
INK, MUTED, PAPER = (0, 0, 0), (95, 95, 95), (255, 255, 255)
HEADING, TEXT, SMALL = 21, 15, 14  # pixels
BAR_HEIGHT = 16

# Colors that differ for color-blind readers and in gray: matplotlib's viridis (CC0), ColorBrewer's RdBu (Apache-2.0) and
# the lines of Okabe & Ito 2008.
SEQUENTIAL = (
    (68, 1, 84), (72, 24, 106), (71, 45, 123), (66, 64, 134), (59, 82, 139), (51, 99, 141), (44, 114, 142),
    (38, 130, 142), (33, 145, 140), (31, 160, 136), (40, 174, 128), (63, 188, 115), (94, 201, 98), (132, 212, 75),
    (173, 220, 48), (216, 226, 25), (253, 231, 37),
)  # fmt: skip
DIVERGING = (
    (5, 48, 97), (32, 101, 171), (67, 147, 195), (144, 196, 221), (209, 229, 240), (247, 246, 246), (253, 219, 199),
    (243, 164, 129), (214, 96, 77), (177, 24, 43), (103, 0, 31),
)  # fmt: skip
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclass(frozen=True)
class Scale:
    """A color scale: `colors` from the value `low` to `high`, clamped outside. label: the quantity that is measured."""

    low: float
    high: float
    label: str
    colors: tuple[tuple[int, int, int], ...] = SEQUENTIAL

    @classmethod
    def about_zero(cls, limit: float, label: str) -> "Scale":
        """A scale from -`limit` to `limit`: white at 0, blue below and red above."""
        return cls(-limit, limit, label, DIVERGING)

    def paint(self, values: Tensor) -> Tensor:
        """The colors (N, 3, H, W) in [0, 1] of values (N, 1, H, W)."""
        span = self.high - self.low
        position = (values.float() - self.low) / (span if span > 0 else 1.0)
        position = position.clamp(0, 1) * (len(self.colors) - 1)
        below = position.floor().clamp(max=len(self.colors) - 2)
        table = torch.tensor(self.colors, dtype=torch.float32, device=values.device) / 255
        index = below.long()[:, 0]
        mixed = torch.lerp(table[index], table[index + 1], (position - below)[:, 0, ..., None])
        return mixed.permute(0, 3, 1, 2)


def color_bar(scale: Scale, width: int) -> Tensor:
    """A legend (1, 3, H, `width`): the colors of a scale, below them its lowest, middle and highest value, then its label."""
    ramp = torch.linspace(scale.low, scale.high, width).view(1, 1, 1, width).expand(1, 1, BAR_HEIGHT, width)
    numbers = Image.new("RGB", (width, SMALL + 6), PAPER)
    draw, font = ImageDraw.Draw(numbers), ImageFont.load_default(SMALL)
    middle = (scale.low + scale.high) / 2
    for value, left, anchor in ((scale.low, 0, "lt"), (middle, width // 2, "mt"), (scale.high, width - 1, "rt")):
        draw.text((left, 3), format_number(value), INK, font, anchor=anchor)
    label = text([scale.label], width, size=SMALL, color=MUTED)
    return column([scale.paint(ramp), image_tensor(numbers), label], gap=0)


def line_color(number: int) -> str:
    """The color of the line with this number from 0, as `#rrggbb`; `LINES` repeat."""
    return LINES[number % len(LINES)]


def format_number(value: float) -> str:
    """A number rounded to three significant digits, without an exponent from 100 to below a million."""
    return f"{float(f'{value:.3g}'):.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def text(lines: Sequence[str], width: int, *, size: int = TEXT, color: tuple[int, int, int] = INK) -> Tensor:
    """Lines of text on white, (1, 3, H, `width`); a line that is too long is wrapped at a space."""
    font = ImageFont.load_default(size)
    wrapped: list[str] = []
    for line in lines:
        fitting = ""
        for word in line.split(" "):
            longer = f"{fitting} {word}" if fitting else word
            if fitting and font.getlength(longer) > width:
                wrapped.append(fitting)
                longer = word
            fitting = longer
        wrapped.append(fitting)
    height = round(1.3 * size)
    picture = Image.new("RGB", (width, height * len(wrapped)), PAPER)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(wrapped):
        draw.text((0, number * height), line, color, font)
    return image_tensor(picture)


def heading(title: str, notes: Sequence[str], width: int = WIDTH - 2 * GAP) -> Tensor:
    """The title of a sheet and below it, smaller and gray, notes that explain it, (1, 3, H, `width`)."""
    parts = [text([title], width, size=HEADING)]
    return column(parts + ([text(notes, width, color=MUTED)] if notes else []), gap=4)


def column(pictures: Sequence[Tensor], gap: int = GAP) -> Tensor:
    """Pictures (1, 3, H, W) below each other, aligned at the left, with `gap` pixels of white between them."""
    width = max(picture.shape[-1] for picture in pictures)
    parts = [F.pad(picture, (0, width - picture.shape[-1], 0, gap), value=1.0) for picture in pictures]
    joined = torch.cat(parts, dim=2)
    return joined[..., : joined.shape[2] - gap, :]


def row(pictures: Sequence[Tensor], gap: int = GAP) -> Tensor:
    """Pictures (1, 3, H, W) beside each other, aligned at the top, with `gap` pixels of white between them."""
    height = max(picture.shape[-2] for picture in pictures)
    parts = [F.pad(picture, (0, gap, 0, height - picture.shape[-2]), value=1.0) for picture in pictures]
    joined = torch.cat(parts, dim=3)
    return joined[..., : joined.shape[3] - gap]


def frame(sheet: Tensor) -> Tensor:
    """A sheet with a white margin, at least `WIDTH` pixels wide, (1, 3, H, W)."""
    missing = max(0, WIDTH - 2 * GAP - sheet.shape[-1])
    return F.pad(sheet, (GAP, GAP + missing, GAP, GAP), value=1.0)


def outline(picture: Tensor, box: tuple[int, int, int, int], color: str, width: int = 3) -> Tensor:
    """A copy of a picture (1, 3, H, W) in [0, 1] with the box (top, left, bottom, right) drawn in a color `#rrggbb`."""
    top, left, bottom, right = box
    rgb = torch.tensor([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]).view(1, 3, 1, 1)
    marked = picture.clone()
    marked[..., top:bottom, left:right] = rgb
    inside = (..., slice(top + width, bottom - width), slice(left + width, right - width))
    marked[inside] = picture[inside]
    return marked


def image_tensor(picture: Image.Image) -> Tensor:
    """An RGB image of Pillow as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].float() / 255
