"""Animations written frame by frame: PNG, WebP and AVIF; GIF is in `gif_writer`.

Pillow makes a still picture of each frame, of the part that changed, and its pixels are put into a file of frames here. Pillow's
own writers of animations hold all frames in memory, and make one frame of frames that are equal.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from percept_cli.core.images.containers import set_avif_plays
from percept_cli.errors import ImageError

Levels = NDArray[np.uint8]
Rectangle = tuple[int, int, int, int]
"""Left, top, width and height of a part of a frame, in pixels."""

_WEBP_PIXELS = (b"ALPH", b"VP8 ", b"VP8L")


class AnimationWriter(Protocol):
    """One file of an animation. `add` takes its frames (H, W, 3 or 4), and `finish` returns the file's bytes.

    duration: in milliseconds. options: those of Pillow's writer of stills, with metadata. plays: 0 is forever.
    """

    def __init__(self, options: dict[str, Any], metadata: dict[str, Any]) -> None: ...

    def add(self, levels: Levels, duration: float) -> None: ...

    def finish(self, plays: int) -> bytes: ...


def changed_part(levels: NDArray[Any], before: NDArray[Any] | None, multiple: int = 1) -> Rectangle:
    """The smallest rectangle of a frame (H, W, ...) that holds all changes; one pixel where there are none.

    before: the frame before, None for the first. multiple: of the rectangle's left and top.
    """
    height, width = levels.shape[:2]
    if before is None:
        return 0, 0, width, height
    differs = levels != before
    differs = differs.any(axis=tuple(range(2, differs.ndim)))
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    left, top = int(columns[0]) // multiple * multiple, int(rows[0]) // multiple * multiple
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


class Clock:
    """Durations in whole units, so that the time at which each frame begins is right to half a unit.

    unit: in milliseconds. longest: the largest number of units that the format holds.
    """

    def __init__(self, format_name: str, unit: float, longest: int) -> None:
        self.format_name, self.unit, self.longest = format_name, unit, longest
        self._exact = 0.0
        self._told = 0

    def units(self, duration: float) -> int:
        """The units of the next frame: at least one where it is shown at all. Raises ImageError for more than `longest`."""
        self._exact += duration / self.unit
        units = max(int(duration > 0), round(self._exact) - self._told)
        if units > self.longest:
            raise ImageError(
                f"A {self.format_name} shows a frame for {self.longest * self.unit / 1000:g} seconds at most, not "
                f"{duration / 1000:g}."
            )
        self._told += units
        return units


class PngWriter:
    """An animated PNG (APNG, of the PNG specification of 2025), in RGBA."""

    def __init__(self, options: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._options, self._metadata = options, metadata
        self._before: Levels | None = None
        self._parts: list[bytes] = []
        self._frames = self._numbers = 0

    def add(self, levels: Levels, duration: float) -> None:
        pixels = with_alpha(levels)
        left, top, width, height = changed_part(pixels, self._before)
        still = io.BytesIO()
        part = Image.fromarray(np.ascontiguousarray(pixels[top : top + height, left : left + width]))
        part.save(still, "PNG", **self._options, **(self._metadata if self._before is None else {}))
        delay = _fraction(duration)
        # Its pixels replace what was there, and stay.
        control = struct.pack(">4I2H2B", width, height, left, top, delay.numerator, delay.denominator, 0, 0)
        for kind, data in _png_chunks(still.getvalue()):
            if kind == b"IDAT" and self._before is None:
                if control:
                    self._control(control)
                self._parts.append(_png_chunk(kind, data))
                control = b""
            elif kind == b"IDAT":
                if control:
                    self._control(control)
                self._parts.append(_png_chunk(b"fdAT", self._number() + data))
                control = b""
            elif self._before is None and kind != b"IEND":
                self._parts.append(_png_chunk(kind, data))
        self._before = pixels
        self._frames += 1

    def finish(self, plays: int) -> bytes:
        count = _png_chunk(b"acTL", struct.pack(">2I", self._frames, plays))
        header, *others = self._parts
        return b"".join((b"\x89PNG\r\n\x1a\n", header, count, *others, _png_chunk(b"IEND", b"")))

    def _control(self, control: bytes) -> None:
        self._parts.append(_png_chunk(b"fcTL", self._number() + control))

    def _number(self) -> bytes:
        self._numbers += 1
        return struct.pack(">I", self._numbers - 1)


def _fraction(duration: float) -> Fraction:
    """A duration in milliseconds as seconds, numerator and denominator of 16 bits. Raises ImageError for too long ones."""
    seconds = Fraction(duration / 1000)
    if seconds > 65_535:
        raise ImageError(f"A PNG shows a frame for 65535 seconds at most, not {duration / 1000:g}.")
    return seconds.limit_denominator(65_535 if seconds <= 1 else int(65_535 / seconds))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the content of each chunk of a PNG."""
    place = 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        yield kind, data[place + 8 : place + 8 + length]
        place += length + 12


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class WebpWriter:
    """An animated WebP."""

    def __init__(self, options: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._options, self._metadata = options, metadata
        self._clock = Clock("WebP", 1, (1 << 24) - 1)
        self._before: Levels | None = None
        self._parts: list[bytes] = []
        self._size = (0, 0)
        self._alpha = False

    def add(self, levels: Levels, duration: float) -> None:
        pixels = with_alpha(levels)
        left, top, width, height = changed_part(pixels, self._before, multiple=2)
        part = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        opaque = bool((part[..., 3] == 255).all())
        still = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(part[..., :3]) if opaque else part).save(still, "WEBP", **self._options)
        # Its pixels replace what was there, and stay.
        places = (left // 2, top // 2, width - 1, height - 1, self._clock.units(duration))
        head = b"".join(value.to_bytes(3, "little") for value in places) + b"\x02"
        # Of a still with alpha the first chunk is a header of the file.
        pictures = (_webp_chunk(kind, data) for kind, data in _webp_chunks(still.getvalue()) if kind in _WEBP_PIXELS)
        self._parts.append(_webp_chunk(b"ANMF", head + b"".join(pictures)))
        self._before, self._size = pixels, (pixels.shape[1], pixels.shape[0])
        self._alpha = self._alpha or not opaque

    def finish(self, plays: int) -> bytes:
        icc, exif, xmp = (self._metadata.get(name) for name in ("icc_profile", "exif", "xmp"))
        flags = 0x02 | 0x20 * bool(icc) | 0x10 * self._alpha | 0x08 * bool(exif) | 0x04 * bool(xmp)
        size = b"".join((side - 1).to_bytes(3, "little") for side in self._size)
        chunks = [_webp_chunk(b"VP8X", struct.pack("<I", flags) + size)]
        chunks += [_webp_chunk(b"ICCP", icc)] if icc else []
        chunks += [_webp_chunk(b"ANIM", struct.pack("<IH", 0, plays)), *self._parts]
        chunks += [_webp_chunk(b"EXIF", exif.removeprefix(b"Exif\0\0"))] if exif else []
        chunks += [_webp_chunk(b"XMP ", xmp)] if xmp else []
        data = b"WEBP" + b"".join(chunks)
        return b"RIFF" + struct.pack("<I", len(data)) + data


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the content of each chunk of a WebP."""
    place = 12
    while place < len(data):
        kind, length = struct.unpack("<4sI", data[place : place + 8])
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


class AvifWriter:
    """A sequence of AVIF, by Pillow's writer, which holds all frames as levels."""

    def __init__(self, options: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._options = options | metadata
        self._clock = Clock("AVIF", 1, (1 << 32) - 1)
        self._frames: list[Image.Image] = []
        self._durations: list[int] = []

    def add(self, levels: Levels, duration: float) -> None:
        self._frames.append(Image.fromarray(levels))
        self._durations.append(self._clock.units(duration))

    def finish(self, plays: int) -> bytes:
        if any(frame.mode == "RGBA" for frame in self._frames):
            self._frames = [frame.convert("RGBA") for frame in self._frames]
        first, *others = self._frames
        data = io.BytesIO()
        first.save(
            data, "AVIF", save_all=True, append_images=others, duration=self._durations, **self._options
        )  # fmt: skip
        return set_avif_plays(data.getvalue(), plays)


def with_alpha(levels: Levels) -> Levels:
    """The levels (H, W, 3 or 4) as (H, W, 4); black where nothing is seen, so that hidden colors are no changes."""
    if levels.shape[2] == 3:
        return np.concatenate((levels, np.full((*levels.shape[:2], 1), 255, np.uint8)), axis=2)
    return np.where(levels[..., 3:] > 0, levels, 0).astype(np.uint8)
