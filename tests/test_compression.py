"""How much a picture lost: told by the tables of its file, or by traces in its pixels."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from percept_cli.core.images import vp8
from percept_cli.core.images.compression import STANDARD_STEPS, file_quality, quality_of_steps
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.quantization import measured_quality
from percept_cli.core.inference.compression import CERTAIN, FILE, PIXELS, Compression, find_compression
from percept_cli.core.pretrained.blending import photo_share
from percept_cli.errors import ImageError

ASTRONAUT = Image.fromarray(skimage.data.astronaut())  # 512x512, never compressed
SMALL = ASTRONAUT.crop((100, 20, 164, 84))


def saved(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    """The file of a picture, at its beginning."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def decoded(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    return Image.open(saved(image, kind, **options)).convert("RGB")


def measure(image: Image.Image) -> int | None:
    levels = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)
    return measured_quality(levels / 255)


# The tables of a JPEG


@pytest.mark.parametrize(
    "options",
    [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}, {"gray": True}, {"kind": "MPO"}],
    ids=lambda options: next(iter(options)) + str(next(iter(options.values()))),
)
def test_a_jpeg_tells_the_quality_that_it_was_saved_with(options: dict[str, Any]) -> None:
    """Every quality from 1 to 100, with colors at full and half size, progressive, gray, and as telephones save it."""
    options = dict(options)
    image = SMALL.convert("L") if options.pop("gray", False) else SMALL
    kind = options.pop("kind", "JPEG")
    more = {"save_all": True, "append_images": [image]} if kind == "MPO" else {}
    told = [load_image(saved(image, kind, quality=each, **more, **options)).compression for each in range(1, 101)]
    assert told == list(range(1, 101))


def test_the_standard_steps_are_those_of_the_encoder() -> None:
    """As Pillow reads them from what libjpeg wrote, for all qualities."""
    for quality in range(1, 101):
        with Image.open(saved(SMALL, "JPEG", quality=quality)) as image:
            assert list(image.quantization[0]) == STANDARD_STEPS[quality - 1].tolist()  # type: ignore[attr-defined]


def test_other_tables_mean_the_nearest_standard_one() -> None:
    """Tables twice those of quality 75 are those of 50, but for rounding; of flat ones the mean of |log ratio| is least."""
    doubled = [int(2 * step) for step in STANDARD_STEPS[75 - 1]]
    told = load_image(saved(SMALL, "JPEG", qtables=[doubled, doubled])).compression
    assert told is not None and abs(told - 50) <= 1
    for step in (1, 4, 9, 30, 200):
        ratios = [np.mean([abs(np.log(step / each)) for each in steps]) for steps in STANDARD_STEPS]
        flat = [step] * 64
        assert load_image(saved(SMALL, "JPEG", qtables=[flat, flat])).compression == np.argmin(ratios) + 1


def test_luma_is_told_by_its_own_table_whatever_its_number() -> None:
    """The table of the first component; its number is usually 0."""
    layers = [(1, 2, 2, 3), (2, 1, 1, 0), (3, 1, 1, 0)]
    tables = {0: STANDARD_STEPS[10].tolist(), 3: STANDARD_STEPS[80 - 1].tolist()}
    image = SimpleNamespace(format="JPEG", quantization=tables, layer=layers)
    assert file_quality(image, io.BytesIO()) == 80


@pytest.mark.parametrize(
    ("tables", "quality"),
    [
        ({}, None),
        ({0: []}, None),
        ({0: [8] * 63}, None),
        ({0: [0] * 64}, 100),
        ({0: [65_535] * 64}, 1),
        ({1: [1] * 64}, 100),
    ],
)
def test_strange_tables_do_no_harm(tables: dict[int, list[int]], quality: int | None) -> None:
    """No table, one that is cut, steps of 0, steps of 16 bits, a table of a number that nothing names."""
    image = SimpleNamespace(format="JPEG", quantization=tables)
    with np.errstate(all="raise"):
        assert file_quality(image, io.BytesIO()) == quality


