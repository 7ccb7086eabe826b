"""What a picture keeps on its way from a file to a tensor and back. Every file here is a real one, made on the spot."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from percept_cli.core.files.atomic import atomic_path, atomic_write_bytes
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import encode_image, save_image
from percept_cli.core.images.photo import Photo, fit_long_side, fit_short_side, premultiply, resize_image, unpremultiply
from percept_cli.errors import ImageError, UsageError

# Six gray levels, each once, so that every rotation and mirroring looks different.

pytestmark = pytest.mark.numerical
UPRIGHT = [[10, 20, 30], [40, 50, 60]]
STORED = {
    1: [[10, 20, 30], [40, 50, 60]],
    2: [[30, 20, 10], [60, 50, 40]],
    3: [[60, 50, 40], [30, 20, 10]],
    4: [[40, 50, 60], [10, 20, 30]],
    5: [[10, 40], [20, 50], [30, 60]],
    6: [[30, 60], [20, 50], [10, 40]],
    7: [[60, 30], [50, 20], [40, 10]],
    8: [[40, 10], [50, 20], [60, 30]],
}


def levels(photo: Photo) -> np.ndarray:
    """The pixels as 8-bit levels, (H, W, 3)."""
    return photo.pixels[0].mul(255).round().byte().permute(1, 2, 0).numpy()


def noise_photo(height: int, width: int, *, alpha: bool = False) -> Photo:
    generator = torch.Generator().manual_seed(0)
    channels = torch.randint(0, 256, (1, 4, height, width), generator=generator) / 255
    return Photo(channels[:, :3], channels[:, 3:] if alpha else None)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def magenta_only_profile() -> bytes:
    """A CMYK profile of a press on which only magenta ink leaves a mark: its lightness is 1 - magenta, without hue."""
    matrix = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    identity = bytes(range(256))
    corners = b"".join(
        bytes((255 * (1 - magenta), 128, 128))
        for _cyan in (0, 1)
        for magenta in (0, 1)
        for _yellow in (0, 1)
        for _black in (0, 1)
    )
    table = b"mft1" + bytes((0, 0, 0, 0, 4, 3, 2, 0)) + matrix + identity * 4 + corners + identity * 3
    size = 128 + 4 + 12 + len(table)
    header = struct.pack(">I4sI4s4s4s", size, b"", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def camera_exif(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[Base.Make] = "Percept"
    exif[Base.Orientation] = orientation
    exif[IFD.Exif] = {Base.ExposureTime: 0.5, Base.ExifImageWidth: 9999}
    exif[IFD.GPSInfo] = {1: "N"}
    return exif.tobytes()


# --- orientation and metadata ---


@pytest.mark.parametrize("extension", ["png", "tiff"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_applied_and_removed(tmp_path: Path, orientation: int, extension: str) -> None:
    """Whatever way the camera was held, pixels are upright, and no viewer turns the saved file again."""
    path = tmp_path / f"photo.{extension}"
    stored = np.array(STORED[orientation], dtype=np.uint8)
    Image.fromarray(stored).convert("RGB").save(path, exif=camera_exif(orientation))

    photo = load_image(path)
    assert levels(photo)[:, :, 0].tolist() == UPRIGHT

    save_image(photo, tmp_path / "again.jpg")
    with Image.open(tmp_path / "again.jpg") as saved:
        assert saved.size == (3, 2)
        assert Base.Orientation not in saved.getexif()


def test_orientation_turns_sixteen_bit_gray_too(tmp_path: Path) -> None:
    """16-bit gray takes its own way through the reader, and is turned there as well."""
    stored = np.array(STORED[6], dtype=np.uint16) * 257
    Image.fromarray(stored).save(tmp_path / "gray.png", exif=camera_exif(6))
    assert levels(load_image(tmp_path / "gray.png"))[:, :, 0].tolist() == UPRIGHT


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
def test_camera_data_and_profile_survive(tmp_path: Path, extension: str) -> None:
    """EXIF, its camera and position parts, XMP and the ICC profile go from one file into the other."""
    icc = srgb_profile()
    source = tmp_path / "photo.jpg"
    Image.new("RGB", (5, 3)).save(source, exif=camera_exif(), icc_profile=icc, xmp=b"<x:xmpmeta/>")

    photo = load_image(source)
    notes = save_image(photo, tmp_path / f"saved.{extension}")

    assert photo.icc == icc
    assert notes == ()
    with Image.open(tmp_path / f"saved.{extension}") as saved:
        assert saved.getexif()[Base.Make] == "Percept"
        assert saved.getexif().get_ifd(IFD.Exif)[Base.ExposureTime] == 0.5
        assert saved.getexif().get_ifd(IFD.GPSInfo)[1] == "N"
        assert saved.info["icc_profile"] == icc
        assert saved.info["xmp"] == b"<x:xmpmeta/>"


def test_exif_of_storage_is_left_behind(tmp_path: Path) -> None:
    """A size recorded in EXIF would be wrong after enlarging, and a TIFF file's strips mean nothing elsewhere."""
    Image.new("RGB", (5, 3)).save(tmp_path / "photo.tif", exif=camera_exif())
    save_image(load_image(tmp_path / "photo.tif"), tmp_path / "photo.png")
    with Image.open(tmp_path / "photo.png") as saved:
        assert set(saved.getexif()) <= {Base.Make, Base.XResolution, Base.YResolution, IFD.Exif, IFD.GPSInfo}
        assert Base.ExifImageWidth not in saved.getexif().get_ifd(IFD.Exif)


