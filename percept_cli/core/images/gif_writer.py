"""GIFs written frame by frame."""

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from percept_cli.core.images.animation_writers import Clock, Levels, changed_part
from percept_cli.core.images.palettes import TRANSPARENT, Palettes, image_of, pack_colors, table_of

_KEPT, _CLEARED = 1, 2  # what becomes of a frame (GIF89a, 23): it stays, or its place becomes transparent
_TABLE = 0x87  # the flags of a color table of 256 colors


class GifWriter:
    """A GIF (GIF89a), whose frames have at most 255 colors each, and pixels that are transparent or not."""

    def __init__(self, options: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._palettes, self._clock = Palettes(), Clock("GIF", 10, 65_535)
        self._parts: list[bytes] = []
        # The frame that is not written yet, as the next one decides what becomes of it
        self._waiting: tuple[Levels, Levels, int] | None = None
        self._shown: NDArray[np.int32] | None = None  # the colors of the frame before it; None where all is transparent
        self._table = b""

    def add(self, levels: Levels, duration: float) -> None:
        indices = self._palettes.indices_of(levels)
        if self._waiting is not None:
            held = self._waiting[0]
            # No pixel of a GIF makes one transparent that is not: everything is cleared before.
            self._write(clear=bool(((indices == TRANSPARENT) & (held != TRANSPARENT)).any()))
        self._waiting = indices, self._palettes.palette, self._clock.units(duration)

    def finish(self, plays: int) -> bytes:
        self._write(clear=False)
        # The number is that of repetitions; a file without one is played once.
        repeats = struct.pack("<3B11s2BHB", 0x21, 0xFF, 11, b"NETSCAPE2.0", 3, 1, max(0, plays - 1), 0)
        return b"".join((self._parts[0], b"" if plays == 1 else repeats, *self._parts[1:], b";"))

    def _write(self, clear: bool) -> None:
        assert self._waiting is not None
        indices, palette, units = self._waiting
        table, colors = table_of(palette), _colors(indices, palette)
        if not self._parts:
            size = struct.pack("<2H3B", indices.shape[1], indices.shape[0], _TABLE, 0, 0)
            self._parts.append(b"GIF89a" + size + table)
            self._table = table
        before = None if clear else self._shown
        left, top, width, height = changed_part(colors, before)
        part = (slice(top, top + height), slice(left, left + width))
        changed = indices[part]
        if before is not None:
            changed = np.where(colors[part] == before[part], TRANSPARENT, changed).astype(np.uint8)
        still = io.BytesIO()
        image_of(changed, palette).save(still, "GIF", optimize=False, interlace=0)
        own = table if table != self._table else b""
        self._parts.append(
            struct.pack("<4BH2B", 0x21, 0xF9, 4, (_CLEARED if clear else _KEPT) << 2 | 1, units, TRANSPARENT, 0)
            + struct.pack("<B4HB", 0x2C, left, top, width, height, _TABLE if own else 0)
            + own
            # After the header, of 13 bytes, its table, and the descriptor of the picture, of 10; before the trailer
            + still.getvalue()[13 + len(table) + 10 : -1]
        )
        self._shown = None if clear else colors


def _colors(indices: Levels, palette: Levels) -> NDArray[np.int32]:
    """What a viewer sees of the indices: one number for each color, -1 where a pixel is transparent."""
    packed = np.full(256, -1, np.int32)
    packed[: len(palette)] = pack_colors(palette)
    return packed[indices]
