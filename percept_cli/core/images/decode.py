"""Image files to pictures: upright, in RGB, with 16 bits, transparency and metadata kept; refused in one sentence."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import IFD, Base
from torch import Tensor

from percept_cli.core.images import sixteen_bit
from percept_cli.core.images.photo import Photo, unpremultiply
from percept_cli.errors import ImageError

# Named, because Pillow's other readers run programs (EPS) or take almost anything for an image (PCD, MSP).
READABLE_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# Large scans and panoramas are wanted here; Pillow's own limit refuses them. It warns between its limit and twice
# that, where load_image refuses by name.
MAX_PIXELS = 500_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Damaged EXIF data: a note of the photograph says so, with its name.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")

_ROWS = 64

# What EXIF says of the photograph. The rest describes how the file was stored (sizes, strips, the orientation that
# has been applied, a thumbnail of the old picture) and would be wrong in the new one.
_EXIF_TAGS = (
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.XResolution,
    Base.YResolution,
    Base.ResolutionUnit,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.HostComputer,
    Base.Rating,
    Base.RatingPercent,
    Base.Copyright,
    Base.XPTitle,
    Base.XPComment,
    Base.XPAuthor,
    Base.XPKeywords,
    Base.XPSubject,
)
_EXIF_STORAGE_TAGS = (Base.ExifImageWidth, Base.ExifImageHeight, Base.ExifInteroperabilityOffset)


def load_image(source: Path | BinaryIO, name: str | None = None, *, enough: int | None = None) -> Photo:
    """Read one still picture; `name` is what messages call it. ImageError, in one sentence, for all that goes wrong.

    enough: a short side in pixels to which the picture will be shrunk. A JPEG of at least 3 times that is then read at a
    half, a quarter or an eighth of its size, as its blocks allow, with 3/2 of `enough` left; `Photo.whole` says its own.

    EXIF orientation is applied. An RGB profile is kept with the pixel values as they are; other colors (gray, CMYK,
    Lab) become RGB. Gray and RGB of 16 bits keep them; where deeper pictures are read as 8 bits, a note says so.
    """
    if not isinstance(source, Path):
        return _decode(source, name or "standard input", enough)
    name = name or str(source)
    try:
        if source.is_dir():
            raise ImageError(f"'{name}' is a folder, not an image.")
        with source.open("rb") as stream:
            return _decode(stream, name, enough)
    except FileNotFoundError as error:
        raise ImageError(f"'{name}' does not exist.") from error
    except OSError as error:
        raise ImageError(f"'{name}' cannot be read: {error.strerror or error}.") from error


def _decode(stream: BinaryIO, name: str, enough: int | None) -> Photo:
    # Pipes cannot go back to the start, which Pillow does.
    if not stream.seekable():
        stream = io.BytesIO(stream.read())
    empty = not stream.read(1)
    stream.seek(0)
    if empty:
        raise ImageError(f"'{name}' is empty.")
    try:
        with Image.open(stream, formats=READABLE_FORMATS) as image:
            return _to_photo(image, stream, name, enough)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"'{name}' is not an image that can be read: it is damaged or of another kind than "
            f"{', '.join(READABLE_FORMATS)}."
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except MemoryError as error:
        raise ImageError(f"'{name}' does not fit in memory.") from error
    except Exception as error:
        # A damaged file makes Pillow's readers raise almost anything: struct.error, SyntaxError, IndexError, EOFError.
        raise ImageError(f"'{name}' is damaged or incomplete: {error}.") from error


def _to_photo(image: ImageFile.ImageFile, stream: BinaryIO, name: str, enough: int | None) -> Photo:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    # The further pictures of a telephone's JPEG (MPO) are depth and gain maps; those of other kinds are frames.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(
            f"'{name}' holds {frames} frames or pages: save the ones you want as single images first, "
            "for instance with ffmpeg or ImageMagick."
        )
    notes: list[str] = []
    bits = sixteen_bit.bits_per_channel(image, stream)
    low_bytes = sixteen_bit.open_low_bytes(image, stream)
    # The EXIF data of a TIFF file is read from the file, which loading may close; that of a PNG file loads the image.
    exif = _photograph_exif(image, notes)
    stored = image.size
    if enough is not None:
        # No more than Pillow can leave out while it decodes; other formats than JPEG are read whole.
        factor = 1.5 * enough / min(stored)
        image.draft(None, (round(stored[0] * factor), round(stored[1] * factor)))  # type: ignore[arg-type]
    smaller = image.size != stored
    _load_upright(image)
    wide_gray = image.mode == "F" or image.mode.startswith("I")
    kept_bits = 16 if wide_gray or low_bytes else 8
    if bits > kept_bits:
        notes.append(f"{bits}-bit image: only {kept_bits} bits are kept")
    icc = _rgb_profile(image, notes)
    if wide_gray:
        pixels, alpha = _wide_gray(image, name)
    elif low_bytes:
        _load_upright(low_bytes.image)
        pixels, alpha = _sixteen_bit_color(image, low_bytes)
    else:
        pixels, alpha = _eight_bit_color(image, notes)
    return Photo(
        pixels=pixels,
        alpha=alpha,
        exif=exif,
        icc=icc,
        # In a telephone's JPEG it describes the pictures that are not taken.
        xmp=None if image.format == "MPO" else _xmp(image),
        format="JPEG" if image.format == "MPO" else image.format or "",
        notes=tuple(notes),
        bits=kept_bits,
        whole=_upright_size(stored, pixels.shape[-2], pixels.shape[-1]) if smaller else None,
    )


def _load_upright(image: Image.Image) -> None:
    image.load()
    # Of damaged EXIF data a note tells; its picture is taken as upright.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _too_large(name: str) -> ImageError:
    return ImageError(f"'{name}' has more than {MAX_PIXELS // 1_000_000} million pixels: cut or shrink it first.")


def _photograph_exif(image: Image.Image, notes: list[str]) -> bytes | None:
    try:
        found = image.getexif()
        # An empty directory with its signature, as programs leave that removed all entries, takes 20 bytes.
        if not len(found) and len(image.info.get("exif") or b"") > 20:
            raise ValueError("no entry can be read")
        kept = Image.Exif()
        for tag in _EXIF_TAGS:
            if tag in found:
                kept[tag] = found[tag]
        for part in (IFD.Exif, IFD.GPSInfo):
            entries = {tag: value for tag, value in found.get_ifd(part).items() if tag not in _EXIF_STORAGE_TAGS}
            if entries:
                kept[part] = entries
        return kept.tobytes() if len(kept) else None
    except Exception:
        # EXIF is written by thousands of devices and programs; none of their mistakes is a reason to lose the picture.
        notes.append("The EXIF data is damaged: it is not kept")
        return None


def _rgb_profile(image: Image.Image, notes: list[str]) -> bytes | None:
    icc: bytes | None = image.info.get("icc_profile")
    if not icc or image.mode in ("CMYK", "LAB"):
        return None
    # ICC.1:2022, 7.2.8: bytes 16 to 19 of the header name the color space.
    space = icc[16:20].decode("ascii", "replace").strip()
    if space == "RGB":
        return icc
    kind = "gray" if space == "GRAY" else "damaged" if len(icc) < 128 else space
    notes.append(f"The {kind} color profile does not fit an RGB image: it is not kept")
    return None


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
        # Pillow turns these round at 8 bits, not at 16.
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


def _eight_bit_color(image: Image.Image, notes: list[str]) -> tuple[Tensor, Tensor | None]:
    if image.has_transparency_data:
        channels = _channels(image.convert("RGBA"))
        return channels[:, :3].contiguous(), channels[:, 3:].contiguous()
    if image.mode == "CMYK":
        notes.append("CMYK colors were converted to sRGB")
        return _channels(_cmyk_to_rgb(image)), None
    if image.mode == "LAB":
        return _channels(_through_profile(image, ImageCms.createProfile("LAB"))), None
    return _channels(image.convert("RGB")), None


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    icc = image.info.get("icc_profile")
    if icc:
        # A profile that is damaged or not for CMYK says nothing; the plain formula below is what is left.
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            return _through_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None
    return converted


def _channels(image: Image.Image) -> Tensor:
    levels = np.asarray(image)
    channels = torch.empty(1, levels.shape[2], *levels.shape[:2])
    # Some rows at a time, which stay in the processor's cache: three times as fast as the whole.
    for top in range(0, len(levels), _ROWS):
        rows = levels[top : top + _ROWS].transpose(2, 0, 1).copy()
        channels[0, :, top : top + _ROWS] = torch.from_numpy(rows).float().div_(255)
    return channels


def _upright_size(stored: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """(height, width) of what was stored as (width, height), turned as the picture of `height` and `width` was."""
    long, short = max(stored), min(stored)
    return (long, short) if height > width else (short, long)


def _xmp(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp or None