def test_a_profile_does_not_change_pixels(tmp_path: Path) -> None:
    """An RGB profile is carried along; the numbers it describes stay what they are."""
    Image.new("RGB", (1, 1), (200, 100, 50)).save(tmp_path / "wide.png", icc_profile=srgb_profile())
    assert levels(load_image(tmp_path / "wide.png")).tolist() == [[[200, 100, 50]]]


def test_a_gray_profile_is_dropped_with_a_note(tmp_path: Path) -> None:
    """A gray profile in an RGB file would make viewers show wrong colors or refuse the file."""
    gray = bytearray(srgb_profile())
    gray[16:20] = b"GRAY"
    Image.new("L", (1, 1), 100).save(tmp_path / "gray.png", icc_profile=bytes(gray))
    photo = load_image(tmp_path / "gray.png")
    assert photo.icc is None
    assert photo.notes == ("The gray color profile does not fit an RGB image: it is not kept",)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    """Cameras and editors write broken EXIF; the picture is still read, and the user is told."""
    broken = camera_exif()[:40]
    Image.new("RGB", (2, 1), (9, 9, 9)).save(tmp_path / "photo.jpg", exif=broken, quality=100)
    photo = load_image(tmp_path / "photo.jpg")
    assert (photo.height, photo.width, photo.exif) == (1, 2, None)
    assert photo.notes == ("The EXIF data is damaged: it is not kept",)


def test_empty_exif_is_not_called_damaged(tmp_path: Path) -> None:
    """A program that removed every entry leaves an empty block; there is nothing to tell the user."""
    Image.new("RGB", (2, 1)).save(tmp_path / "photo.jpg", exif=Image.Exif().tobytes())
    photo = load_image(tmp_path / "photo.jpg")
    assert (photo.exif, photo.notes) == (None, ())


def test_exif_too_large_for_jpeg_is_noted() -> None:
    """A JPEG holds 64 KB of EXIF; more of it is left out, and the picture is still written."""
    exif = Image.Exif()
    exif[Base.ImageDescription] = "x" * 70_000
    photo = Photo(torch.zeros(1, 3, 2, 2), exif=exif.tobytes())
    assert encode_image(photo, "jpg")[1] == ("The EXIF data does not fit in a JPEG: it is not kept",)
    assert encode_image(photo, "png")[1] == ()


# --- colors and depths ---


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (13, 5), (31, 33)])
def test_odd_sizes_stay_exact(tmp_path: Path, height: int, width: int) -> None:
    """No size is rounded to a multiple of anything."""
    save_image(noise_photo(height, width), tmp_path / "odd.png")
    photo = load_image(tmp_path / "odd.png")
    assert photo.pixels.shape == (1, 3, height, width)
    assert photo.pixels.dtype == torch.float32
    assert (photo.height, photo.width) == (height, width)


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path, extension: str) -> None:
    """65535 is white. Pillow's own conversion to 8 bits would make everything above 255 white."""
    samples = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(samples).save(tmp_path / f"gray.{extension}")
    photo = load_image(tmp_path / f"gray.{extension}")
    assert torch.equal(photo.pixels[0, 1], torch.tensor([[0.0, 256.0, 32768.0, 65535.0]]) / 65535)
    assert (photo.bits, photo.notes) == (16, ())


