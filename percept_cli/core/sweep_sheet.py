"""The sheet of a sweep: pictures in a grid, the options and their values along its edges."""

from collections.abc import Sequence

import torch
from torch import Tensor

from percept_cli.core import look
from percept_cli.core.images import fit_short_side, resize_image
from percept_cli.core.sweep import Axis, label

LABEL = 118  # pixels, of the column of labels
GIVEN = 96  # pixels, the short side of what the sweep was given
NARROWEST = 90  # pixels, of a column


def sweep_sheet(
    title: str,
    notes: Sequence[str],
    given: Sequence[tuple[str, Tensor]],
    rows: Axis,
    columns: Axis,
    pictures: Sequence[Sequence[Tensor]],
) -> Tensor:
    """All of it as one picture (1, 3, H, W): what was given, by name, above the grid; pictures (1, 3, h, w) of one size."""
    width = max(NARROWEST, pictures[0][0].shape[-1])
    parts = [look.heading(title, notes)]
    if given:
        parts.append(look.across([_captioned(name, image) for name, image in given]))
    if columns.name:
        heads = [look.text([f"{columns.name}", label(columns.name, value)], width) for value in columns.values]
        parts.append(look.across([_blank(1, LABEL), *heads]))
    for value, row in zip(rows.values, pictures, strict=True):
        side = look.text([rows.name, label(rows.name, value)], LABEL) if rows.name else _blank(1, LABEL)
        wide = [torch.nn.functional.pad(each, (0, width - each.shape[-1]), value=1.0) for each in row]
        parts.append(look.across([side, *wide]))
    return look.framed(look.down(parts))


def _captioned(name: str, image: Tensor) -> Tensor:
    small = resize_image(image, *fit_short_side(image.shape[-2], image.shape[-1], GIVEN))
    return look.down([small, look.text([name], max(NARROWEST, small.shape[-1]), size=look.SMALL)], gap=2)


def _blank(height: int, width: int) -> Tensor:
    return torch.ones(1, 3, height, width)
