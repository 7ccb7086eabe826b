"""The image formats, one entry each: what their files are called and what they keep. A new format is added here alone."""

from collections.abc import Callable
from dataclasses import dataclass

from percept_cli.errors import UsageError, unknown_name


def _no_options(quality: int) -> dict[str, object]:
    return {}


def _full_chroma(quality: int) -> dict[str, object]:
    return {"quality": quality, "subsampling": "4:4:4"}


def _lossless_at_100(quality: int) -> dict[str, object]:
    return {"quality": quality, "lossless": quality >= 100, "exact": quality >= 100}


@dataclass(frozen=True)
class ImageFormat:
    """One image format by Pillow's name of it.

    written: the extensions of its files, the usual one first; none where percept only reads it. read: extensions that
    are read and not written. photograph: whether a folder of training data is searched for it. piped: whether standard
    output gets it where standard input was of it; PNG otherwise.

    alpha, sixteen_bit, icc, exif: whether a file that is written keeps transparency, 16 bits a channel, the color
    profile, and the camera's data (EXIF and XMP). lossless_from: the quality, 0 to 100, from which it gives back the
    levels that it was written with; None if it never does. options: Pillow's options for a quality. longest_side,
    largest_exif, largest_xmp: what its header or the library that writes it takes, in pixels and in bytes.
    """

    name: str
    written: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    photograph: bool = False
    piped: bool = False
    alpha: bool = True
    sixteen_bit: bool = False
    icc: bool = True
    exif: bool = True
    lossless_from: int | None = None
    options: Callable[[int], dict[str, object]] = _no_options
    longest_side: int | None = None
    largest_exif: int | None = None
    largest_xmp: int | None = None


FORMATS = (
    ImageFormat("PNG", (".png",), (".apng",), photograph=True, piped=True, sixteen_bit=True, lossless_from=0),
    # A marker segment of a JPEG holds at most 65535 bytes: its length, a signature and the data. A telephone's JPEG with
    # a depth or gain map behind the photograph is an MPO.
    ImageFormat(
        "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), (".mpo",), photograph=True, piped=True, alpha=False,
        options=_full_chroma, longest_side=65_500, largest_exif=65_533, largest_xmp=65_504,
    ),
    ImageFormat(
        "WEBP", (".webp",), photograph=True, piped=True, lossless_from=100, options=_lossless_at_100, longest_side=16_383,
    ),
    # TIFF stays uncompressed: libtiff, through Pillow, cannot compress and write the camera's EXIF data.
    ImageFormat("TIFF", (".tif", ".tiff"), photograph=True, piped=True, sixteen_bit=True, lossless_from=0),
    ImageFormat("BMP", (".bmp",), (".dib",), photograph=True, alpha=False, icc=False, exif=False, lossless_from=0),
    ImageFormat("AVIF", (".avif",), photograph=True, options=_full_chroma),
    ImageFormat("GIF", read=(".gif",)),
    ImageFormat("JPEG2000", read=(".j2k", ".jp2")),
    ImageFormat("PPM", read=(".pbm", ".pgm", ".pnm", ".ppm")),
    ImageFormat("TGA", read=(".tga",)),
)  # fmt: skip

WRITABLE = {extension: known for known in FORMATS for extension in known.written}
"""File name extension -> its format, for every file that can be written."""

READABLE_EXTENSIONS = frozenset(extension for known in FORMATS for extension in known.written + known.read)
"""What a folder is searched for; a file typed by name is tried whatever it is called."""

PHOTOGRAPH_EXTENSIONS = frozenset(
    extension for known in FORMATS if known.photograph for extension in known.written + known.read
)
"""What a folder of training data is searched for."""


def find_format(extension: str) -> ImageFormat:
    """The format of `PNG`, `png` or `.png`; UsageError, naming the allowed ones, if no such file can be written."""
    normalized = f".{extension.removeprefix('.').lower()}"
    if normalized not in WRITABLE:
        raise UsageError(unknown_name("output extension", extension, WRITABLE))
    return WRITABLE[normalized]


def pipe_extension(name: str) -> str:
    """The extension of what standard output gets for a picture of the format of that name, which may be empty."""
    return next((known.written[0] for known in FORMATS if known.name == name and known.piped), ".png")


def keeps_levels(extension: str, quality: int) -> bool:
    """Whether a file of that extension, `.png`, gives back the very levels that it was written with."""
    known = WRITABLE.get(extension.lower())
    return known is not None and known.lossless_from is not None and quality >= known.lossless_from
