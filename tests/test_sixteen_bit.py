"""16-bit pictures go in and out with all 65,536 levels; where fewer are kept, a note says so."""

import base64
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import encode_image, save_image
from percept_cli.core.images.photo import Photo
from percept_cli.errors import ImageError

# 2 x 2 pixels of one color, red at its largest level, in files that Pillow reads and cannot write.
DEEP_JPEG2000 = {
    16: "/0//UQAvAAAAAAACAAAAAgAAAAAAAAAAAAAAAgAAAAIAAAAAAAAAAAADDwEBDwEBDwEB/1IADAAAAAEBAAQEAAH/XAAEQID/ZAAlAAFDcmVh"
    "dGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAAAkAAH/k8f+DAoIkNx3R9/4kBAB2N/4kBgByr//2Q==",
    12: "/0//UQAvAAAAAAACAAAAAgAAAAAAAAAAAAAAAgAAAAIAAAAAAAAAAAADCwEBCwEBCwEB/1IADAAAAAEBAAQEAAH/XAAEQGD/ZAAlAAFDcmVh"
    "dGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAAAgAAH/k8fsCAiQuYjf4AgB2N/gDAHKv//Z",
}
DEEP_AVIF = {
    10: "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAAAAAAAO"
    "cGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAHQAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAA"
    "AABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAAgAAAAIAAAAQcGl4aQAAAAADCgoKAAAADGF2MUOBIEAAAAAAE2NvbHJuY2x4AAIAAgAA"
    "gAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAJW1kYXQSAAoHOAA+cCAgCTIQEAAAAA/6PhDLL6R+c2fBQA==",
    12: "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAA5waXRt"
    "AAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ8AAAAfAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAAAQAAYXYwMUNvbG9yAAAAAGpp"
    "cHJwAAAAS2lwY28AAAAUaXNwZQAAAAAAAAACAAAAAgAAABBwaXhpAAAAAAMMDAwAAAAMYXYxQ4FAYAAAAAATY29scm5jbHgAAgACAACAAAAA"
    "F2lwbWEAAAAAAAAAAQABBAECgwQAAAAnbWRhdBIACghYAD40CAgCIDIREAAAAA/6PbxVcvpH5we4IUA=",
}


def every_level(bands: int) -> np.ndarray:
    """(256, 256, bands) uint16: each band holds each of the 65,536 levels once, in an order of its own."""
    ramp = np.arange(65_536, dtype=np.uint16)
    shuffled = np.random.default_rng(0).permutation(ramp)
    return np.stack((ramp, ramp[::-1], shuffled, shuffled[::-1])[:bands], axis=-1).reshape(256, 256, bands)


def photo_of(levels: np.ndarray) -> Photo:
    channels = torch.from_numpy(levels.astype(np.float32) / np.float32(65_535)).permute(2, 0, 1)[None]
    return Photo(channels[:, :3], channels[:, 3:] if channels.shape[1] == 4 else None, bits=16)


def levels_of(photo: Photo) -> np.ndarray:
    """(H, W, 3 or 4); fails if a value lies between two levels."""
    channels = photo.pixels if photo.alpha is None else torch.cat((photo.pixels, photo.alpha), dim=1)
    levels = channels[0].permute(1, 2, 0).mul(65_535).round().numpy().astype(np.uint16)
    assert np.array_equal(levels.astype(np.float32) / np.float32(65_535), channels[0].permute(1, 2, 0).numpy())
    return levels


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def handmade_png(levels: np.ndarray, color_type: int, *, interlaced: bool = False, key: bytes = b"") -> bytes:
    """A 16-bit PNG of (H, W, C) without filters, by nobody's encoder; `key` is the content of a tRNS chunk."""
    height, width, _ = levels.shape
    # PNG 1.2, 2.6: the seven passes of Adam7, as first row, first column, and the steps to the next ones.
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, right in passes if interlaced else [(0, 0, 1, 1)]:
        for row in levels[top::down, left::right].astype(">u2"):
            rows += b"\0" + row.tobytes()
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, interlaced))
    transparency = png_chunk(b"tRNS", key) if key else b""
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + transparency + data + png_chunk(b"IEND", b"")


