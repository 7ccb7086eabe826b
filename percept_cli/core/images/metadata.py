"""EXIF, color profiles and XMP of image files, read and written."""

from typing import Any

from PIL import Image, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import IFD, Base

from percept_cli.core.files.formats import ImageFormat
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.provenance import KEYWORD, Record, mark

# The tags that describe the photograph. The others describe the file that was read (sizes, strips, an orientation that
# has been applied, a thumbnail) and would be wrong in the file that is written.
_EXIF_TAGS = (
    Base.ImageDescription, Base.Make, Base.Model, Base.XResolution, Base.YResolution,
    Base.ResolutionUnit, Base.Software, Base.DateTime, Base.Artist, Base.HostComputer,
    Base.Rating, Base.RatingPercent, Base.Copyright, Base.XPTitle, Base.XPComment,
    Base.XPAuthor, Base.XPKeywords, Base.XPSubject,
)  # fmt: skip
_EXIF_STORAGE_TAGS = (Base.ExifImageWidth, Base.ExifImageHeight, Base.ExifInteroperabilityOffset)


def read_exif(image: Image.Image, notes: list[str]) -> bytes | None:
    """The EXIF data of the photograph without the orientation, None where there is none. `notes` gets what is lost."""
    try:
        found = image.getexif()
        # An empty directory, which some programs leave, takes 20 bytes with its signature.
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
    except MemoryError:
        raise
    except Exception:
        # Whatever is wrong with the EXIF data, the picture can still be read.
        notes.append("The EXIF data is damaged: it is not kept")
        return None


def read_profile(image: Image.Image, notes: list[str]) -> bytes | None:
    """The color profile where it is one of RGB, else None; `notes` gets which profile is lost."""
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


def read_xmp(image: Image.Image) -> bytes | None:
    """The XMP packet of the photograph, None where there is none."""
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp or None


def write_options(
    photo: Photo, image_format: ImageFormat, notes: list[str], record: Record | None = None
) -> dict[str, Any]:
    """The options of Pillow's writer for a photograph's metadata. `notes` gets what the format does not keep.

    record: of how the picture was made, which stands in a text of a PNG and in the XMP packet of other formats.
    """
    exif = _fitting(photo.exif, image_format.largest_exif, "EXIF", image_format, notes)
    xmp = _fitting(photo.xmp, image_format.largest_xmp, "XMP", image_format, notes)
    options: dict[str, Any] = {}
    if photo.icc and image_format.icc:
        options["icc_profile"] = photo.icc
    elif photo.icc:
        notes.append(f"{image_format.name} keeps no color profile: colors may look different")
    if record is not None and image_format.exif:
        xmp = _marked(xmp, record, image_format, notes)
    if exif:
        options["exif"] = exif
    if image_format.name == "PNG" and (xmp or record is not None):
        options["pnginfo"] = PngImagePlugin.PngInfo()
        if record is not None:
            options["pnginfo"].add_text(KEYWORD, record.to_json())
        if xmp:
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif xmp and image_format.name == "TIFF":
        # Pillow takes a TIFF file's XMP as one more EXIF tag.
        options["exif"] = Image.Exif()
        options["exif"].load(exif or b"")
        options["exif"][TiffImagePlugin.XMP] = xmp
    elif xmp:
        options["xmp"] = xmp
    return options


def _marked(xmp: bytes | None, record: Record, image_format: ImageFormat, notes: list[str]) -> bytes | None:
    """The packet of a result: with the mark of changed pictures and, but in a PNG, the record."""
    kept = None if image_format.name == "PNG" else record
    marked = mark(xmp, kept)
    if marked is None:
        notes.append("The XMP data is damaged: it is not kept")
        marked = mark(None, kept)
    assert marked is not None
    if image_format.largest_xmp is not None and len(marked) > image_format.largest_xmp:
        notes.append(f"The record of how it was made does not fit in a {image_format.name} beside the XMP data")
        return xmp
    return marked


def _fitting(
    data: bytes | None, largest: int | None, what: str, image_format: ImageFormat, notes: list[str]
) -> bytes | None:
    if not data or not image_format.exif:
        return None
    if largest is not None and len(data) > largest:
        notes.append(f"The {what} data does not fit in a {image_format.name}: it is not kept")
        return None
    return data
