"""Reading image files, upright and in RGB: as photographs with metadata, or as 8-bit levels for training."""

import contextlib
import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, ImageOps, TiffImagePlugin
from torch import Tensor

from percept_cli.core.images import metadata, sixteen_bit
from percept_cli.core.images.attachments import find_attachments, without_stale
from percept_cli.core.images.compression import file_quality
from percept_cli.core.images.integrity import load_pixels, refuse_damaged
from percept_cli.core.images.opening import open_image
from percept_cli.core.images.photo import Photo, quantize, unpremultiply
from percept_cli.core.images.provenance import KEYWORD, Record, find_record
from percept_cli.core.images.warnings import noted_warnings
from percept_cli.core.runtime import is_out_of_memory
from percept_cli.errors import ImageError

logging.getLogger("PIL").addHandler(logging.NullHandler())

_ROWS = 64


def load_image(source: Path | BinaryIO | None, *, enough: int | None = None) -> Photo:
    """Reads one still picture; None is standard input. Raises ImageError for every failure.

    enough: a short side in pixels to which the picture will be shrunk. A JPEG of at least 3 times that size is read at a
    half, a quarter or an eighth of its size, with a short side of at least 3/2 of `enough`; see `Photo.whole`.

    EXIF orientation is applied. An RGB profile is kept, and the pixel values with it; other colors (gray, CMYK, Lab)
    become RGB. Gray and RGB keep 16 bits; a note says where bits are lost. A file is refused where its decoder or a
    checksum finds any of its pixels damaged.
    """
    notes: list[str] = []
    with noted_warnings(notes), open_image(source) as (image, stream, name):
        photo = _to_photo(image, stream, name, None if enough is None else round(1.5 * enough))
    return replace(photo, notes=(*photo.notes, *notes)) if notes else photo


def load_levels(path: Path, short_side: int | None = None) -> Image.Image:
    """Reads one still picture as 8-bit RGB over black, for training. Raises as `load_image`.

    short_side: a short side in pixels to which the picture will be shrunk. A JPEG of at least twice that size is decoded
    at a half, a quarter or an eighth of its size, with a short side of at least `short_side`.
    """
    with noted_warnings([]), open_image(path) as (image, stream, name):
        if sixteen_bit.bits_per_channel(image, stream) > 8:
            return Image.fromarray(quantize(_to_photo(image, stream, name, short_side).visible(), np.uint8))
        # Decoding finds what the second checksum of a PNG's pixels would, but for a wrong checksum of right pixels.
        refuse_damaged(image, stream, name, inflating=False)
        _draft(image, short_side)
        load_pixels(image, name)
        turn_upright(image)
        colors = _eight_bit_color(image, [])
        if colors.mode == "RGB":
            return colors
        over_black = Image.new("RGB", colors.size)
        over_black.paste(colors, mask=colors.getchannel("A"))
        return over_black


def read_size(path: Path) -> tuple[int, int]:
    """The (width, height) of a picture as stored, from its header alone. Raises as `load_image`."""
    with noted_warnings([]), open_image(path) as (image, _, _):
        return image.size


def read_record(path: Path) -> Record:
    """The record of how a picture was made. Raises as `load_image`, and ImageError for a file that has none."""
    with noted_warnings([]), open_image(path) as (image, _, name):
        return find_record(image.info.get(KEYWORD), metadata.read_xmp(image), name)


def _to_photo(image: ImageFile.ImageFile, stream: BinaryIO, name: str, short_side: int | None) -> Photo:
    notes: list[str] = []
    bits = sixteen_bit.bits_per_channel(image, stream)
    low_bytes = sixteen_bit.open_low_bytes(image, stream)
    refuse_damaged(image, stream, name)
    # Pillow reads a TIFF's EXIF data from the file, which loading may close; that of other formats only afterwards, as
    # looking for a PNG's loads the image, and an error of that load would be taken for one of the EXIF data.
    is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    exif = metadata.read_exif(image, notes) if is_tiff else None
    stored = image.size
    _draft(image, short_side)
    smaller = image.size != stored
    # A JPEG that is read smaller has lost less than its tables tell.
    compression = None if smaller else file_quality(image, stream)
    load_pixels(image, name)
    exif = exif if is_tiff else metadata.read_exif(image, notes)
    turn_upright(image)
    wide_gray = image.mode == "F" or image.mode.startswith("I")
    kept_bits = 16 if wide_gray or low_bytes else 8
    if bits > kept_bits:
        notes.append(f"{bits}-bit image: only {kept_bits} bits are kept")
    icc = metadata.read_profile(image, notes)
    xmp = metadata.read_xmp(image)
    lost = find_attachments(image, stream, xmp)
    if wide_gray:
        pixels, alpha = _wide_gray(image, name)
    elif low_bytes:
        load_pixels(low_bytes.image, name)
        turn_upright(low_bytes.image)
        pixels, alpha = _sixteen_bit_color(image, low_bytes)
    else:
        channels = channels_of(_eight_bit_color(image, notes))
        pixels, alpha = channels[:, :3].contiguous(), channels[:, 3:].contiguous() if channels.shape[1] == 4 else None
    return Photo(
        pixels=pixels,
        alpha=alpha,
        exif=exif,
        icc=icc,
        xmp=xmp and without_stale(xmp),
        format="JPEG" if image.format == "MPO" else image.format or "",
        notes=tuple(notes),
        lost=lost,
        bits=kept_bits,
        whole=_upright_size(stored, pixels.shape[-2], pixels.shape[-1]) if smaller else None,
        compression=compression,
    )