def test_white_is_zero_tiff_is_not_a_negative(tmp_path: Path) -> None:
    """In some scanners' TIFF files 0 is white, at 16 bits as at 8."""
    samples = np.array([[0, 65535]], dtype=np.uint16)
    Image.fromarray(samples).save(tmp_path / "scan.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "scan.tif") as stored:
        assert stored.tag_v2[262] == 0  # type: ignore[attr-defined]
    assert load_image(tmp_path / "scan.tif").pixels[0, 0].tolist() == [[1.0, 0.0]]


def test_float_image_in_range_is_read_and_others_are_refused(tmp_path: Path) -> None:
    """Values from 0 to 1 have one meaning; any others would need a guess."""
    Image.fromarray(np.array([[0, 0.25, 1]], dtype=np.float32)).save(tmp_path / "good.tif")
    assert load_image(tmp_path / "good.tif").pixels[0, 2].tolist() == [[0, 0.25, 1]]
    Image.fromarray(np.array([[0, 0.25, 7]], dtype=np.float32)).save(tmp_path / "bad.tif")
    with pytest.raises(ImageError, match=r"bad\.tif' has float values outside 0 to 1"):
        load_image(tmp_path / "bad.tif")


def test_signed_samples_are_refused(tmp_path: Path) -> None:
    """What is black and white in 32-bit whole numbers is not known."""
    Image.fromarray(np.array([[-5, 70_000]], dtype=np.int32)).save(tmp_path / "map.tif")
    with pytest.raises(ImageError, match=r"map\.tif' has signed or 32-bit"):
        load_image(tmp_path / "map.tif")


@pytest.mark.parametrize(
    ("mode", "color", "expected", "opacity"),
    [
        ("1", 1, [255, 255, 255], None),
        ("L", 77, [77, 77, 77], None),
        ("LA", (77, 128), [77, 77, 77], 128),
        ("RGB", (1, 2, 3), [1, 2, 3], None),
        ("RGBA", (1, 2, 3, 0), [1, 2, 3], 0),
    ],
)
def test_modes(
    tmp_path: Path, mode: str, color: int | tuple[int, ...], expected: list[int], opacity: int | None
) -> None:
    """Gray becomes three equal channels; transparency becomes `alpha`, and only where there is some."""
    Image.new(mode, (1, 1), color).save(tmp_path / "image.png")
    photo = load_image(tmp_path / "image.png")
    assert levels(photo).tolist() == [[expected]]
    assert (None if photo.alpha is None else round(photo.alpha.item() * 255)) == opacity


def test_premultiplied_tiff_is_read_straight(tmp_path: Path) -> None:
    """Some TIFF files store colors already multiplied; `pixels` never are."""
    stored = Image.new("RGBA", (1, 1), (50, 100, 0, 128))
    stored.save(tmp_path / "associated.tif", tiffinfo={338: 1})
    data = (tmp_path / "associated.tif").read_bytes()
    # Pillow always writes 2 (unassociated) in tag 338; 1 is associated.
    entry = struct.pack("<HHIH", 338, 3, 1, 2)
    assert data.count(entry) == 1
    (tmp_path / "associated.tif").write_bytes(data.replace(entry, struct.pack("<HHIH", 338, 3, 1, 1)))
    assert levels(load_image(tmp_path / "associated.tif")).tolist() == [[[99, 199, 0]]]


def test_palette_with_transparency(tmp_path: Path) -> None:
    """A palette's transparent entries, as in GIF files and small PNG files, become `alpha`."""
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "palette.png", transparency=bytes([255, 0, 128]))
    photo = load_image(tmp_path / "palette.png")
    assert levels(photo)[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert photo.alpha is not None
    assert photo.alpha.mul(255).round().flatten().tolist() == [255, 0, 128]


def test_cmyk_without_profile(tmp_path: Path) -> None:
    """Print colors become RGB, and the user is told."""
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    photo = load_image(tmp_path / "print.jpg")
    red = levels(photo)[4, 4].astype(int)
    assert abs(red - [255, 0, 0]).max() <= 2
    assert photo.notes == ("CMYK colors were converted to sRGB",)


def test_cmyk_with_profile_is_converted_through_it(tmp_path: Path) -> None:
    """The profile says what the inks look like: on a press without black ink, black ink is white paper."""
    image = Image.new("CMYK", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 255, 0, 0))
    image.save(tmp_path / "print.tif", icc_profile=magenta_only_profile())
    photo = load_image(tmp_path / "print.tif")
    assert levels(photo)[0].tolist() == [[255, 255, 255], [0, 0, 0]]
    assert photo.icc is None


