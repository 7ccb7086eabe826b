"""Damage in image files that Pillow decodes without an error: wrong checksums, and data that the decoder only warns of."""

import functools
import importlib.util
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import ImageFile, PngImagePlugin, TiffImagePlugin
from torch import Tensor

from percept_cli.core.images.printed import catch_printed
from percept_cli.core.runtime import is_out_of_memory
from percept_cli.errors import ImageError

# The compressions of TIFF (Adobe's technical notes of 1995 and 2002) whose data are a zlib stream or a JPEG
_DEFLATE, _JPEG = (8, 32946), 7
_JPEG_TABLES = 347
_READ = 1 << 20  # bytes at a time
# libjpeg's warnings that pixels are lost; its others, of unknown versions and parameters, are harmless.
_CORRUPT = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
# Some cameras write one or two bytes more than their pixels take.
_FEW_BYTES = re.compile(r"\b[12] extraneous bytes")
_GRAY = 1  # torchvision's number of the mode; brightness alone takes a third of the time


def refuse_damaged(image: ImageFile.ImageFile, stream: BinaryIO, name: str, *, inflating: bool = True) -> None:
    """Raises ImageError where the file of an image that was opened and not loaded is damaged.

    PNG: the checksums of all chunks, up to the last, and of the pixels. TIFF: the checksums of deflated strips and tiles,
    and those that are JPEGs. JPEG: what libjpeg warns of, as an early end or an impossible code. The other formats have
    no checksum, and their decoders refuse what they find. `stream` is left where it was.

    inflating: whether the pixels of a PNG are decompressed for their own checksum, which takes as long as decoding them.
    The checksums of its chunks find every damage of a file; this one finds a program that wrote a wrong one.
    """
    position = stream.tell()
    damage = ""
    if isinstance(image, PngImagePlugin.PngImageFile):
        _, damage = damage_of_png(stream, inflating)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        damage = _tiff_damage(image, stream)
    elif image.format in ("JPEG", "MPO"):
        stream.seek(0)
        damage = _jpeg_damage(stream.read())
    stream.seek(position)
    if damage:
        raise _damaged(name, damage)


def load_pixels(image: ImageFile.ImageFile, name: str) -> None:
    """Decodes the pixels of an image that was opened.

    Raises ImageError where libtiff printed an error, after which it may go on with wrong pixels; else what Pillow raises.
    """
    if all(tile.codec_name != "libtiff" for tile in image.tile):
        image.load()
        return
    failure: Exception | None = None
    with catch_printed() as printed:
        try:
            image.load()
        except Exception as error:
            failure = error
    if failure is not None and is_out_of_memory(failure):
        raise failure
    if failure is not None or printed:
        # Pillow has no file name for libtiff, which begins some messages with that of this one.
        reason = printed[0].removeprefix("tempfile.tif: ").rstrip(".") if printed else failure
        raise _damaged(name, reason) from failure


def _damaged(name: str, reason: object) -> ImageError:
    return ImageError(f"'{name}' is damaged or incomplete: {reason}.")


def damage_of_png(stream: BinaryIO, inflating: bool = True) -> tuple[int, str]:
    """The first damage of a PNG, as a reason for a sentence, and in which frame of an animation, from 1, it is.

    The frame is 0 for a still, or before the first frame; the reason is empty where there is no damage. inflating: whether
    pixels are decompressed, to look for damage there too.
    """
    stream.seek(8)  # after the signature
    pixels = zlib.decompressobj()
    frame = 0
    while True:
        head = stream.read(8)
        if len(head) < 8:
            return frame, "it ends before its last chunk"
        length, kind = struct.unpack(">I4s", head)
        if not kind.isalpha():
            return frame, "its chunks do not follow one another"
        if kind == b"fcTL":  # the control of the next frame
            pixels, frame = zlib.decompressobj(), frame + 1
        checksum = zlib.crc32(kind)
        skipped = 4 if kind == b"fdAT" else 0  # the number of the chunk, before the pixels of further frames
        while length > 0:
            data = stream.read(min(length, _READ))
            if not data:
                return frame, "it ends before its last chunk"
            checksum = zlib.crc32(data, checksum)
            length -= len(data)
            if inflating and kind in (b"IDAT", b"fdAT") and (damage := _inflate(pixels, data[skipped:])):
                return frame, damage
            skipped = 0
        if stream.read(4) != struct.pack(">I", checksum):
            return frame, f"its chunk {kind.decode()} does not fit its checksum"
        if kind == b"IEND":
            return 0, ""


