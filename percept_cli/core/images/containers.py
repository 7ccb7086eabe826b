"""How frames lie in the files of animations: where one is damaged or cut off, and how often one of AVIF is played."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from percept_cli.core.images.integrity import damage_of_png

_GIF_TRAILER, _GIF_EXTENSION, _GIF_IMAGE = b";", b"!", b","
_BOXES_OF_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
FOREVER = 0


@dataclass(frozen=True)
class Damage:
    """Where an animation is damaged: the frame, from 1, of so many; 0 where that is not known, and so for stills."""

    frame: int
    total: int
    reason: str


def name_frame(name: str, number: int, total: int = 0) -> str:
    """A frame of a file, as the beginning of a sentence; total: 0 where it is not known."""
    return f"Frame {number}{f' of {total}' if total else ''} of '{name}'"


def find_damage(stream: BinaryIO) -> Damage | None:
    """The first damage of a GIF, PNG, WebP or AVIF that its structure or a checksum shows; None where there is none.

    That is the end of the file in the middle of a frame, or before the mark of its end, and for PNG the checksums. Other
    files have none. `stream` is left where it was.
    """
    position = stream.tell()
    try:
        stream.seek(0)
        start = stream.read(12)
        stream.seek(0)
        if start.startswith((b"GIF87a", b"GIF89a")):
            return _gif_damage(stream)
        if start.startswith(b"\x89PNG"):
            frame, reason = damage_of_png(stream)
            return Damage(frame, 0, reason) if reason else None
        if start[:4] == b"RIFF" and start[8:] == b"WEBP":
            return _webp_damage(stream)
        if start[4:] == b"ftypavis":
            return _avif_damage(stream.read())
    except (IndexError, struct.error):  # of a header that is cut
        return None
    else:
        return None
    finally:
        stream.seek(position)


def avif_plays(data: bytes) -> int:
    """How often a sequence of AVIF is played (ISO/IEC 14496-12, 8.6.6, with the flag of repetition); 0: forever."""
    boxes = list(_boxes(data))
    edits = next((box for box in boxes if box.kind == b"elst"), None)
    header = next((box for box in boxes if box.kind == b"tkhd"), None)
    if edits is None or header is None or not data[edits.start + 3] & 1:
        return 1
    # One edit, of the length of all frames, which repeats for as long as the track lasts
    length = _number(data, edits.start + 8, 8 if data[edits.start] else 4)
    place, size = _duration_of(data, header)
    whole = _number(data, place, size)
    return FOREVER if whole == 2 ** (8 * size) - 1 or not length else -(-whole // length)


def set_avif_plays(data: bytes, plays: int) -> bytes:
    """The file of a sequence that Pillow wrote, to be played forever, with another number of times to play it."""
    if plays == FOREVER:
        return data
    changed = bytearray(data)
    boxes = list(_boxes(data))
    edits = [box for box in boxes if box.kind == b"elst"]
    if not edits:  # a single frame is no sequence
        return data
    length = _number(data, edits[0].start + 8, 8 if data[edits[0].start] else 4)
    for box in edits:
        changed[box.start + 3] = int(plays > 1)
    for box in boxes:
        if box.kind in (b"mvhd", b"tkhd"):
            place, size = _duration_of(data, box)
            changed[place : place + size] = (length * plays).to_bytes(size, "big")
    return bytes(changed)


def _gif_damage(stream: BinaryIO) -> Damage | None:
    header = stream.read(13)
    _skip_colors(stream, header[10:11])
    complete = 0
    while True:
        kind = stream.read(1)
        if kind == _GIF_TRAILER:
            return None
        if kind == b"\0":  # between blocks, as some writers leave it and all readers skip it
            continue
        if kind == _GIF_EXTENSION:
            stream.read(1)
        elif kind == _GIF_IMAGE:
            _skip_colors(stream, stream.read(9)[8:9])
            stream.read(1)
        elif kind:
            return Damage(complete + 1, 0, "its blocks do not follow one another")
        if not kind or not _skip_blocks(stream):
            # Without the mark of the end, more frames may be missing
            return Damage(complete + 1, 0, "the file ends in it, or before it")
        complete += kind == _GIF_IMAGE


def _skip_colors(stream: BinaryIO, flags: bytes) -> None:
    """Skips the color table that the flags of a header tell of."""
    if flags and flags[0] & 0x80:
        stream.read(3 << ((flags[0] & 7) + 1))


def _skip_blocks(stream: BinaryIO) -> bool:
    """Skips blocks of data up to an empty one; False where the file ends before it."""
    while length := stream.read(1):
        if length == b"\0":
            return True
        if len(stream.read(length[0])) < length[0]:
            return False
    return False


def _webp_damage(stream: BinaryIO) -> Damage | None:
    data = stream.read()
    (length,) = struct.unpack("<I", data[4:8])
    place, complete, animated = 12, 0, False
    while place < 8 + length:
        kind, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
        animated = animated or kind == b"ANIM"
        if place > len(data) + size % 2:
            return Damage(complete + 1 if animated else 0, 0, "the file ends in it")
        complete += kind == b"ANMF"
    return None


def _avif_damage(data: bytes) -> Damage | None:
    boxes = list(_boxes(data))
    tables = {box.kind: box for box in reversed(boxes)}  # of the first track
    if not {b"stsz", b"stco", b"stsc"} <= set(tables) or any(
        box.end > len(data) for box in boxes if box.kind != b"mdat"
    ):
        return None
    sizes = tables[b"stsz"].start
    # Numbers of a damaged file may be anything: no table has more entries than the file has bytes.
    total = min(_number(data, sizes + 8), len(data))
    fixed = _number(data, sizes + 4)
    chunks = tables[b"stco"].start
    offsets = [_number(data, chunks + 8 + 4 * index) for index in range(min(_number(data, chunks + 4), total))]
    runs = tables[b"stsc"].start
    entries = [
        (_number(data, runs + 8 + 12 * index) - 1, _number(data, runs + 12 + 12 * index))
        for index in range(min(_number(data, runs + 4), total))
    ]
    frame = 0
    for chunk, place in enumerate(offsets):
        count = next((count for first, count in reversed(entries) if first <= chunk), 0)
        for _ in range(min(count, total - frame)):
            place += fixed or _number(data, sizes + 12 + 4 * frame)
            frame += 1
            if place > len(data):
                return Damage(frame, total, "the file ends in it")
    return None


@dataclass(frozen=True)
class _Box:
    """A box of an ISO media file (ISO/IEC 14496-12, 4.2): its kind, and where its content lies, if the file is whole."""

    kind: bytes
    start: int
    end: int


def _boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[_Box]:
    """The boxes of a file and of those boxes that hold the tables of a track, in order."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        head = 8
        if length == 1:
            length, head = _number(data, start + 8, 8), 16
        length = length or end - start
        if length < head:
            return
        yield _Box(kind, start + head, start + length)
        if kind in _BOXES_OF_BOXES:
            yield from _boxes(data, start + head, min(start + length, end))
        start += length


def _duration_of(data: bytes, box: _Box) -> tuple[int, int]:
    """Where the duration of a header of a film or a track lies, and in how many bytes."""
    size = 8 if data[box.start] else 4  # by its version
    times = box.start + 4 + 2 * size  # after those of its making
    return times + (8 if box.kind == b"tkhd" else 4), size


def _number(data: bytes, place: int, size: int = 4) -> int:
    return int.from_bytes(data[place : place + size], "big")
