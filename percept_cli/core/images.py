"""Image files as float32 RGB tensors and back, with what must survive: transparency, EXIF, colour profile."""

import contextlib
import io
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import IFD, Base
from torch import Tensor

from percept_cli.core import sixteen_bit
from percept_cli.core.files import atomic_write_bytes
from percept_cli.core.outputs import WRITABLE_FORMATS, normalise_extension
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

# A marker segment of a JPEG holds at most 65535 bytes: its length, a signature and the data.
_JPEG_EXIF_BYTES = 65_533
_JPEG_XMP_BYTES = 65_504

_OPAQUE_FORMATS = ("JPEG", "BMP")

# The longest side that a format's header, or the library that writes it, takes
_LONGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383}

# Floating-point copies of a picture are made of so many pixels at a time.
_STRIP_PIXELS = 1 << 20

# Below half a grey level of opacity the colour is unknown and invisible.
_MIN_ALPHA = 0.5 / 255


@dataclass(frozen=True)
class Photo:
    """One picture, upright: `pixels` (1, 3, H, W) float32 RGB in [0, 1], not multiplied by `alpha`.

    `alpha` is (1, 1, H, W) float32 in [0, 1] or None; `exif`, `icc` and `xmp` are as files embed them, without an
    orientation; `format` is Pillow's name; `notes` are sentences that the user must be told. `bits`, 8 or 16, is the
    depth of a channel that a file of it should have; `pixels` and `alpha` are not rounded to it.
    `icc` always describes RGB, and `pixels` are in its colours, not converted.

    A large result that only awaits its file may hold levels instead, a quarter or half of the memory: `pixels` and
    `alpha` uint8 of 255 or uint16 of 65535. `encode_image` takes them; `floats` makes them what everything else takes.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    format: str = ""
    notes: tuple[str, ...] = ()
    bits: int = 8

    @property
    def height(self) -> int:
        return self.pixels.shape[-2]

    @property
    def width(self) -> int:
        return self.pixels.shape[-1]

    def with_pixels(self, pixels: Tensor) -> "Photo":
        """The same picture with other pixels (1, 3, H, W); `alpha` is resized to theirs if the size differs."""
        alpha = None if self.alpha is None else resize_image(self.alpha, pixels.shape[-2], pixels.shape[-1])
        return replace(self, pixels=pixels, alpha=alpha)


def load_image(source: Path | BinaryIO, name: str | None = None) -> Photo:
    """Read one still picture; `name` is what messages call it. ImageError, in one sentence, for all that goes wrong.

    EXIF orientation is applied. An RGB profile is kept with the pixel values as they are; other colours (grey, CMYK,
    Lab) become RGB. Grey and RGB of 16 bits keep them; where deeper pictures are read as 8 bits, a note says so.
    """
    if not isinstance(source, Path):
        return _decode(source, name or "standard input")
    name = name or str(source)
    try:
        if source.is_dir():
            raise ImageError(f"'{name}' is a folder, not an image.")
        with source.open("rb") as stream:
            return _decode(stream, name)
    except FileNotFoundError as error:
        raise ImageError(f"'{name}' does not exist.") from error
    except OSError as error:
        raise ImageError(f"'{name}' cannot be read: {error.strerror or error}.") from error


def floats(levels: Tensor) -> Tensor:
    """Levels, uint8 of 255 or uint16 of 65535, as float32 in [0, 1]; what is float32 already as it is."""
    if levels.is_floating_point():
        return levels.float()
    return levels.to(torch.float32).div_(torch.iinfo(levels.dtype).max)


def quantise(channels: Tensor, dtype: type[np.uint8] | type[np.uint16]) -> NDArray[Any]:
    """Channels (1, C, H, W) on the processor in [0, 1], clamped, at the nearest levels (H, W, C) of a type."""
    levels = channels[0].permute(1, 2, 0).clamp(0, 1).mul_(float(np.iinfo(dtype).max)).round_()
    return levels.numpy().astype(dtype)


def premultiply(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Pixels (N, 3, H, W) times alpha (N, 1, H, W): what a network should see, so that hidden colours cannot bleed."""
    return pixels * alpha