def _tiff_damage(image: TiffImagePlugin.TiffImageFile, stream: BinaryIO) -> str:
    compression = image.tag_v2.get(TiffImagePlugin.COMPRESSION)
    if compression in _DEFLATE:
        return next((damage for part in _tiff_parts(image, stream) if (damage := _zlib_damage(part))), "")
    if compression == _JPEG:
        tables = bytes(image.tag_v2.get(_JPEG_TABLES, b""))
        # The tables and the data are each between the markers of a JPEG's start and end, of 2 bytes.
        whole = (tables[:-2] + part[2:] if tables else part for part in _tiff_parts(image, stream))
        return next((damage for part in whole if (damage := _jpeg_damage(part))), "")
    return ""


def _tiff_parts(image: TiffImagePlugin.TiffImageFile, stream: BinaryIO) -> Iterator[bytes]:
    """The compressed strips or tiles of a TIFF."""
    tags = image.tag_v2
    tiled = TiffImagePlugin.TILEOFFSETS in tags
    offsets = tags.get(TiffImagePlugin.TILEOFFSETS if tiled else TiffImagePlugin.STRIPOFFSETS, ())
    lengths = tags.get(TiffImagePlugin.TILEBYTECOUNTS if tiled else TiffImagePlugin.STRIPBYTECOUNTS, ())
    for offset, length in zip(offsets, lengths, strict=False):
        stream.seek(offset)
        yield stream.read(length)


def _zlib_damage(data: bytes) -> str:
    decompressor = zlib.decompressobj()
    damage = _inflate(decompressor, data)
    return damage or ("" if decompressor.eof else "its compressed data ends early")


def _inflate(decompressor: "zlib._Decompress", data: bytes) -> str:
    """Decompresses more data of a zlib stream, up to its checksum, for its errors alone."""
    try:
        while data and not decompressor.eof:
            decompressor.decompress(data, _READ)
            data = decompressor.unconsumed_tail
    except zlib.error as error:
        return f"its compressed data is wrong ({error})"
    return ""


def _jpeg_damage(data: bytes) -> str:
    """What libjpeg says of lost pixels; empty where it says nothing."""
    decode = _load_jpeg_decoder()
    if decode is None:
        return ""
    with catch_printed() as printed:
        try:
            decode(torch.frombuffer(bytearray(data), dtype=torch.uint8), _GRAY)
        except RuntimeError as error:
            # It cannot decode all that Pillow can; only this error is one of the file.
            if "incomplete or truncated" in str(error):
                return "its data ends early"
    lost = (line.rstrip(".") for line in printed if line.startswith(_CORRUPT) and not _FEW_BYTES.search(line))
    return next(lost, "")


@functools.cache
def _load_jpeg_decoder() -> Callable[..., Tensor] | None:
    """torchvision's decoder, whose libjpeg prints its warnings; Pillow's keeps them to itself. None where it is missing.

    Only its library is loaded: importing torchvision takes seconds.
    """
    found = importlib.util.find_spec("torchvision")
    folder = Path(found.origin).parent if found is not None and found.origin else Path()
    for library in sorted(folder.glob("image*")):
        if library.suffix in (".so", ".pyd", ".dylib", ".dll"):
            try:
                torch.ops.load_library(str(library))
                decoder: Callable[..., Tensor] = torch.ops.image.decode_jpeg
            except (OSError, RuntimeError, AttributeError):
                continue
            return decoder
    return None