def _draft(image: ImageFile.ImageFile, short_side: int | None) -> None:
    """Makes Pillow decode a JPEG at a smaller size, with a short side of at least `short_side` pixels."""
    if short_side is not None:
        image.draft(None, (short_side, short_side))  # type: ignore[arg-type]


def turn_upright(image: Image.Image) -> None:
    """Applies the EXIF orientation. A picture with damaged EXIF data is taken as upright."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise


def _wide_gray(image: Image.Image, name: str) -> tuple[Tensor, Tensor | None]:
    samples = torch.from_numpy(np.array(image, dtype=np.float32))
    if image.mode == "F":
        if not bool(((samples >= 0) & (samples <= 1)).all()):
            raise ImageError(f"'{name}' has float values outside 0 to 1: save it as a 16-bit image first.")
        return samples.expand(1, 3, -1, -1).contiguous(), None
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise ImageError(f"'{name}' has signed or 32-bit whole numbers: save it as an unsigned 16-bit image first.")
    largest = 65_535
    white_is_zero = False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        largest = 2 ** image.tag_v2[TiffImagePlugin.BITSPERSAMPLE][0] - 1
        # Pillow inverts these at 8 bits, not at 16.
        white_is_zero = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    key = image.info.get("transparency")
    alpha = None if key is None else (samples != key).float()[None, None]
    pixels = samples.div(largest).clamp(0, 1)
    pixels = 1 - pixels if white_is_zero else pixels
    return pixels.expand(1, 3, -1, -1).contiguous(), alpha


def _sixteen_bit_color(image: Image.Image, low_bytes: sixteen_bit.LowBytes) -> tuple[Tensor, Tensor | None]:
    levels = low_bytes.join(image)
    channels = torch.from_numpy(levels.astype(np.float32)).div_(sixteen_bit.LARGEST).permute(2, 0, 1)[None]
    pixels = channels[:, :3].contiguous()
    if channels.shape[1] == 4:
        alpha = channels[:, 3:].contiguous()
        return unpremultiply(pixels, alpha) if low_bytes.premultiplied else pixels, alpha
    key = image.info.get("transparency")
    return pixels, None if key is None else torch.from_numpy((levels != key).any(axis=-1)).float()[None, None]


def _eight_bit_color(image: Image.Image, notes: list[str]) -> Image.Image:
    """The picture as RGB, or as RGBA where it may have transparent pixels."""
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "LAB":
        return _through_profile(image, ImageCms.createProfile("LAB"))
    if image.mode == "CMYK":
        notes.append("CMYK colors were converted to sRGB")
        if icc := image.info.get("icc_profile"):
            # Without its profile where that is damaged or not one of CMYK.
            with contextlib.suppress(ImageCms.PyCMSError, OSError):
                return _through_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None
    return converted


def channels_of(image: Image.Image) -> Tensor:
    """The channels (1, C, H, W) in [0, 1], float32, of a picture of 8 bits and several channels."""
    levels = np.asarray(image)
    channels = torch.empty(1, levels.shape[2], *levels.shape[:2])
    # Some rows at a time, which fit the processor's cache: three times as fast as all at once.
    for top in range(0, len(levels), _ROWS):
        rows = levels[top : top + _ROWS].transpose(2, 0, 1).copy()
        channels[0, :, top : top + _ROWS] = torch.from_numpy(rows).float().div_(255)
    return channels


def _upright_size(stored: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """The (height, width) of the stored (width, height), turned as a picture of `height` x `width` pixels is."""
    long, short = max(stored), min(stored)
    return (long, short) if height > width else (short, long)
