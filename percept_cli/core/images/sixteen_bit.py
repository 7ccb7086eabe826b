"""Reading and writing 16-bit color, of which Pillow itself keeps 8 bits.

Pillow's raw modes for 16-bit color take one byte of each sample: in a big-endian file "RGB;16B" takes the high bytes,
and "RGB;16L", which is for the other byte order, the low ones. So a file is opened twice, once with each mode; Pillow
decodes its filters, compression and interlacing.

The writers are here because no library that percept depends on has them: tifffile cannot write EXIF data (it takes no
tag that points to further tags), and torchvision's PNG writer takes 8 bits. Pillow writes the tags of a TIFF.
"""

import io
import re
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, TiffTags

LARGEST = 65_535
"""The level of white and of full opacity."""

_COLOR = re.compile(r"(RGB[AX]?|LA|[RGBA]);16([BLN])")

# Rows of a PNG that are filtered at a time, to save memory
_PNG_ROWS = 64


@dataclass(frozen=True)
class LowBytes:
    """The low bytes of a 16-bit color image: the `bands` of `image` for red, green, blue (and alpha)."""

    image: ImageFile.ImageFile
    bands: tuple[int, ...]
    premultiplied: bool

    def join(self, high: Image.Image) -> NDArray[np.uint16]:
        """Levels (H, W, 3 or 4) from 0 to `LARGEST`, of these low bytes and an image of the high bytes."""
        levels = np.asarray(high).astype(np.uint16)
        levels <<= 8
        levels |= np.asarray(self.image)[..., self.bands]
        return levels


def bits_per_channel(image: ImageFile.ImageFile, stream: BinaryIO) -> int:
    """The bits a channel by the file's header, as Pillow's modes do not give them. `image` must not be loaded yet."""
    if image.mode == "F":
        return 32
    if isinstance(image, PngImagePlugin.PngImageFile):
        return _peek(stream, 25)[24]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
    if isinstance(image, PpmImagePlugin.PpmImageFile) and isinstance(image.tile[0].args, tuple):
        # An argument of its decoders is the largest level.
        return max(8, int(image.tile[0].args[-1]).bit_length())
    if image.format == "JPEG2000":
        return _jpeg2000_bits(_peek(stream))
    if image.format == "AVIF":
        # AV1 in ISOBMFF, 2.3.3: the flags high_bitdepth and twelve_bit, for the colors and for alpha.
        flags = [found[1][0] for found in re.finditer(rb"av1C\x81.(.)", _peek(stream), re.DOTALL)]
        return max((12 if flag & 0x60 == 0x60 else 10 if flag & 0x40 else 8 for flag in flags), default=8)
    return 16 if image.mode.startswith("I") else 8


def open_low_bytes(image: ImageFile.ImageFile, stream: BinaryIO) -> LowBytes | None:
    """Opens the low bytes of `image`, opened from `stream` and not loaded, and makes `image` load the high bytes.

    None, and `image` is unchanged, where it is gray or has no 16 bits a channel, and for files that Pillow cannot read
    in this way: CMYK, compressed TIFF with separate planes, JPEG 2000.
    """
    high = _color_tiles(image)
    if not high:
        return None
    low = Image.open(io.BytesIO(_peek(stream)), formats=(image.format or "",))
    image.tile = high
    bands = tuple(range(len(image.getbands())))
    if _raw_mode(high[0]).startswith("LA"):
        # No raw mode takes the low bytes of LA. Read as 8-bit RGBA, a pixel's four bytes are the high and low byte of
        # gray, then of alpha.
        low.tile = [_with_raw_mode(tile, "RGBA") for tile in high]
        bands = (1, 1, 1, 3)
    else:
        low.tile = [_with_raw_mode(tile, _other_byte(_raw_mode(tile))) for tile in high]
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return LowBytes(low, bands, premultiplied=tags.get(TiffImagePlugin.EXTRASAMPLES) in (1, (1,)))


def encode_png(
    levels: NDArray[np.uint16],
    *,
    icc_profile: bytes | None = None,
    exif: bytes = b"",
    pnginfo: PngImagePlugin.PngInfo | None = None,
) -> bytes:
    """A PNG of 16 bits a channel, of levels (H, W, 3 or 4); the options are those of Pillow's writer."""
    height, width, bands = levels.shape
    buffer = io.BytesIO()
    buffer.write(b"\x89PNG\r\n\x1a\n")

    def chunk(kind: bytes, data: bytes) -> None:
        buffer.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2 if bands == 3 else 6, 0, 0, 0))
    if icc_profile:
        chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    for kind, data, *_ in pnginfo.chunks if pnginfo else ():
        chunk(kind, data)
    if exif:
        chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    compressor = zlib.compressobj()
    for start in range(0, height, _PNG_ROWS):
        # With the row above, which the filter needs.
        rows = levels[max(start - 1, 0) : start + _PNG_ROWS].astype(">u2", order="C").view(np.uint8)
        filtered = _paeth_filtered(rows.reshape(len(rows), -1), 2 * bands)
        chunk(b"IDAT", compressor.compress(filtered[min(start, 1) :].tobytes()))
    chunk(b"IDAT", compressor.flush())
    chunk(b"IEND", b"")
    return buffer.getvalue()