def test_lab_becomes_rgb(tmp_path: Path) -> None:
    """A Lab TIFF, as scanners and editors write, is read as colors."""
    Image.new("LAB", (1, 1), (255, 128, 128)).save(tmp_path / "lab.tif")
    # In the file a and b are signed: white is L 255, a 0, b 0.
    assert b"\xff\x00\x00" in (tmp_path / "lab.tif").read_bytes()[-4:]
    assert (levels(load_image(tmp_path / "lab.tif")) >= 254).all()


# --- what is refused ---


@pytest.mark.parametrize("extension", ["gif", "png", "webp", "tif"])
def test_several_frames_are_refused_by_name(tmp_path: Path, extension: str) -> None:
    """An animation is not quietly cut to its first frame."""
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / f"moving.{extension}", save_all=True, append_images=frames[1:])
    refusal = "3 pages: save" if extension == "tif" else "3 frames: stylize, upscale and invert take --frames all"
    with pytest.raises(ImageError, match=rf"moving\.{extension}' holds {refusal}"):
        load_image(tmp_path / f"moving.{extension}")


def test_a_telephones_jpeg_gives_its_first_picture(tmp_path: Path) -> None:
    """A JPEG with a depth or gain map behind the photograph (MPO) is a photograph."""
    photograph, gain_map = Image.new("RGB", (16, 8), (200, 0, 0)), Image.new("RGB", (4, 2))
    photograph.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[gain_map])
    photo = load_image(tmp_path / "phone.jpg")
    assert (photo.height, photo.width, photo.format) == (8, 16, "JPEG")


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif", "bmp"])
def test_a_truncated_file_is_refused(tmp_path: Path, extension: str) -> None:
    """Half a download is an error and not a picture with a gray lower half."""
    path = tmp_path / f"cut.{extension}"
    save_image(noise_photo(64, 64), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"cut\.{extension}' is (damaged|not an image)"):
        load_image(path)


def test_what_is_no_image_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Missing, folder, empty, text: each says which file and what is wrong."""
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image at all, only words\n" * 20)
    for name, complaint in [
        ("missing.jpg", "does not exist"),
        ("", "is a folder"),
        ("empty.jpg", "is empty"),
        ("text.jpg", "is not an image that can be read"),
    ]:
        with pytest.raises(ImageError, match=complaint) as caught:
            load_image(tmp_path / name)
        message = str(caught.value)
        assert str(tmp_path / name) in message
        assert message.endswith(".") and "\n" not in message


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [30_000, 60_000])
def test_a_picture_too_large_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    """A small file can claim to hold gigabytes; its header is enough to refuse it."""
    Image.new("L", (1, 1)).save(tmp_path / "bomb.png")
    data = bytearray((tmp_path / "bomb.png").read_bytes())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"bomb\.png' has more than 500 million pixels"):
        load_image(tmp_path / "bomb.png")


def test_a_pipe_is_read_like_a_file() -> None:
    """Standard input cannot be rewound; it is read whole."""
    data, _ = encode_image(noise_photo(3, 4), "png")
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as writer:
        writer.write(data)
    with os.fdopen(read_end, "rb") as reader:
        assert torch.equal(load_image(reader).pixels, noise_photo(3, 4).pixels)
    with pytest.raises(ImageError, match="'standard input' is empty"):
        load_image(io.BytesIO())


# --- transparency ---


def test_premultiply_stops_the_halo() -> None:
    """The red behind transparent pixels cannot bleed into a visible blue neighbor when an operation mixes the two."""
    pixels = torch.zeros(1, 3, 1, 2)
    pixels[0, 2, 0, 0] = 1
    pixels[0, 0, 0, 1] = 1
    alpha = torch.tensor([[[[1.0, 0.0]]]])

    def mix(values: torch.Tensor) -> torch.Tensor:
        return values.mean(dim=-1, keepdim=True)

    assert mix(pixels).flatten().tolist() == [0.5, 0, 0.5]  # the halo, purple
    assert unpremultiply(mix(premultiply(pixels, alpha)), mix(alpha)).flatten().tolist() == [0, 0, 1]


def test_unpremultiply_undoes_premultiply_and_is_finite_at_zero() -> None:
    """Where something is visible the colors come back; where nothing is, they are black, never NaN."""
    photo = noise_photo(8, 8, alpha=True)
    assert photo.alpha is not None
    restored = unpremultiply(premultiply(photo.pixels, photo.alpha), photo.alpha)
    visible = photo.alpha > 0
    torch.testing.assert_close(restored * visible, photo.pixels * visible)
    assert unpremultiply(torch.ones(1, 3, 1, 1), torch.zeros(1, 1, 1, 1)).eq(0).all()


def test_with_pixels_resizes_alpha() -> None:
    """An enlarged picture keeps its transparency, at its new size."""
    photo = Photo(torch.zeros(1, 3, 4, 4), torch.full((1, 1, 4, 4), 0.5))
    larger = photo.with_pixels(torch.zeros(1, 3, 9, 8))
    assert larger.alpha is not None
    assert larger.alpha.shape == (1, 1, 9, 8)
    torch.testing.assert_close(larger.alpha, torch.full((1, 1, 9, 8), 0.5))


def test_visible_pixels_are_over_black_and_divided_by_alpha_again() -> None:
    """What a network makes of them has the photograph's own transparency, at the size that was asked for."""
    photo = noise_photo(9, 8, alpha=True)
    assert photo.alpha is not None
    assert torch.equal(photo.visible(), photo.pixels * photo.alpha)
    small = photo.visible(4)
    assert torch.equal(small, resize_image(photo.visible(), *fit_short_side(9, 8, 4)))
    again = photo.with_visible(photo.visible())
    torch.testing.assert_close(again.pixels * photo.alpha, photo.visible())
    changed = photo.with_visible(small)
    assert changed.alpha is not None and changed.alpha.shape == (1, 1, *small.shape[-2:])
    torch.testing.assert_close(changed.pixels, unpremultiply(small, changed.alpha))


