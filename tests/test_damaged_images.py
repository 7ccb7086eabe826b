"""A damaged picture is refused wherever it is read, and what image libraries print becomes a sentence of percept's."""

import io
import os
import random
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image, ImageFile, PngImagePlugin

from percept_cli.core.data.photos import Crops
from percept_cli.core.images.decode import load_image, load_levels
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.printed import catch_printed
from percept_cli.core.images.sixteen_bit import encode_png
from percept_cli.errors import ImageError
from tests.conftest import pictures_in

PICTURE = smooth_picture(240, 180, seed=0, cells=12)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_metadata() -> dict[str, object]:
    """The options of a PNG with EXIF data, which turns it, and a text."""
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[274] = 6
    text.add_text("Title", "a hill")
    return {"exif": exif, "pnginfo": text}


LEVELS = np.asarray(PICTURE).astype(np.uint16) * 257
WITH_CHECKSUMS = {
    "plain.png": encoded(PICTURE, "PNG"),
    "transparent.png": encoded(PICTURE.convert("RGBA"), "PNG"),
    "palette.png": encoded(PICTURE.quantize(32), "PNG", transparency=3),
    "metadata.png": encoded(PICTURE, "PNG", **with_metadata()),
    "sixteen.png": encode_png(LEVELS),
    "gray.png": encoded(Image.fromarray(LEVELS[..., 0]), "PNG"),
    "deflated.tif": encoded(PICTURE, "TIFF", compression="tiff_adobe_deflate"),
}


def damage(data: bytes, source: random.Random) -> bytes:
    """The data with a bit or some bytes changed, lost or added, or cut."""
    changed, place = bytearray(data), source.randrange(len(data))
    noise = bytes(source.randrange(256) for _ in range(source.randrange(1, 60)))
    kind = source.randrange(6)
    if kind == 0:
        changed[place] ^= 1 << source.randrange(8)
    elif kind == 1:
        changed[place : place + len(noise)] = noise[: len(data) - place]
    elif kind == 2:
        del changed[place : place + len(noise)]
    elif kind == 3:
        changed[place:place] = noise
    elif kind == 4:
        changed[place:] = bytes(len(data) - place)
    else:
        del changed[place:]
    return bytes(changed)


def is_the_same(read: Photo, original: Photo) -> bool:
    """Whether two photographs have the same pixels, to the bit."""
    both = [(read.pixels, original.pixels), (read.alpha, original.alpha)]
    return all(a is b or (a is not None and b is not None and a.equal(b)) for a, b in both)


@pytest.mark.parametrize("name", WITH_CHECKSUMS)
def test_damage_never_passes_where_a_file_has_checksums(name: str, tmp_path: Path) -> None:
    """78 damaged files of each kind: refused, or read with the pixels of the whole one; in training data too."""
    path, source = tmp_path / name, random.Random(name)
    path.write_bytes(WITH_CHECKSUMS[name])
    original, levels = load_image(path), load_levels(path)
    passed = 0
    for _ in range(78):
        path.write_bytes(damage(WITH_CHECKSUMS[name], source))
        try:
            assert is_the_same(load_image(path), original)
            passed += 1
        except ImageError:
            with pytest.raises(ImageError):
                load_levels(path)
            continue
        assert load_levels(path).tobytes() == levels.tobytes()
    assert passed < 20


def test_an_error_of_decoding_is_not_taken_for_one_of_exif_data(tmp_path: Path) -> None:
    """PNGs whose chunks fit their checksums and hold wrong data: Pillow decodes them while it looks for EXIF data."""
    whole = WITH_CHECKSUMS["plain.png"]
    rows = b"".join(b"\0" + np.asarray(PICTURE)[row].tobytes() for row in range(180))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path = tmp_path / "wrong.png"
    for place in range(100, 100_000, 1999):
        data = bytearray(zlib.compress(rows))
        data[place % len(data)] ^= 1 << place % 8
        path.write_bytes(whole[: 8 + 25] + chunk(b"IDAT", bytes(data)) + chunk(b"IEND", b""))
        with pytest.raises(ImageError, match="is damaged or incomplete"):
            load_image(path)


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}],
    ids=["baseline", "progressive", "444", "restart"],
)
def test_a_jpeg_that_ends_early_is_refused(options: dict[str, object], tmp_path: Path) -> None:
    """Cut, and cut with an end put on, which Pillow takes for a whole file with a gray rest."""
    whole = encoded(PICTURE, "JPEG", quality=90, **options)
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole + b"trailing data, as telephones add it")
    load_image(path)
    for share in (0.3, 0.6, 0.9, 0.99):
        for end in (b"", b"\xff\xd9"):
            path.write_bytes(whole[: int(share * len(whole))] + end)
            for read in (load_image, load_levels):
                with pytest.raises(ImageError, match="is damaged or incomplete"):
                    read(path)
    path.write_bytes(whole[:-2])
    with pytest.raises(ImageError, match="ends early"):
        load_image(path)