def test_tables_of_16_bits_are_read_and_a_cut_file_is_refused_as_before() -> None:
    """The first table of a file, with its steps written in two bytes each."""
    data = saved(SMALL, "JPEG", quality=40).getvalue()
    place = data.index(b"\xff\xdb")
    steps = data[place + 5 : place + 69]
    wide = b"\xff\xdb\x00\x83\x10" + b"".join(bytes((0, step)) for step in steps)
    assert load_image(io.BytesIO(data[:place] + wide + data[place + 69 :])).compression == 40
    with pytest.raises(ImageError):
        load_image(io.BytesIO(data[: place + 30]))


def test_a_jpeg_that_is_read_smaller_tells_nothing(tmp_path: Path) -> None:
    """Its blocks were averaged."""
    ASTRONAUT.save(tmp_path / "photo.jpg", quality=50)
    assert load_image(tmp_path / "photo.jpg").compression == 50
    assert load_image(tmp_path / "photo.jpg", enough=64).compression is None


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "GIF"])
def test_files_without_loss_tell_nothing(kind: str) -> None:
    assert load_image(saved(SMALL, kind)).compression is None


# WebP


def encode_bits(bits: list[tuple[int, int]]) -> bytes:
    """The encoder of RFC 6386, section 7.3, for bits with the probabilities of a zero in 256ths."""
    output: list[int] = []
    width, bottom, count = 255, 0, 24
    for bit, probability in [*bits, *[(0, 128)] * 32]:
        split = 1 + ((width - 1) * probability >> 8)
        bottom, width = (bottom + split, width - split) if bit else (bottom, split)
        while width < 128:
            width <<= 1
            if bottom & 1 << 31:
                place = len(output) - 1
                while output[place] == 255:
                    output[place], place = 0, place - 1
                output[place] += 1
            bottom = bottom << 1 & 0xFFFF_FFFF
            count -= 1
            if not count:
                output.append(bottom >> 24)
                bottom, count = bottom & 0xFF_FFFF, 8
    return bytes(output)


def test_the_decoder_reads_what_the_standards_encoder_wrote() -> None:
    """Bits of all probabilities, in a row."""
    random = np.random.default_rng(0)
    probabilities = random.integers(1, 256, 2000)
    bits = [(int(random.random() * 256 >= each), int(each)) for each in probabilities]
    decoder = vp8.BoolDecoder(encode_bits(bits))
    assert [decoder.bit(probability) for _, probability in bits] == [bit for bit, _ in bits]


@pytest.mark.parametrize("quality", [0, 10, 30, 50, 70, 80, 90, 97, 100])
def test_the_quantizers_of_a_webp_are_those_of_its_quality(quality: int) -> None:
    """libwebp: the index is 127 (1 - c^(1/3)), c = 2q/3 below 0.75 and 2q - 1 above; segments lie around it."""
    linear = quality / 150 if quality < 75 else quality / 50 - 1
    index = vp8.quantizer_index(saved(ASTRONAUT, "WEBP", quality=quality))
    assert index == pytest.approx(127 * (1 - linear ** (1 / 3)), abs=6)


def test_a_webp_tells_its_loss_in_qualities_of_a_jpeg() -> None:
    """More for more; the same with metadata and transparency; nothing where it is lossless, and the stream stays in place."""
    told = [load_image(saved(ASTRONAUT, "WEBP", quality=each)).compression or 0 for each in (5, 30, 50, 75, 90)]
    assert told == sorted(set(told))
    assert 60 < load_image(saved(ASTRONAUT, "WEBP", quality=60)).compression < 80  # type: ignore[operator]
    rich = ASTRONAUT.copy()
    rich.putalpha(Image.linear_gradient("L").resize(rich.size))
    exif = Image.Exif()
    exif[0x010E] = "a portrait"
    extended = load_image(saved(rich, "WEBP", quality=75, exif=exif)).compression
    assert extended is not None and abs(extended - told[3]) <= 3
    assert load_image(saved(ASTRONAUT, "WEBP", lossless=True)).compression is None
    stream = saved(ASTRONAUT, "WEBP")
    stream.seek(7)
    vp8.quantizer_index(stream)
    assert stream.tell() == 7


