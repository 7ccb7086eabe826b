"""Tiles of a large picture: which part of it a network sees for which part of the result. Geometry only.

Convolutions pad with zeros at the edge of their input. A tile that ends inside the picture is given further pixels (the
halo), so that this edge does not reach what is kept; a tile that ends where the picture ends has the same edge as the
whole picture. So tiles with a halo of the receptive radius give the result of the whole.
"""

import itertools
from dataclasses import dataclass

from percept_cli.errors import UsageError

AUTO, OFF = "auto", "off"


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels; `bottom` and `right` are the first row and column outside."""

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
        """Its rows and columns, to index the last two dimensions of an image or the first two of an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, scale: int) -> "Region":
        """The same part of the picture enlarged `scale` times."""
        return Region(self.top * scale, self.left * scale, self.bottom * scale, self.right * scale)

    def within(self, outer: "Region") -> "Region":
        """The same pixels, counted from the corner of a region that holds them."""
        return Region(
            self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left
        )  # fmt: skip


@dataclass(frozen=True)
class Tile:
    """One piece of the work: the network sees `source`, of which the result for `target` is kept."""

    source: Region
    target: Region


def parse_tile(text: str) -> int | str:
    """`auto`, `off` or a number of pixels. Raises UsageError for anything else."""
    if text in (AUTO, OFF):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--tile is '{text}'; give auto, off or the side of a tile in pixels of the input.")
    return int(text)


def plan_tiles(height: int, width: int, tile: int, halo: int, *, multiple: int = 1, top: int = 0) -> list[Tile]:
    """Tiles of nearly equal size, at most `tile` pixels a side, that cover a picture's rows from `top` on exactly once.

    Their sources have `halo` pixels more on each side, clipped at the picture; every edge within it lies at a `multiple`.
    """
    if min(height - top, width, tile, multiple) < 1 or halo < 0:
        raise ValueError(f"No tiles of {tile} with a halo of {halo} cover {height - top} x {width} pixels.")
    rows, columns = _spans(top, height, tile, halo, multiple), _spans(0, width, tile, halo, multiple)
    return [
        Tile(
            Region(row.source_start, column.source_start, row.source_stop, column.source_stop),
            Region(row.start, column.start, row.stop, column.stop),
        )
        for row in rows
        for column in columns
    ]


@dataclass(frozen=True)
class _Span:
    start: int
    stop: int
    source_start: int
    source_stop: int


def _spans(start: int, stop: int, tile: int, halo: int, multiple: int) -> list[_Span]:
    units = -(-(stop - start) // multiple)
    # What fits into one tile is one, also where its last unit is not whole.
    count = 1 if stop - start <= tile else -(-units // max(1, tile // multiple))
    edges = [min(start + units * index // count * multiple, stop) for index in range(count + 1)]
    return [
        _Span(
            first,
            last,
            max(0, (first - halo) // multiple * multiple),
            min(stop, -(-(last + halo) // multiple) * multiple),
        )
        for first, last in itertools.pairwise(edges)
    ]