def test_what_libjpeg_and_libtiff_warn_of_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A JPEG with zeros in its middle, alone and in a TIFF, and a fax of impossible codes; they print nothing."""
    jpeg = bytearray(encoded(PICTURE, "JPEG", quality=90))
    jpeg[len(jpeg) // 2 : len(jpeg) // 2 + 300] = b"\xff\xd3" * 150
    in_tiff = bytearray(encoded(PICTURE, "TIFF", compression="jpeg"))
    start = in_tiff.index(b"\xff\xda")
    in_tiff[start + 200 : start + 900] = b"\xff\xd3" * 350
    fax = bytearray(encoded(PICTURE.convert("1"), "TIFF", compression="group4"))
    fax[len(fax) // 2 : len(fax) // 2 + 60] = b"\x55" * 60
    for name, data in (("a.jpg", jpeg), ("b.tif", in_tiff), ("c.tif", fax)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=f"{name}' is damaged or incomplete: "):
            load_image(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_half_pictures_are_refused_whatever_another_library_asks_pillow_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOAD_TRUNCATED_IMAGES is of the whole process: it is switched off, so that a cut file of any format is refused."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    options = {"webp": {}, "tiff": {}, "avif": {}, "gif": {}, "ppm": {}, "bmp": {}, "png": {}, "jpeg": {}}
    for kind, more in options.items():
        whole = encoded(PICTURE, kind.upper(), **more)
        path = tmp_path / f"cut.{kind}"
        path.write_bytes(whole[: 6 * len(whole) // 10])
        with pytest.raises(ImageError):
            load_image(path)


def test_damaged_training_data_is_left_out_by_name(tmp_path: Path) -> None:
    """An AVIF cut in the middle, a PNG with one byte flipped and a link to nowhere: the crops are of the whole picture."""
    PICTURE.save(tmp_path / "whole.png")
    avif, png = encoded(PICTURE, "AVIF"), bytearray(WITH_CHECKSUMS["plain.png"])
    png[2 * len(png) // 5] ^= 1
    bad = {"a.avif": avif[: len(avif) // 2], "b.png": bytes(png)}
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    crops = Crops([tmp_path / "a.avif", tmp_path / "b.png", tmp_path / "whole.png"], 16, seed=0, count=9)
    for number in range(9):
        assert crops[number].shape == (3, 16, 16)
    assert {path.name for path in crops.unreadable} == set(bad)


def test_a_batch_names_the_damaged_picture_and_writes_the_others(
    percept: Callable, photos: Path, style_model: Path, tmp_path: Path
) -> None:
    """Exit 3, no file for the damaged one, no word of EXIF data."""
    data = bytearray(WITH_CHECKSUMS["plain.png"])
    data[2 * len(data) // 5] ^= 1
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(data)
    outcome = percept("stylize", photos / "hill.png", damaged, "-m", style_model, "-o", f"{tmp_path}/out/")
    assert outcome.code == 3, outcome.stderr
    assert "damaged.png' is damaged or incomplete: its chunk IDAT does not fit its checksum" in outcome.stderr
    assert "EXIF" not in outcome.stderr
    assert [path.name for path in pictures_in(tmp_path / "out")] == ["hill_blobs.png"]


def test_printed_lines_are_caught_and_other_text_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Of two threads that decode at once, each gets its own lines; a progress bar reaches standard error."""
    caught: dict[str, list[str]] = {}

    def decode(name: str) -> None:
        with catch_printed() as lines:
            for _ in range(20):
                os.write(2, f"{name}Decode: Bad code word at line 3.\n".encode())
            os.write(2, f"\r{name} 40 %|####".encode())
        caught[name] = lines

    threads = [threading.Thread(target=decode, args=(name,)) for name in ("Fax4", "LZW")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caught == {name: [f"{name}Decode: Bad code word at line 3."] * 20 for name in ("Fax4", "LZW")}
    assert sorted(capfd.readouterr().err.split("\r")) == ["", "Fax4 40 %|####", "LZW 40 %|####"]


def test_pillows_warnings_become_one_note_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are; warnings of others stay warnings."""
    path = tmp_path / "odd.png"
    PICTURE.save(path)
    load = PngImagePlugin.PngImageFile.load_end

    def warning_load(image: PngImagePlugin.PngImageFile) -> None:
        for number in range(3):
            warnings.warn_explicit(
                f"odd number {number}", UserWarning, PngImagePlugin.__file__, number, "PIL.PngImagePlugin"
            )
        warnings.warn_explicit("of another", UserWarning, "another.py", 1, "another")
        load(image)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", warning_load)
    with pytest.warns(UserWarning, match="of another") as shown:
        notes = load_image(path).notes
    assert notes == ("Pillow warns: odd number 0 (and 2 more warnings)",)
    assert len(shown) == 1
