"""The image formats by the extensions of files: what is written, and what folders are searched for."""

from percept_cli.errors import UsageError, unknown_name

WRITABLE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
}
"""File name extension -> Pillow's name of the format, for every file that can be written."""

READABLE_EXTENSIONS = frozenset(WRITABLE_FORMATS) | {
    *(".apng", ".dib", ".gif", ".j2k", ".jp2", ".mpo", ".pbm", ".pgm", ".pnm", ".ppm", ".tga")
}
"""What a folder is searched for; a file typed by name is tried whatever it is called."""


def keeps_levels(extension: str, quality: int) -> bool:
    """Whether a file of that extension, `.png`, gives back the very levels that it was written with."""
    image_format = WRITABLE_FORMATS.get(extension.lower(), "")
    return image_format in ("PNG", "TIFF", "BMP") or (image_format == "WEBP" and quality >= 100)


def normalize_extension(extension: str) -> str:
    """`PNG`, `png` or `.png` as `.png`; UsageError, naming the allowed ones, if no such file can be written."""
    normalized = f".{extension.removeprefix('.').lower()}"
    if normalized not in WRITABLE_FORMATS:
        raise UsageError(unknown_name("output extension", extension, WRITABLE_FORMATS))
    return normalized
