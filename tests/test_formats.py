"""The table of image formats says of every format what is true of its files; a new entry is tested as it stands."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from percept_cli.core.files.formats import (
    FORMATS,
    PHOTOGRAPH_EXTENSIONS,
    READABLE_EXTENSIONS,
    WRITABLE,
    ImageFormat,
    find_format,
    keeps_levels,
    pipe_extension,
)
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import encode_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.sixteen_bit import ENCODERS
from percept_cli.errors import UsageError

WRITTEN = [known for known in FORMATS if known.written]


def noise(*, alpha: bool) -> Photo:
    """Levels that no lossy format gives back, 40x48, with a profile and a camera's data."""
    channels = torch.randint(0, 256, (1, 4, 40, 48), generator=torch.Generator().manual_seed(0)) / 255
    exif = Image.Exif()
    exif[Base.Make] = "Percept"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return Photo(channels[:, :3], channels[:, 3:] if alpha else None, exif.tobytes(), icc)


@pytest.mark.parametrize("known", WRITTEN, ids=lambda known: known.name)
def test_a_file_keeps_what_its_entry_says(known: ImageFormat) -> None:
    """Transparency, profile and camera, and the levels from the quality on that it names; under all of its extensions."""
    for extension in known.written:
        again = load_image(io.BytesIO(encode_image(noise(alpha=True), extension)[0]))
        kept = (again.format, again.alpha is not None, again.icc is not None, again.exif is not None)
        assert kept == (known.name, known.alpha, known.icc, known.exif)
        opaque = noise(alpha=False)
        for quality in (1, 95, 100):
            same = torch.equal(
                load_image(io.BytesIO(encode_image(opaque, extension, quality=quality)[0])).pixels, opaque.pixels
            )
            assert same == keeps_levels(extension, quality)


def test_sixteen_bits_are_written_where_there_is_a_writer() -> None:
    assert {known.name for known in FORMATS if known.sixteen_bit} == ENCODERS.keys()


def test_an_extension_belongs_to_one_format() -> None:
    extensions = [extension for known in FORMATS for extension in known.written + known.read]
    assert len(set(extensions)) == len(extensions)
    assert set(extensions) == READABLE_EXTENSIONS > WRITABLE.keys()


def test_training_takes_the_formats_of_photographs() -> None:
    """Those of cameras, telephones and scanners; not those of drawings and masks."""
    assert {".jpg", ".jfif", ".mpo", ".png", ".webp", ".tif", ".bmp", ".avif"} < PHOTOGRAPH_EXTENSIONS
    assert not {".gif", ".pgm", ".tga"} & PHOTOGRAPH_EXTENSIONS


def test_a_pipe_gets_what_it_gave() -> None:
    """PNG where that cannot be written, and where nothing is known of it."""
    given = ["JPEG", "WEBP", "TIFF", "PNG", "AVIF", "GIF", ""]
    assert [pipe_extension(name) for name in given] == [".jpg", ".webp", ".tif", ".png", ".png", ".png", ".png"]


def test_an_extension_is_found_however_it_is_typed() -> None:
    assert [find_format(text).name for text in ("JPEG", ".JpG", "tif", Path("a.jfif").suffix)] == [
        "JPEG", "JPEG", "TIFF", "JPEG",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"Unknown output extension 'gif'.*Known: \.png"):
        find_format("gif")