def test_cut_and_damaged_headers_do_no_harm() -> None:
    """A cut at each byte, and bytes by chance, give an index from 0 to 127 or nothing."""
    data = saved(SMALL, "WEBP", quality=50).getvalue()
    random = np.random.default_rng(0)
    cases = [data[:length] for length in range(80)]
    cases += [data[:30] + random.bytes(100) for _ in range(200)] + [random.bytes(60) for _ in range(50)]
    for case in cases:
        index = vp8.quantizer_index(io.BytesIO(case))
        assert index is None or 0 <= index <= 127


# Pixels


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_jpeg_is_found_in_the_pixels_of_its_cuts(quality: int, subsampling: int) -> None:
    """On grids that begin anywhere, with the quality that it had; the same picture uncompressed shows nothing."""
    for left, top in ((0, 0), (1, 0), (0, 5), (3, 6), (7, 7)):
        cut = decoded(ASTRONAUT, "JPEG", quality=quality, subsampling=subsampling).crop((left, top, 300, 260))
        found = measure(cut)
        assert found is not None and abs(found - quality) <= 1, (left, top)


def test_turned_brightened_and_gray_ones_are_found_too() -> None:
    """What keeps each coefficient a multiple of something; a picture of another size has lost the traces."""
    jpeg = decoded(ASTRONAUT, "JPEG", quality=60)
    for changed in (jpeg.transpose(Image.Transpose.ROTATE_90), jpeg.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
        assert measure(changed) == pytest.approx(60, abs=2)
    # Steps are as much larger.
    assert measure(jpeg.point(lambda level: min(255, round(level * 1.1)))) == pytest.approx(56, abs=2)
    assert measure(decoded(ASTRONAUT.convert("L"), "JPEG", quality=60)) == pytest.approx(60, abs=1)
    assert measure(jpeg.resize((460, 460), Image.Resampling.BICUBIC)) is None


CLEAN = ("astronaut", "brick", "camera", "cell", "coffee", "gravel", "moon", "clock", "horse", "logo", "text")


@pytest.mark.parametrize("name", CLEAN)
def test_pictures_that_were_never_compressed_show_nothing(name: str) -> None:
    """Photographs of scikit-image, whole and cut."""
    image = Image.fromarray(np.asarray(getattr(skimage.data, name)()))
    assert measure(image) is None
    assert measure(image.crop((3, 5, 250, 150))) is None


def drawings() -> dict[str, np.ndarray]:
    """Gray levels of pictures whose coefficients have few values, edges in rows, or none at all."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:200, :240]
    drawn = {
        "flat": np.full((200, 240), 90), "gradient": rows * 0.5 + columns * 0.3, "dark": random.integers(0, 3, (200, 240)),
        "noise": random.integers(0, 256, (200, 240)), "smooth": 100 + 90 * np.sin(rows / 30) * np.cos(columns / 50),
        "chess": np.asarray(Image.fromarray(skimage.data.checkerboard()).resize((240, 200), Image.Resampling.BICUBIC)),
        "board": np.pad(skimage.data.checkerboard(), ((0, 0), (0, 40))),
    }  # fmt: skip
    for side in (1, 2, 3, 4, 5, 7, 8, 16):
        drawn[f"checks of {side}"] = (rows // side + columns // side) % 2 * 255
        drawn[f"stripes of {side}"] = columns // side % 2 * 90 + 80
        drawn[f"cells of {side}"] = np.kron(
            random.integers(0, 2, (200 // side, 240 // side)), np.full((side, side), 255)
        )
        drawn[f"levels of {side}"] = np.kron(random.integers(0, 256, (200 // side, 240 // side)), np.ones((side, side)))
    for count in (26, 200):
        letters = random.random((count, 8, 8)) < 0.4
        page = letters[random.integers(0, count, (25, 30))].transpose(0, 2, 1, 3).reshape(200, 240)
        drawn[f"{count} letters of 8x8"] = page * 255
        drawn[f"{count} gray letters of 8x8"] = page * 80 + 60
    for size in (8, 12, 20):
        page = Image.new("L", (240, 200), 255)
        for top in range(0, 200, size + 2):
            words = "".join(random.choice(list("abcdefgh XYZ,."), 60))
            ImageDraw.Draw(page).text((4, top), words, fill=0, font=ImageFont.load_default(size))
        drawn[f"text of {size}"] = np.asarray(page)
        drawn[f"hard text of {size}"] = np.asarray(page.point(lambda level: 255 * (level > 127)))
    photo = SMALL.resize((240, 200), Image.Resampling.BICUBIC)
    drawn["dithered"] = np.asarray(photo.convert("1")) * 255
    drawn["mosaic"] = np.asarray(ASTRONAUT.convert("L").resize((30, 25)).resize((240, 200), Image.Resampling.NEAREST))
    return drawn


DRAWINGS = drawings()


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_show_nothing(name: str) -> None:
    """Flat, dark and noisy ones, straight edges on any grid, letters, dots."""
    assert measure(Image.fromarray(DRAWINGS[name].clip(0, 255).astype(np.uint8))) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (14, 14), (15, 15), (16, 40)])
def test_small_pictures_tell_nothing(size: tuple[int, int]) -> None:
    assert measure(decoded(ASTRONAUT.crop((100, 100, 100 + size[0], 100 + size[1])), "JPEG", quality=20)) is None


# What decides


def test_the_file_tells_before_the_pixels_and_a_given_value_before_both(tmp_path: Path) -> None:
    """Saved again without loss, the file tells nothing any more and the pixels do."""
    ASTRONAUT.save(tmp_path / "photo.jpg", quality=70)
    decoded(ASTRONAUT, "JPEG", quality=70).save(tmp_path / "again.png")
    jpeg, again = load_image(tmp_path / "photo.jpg"), load_image(tmp_path / "again.png")
    assert find_compression(jpeg) == Compression(70, FILE)
    assert find_compression(again) == Compression(70, PIXELS)
    assert find_compression(jpeg, 20).quality == 20
    assert find_compression(jpeg, "none") == Compression(None)


def test_the_worse_of_two_qualities_counts(tmp_path: Path) -> None:
    """Edited and saved at 95, a JPEG of 60 is still one of 60; one that was first saved at 95, or better before, is of 95."""
    found = {}
    for first in (None, 60, 98):
        picture = ASTRONAUT if first is None else decoded(ASTRONAUT, "JPEG", quality=first)
        picture.save(tmp_path / "photo.jpg", quality=95)
        found[first] = find_compression(load_image(tmp_path / "photo.jpg"))
    assert found == {None: Compression(95, FILE), 60: Compression(60, PIXELS), 98: Compression(95, FILE)}


def test_the_share_of_the_network_for_photographs() -> None:
    """All of it up to quality 82, none from 98 on, in quarters between."""
    told = {quality: photo_share(quality) for quality in (None, 1, 50, 82, 83, 87, 88, 92, 93, 97, 98, 100)}
    assert told == {
        None: 0, 1: 1, 50: 1, 82: 1, 83: 0.75, 87: 0.75, 88: 0.5, 92: 0.5, 93: 0.25, 97: 0.25, 98: 0, 100: 0,
    }  # fmt: skip
    # Up to there a worse quality in the pixels would change nothing, and they are not looked at.
    assert photo_share(CERTAIN) == 1 > photo_share(CERTAIN + 1)


def test_qualities_of_some_steps_are_those_of_all() -> None:
    """Any few coefficients of a standard table tell its quality, where they differ."""
    positions = [1, 8, 16, 9, 2, 20]
    for quality in range(5, 96):
        steps = STANDARD_STEPS[quality - 1, positions]
        nearest = quality_of_steps(steps, positions)
        assert np.array_equal(STANDARD_STEPS[nearest - 1, positions], steps)