def test_an_opaque_photograph_is_seen_as_it_is() -> None:
    """Its pixels themselves; levels that only await their file as shares of white."""
    photo = noise_photo(3, 4)
    assert photo.visible() is photo.pixels
    assert photo.with_visible(1 - photo.pixels).pixels.equal(1 - photo.pixels)
    levels = Photo(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8), torch.full((1, 1, 2, 2), 51, dtype=torch.uint8))
    torch.testing.assert_close(levels.visible(), torch.full((1, 3, 2, 2), 0.2))


@pytest.mark.parametrize(("extension", "mode"), [("jpg", "JPEG"), ("bmp", "BMP")])
def test_formats_without_transparency_lie_over_white(extension: str, mode: str) -> None:
    """Half-visible black over white is gray, and the user is told; a wholly opaque picture loses nothing."""
    black = torch.zeros(1, 3, 8, 8)
    data, notes = encode_image(Photo(black, torch.full((1, 1, 8, 8), 0.5)), extension)
    assert notes == (f"{mode} keeps no transparency: the picture was laid over white",)
    assert levels(load_image(io.BytesIO(data)))[4, 4].tolist() == [128, 128, 128]
    assert encode_image(Photo(black, torch.ones(1, 1, 8, 8)), extension)[1] == ()


# --- writing ---


@pytest.mark.parametrize(("extension", "quality"), [("png", 95), ("tif", 95), ("webp", 100)])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_formats_return_every_bit(tmp_path: Path, extension: str, quality: int, alpha: bool) -> None:
    """PNG, TIFF and WebP at quality 100 give back what they were given, colors under transparency included."""
    photo = noise_photo(9, 7, alpha=alpha)
    save_image(photo, tmp_path / f"image.{extension}", quality=quality)
    again = load_image(tmp_path / f"image.{extension}")
    assert torch.equal(again.pixels, photo.pixels)
    assert (again.alpha is not None) == alpha
    if photo.alpha is not None and again.alpha is not None:
        assert torch.equal(again.alpha, photo.alpha)


