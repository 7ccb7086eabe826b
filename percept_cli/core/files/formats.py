"""The image formats: the extensions of their files and what they keep. A new format is one more entry here."""

from collections.abc import Callable
from dataclasses import dataclass

from percept_cli.errors import UsageError, unknown_name


def _full_chroma(quality: int) -> dict[str, object]:
    return {"quality": quality, "subsampling": "4:4:4"}


def _lossless_at_100(quality: int) -> dict[str, object]:
    return {"quality": quality, "lossless": quality >= 100, "exact": quality >= 100}


@dataclass(frozen=True)
class ImageFormat:
    """One image format; `name` is Pillow's.

    written: the extensions of its files, the usual one first; none where percept only reads it. read: further extensions
    that are read and not written. photograph: whether its files count as training data. piped: whether a picture read in
    this format is written in it to standard output; else it is written as PNG. animated: the extensions of its files that
    hold an animation.

    alpha, sixteen_bit, icc, exif: whether a written file keeps transparency, 16 bits a channel, the color profile, and
    EXIF and XMP. lossless_from: the least quality, 0 to 100, at which a file holds exactly the levels it was written
    with; None if there is none. options: quality -> Pillow's options for writing. longest_side (pixels), largest_exif,
    largest_xmp (bytes): the limits of its header or of the library that writes it.
    """

    name: str
    written: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    photograph: bool = False
    piped: bool = False
    animated: tuple[str, ...] = ()
    alpha: bool = True
    sixteen_bit: bool = False
    icc: bool = True
    exif: bool = True
    lossless_from: int | None = None
    options: Callable[[int], dict[str, object]] = lambda quality: {}
    longest_side: int | None = None
    largest_exif: int | None = None
    largest_xmp: int | None = None


FORMATS = (
    ImageFormat(
        "PNG", (".png",), (".apng",), photograph=True, piped=True, animated=(".png", ".apng"), sixteen_bit=True,
        lossless_from=0,
    ),
    # A marker segment of a JPEG holds at most 65535 bytes: its length, a signature and the data. A telephone's JPEG that
    # holds a depth or gain map after the photograph is an MPO.
    ImageFormat(
        "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), (".mpo",), photograph=True, piped=True, alpha=False,
        options=_full_chroma, longest_side=65_500, largest_exif=65_533, largest_xmp=65_504,
    ),
    ImageFormat(
        "WEBP", (".webp",), photograph=True, piped=True, animated=(".webp",), lossless_from=100, options=_lossless_at_100,
        longest_side=16_383,
    ),
    # TIFF stays uncompressed: through Pillow, libtiff cannot both compress and write EXIF data.
    ImageFormat("TIFF", (".tif", ".tiff"), photograph=True, piped=True, sixteen_bit=True, lossless_from=0),
    ImageFormat("BMP", (".bmp",), (".dib",), photograph=True, alpha=False, icc=False, exif=False, lossless_from=0),
    ImageFormat("AVIF", (".avif",), photograph=True, animated=(".avif",), options=_full_chroma),
    ImageFormat("GIF", read=(".gif",), animated=(".gif",), icc=False, exif=False, longest_side=65_535),
    ImageFormat("JPEG2000", read=(".j2k", ".jp2")),
    ImageFormat("PPM", read=(".pbm", ".pgm", ".pnm", ".ppm")),
    ImageFormat("TGA", read=(".tga",)),
)  # fmt: skip

VIDEOS = frozenset({".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"})
TELEPHONE_PICTURES = frozenset({".heic", ".heif"})
CAMERA_PICTURES = frozenset({".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"})


def advice_on(name: str) -> str:
    """What to do about a file that is no image for percept, by its name; empty where nothing is known."""
    stem, dot, extension = name.rpartition(".")
    extension = f"{dot}{extension.lower()}"
    if extension in VIDEOS:
        return f"percept works on pictures; split the video first: ffmpeg -i '{name}' '{stem}-%05d.png'"
    if extension in TELEPHONE_PICTURES:
        return f"percept does not read HEIC; convert it first: heif-convert '{name}' '{stem}.jpg', or magick"
    if extension in CAMERA_PICTURES:
        return "percept does not read raw files of cameras; develop it first, to a TIFF or PNG of 16 bits"
    if extension in (".svg", ".pdf", ".eps", ".ai", ".psd", ".xcf"):
        return "percept reads pixels alone; export a PNG first"
    return ""


WRITABLE = {extension: known for known in FORMATS for extension in known.written}
"""Extension of a file -> its format, for all that percept writes."""

ANIMATED = {extension: known for known in FORMATS for extension in known.animated}
"""Extension of a file -> its format, for all in which percept writes animations."""

READABLE_EXTENSIONS = frozenset(extension for known in FORMATS for extension in known.written + known.read)
"""The extensions that a folder is searched for; a file given by its name may have any."""

PHOTOGRAPH_EXTENSIONS = frozenset(
    extension for known in FORMATS if known.photograph for extension in known.written + known.read
)
"""The extensions that a folder of training data is searched for."""


def find_format(extension: str) -> ImageFormat:
    """The format of the extension `PNG`, `png` or `.png`. Raises UsageError where percept cannot write such a file."""
    normalized = f".{extension.removeprefix('.').lower()}"
    if normalized not in WRITABLE:
        raise UsageError(unknown_name("output extension", extension, WRITABLE))
    return WRITABLE[normalized]


def find_animated(extension: str) -> ImageFormat:
    """The format of the extension `.gif` of an animation. Raises UsageError for formats that hold none, with those that do."""
    if extension.lower() not in ANIMATED:
        raise UsageError(
            f"A {extension.removeprefix('.').upper()} file holds no animation: with --frames all write one of "
            f"{', '.join(ANIMATED)}, or take one frame by --frames first."
        )
    return ANIMATED[extension.lower()]


def has_quality(extension: str) -> bool:
    """Whether a file of an extension, as `.jpg`, is written with a quality that can be chosen."""
    known = WRITABLE.get(extension.lower())
    return known is not None and known.options(1) != known.options(100)


def pipe_extension(name: str) -> str:
    """The extension of the format in which standard output gets a picture that was read in the format `name`, or in none."""
    return next((known.written[0] for known in FORMATS if known.name == name and known.piped), ".png")


def keeps_levels(extension: str, quality: int) -> bool:
    """Whether a file of an extension, as `.png`, holds exactly the levels that it is written with at a quality of 0 to 100."""
    known = WRITABLE.get(extension.lower())
    return known is not None and known.lossless_from is not None and quality >= known.lossless_from
