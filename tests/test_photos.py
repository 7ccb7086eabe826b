"""Photographs for training are decoded as all others are, and ordinary ones to the very levels that Pillow gives."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.data.photos import Crops, PhotoReader, find_photos, load_square
from percept_cli.core.images.decode import load_image, load_levels, read_size
from percept_cli.core.images.photo import quantize
from percept_cli.core.training.extractors.ranking import find_clips
from percept_cli.errors import ImageError
from tests.conftest import smooth_picture

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "LA", "P", "CMYK", "I;16", "F", "key", "turned"])
def test_levels_are_those_of_every_other_command(kind: str, tmp_path: Path) -> None:
    """What training sees is the picture that `load_image` gives, over black, at the nearest levels."""
    picture = smooth_picture(60, 44, 1, cells=6)
    ramp = np.linspace(0, 1, 60 * 44).reshape(44, 60)
    path = tmp_path / ("a.tif" if kind in ("CMYK", "F") else "a.png")
    options: dict[str, object] = {}
    if kind == "I;16":
        picture = Image.fromarray((ramp * 65_535).astype(np.uint16))
    elif kind == "F":
        picture = Image.fromarray(ramp.astype(np.float32))
    elif kind == "key":
        options["transparency"] = picture.getpixel((3, 4))
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    elif "A" in kind:
        picture.putalpha(Image.fromarray((ramp * 255).astype(np.uint8)))
        picture = picture.convert(kind)
    else:
        picture = picture.convert(kind)
    picture.save(path, **options)
    assert np.array_equal(np.asarray(load_levels(path)), quantize(load_image(path).visible(), np.uint8))
    # As stored, which a turned one is not upright.
    assert read_size(path) == (60, 44)


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_training_sees_what_sixteen_bit_and_float_pictures_show(extension: str, tmp_path: Path) -> None:
    """They once were clipped to white at level 255 or black below 1, and a training on them had a loss of exactly 0."""
    ramp = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    deep = (
        Image.fromarray(ramp.astype(np.float32))
        if extension == "tif"
        else Image.fromarray((ramp * 65_535).astype(np.uint16))
    )
    deep.save(tmp_path / f"deep.{extension}")
    for crop in (
        Crops(find_photos([tmp_path]), 64, 0, 1, native=True)[0],
        load_square(tmp_path / f"deep.{extension}", 64)[0],
    ):
        assert crop.mean().item() == pytest.approx(0.5, abs=0.01)
        assert len(crop.unique()) == 256


def test_hidden_colors_are_not_trained_on(tmp_path: Path) -> None:
    """Where nothing of a color is seen it is black, as in every other command."""
    picture = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    picture.paste((0, 200, 0, 255), (0, 0, 20, 40))
    picture.save(tmp_path / "a.png")
    crop = Crops([tmp_path / "a.png"], 40, 0, 1, native=True)[0]
    assert crop[0].max() == 0
    assert set(crop[1].unique().mul(255).round().tolist()) == {0, 200}


@pytest.mark.skipif(os.name != "posix", reason="needs a script for a program")
def test_no_other_program_reads_training_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript under a photograph's name is named as no image; Pillow would have Ghostscript run what it says."""
    programs, data = tmp_path / "programs", tmp_path / "data"
    programs.mkdir()
    data.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\necho called >> {tmp_path / 'called'}\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    (data / "drawing.jpg").write_bytes(EPS)
    for number in range(2):
        smooth_picture(70, 70, number, cells=6).save(data / f"photo{number}.jpg")
    crops = Crops(find_photos([data]), 32, 0, 4)
    for number in range(4):
        crops[number]
    assert list(crops.unreadable) == [data / "drawing.jpg"]
    assert "is not an image that can be read" in crops.unreadable[data / "drawing.jpg"]
    assert find_clips(find_photos([data]), 1).left_out.keys() == {data / "drawing.jpg"}
    with pytest.raises(ImageError, match="is not an image that can be read"):
        load_square(data / "drawing.jpg", 32)
    assert not (tmp_path / "called").exists()


def test_a_telephones_formats_are_photographs(tmp_path: Path) -> None:
    """AVIF, JFIF and MPO are found in a folder and read; drawings in GIF are not taken."""
    picture = smooth_picture(50, 40, 0, cells=6)
    picture.save(tmp_path / "a.avif")
    picture.save(tmp_path / "b.jfif", "JPEG")
    picture.save(tmp_path / "c.mpo", "MPO", save_all=True, append_images=[picture.resize((10, 8))])
    picture.save(tmp_path / "d.gif")
    files = find_photos([tmp_path])
    assert [file.name for file in files] == ["a.avif", "b.jfif", "c.mpo"]
    reader = PhotoReader(files)
    assert all(reader.read(number).size == (50, 40) for number in range(3))  # type: ignore[union-attr]
    assert not reader.unreadable


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_large_jpeg_is_decoded_smaller_and_then_shrunk(mode: str, tmp_path: Path) -> None:
    """By Pillow's draft to no less than the short side asked for, then by means of pixels: as ever, to the bit."""
    smooth_picture(530, 420, 0, cells=40).convert(mode).save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as file:
        file.draft("RGB", (100, 100))
        drafted = file.convert("RGB")
    assert drafted.size == (133, 105)
    assert load_levels(tmp_path / "a.jpg", 100).tobytes() == drafted.tobytes()
    shrunk = PhotoReader([tmp_path / "a.jpg"], 100).read(0)
    assert shrunk is not None
    assert shrunk.tobytes() == drafted.resize((127, 100), Image.Resampling.BOX).tobytes()


def test_a_damaged_photograph_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    smooth_picture(90, 90, 0, cells=6).save(buffer, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    (tmp_path / "whole.jpg").write_bytes(buffer.getvalue())
    reader = PhotoReader(find_photos([tmp_path]))
    assert reader.read_next([0, 1], 0).size == (90, 90)
    assert reader.unreadable.keys() == {tmp_path / "cut.jpg"}
    assert "'cut.jpg' is damaged" in reader.unreadable[tmp_path / "cut.jpg"].replace(f"{tmp_path}/", "")


def test_the_same_crop_comes_from_the_same_file_stored_otherwise(tmp_path: Path) -> None:
    """An alpha channel that is opaque everywhere changes nothing."""
    picture = smooth_picture(60, 50, 2, cells=8)
    picture.save(tmp_path / "plain.png")
    picture.convert("RGBA").save(tmp_path / "alpha.png")
    crops = [Crops([tmp_path / f"{name}.png"], 32, 5, 1)[0] for name in ("plain", "alpha")]
    assert torch.equal(*crops)