def unpremultiply(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Undo `premultiply`, in [0, 1]; black where alpha (N, 1, H, W) is under half a grey level."""
    return torch.where(alpha > _MIN_ALPHA, pixels / alpha.clamp(min=_MIN_ALPHA), 0).clamp(0, 1)


def resize_image(pixels: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic resize of (N, C, H, W) in [0, 1] to `height` x `width`, clamped; no change at that size."""
    if tuple(pixels.shape[-2:]) == (height, width):
        return pixels
    resized = F.interpolate(pixels, size=(height, width), mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 1)


def fit_short_side(height: int, width: int, short_side: int) -> tuple[int, int]:
    """The (height, width) of the same shape whose shorter side is `short_side` pixels."""
    return _scaled(height, width, short_side / min(height, width))


def fit_long_side(height: int, width: int, long_side: int) -> tuple[int, int]:
    """The (height, width) of the same shape whose longer side is `long_side` pixels."""
    return _scaled(height, width, long_side / max(height, width))


def middle_square(pixels: Tensor, side: int) -> Tensor:
    """The middle of (N, C, H, W) in [0, 1] as (N, C, side, side): its whole short side, resized."""
    height, width = pixels.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize_image(pixels[..., top : top + short, left : left + short], side, side)


def check_size(extension: str, height: int, width: int) -> None:
    """ImageError if a format cannot hold a picture of this size; asked before the work, not after."""
    image_format = WRITABLE_FORMATS[normalise_extension(extension)]
    longest = _LONGEST_SIDES.get(image_format)
    if longest is not None and max(height, width) > longest:
        raise ImageError(
            f"A {image_format} file holds at most {longest} pixels a side, not {width}x{height}: write PNG."
        )


def encode_image(photo: Photo, extension: str, *, quality: int = 95) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of an image file, and notes on what that format could not keep: PNG and TIFF hold 16 bits a channel.

    `quality` (0 to 100) is that of JPEG and AVIF, without chroma subsampling, and of WebP, where 100 is lossless.
    JPEG and BMP hold no transparency: the picture is laid over white. UsageError for an unknown extension,
    ImageError for pixels that are not finite and for a picture that the format cannot hold.
    """
    extension = normalise_extension(extension)
    image_format = WRITABLE_FORMATS[extension]
    notes: list[str] = []
    over_white = photo.alpha is not None and image_format in _OPAQUE_FORMATS
    if over_white and photo.alpha is not None and not _is_opaque(photo.alpha):
        notes.append(f"{image_format} keeps no transparency: the picture was laid over white")
    sixteen = photo.bits > 8 and image_format in sixteen_bit.ENCODERS
    levels = _levels(photo, np.uint16 if sixteen else np.uint8, over_white)

    buffer = io.BytesIO()
    try:
        options = _encoder_options(photo, image_format, quality, notes)
        if sixteen:
            return sixteen_bit.ENCODERS[image_format](levels, **options), tuple(notes)
        if photo.bits > 8:
            notes.append(f"{image_format} keeps 8 bits a channel")
        Image.fromarray(levels).save(buffer, image_format, **options)
    except KeyError as error:
        raise ImageError(f"This installation of Pillow cannot write {image_format} files.") from error
    except (OSError, ValueError, RuntimeError, OverflowError, struct.error) as error:
        raise ImageError(
            f"A picture of {photo.width} x {photo.height} pixels cannot be written as {image_format}: {error}."
        ) from error
    return buffer.getvalue(), tuple(notes)


def save_image(photo: Photo, path: Path, *, quality: int = 95) -> tuple[str, ...]:
    """Write an image file, whole or not at all, in the format of its extension; returns what `encode_image` notes.

    Raises what `encode_image` and `atomic_path` do; a file that is there is replaced only by a whole new one.
    """
    try:
        data, notes = encode_image(photo, path.suffix, quality=quality)
    except ImageError as error:
        raise ImageError(f"'{path}': {error}") from error
    atomic_write_bytes(path, data)
    return notes


def _decode(stream: BinaryIO, name: str) -> Photo:
    # Pipes cannot go back to the start, which Pillow does.
    if not stream.seekable():
        stream = io.BytesIO(stream.read())
    empty = not stream.read(1)
    stream.seek(0)
    if empty:
        raise ImageError(f"'{name}' is empty.")
    try:
        with Image.open(stream, formats=READABLE_FORMATS) as image:
            return _to_photo(image, stream, name)
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


def _to_photo(image: ImageFile.ImageFile, stream: BinaryIO, name: str) -> Photo:
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
    _load_upright(image)
    wide_grey = image.mode == "F" or image.mode.startswith("I")
    kept_bits = 16 if wide_grey or low_bytes else 8
    if bits > kept_bits:
        notes.append(f"{bits}-bit image: only {kept_bits} bits are kept")
    icc = _rgb_profile(image, notes)
    if wide_grey:
        pixels, alpha = _wide_grey(image, name)
    elif low_bytes:
        _load_upright(low_bytes.image)
        pixels, alpha = _sixteen_bit_colour(image, low_bytes)
    else:
        pixels, alpha = _eight_bit_colour(image, notes)
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
    # ICC.1:2022, 7.2.8: bytes 16 to 19 of the header name the colour space.
    space = icc[16:20].decode("ascii", "replace").strip()
    if space == "RGB":
        return icc
    kind = "grey" if space == "GRAY" else "damaged" if len(icc) < 128 else space
    notes.append(f"The {kind} colour profile does not fit an RGB image: it is not kept")
    return None


def _wide_grey(image: Image.Image, name: str) -> tuple[Tensor, Tensor | None]:
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


def _sixteen_bit_colour(image: Image.Image, low_bytes: sixteen_bit.LowBytes) -> tuple[Tensor, Tensor | None]:
    levels = low_bytes.join(image)
    channels = torch.from_numpy(levels.astype(np.float32)).div_(sixteen_bit.LARGEST).permute(2, 0, 1)[None]
    pixels = channels[:, :3].contiguous()
    if channels.shape[1] == 4:
        alpha = channels[:, 3:].contiguous()
        return unpremultiply(pixels, alpha) if low_bytes.premultiplied else pixels, alpha
    key = image.info.get("transparency")
    return pixels, None if key is None else torch.from_numpy((levels != key).any(axis=-1)).float()[None, None]


def _eight_bit_colour(image: Image.Image, notes: list[str]) -> tuple[Tensor, Tensor | None]:
    if image.has_transparency_data:
        channels = _channels(image.convert("RGBA"))
        return channels[:, :3].contiguous(), channels[:, 3:].contiguous()
    if image.mode == "CMYK":
        notes.append("CMYK colours were converted to sRGB")
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
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return levels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _xmp(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp or None


def _scaled(height: int, width: int, factor: float) -> tuple[int, int]:
    return max(1, round(height * factor)), max(1, round(width * factor))


def _levels(photo: Photo, dtype: type[np.uint8] | type[np.uint16], over_white: bool) -> NDArray[Any]:
    """What a file holds, (H, W, 3 or 4) in C order, made strip by strip: a copy of a large picture is large too."""
    alpha = None if over_white else photo.alpha
    if alpha is None and not over_white and photo.pixels.dtype == torch.from_numpy(np.empty(0, dtype)).dtype:
        return np.ascontiguousarray(photo.pixels[0].permute(1, 2, 0).numpy())
    levels = np.empty((photo.height, photo.width, 3 if alpha is None else 4), dtype)
    step = max(1, _STRIP_PIXELS // photo.width)
    for top in range(0, photo.height, step):
        rows = slice(top, top + step)
        channels = floats(photo.pixels[..., rows, :].detach().cpu())
        if not bool(torch.isfinite(channels).all()):
            raise ImageError("The picture holds values that are not finite numbers: try --precision fp32.")
        if photo.alpha is not None:
            opacity = floats(photo.alpha[..., rows, :].detach().cpu())
            channels = channels * opacity + (1 - opacity) if over_white else torch.cat((channels, opacity), dim=1)
        levels[rows] = quantise(channels, dtype)
    return levels


def _is_opaque(alpha: Tensor) -> bool:
    largest = 1 if alpha.is_floating_point() else torch.iinfo(alpha.dtype).max
    return not bool((alpha.detach().cpu().numpy() < largest).any())  # torch cannot compare uint16


def _encoder_options(photo: Photo, image_format: str, quality: int, notes: list[str]) -> dict[str, Any]:
    if image_format == "BMP":
        if photo.icc:
            notes.append("BMP keeps no colour profile: colours may look different")
        return {}
    exif, xmp = photo.exif, photo.xmp
    if image_format == "JPEG":
        if exif and len(exif) > _JPEG_EXIF_BYTES:
            notes.append("The EXIF data does not fit in a JPEG: it is not kept")
            exif = None
        if xmp and len(xmp) > _JPEG_XMP_BYTES:
            notes.append("The XMP data does not fit in a JPEG: it is not kept")
            xmp = None
    options: dict[str, Any] = {}
    if photo.icc:
        options["icc_profile"] = photo.icc
    if exif:
        options["exif"] = exif
    if xmp and image_format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif xmp and image_format == "TIFF":
        # Pillow takes a TIFF file's XMP as one more EXIF tag.
        options["exif"] = Image.Exif()
        options["exif"].load(exif or b"")
        options["exif"][TiffImagePlugin.XMP] = xmp
    elif xmp:
        options["xmp"] = xmp
    # TIFF stays uncompressed: libtiff, through Pillow, cannot compress and write the camera's EXIF data.
    if image_format in ("JPEG", "AVIF"):
        options.update(quality=quality, subsampling="4:4:4")
    elif image_format == "WEBP":
        options.update(quality=quality, lossless=quality >= 100, exact=quality >= 100)
    return options