def test_values_are_rounded_and_clamped() -> None:
    """99.6 / 255 is written as 100; a network's overshoot is cut at black and white."""
    pixels = torch.tensor([99.6 / 255, -0.3, 1.7]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    data, _ = encode_image(Photo(pixels), ".PNG")
    assert levels(load_image(io.BytesIO(data)))[0, :, 0].tolist() == [100, 0, 255]


def test_jpeg_keeps_full_color_resolution() -> None:
    """4:4:4: the colors of neighboring pixels are not averaged."""
    data, _ = encode_image(noise_photo(16, 16), "jpg")
    with Image.open(io.BytesIO(data)) as image:
        assert {component[1:3] for component in image.layer} == {(1, 1)}  # type: ignore[attr-defined]


def test_an_unknown_extension_names_the_known_ones(tmp_path: Path) -> None:
    """The message holds what can be written."""
    with pytest.raises(UsageError, match=r"Unknown output extension '\.gif'.*\.png, \.jpg.*\.webp"):
        save_image(noise_photo(1, 1), tmp_path / "image.gif")


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    """A network that overflowed gives an error, not a black picture."""
    with pytest.raises(ImageError, match=r"image\.png'.*not finite numbers: try --precision fp32"):
        save_image(Photo(torch.full((1, 3, 2, 2), torch.nan)), tmp_path / "image.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_the_format_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    """WebP ends at 16383 pixels; the file that was there is still whole, and nothing else lies about."""
    path = tmp_path / "wide.webp"
    path.write_bytes(b"old")
    with pytest.raises(ImageError, match=r"wide\.webp'.*16384 x 1 pixels cannot be written as WEBP"):
        save_image(noise_photo(1, 16_384), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    """When the disk takes no more, here by a limit of 1000 bytes a file, the old file is still whole."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "image.png"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ImageError, match=r"image\.png' cannot be written: File too large"):
            save_image(noise_photo(40, 40), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C between the first and the last byte leaves neither a half file nor a temporary one."""
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "model.safetensors", overwrite=True) as temporary:
        temporary.write_bytes(b"half")
        assert temporary.name.startswith(".") and temporary.suffix == ".safetensors"
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    """A missing folder, a folder in the file's place and a device each give one sentence."""
    with pytest.raises(ImageError, match="cannot be written: No such file or directory"):
        save_image(noise_photo(1, 1), tmp_path / "missing" / "image.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="cannot be written: it is a folder"):
        save_image(noise_photo(1, 1), tmp_path / "folder.png")
    with pytest.raises(ImageError, match="cannot be written: it is not an ordinary file"):
        atomic_write_bytes(Path(os.devnull), b"data", overwrite=True)


def test_new_files_follow_the_umask_and_old_ones_keep_their_mode(tmp_path: Path) -> None:
    """Results can be read by those who could read any other new file."""
    path = tmp_path / "file"
    previous = os.umask(0o027)
    try:
        atomic_write_bytes(path, b"new", overwrite=True)
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o604)
    atomic_write_bytes(path, b"newer", overwrite=True)
    assert path.stat().st_mode & 0o777 == 0o604


# --- sizes ---


def test_resize_keeps_range_and_constant_color() -> None:
    """Bicubic overshoot is cut; a plain color stays plain; the same size is the same picture."""
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    resized = resize_image(edge, 21, 5)
    assert resized.shape == (1, 3, 21, 5)
    assert resized.min() >= 0 and resized.max() <= 1
    torch.testing.assert_close(resize_image(torch.full((1, 1, 6, 6), 0.3), 3, 4), torch.full((1, 1, 3, 4), 0.3))
    assert resize_image(edge, 8, 8) is edge


def test_shrinking_averages_and_does_not_skip_pixels() -> None:
    """A fine checkerboard shrinks to gray; without antialiasing it would give stripes."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((rows + columns) % 2).float().expand(1, 1, 64, 64)
    assert (resize_image(board, 8, 8) - 0.5).abs().max() < 0.01


def test_fit_sides() -> None:
    """The shape is kept to the nearest pixel, and no side falls to zero."""
    assert fit_short_side(600, 400, 200) == (300, 200)
    assert fit_long_side(600, 400, 300) == (300, 200)
    assert fit_long_side(10_000, 3, 100) == (100, 1)


def test_a_large_jpeg_is_read_smaller_where_less_is_enough(tmp_path: Path) -> None:
    """At half its size for a third of it, with its own size told, turned as its orientation says; other files whole."""
    picture = Image.effect_noise((640, 480), 60).resize((1280, 960), Image.Resampling.BICUBIC).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(tmp_path / "a.jpg", quality=95, exif=exif)
    picture.save(tmp_path / "a.png")
    half = load_image(tmp_path / "a.jpg", enough=300)
    assert (half.height, half.width, half.whole) == (640, 480, (1280, 960))
    assert load_image(tmp_path / "a.jpg", enough=120).height == 320
    for photo in (load_image(tmp_path / "a.jpg"), load_image(tmp_path / "a.jpg", enough=321)):
        assert (photo.height, photo.width, photo.whole) == (1280, 960, None)
    assert load_image(tmp_path / "a.png", enough=10).whole is None
    # What is left out is what shrinking leaves out.
    shrunk = resize_image(load_image(tmp_path / "a.jpg").pixels, 400, 300)
    assert (resize_image(half.pixels, 400, 300) - shrunk).abs().mean() < 2 / 255