def encode_tiff(
    levels: NDArray[np.uint16], *, icc_profile: bytes | None = None, exif: bytes | Image.Exif = b""
) -> bytes:
    """An uncompressed TIFF of 16 bits a channel, of levels (H, W, 3 or 4); the options are those of Pillow's writer."""
    height, width, bands = levels.shape
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if isinstance(exif, bytes):
        data, exif = exif, Image.Exif()
        exif.load(data)
    for tag in exif:
        tags[tag] = exif.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else exif[tag]
    own = {
        TiffImagePlugin.IMAGEWIDTH: width, TiffImagePlugin.IMAGELENGTH: height, TiffImagePlugin.ROWSPERSTRIP: height,
        TiffImagePlugin.SAMPLESPERPIXEL: bands, TiffImagePlugin.BITSPERSAMPLE: (16,) * bands,
        TiffImagePlugin.COMPRESSION: 1, TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 2,
        TiffImagePlugin.PLANAR_CONFIGURATION: 1, TiffImagePlugin.STRIPBYTECOUNTS: levels.nbytes,
        **({TiffImagePlugin.ICCPROFILE: icc_profile} if icc_profile else {}),
        **({TiffImagePlugin.EXTRASAMPLES: 2} if bands == 4 else {}),
    }  # fmt: skip
    for tag, value in own.items():
        tags[tag] = value
    # Relative to the end of the tags: the writer of tags adds their length.
    tags[TiffImagePlugin.STRIPOFFSETS] = 0
    tags.tagtype[TiffImagePlugin.STRIPBYTECOUNTS] = tags.tagtype[TiffImagePlugin.STRIPOFFSETS] = TiffTags.LONG
    buffer = io.BytesIO()
    tags.save(buffer)
    buffer.write(np.ascontiguousarray(levels, dtype="<u2").data)
    return buffer.getvalue()


ENCODERS: dict[str, Callable[..., bytes]] = {"PNG": encode_png, "TIFF": encode_tiff}
"""Pillow's name of a format -> its writer, for those that hold 16 bits a channel."""


def _peek(stream: BinaryIO, size: int = -1) -> bytes:
    position = stream.tell()
    stream.seek(0)
    data = stream.read(size)
    stream.seek(position)
    return data


def _jpeg2000_bits(data: bytes) -> int:
    # ISO 15444-1, A.5.1: the SIZ segment follows the start of the codestream, and ends in three bytes a channel.
    start = data.index(b"\xff\x4f\xff\x51")
    channels = struct.unpack_from(">H", data, start + 40)[0]
    return max((depth & 0x7F) + 1 for depth in data[start + 42 : start + 42 + 3 * channels : 3])


def _raw_mode(tile: Any) -> str:
    # The decoders of some formats, as QOI, have no arguments.
    return str(tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0])


def _with_raw_mode(tile: Any, raw_mode: str) -> Any:
    return tile._replace(args=raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:]))


def _other_byte(raw_mode: str) -> str:
    # N is the byte order of this machine.
    return raw_mode[:-1] + {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[raw_mode[-1]]


def _color_tiles(image: ImageFile.ImageFile) -> list[Any]:
    """The tiles for Pillow to decode, each with the raw mode of the high bytes; empty where that is not possible."""
    tiles = list[Any](image.tile)
    if isinstance(image, PpmImagePlugin.PpmImageFile) and tiles[0][0] == "ppm" and tiles[0].args == ("RGB", LARGEST):
        tiles = [tiles[0]._replace(codec_name="raw", args="RGB;16B")]
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2:
            if tiles[0].codec_name != "raw" or set(tags.get(TiffImagePlugin.BITSPERSAMPLE, ())) != {16}:
                return []
            # Pillow takes these for 8 bits: the raw mode is the name of the band alone. Extra bands are left out.
            order = "L" if tags.prefix == b"II" else "B"
            tiles = [tile for tile in tiles if _raw_mode(tile) in "RGBAa"]
            tiles = [_with_raw_mode(tile, f"{_raw_mode(tile).upper()};16{order}") for tile in tiles]
        else:
            # Pillow would divide premultiplied colors, "RGBa", by alpha in 8 bits.
            tiles = [_with_raw_mode(tile, _raw_mode(tile).replace("RGBa", "RGBA")) for tile in tiles]
    return tiles if all(_COLOR.fullmatch(_raw_mode(tile)) for tile in tiles) else []


def _paeth_filtered(rows: NDArray[np.uint8], pixel_bytes: int) -> NDArray[np.uint8]:
    """Rows (H, bytes) after PNG's Paeth filter, nearly always the best for photographs, each with the filter's number before it."""
    # PNG 1.2, 6.6: the prediction is that of the left, upper and upper left bytes which is nearest to left + above - corner.
    height, length = rows.shape
    padded = np.zeros((height + 1, length + pixel_bytes), dtype=np.int16)
    padded[1:, pixel_bytes:] = rows
    left, above, corner = padded[1:, :-pixel_bytes], padded[:-1, pixel_bytes:], padded[:-1, :-pixel_bytes]
    to_left, to_above = np.abs(above - corner), np.abs(left - corner)
    to_corner = np.abs(above + left - 2 * corner)
    predicted = np.where(to_above <= to_corner, above, corner)
    predicted = np.where((to_left <= to_above) & (to_left <= to_corner), left, predicted)
    filtered = np.empty((height, length + 1), dtype=np.uint8)
    filtered[:, 0] = 4
    filtered[:, 1:] = rows - predicted.astype(np.uint8)
    return filtered
