"""What a file holds beside its picture and what is true of that very picture alone: signatures and gain maps.

A result has other pixels, so it must not keep them, and it must not keep the properties that point to them.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, ImageFile, TiffImagePlugin

from percept_cli.core.images.provenance import RECORD
from percept_cli.core.images.xmp import Name, read_property, without_properties

CREDENTIAL = "The photograph's content credential (C2PA) signs that file alone: the result has none"
GAIN_MAP = "The photograph has an HDR gain map, which the result does not keep"

# C2PA 2.1, appendix A: where a file of each format holds its signed manifest, or a link to one in XMP
_LINK = Name("http://purl.org/dc/terms/", "provenance")
_PNG_CHUNK, _RIFF_CHUNK, _TIFF_TAG, _GIF_BLOCK = b"caBX", b"C2PA", 0xCD41, b"\x21\xff\x0bC2PA_GIF"
_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_LARGEST_BOX = 1 << 60  # bytes; a damaged head may name more than a stream can seek

# Ultra HDR 1.1 and ISO 21496-1 name a gain map in the segments of the photograph or of the map, Apple in those of the map.
_HDRGM = "http://ns.adobe.com/hdr-gain-map/1.0/"
_APPLE = "http://ns.apple.com/HDRGainMap/1.0/"
_ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1"
_GAIN_MAP_MARKS = (_HDRGM.encode(), _APPLE.encode(), _ISO_GAIN_MAP, b"urn:com:apple:photo:2020:aux:hdrgainmap")
_MPF_ENTRIES = 0xB002  # CIPA DC-007: the list of the pictures of an MPO

# Properties of XMP that describe what follows the photograph in its file (gain maps, depth, further pictures, a video, more
# XMP), and how percept made it. Of Google's, a panorama is told of the picture itself.
_GOOGLE, _PANORAMA = "http://ns.google.com/photos/", "http://ns.google.com/photos/1.0/panorama/"
_STALE_SPACES = (_HDRGM, _APPLE)
_STALE = (_LINK.key, RECORD.key, ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"))


def is_stale(name: Name) -> bool:
    """Whether a property of a photograph's XMP is not true of a result: it tells of other parts of the file that was read."""
    of_google = name.namespace.startswith(_GOOGLE) and name.namespace != _PANORAMA
    return of_google or name.namespace in _STALE_SPACES or name.key in _STALE


def without_stale(packet: bytes) -> bytes:
    """An XMP packet without the properties that `is_stale` names."""
    return without_properties(packet, is_stale)


def find_attachments(image: ImageFile.ImageFile, stream: BinaryIO, packet: bytes | None) -> tuple[str, ...]:
    """Sentences on the parts of a file that a result cannot keep. packet: its XMP. `stream` is left where it was."""
    position = stream.tell()
    packet = packet or b""
    found = {
        CREDENTIAL: _has_credential(image, stream) or read_property(packet, _LINK) is not None,
        GAIN_MAP: _has_gain_map(image, stream) or read_property(packet, Name(_HDRGM, "Version")) is not None,
    }
    stream.seek(position)
    return tuple(sentence for sentence, there in found.items() if there)


def _has_credential(image: ImageFile.ImageFile, stream: BinaryIO) -> bool:
    if image.format in ("JPEG", "MPO"):
        segments = getattr(image, "applist", [])
        return any(name == "APP11" and b"jumb" in data and b"c2pa" in data for name, data in segments)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _TIFF_TAG in image.tag_v2
    if image.format == "PNG":
        return _PNG_CHUNK in _chunks(stream, 8, ">I4s")
    if image.format == "WEBP":
        return _RIFF_CHUNK in _chunks(stream, 12, "<4sI")
    if image.format in ("AVIF", "JPEG2000"):
        return any(kind == b"uuid" and head == _BOX for kind, head in _boxes(stream))
    stream.seek(0)
    return image.format == "GIF" and _GIF_BLOCK in stream.read()


def _has_gain_map(image: Image.Image, stream: BinaryIO) -> bool:
    if image.format == "AVIF":
        # ISO/IEC 23008-12: a file with a derived image of tone mapping has that brand.
        stream.seek(0)
        size = struct.unpack(">I", stream.read(4))[0]
        return b"tmap" in stream.read(min(size, 1024))
    if any(name == "APP2" and data.startswith(_ISO_GAIN_MAP) for name, data in getattr(image, "applist", [])):
        return True
    if image.format != "MPO":
        return False
    pictures = getattr(image, "mpinfo", {}).get(_MPF_ENTRIES) or [{}]
    stream.seek(int(pictures[0].get("Size", 0)))
    data = stream.read()
    return any(mark in data for mark in _GAIN_MAP_MARKS)


def _chunks(stream: BinaryIO, start: int, head: str) -> Iterator[bytes]:
    """The kinds of the chunks of a PNG, or of the RIFF file that a WebP is.

    start: of the first. head: for `struct`, the length and the kind in a PNG, the kind and the length in RIFF.
    """
    place = start
    while True:
        stream.seek(place)
        data = stream.read(8)
        if len(data) < 8:
            return
        first, second = struct.unpack(head, data)
        if isinstance(first, bytes):  # RIFF, which fills up to an even number
            yield first
            place += 8 + second + second % 2
        else:
            yield second
            place += 8 + first + 4  # a checksum follows


def _boxes(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The kinds of the boxes of an ISO base media file (ISO/IEC 14496-12, 4.2), each with the 16 bytes after its head."""
    place = 0
    while True:
        stream.seek(place)
        data = stream.read(32)
        if len(data) < 8:
            return
        length, kind = struct.unpack_from(">I4s", data)
        head = 8
        if length == 1 and len(data) >= 16:
            length, head = struct.unpack_from(">Q", data, 8)[0], 16
        yield kind, data[head : head + 16]
        if not head <= length < _LARGEST_BOX:  # 0: up to the end of the file
            return
        place += length