def read_png(data: bytes) -> np.ndarray:
    """The levels of a 16-bit PNG by the book: slow, and without Pillow."""
    chunks, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, content = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length) == (zlib.crc32(kind + content),)
        chunks.append((kind, content))
        position += 12 + length
    width, height, bits, color_type, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (bits, interlaced) == (16, 0)
    step = {2: 6, 6: 8}[color_type]
    stored = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    above = bytes(width * step)
    rows = []
    for start in range(0, len(stored), 1 + width * step):
        assert stored[start] == 4
        row = bytearray(stored[start + 1 : start + 1 + width * step])
        for x in range(len(row)):
            left, corner = (row[x - step], above[x - step]) if x >= step else (0, 0)
            estimate = left + above[x] - corner
            nearest = min((left, above[x], corner), key=lambda value, estimate=estimate: abs(estimate - value))
            row[x] = (row[x] + nearest) & 255
        rows.append(above := bytes(row))
    return np.frombuffer(b"".join(rows), ">u2").reshape(height, width, step // 2)


def tiff(levels: np.ndarray, **options: object) -> io.BytesIO:
    """A 16-bit TIFF by tifffile."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, **{"photometric": "rgb", **options})
    buffer.seek(0)
    return buffer


# --- what survives ---


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize(
    ("extension", "read"), [("png", read_png), ("tif", lambda data: tifffile.imread(io.BytesIO(data)))]
)
def test_every_level_survives(extension: str, read: Callable[[bytes], np.ndarray], bands: int) -> None:
    """Each of the 65,536 levels is written and read back as itself; other programs read the same."""
    levels = every_level(bands)
    data, notes = encode_image(photo_of(levels), extension)
    again = load_image(io.BytesIO(data))
    assert np.array_equal(read(data), levels)
    assert np.array_equal(levels_of(again), levels)
    assert (again.bits, again.notes, notes) == (16, (), ())


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("color_type", "bands"), [(0, [0, 0, 0]), (4, [0, 0, 0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 3])]
)
def test_every_kind_of_png_is_read(color_type: int, bands: list[int], interlaced: bool) -> None:
    """Gray, gray with alpha, RGB and RGBA, by rows or interlaced."""
    levels = every_level(max(bands) + 1)
    photo = load_image(io.BytesIO(handmade_png(levels, color_type, interlaced=interlaced)))
    assert np.array_equal(levels_of(photo), levels[..., bands])
    assert (photo.bits, photo.notes) == (16, ())


def test_the_transparent_color_of_a_png_has_sixteen_bits() -> None:
    """A neighbor of the transparent color, which 8 bits do not tell from it, stays visible."""
    levels = np.array([[[1000, 2000, 3000], [1000, 2000, 3001]]], dtype=np.uint16)
    photo = load_image(io.BytesIO(handmade_png(levels, 2, key=struct.pack(">3H", 1000, 2000, 3000))))
    assert photo.alpha is not None
    assert photo.alpha.flatten().tolist() == [0, 1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7},
        {"tile": (32, 48)},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "tile": (32, 48)},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "tile": (32, 48)},
    ],
    ids=str,
)
def test_tiff_is_read_however_it_is_stored(options: dict[str, object]) -> None:
    """Either byte order, with alpha or without, in strips or tiles, compressed or not, colors together or apart."""
    for byte_order, bands in (("<", 3), ("<", 4), (">", 3), (">", 4)):
        levels = every_level(bands)
        stored = levels.transpose(2, 0, 1) if "planarconfig" in options else levels
        extra = {"extrasamples": ["unassalpha"]} if bands == 4 else {}
        photo = load_image(tiff(np.ascontiguousarray(stored), byteorder=byte_order, **extra, **options))
        assert np.array_equal(levels_of(photo), levels)
        assert (photo.bits, photo.notes) == (16, ())


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_a_fourth_band_without_meaning_is_left_out(planes: str) -> None:
    """Some programs write RGB and something else: it is not taken for alpha."""
    levels = every_level(4)
    stored = levels.transpose(2, 0, 1) if planes == "separate" else levels
    photo = load_image(tiff(np.ascontiguousarray(stored), planarconfig=planes, extrasamples=["unspecified"]))
    assert np.array_equal(levels_of(photo), levels[..., :3])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_premultiplied_tiff_is_divided_in_sixteen_bits(compression: str | None) -> None:
    """`pixels` are never multiplied by alpha, and the division loses no level."""
    stored = np.array([[[10_001, 20_002, 0, 30_003], [0, 0, 0, 0]]], dtype=np.uint16)
    photo = load_image(tiff(stored, extrasamples=["assocalpha"], compression=compression))
    expected = torch.tensor([[10_001, 20_002, 0], [0, 0, 0]]) / 30_003
    torch.testing.assert_close(photo.pixels[0, :, 0].T, expected)


def test_a_ppm_as_raw_converters_write_it_is_read() -> None:
    """Binary color PPM up to 65535, the output of dcraw."""
    levels = every_level(3)
    photo = load_image(io.BytesIO(b"P6 256 256 65535\n" + levels.astype(">u2").tobytes()))
    assert np.array_equal(levels_of(photo), levels)
    assert (photo.bits, photo.notes) == (16, ())


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_camera_data_and_profile_survive(extension: str) -> None:
    """EXIF with its parts, XMP and the ICC profile, as other programs find them and as percept does."""
    exif = Image.Exif()
    exif[Base.Make] = "Percept"
    exif[IFD.Exif] = {Base.ExposureTime: 0.5}
    exif[IFD.GPSInfo] = {1: "N"}
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = Photo(torch.zeros(1, 3, 4, 5), exif=exif.tobytes(), icc=icc, xmp=b"<x:xmpmeta/>", bits=16)

    data, notes = encode_image(photo, extension)

    assert notes == ()
    with Image.open(io.BytesIO(data)) as saved:
        assert saved.getexif()[Base.Make] == "Percept"
        assert saved.getexif().get_ifd(IFD.Exif)[Base.ExposureTime] == 0.5
        assert saved.getexif().get_ifd(IFD.GPSInfo)[1] == "N"
        assert saved.info["icc_profile"] == icc
        assert saved.info["xmp"] == b"<x:xmpmeta/>"
    again = load_image(io.BytesIO(data))
    assert (again.icc, again.xmp) == (icc, b"<x:xmpmeta/>")
    assert again.exif is not None


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_orientation_turns_both_bytes(extension: str) -> None:
    """High and low bytes are decoded apart; a camera held upright turns both, and alpha."""
    levels = every_level(4)[:2, :3]
    exif = Image.Exif()
    exif[Base.Orientation] = 6  # a quarter turn clockwise brings it upright
    photo = photo_of(levels)
    data, _ = encode_image(Photo(photo.pixels, photo.alpha, exif=exif.tobytes(), bits=16), extension)
    assert np.array_equal(levels_of(load_image(io.BytesIO(data))), np.rot90(levels, -1))


def test_an_operation_keeps_the_depth(tmp_path: Path) -> None:
    """A picture with other pixels is written as deep as the one it was made of: rounded to the nearest level, clamped."""
    pixels = torch.tensor([19_660.6 / 65_535, -0.3, 1.7]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    save_image(photo_of(every_level(3)).with_pixels(pixels), tmp_path / "image.png")
    assert levels_of(load_image(tmp_path / "image.png"))[0, :, 0].tolist() == [19_661, 0, 65_535]


def test_stylize_gives_a_sixteen_bit_picture_for_one(tmp_path: Path, style_model: Path, percept: Callable) -> None:
    """Strength 0 shows that nothing on the way through the command rounds to 8 bits."""
    levels = every_level(3)[:40, :50]
    save_image(photo_of(levels), tmp_path / "deep.png")
    outcome = percept("stylize", tmp_path / "deep.png", "-m", style_model, "--strength", 0, "-o", tmp_path / "out.png")
    assert (outcome.code, "8 bits" in outcome.stderr) == (0, False)
    assert np.array_equal(read_png((tmp_path / "out.png").read_bytes()), levels)


# --- what does not, and says so ---


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "AVIF", "BMP"])
def test_formats_of_eight_bits_say_so(name: str) -> None:
    """A 16-bit picture can be written as a JPEG; its user is told what that costs."""
    photo = photo_of(every_level(3)[:8, :8])
    data, notes = encode_image(photo, name.lower())
    assert notes == (f"{name} keeps 8 bits a channel",)
    assert load_image(io.BytesIO(data)).bits == 8


@pytest.mark.parametrize("extension", ["png", "tif", "jpg"])
def test_an_eight_bit_picture_is_written_with_eight_bits(extension: str) -> None:
    """Nothing grows that holds no more than 8 bits."""
    data, notes = encode_image(Photo(torch.full((1, 3, 4, 4), 0.3)), extension)
    again = load_image(io.BytesIO(data))
    assert (again.bits, again.notes, notes) == (8, (), ())


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (b"P6 2 2 1023\n" + bytes(24), 10),
        (b"P3 1 1 65535\n0 65535 1", 16),
        *((base64.b64decode(text), bits) for files in (DEEP_JPEG2000, DEEP_AVIF) for bits, text in files.items()),
        (tiff(np.zeros((3, 4, 4), np.uint16), planarconfig="separate", compression="zlib").getvalue(), 16),
        (tiff(np.zeros((4, 4, 4), np.uint16), photometric="separated").getvalue(), 16),
    ],
    ids=["ppm-10", "plain-ppm", "jpeg2000-16", "jpeg2000-12", "avif-10", "avif-12", "compressed-planes", "cmyk"],
)
def test_where_eight_bits_are_kept_a_note_says_so(data: bytes, bits: int) -> None:
    """Pillow cuts these to 8 bits without a word; the depth is in the file's header."""
    photo = load_image(io.BytesIO(data))
    assert photo.bits == 8
    assert f"{bits}-bit image: only 8 bits are kept" in photo.notes


@pytest.mark.parametrize("extension", ["jp2", "avif", "ppm"])
def test_eight_bit_pictures_of_these_kinds_are_not_noted(extension: str) -> None:
    """Depth is read from the file, not guessed from its kind."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, {"jp2": "JPEG2000"}.get(extension, extension.upper()))
    buffer.seek(0)
    assert load_image(buffer).notes == ()


def test_a_float_picture_becomes_one_of_sixteen_bits(tmp_path: Path) -> None:
    """The deepest that can be written; the pixels themselves are not rounded."""
    Image.fromarray(np.array([[0, 0.1234567, 1]], dtype=np.float32)).save(tmp_path / "float.tif")
    photo = load_image(tmp_path / "float.tif")
    assert (photo.bits, photo.notes) == (16, ("32-bit image: only 16 bits are kept",))
    assert photo.pixels[0, 0, 0, 1] == np.float32(0.1234567)


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_a_truncated_file_is_refused(tmp_path: Path, extension: str) -> None:
    """Half a picture is an error at 16 bits as at 8."""
    data, _ = encode_image(photo_of(every_level(3)), extension)
    (tmp_path / f"cut.{extension}").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=rf"cut\.{extension}' is damaged"):
        load_image(tmp_path / f"cut.{extension}")
