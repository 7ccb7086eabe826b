"""Tiles of a large picture: the input and the output region of each.

Convolutions pad with zeros at the edge of their input. A tile whose edge lies inside the picture gets further pixels
there, the halo, so that the padding does not change what is kept of the result. At an edge of the picture the tile is
padded as the whole picture is. So tiles with a halo of the receptive radius give the result of the whole picture.
"""

import itertools
from dataclasses import dataclass

from percept_cli.errors import UsageError

AUTO, OFF = "auto", "off"


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels; `bottom` and `right` are the first row and column outside it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns, to index the last two dimensions of an image or the first two of an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, scale: int) -> "Region":
        """The same region of the picture enlarged `scale` times."""
        return Region(self.top * scale, self.left * scale, self.bottom * scale, self.right * scale)

    def within(self, outer: "Region") -> "Region":
        """The same region relative to the top left corner of `outer`, which contains it."""
        return Region(
            self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left
        )  # fmt: skip


@dataclass(frozen=True)
class Tile:
    """One piece of the work: the network gets `source`, and of its result `target` is kept."""

    source: Region
    target: Region


def parse_tile(text: str) -> int | str:
    """`auto`, `off` or the side of a tile in pixels. Raises UsageError for anything else."""
    if text in (AUTO, OFF):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--tile is '{text}'; give auto, off or the side of a tile in pixels of the input.")
    return int(text)


def plan_tiles(height: int, width: int, tile: int, halo: int, *, multiple: int = 1, top: int = 0) -> list[Tile]:
    """Tiles of nearly equal size, at most `tile` pixels a side, that cover the rows of a picture from `top` on once.

    Their sources have `halo` more pixels on each side, clipped at the picture. All edges inside it lie at multiples of
    `multiple`.
    """
    if min(height - top, width, tile, multiple) < 1 or halo < 0:
        raise ValueError(f"No tiles of {tile} with a halo of {halo} cover {height - top} x {width} pixels.")
    rows, columns = _spans(top, height, tile, halo, multiple), _spans(0, width, tile, halo, multiple)
    return [
        Tile(
            *(
                Region(down.start, across.start, down.stop, across.stop)
                for down, across in zip(row, column, strict=True)
            )
        )
        for row in rows
        for column in columns
    ]


def _spans(start: int, stop: int, tile: int, halo: int, multiple: int) -> list[tuple[range, range]]:
    """The source and the target of each tile along one side."""
    units = -(-(stop - start) // multiple)
    # What fits into one tile is one tile, even where its side is not a multiple.
    count = 1 if stop - start <= tile else -(-units // max(1, tile // multiple))
    edges = [min(start + units * index // count * multiple, stop) for index in range(count + 1)]
    return [
        (
            range(max(0, (first - halo) // multiple * multiple), min(stop, -(-(last + halo) // multiple) * multiple)),
            range(first, last),
        )
        for first, last in itertools.pairwise(edges)
    ]
