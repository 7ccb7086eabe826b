"""Animations come back frame by frame, with their times, loops and transparency, and damage is told by its frame."""

import io
import random
import struct
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

from percept_cli.core.images import animation
from percept_cli.core.images.animation import Frame, holds_animation, load_frame, open_animation
from percept_cli.core.images.animation_writers import Clock, changed_part
from percept_cli.core.images.containers import set_avif_plays
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import encode_animation, save_animation
from percept_cli.core.images.palettes import Palettes, create_palette
from percept_cli.core.images.photo import Photo
from percept_cli.errors import ImageError, UsageError
from tests.conftest import smooth_picture

DURATIONS = (30.0, 40.0, 100.0, 100.0, 70.0, 250.0)  # milliseconds
avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
LOSSLESS = (".gif", ".png", ".apng", ".webp")
ALL = (*LOSSLESS, pytest.param(".avif", marks=avif))


def drawing(number: int, transparent: bool = False) -> np.ndarray:
    """A frame (H, W, 3 or 4) of few colors: a square moves over stripes, and so does a hole."""
    levels = np.zeros((24, 33, 4), np.uint8)
    levels[..., 0], levels[..., 1] = np.arange(33) // 4 * 20, np.arange(24)[:, None] // 4 * 20
    levels[5:9, 3 + number : 8 + number, :3] = (250, 20, 20)
    levels[..., 3] = 255
    if transparent:
        levels[12:20, 4 * number : 4 * number + 6] = 0
    return levels if transparent else levels[..., :3]


def photo_of(levels: np.ndarray) -> Photo:
    channels = torch.from_numpy(levels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return Photo(channels[:, :3], channels[:, 3:] if channels.shape[1] == 4 else None)


def frames_of(pictures: list[np.ndarray], durations: tuple[float, ...] = DURATIONS) -> Iterator[Frame]:
    return (Frame(photo_of(levels), duration) for levels, duration in zip(pictures, durations, strict=False))


def read(data: bytes) -> tuple[list[np.ndarray], list[float], int]:
    """The frames of a file as levels (H, W, 4), their durations and how often it is played."""
    with open_animation(io.BytesIO(data)) as found:
        frames = list(found.frames)
    assert len(frames) == found.total
    return [opaque(frame.photo.levels(np.uint8)) for frame in frames], [frame.duration for frame in frames], found.plays


def opaque(levels: np.ndarray) -> np.ndarray:
    """The levels (H, W, 4) of a frame, without the colors that transparency hides."""
    alpha = levels[..., 3:] if levels.shape[2] == 4 else np.full((*levels.shape[:2], 1), 255, np.uint8)
    return np.concatenate((levels[..., :3] * (alpha > 0), alpha), axis=2)


def by_pillow(kind: str, pictures: list[np.ndarray], **options: object) -> bytes:
    """An animation by Pillow's own writer."""
    first, *others = map(Image.fromarray, pictures)
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, **options)
    return buffer.getvalue()


# --- there and back ---


@pytest.mark.parametrize("plays", [0, 1, 3])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("extension", ALL)
def test_an_animation_comes_back(extension: str, transparent: bool, plays: int) -> None:
    """Frames, durations and the number of times to play are those that were written; 0 is forever and 1 is once."""
    pictures = [drawing(number, transparent) for number in range(6)]
    pictures[3] = pictures[2]  # equal frames stay two
    data, notes = encode_animation(frames_of(pictures), extension, plays=plays, quality=100)
    found, durations, found_plays = read(data)
    assert (durations, found_plays, notes) == (list(DURATIONS), plays, ())
    for there, here in zip(map(opaque, pictures), found, strict=True):
        difference = np.abs(there.astype(int) - here)
        assert difference.max() <= (4 if extension == ".avif" else 0)  # which is lossy


@pytest.mark.parametrize(("kind", "options"), [("GIF", {"disposal": 2}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_pillows_animations_are_read(kind: str, options: dict[str, object]) -> None:
    """What another writer made, with parts of frames and frames that are cleared, are whole pictures."""
    pictures = [drawing(number, transparent=True) for number in range(6)]
    data = by_pillow(kind, pictures, duration=list(DURATIONS), loop=2, **options)
    found, durations, plays = read(data)
    assert durations == list(DURATIONS)
    assert plays == (3 if kind == "GIF" else 2)  # a GIF tells its repetitions
    for there, here in zip(pictures, found, strict=True):
        assert np.array_equal(there[..., 3], here[..., 3])
        assert np.abs(there.astype(int) - here).max() <= (0 if kind != "GIF" else 20)  # Pillow's palette


@avif
def test_a_sequence_of_avif_is_read() -> None:
    """The times of a file of 30 frames a second add up, though each is told in whole milliseconds."""
    pictures = [drawing(number % 6) for number in range(30)]
    data = by_pillow("AVIF", pictures, duration=33)
    # 1000 units a second become 990, in which 33 units are a thirtieth of a second.
    places = [place for place in range(len(data)) if data[place : place + 4] in (b"mvhd", b"mdhd")]
    for place in places:
        data = data[: place + 24] + struct.pack(">I", 990) + data[place + 28 :]
    _, durations, plays = read(data)
    assert sum(durations) == 1000
    assert set(durations) == {33.0, 34.0}
    assert plays == 0
    assert read(set_avif_plays(data, 5))[2] == 5


def test_the_picture_for_other_programs_is_no_frame() -> None:
    """An APNG may begin with a picture that is not part of the animation: it is neither frame 1 nor any other."""
    hidden = np.full((24, 33, 3), 255, np.uint8)
    data = by_pillow("PNG", [hidden, drawing(0), drawing(1)], default_image=True, duration=50)
    found, durations, _ = read(data)
    assert durations == [50.0, 50.0]
    assert all(np.array_equal(opaque(drawing(number)), found[number]) for number in range(2))
    assert np.array_equal(load_frame(io.BytesIO(data), 1).levels(np.uint8), drawing(0))


def test_wide_gray_frames_have_eight_bits() -> None:
    """The frames of an APNG of 16 bits have 8, which a note on the first one tells."""
    frames = [Image.fromarray(np.full((3, 4), 256 * level + 17, np.uint16)) for level in (0, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], duration=50)
    with open_animation(buffer) as found:
        first, second = (frame.photo for frame in found.frames)
    assert [photo.levels(np.uint8)[0, 0].tolist() for photo in (first, second)] == [[0] * 3, [200] * 3]
    assert (first.notes, second.notes) == (("16-bit image: only 8 bits are kept",), ())


def test_a_frame_beyond_the_canvas_is_cut() -> None:
    """All frames have the size of the first, where a GIF's later one is larger than its screen."""
    data = bytearray(encode_animation(frames_of([drawing(0), drawing(1)]), ".gif", plays=1)[0])
    second = data.rindex(b"!\xf9") + 8
    width, height = struct.unpack("<2H", data[second + 5 : second + 9])
    struct.pack_into("<4H", data, second + 1, 33 - width + 2, 24 - height + 3, width, height)
    found, _, _ = read(bytes(data))
    assert [levels.shape for levels in found] == [(24, 33, 4)] * 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_orientation_turns_every_frame(kind: str) -> None:
    """Frames come upright, and the orientation is gone from their EXIF data."""
    exif = Image.Exif()
    exif[274] = 6
    turned = by_pillow(kind, [drawing(0), drawing(1)], exif=exif.tobytes(), duration=50, lossless=True)
    found, _, _ = read(turned)
    assert all(np.array_equal(opaque(np.rot90(drawing(number), -1)), found[number]) for number in range(2))


@pytest.mark.parametrize("extension", [".png", ".webp", pytest.param(".avif", marks=avif)])
def test_metadata_stays(extension: str, tmp_path: Path) -> None:
    """EXIF data, the color profile and XMP of the first frame are those of the animation, and every frame has them."""
    exif, profile = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif[315] = "Anna"
    photo = replace(photo_of(drawing(0)), exif=exif.tobytes(), icc=profile, xmp=b"<x:xmpmeta/>")
    path = tmp_path / f"a{extension}"
    save_animation([Frame(photo, 50), *frames_of([drawing(1)])], path, plays=0)
    kept = load_frame(path, 2)
    assert (kept.xmp, kept.icc) == (photo.xmp, profile)
    with Image.open(path) as image:
        assert image.getexif()[315] == "Anna"


# --- durations ---


def test_rounded_durations_do_not_add_up_to_another_time() -> None:
    """30 frames a second in the hundredths of a second of a GIF: 3, 4 and 3 of them, and a second is a second."""
    clock = Clock("GIF", 10, 65_535)
    units = [clock.units(1000 / 30) for _ in range(30)]
    assert sum(units) == 100
    assert set(units) == {3, 4}
    assert [Clock("GIF", 10, 65_535).units(duration) for duration in (0, 1, 1e3)] == [0, 1, 100]


def test_thirds_of_a_second_are_exact_in_a_png() -> None:
    """An APNG holds fractions: what comes back is the same number."""
    durations = (1000 / 3, 1000 / 30, 1001 / 30)
    data, _ = encode_animation(frames_of([drawing(n) for n in range(3)], durations), ".png", plays=0)
    assert read(data)[1] == pytest.approx(durations, rel=1e-12)


@pytest.mark.parametrize(("extension", "longest"), [(".gif", 655.35), (".png", 65_535), (".webp", 16_777.215)])
def test_a_frame_that_is_shown_too_long(extension: str, longest: float) -> None:
    """The longest that a format holds is written, and more is refused with it."""
    read(encode_animation(frames_of([drawing(0)], (longest * 1000,)), extension, plays=0)[0])
    with pytest.raises(ImageError, match=rf"for {longest:g} seconds at most, not 70000\.") as refused:
        encode_animation(frames_of([drawing(0)], (7e7,)), extension, plays=0)
    assert "shows a frame" in str(refused.value)


# --- GIF ---


def test_what_does_not_move_does_not_flicker() -> None:
    """Of 255 colors, dithered, the pixels that stay the same have the same color in every frame."""
    still = np.asarray(smooth_picture(96, 64, seed=3, cells=8))
    pictures = []
    for number in range(5):
        levels = still.copy()
        levels[20:34, 10 * number : 10 * number + 14] = (240, 30, 30)
        pictures.append(levels)
    found, _, _ = read(encode_animation(frames_of(pictures), ".gif", plays=0)[0])
    for before, after, one, other in zip(pictures, pictures[1:], found, found[1:], strict=False):
        same = (before == after).all(axis=-1)
        assert np.array_equal(one[same], other[same])
    assert len(np.unique(found[0].reshape(-1, 4), axis=0)) > 200


def test_slow_changes_are_shown_in_the_end() -> None:
    """A pixel keeps its color while it is within 3 levels of what the color stood for, not of the frame before."""
    still = np.asarray(smooth_picture(48, 32, seed=3, cells=8)) // 2
    palettes = Palettes()
    for number in range(16):
        indices = palettes.indices_of(still + np.uint8(number))
    shown = palettes.palette[indices].astype(int)
    assert abs((shown - (still + 15)).mean()) < 4


def test_a_scene_of_other_colors_gets_a_palette_of_its_own() -> None:
    """A palette is kept while it fits: after a cut it does not, and the error of both scenes is small."""
    day, night = (np.asarray(smooth_picture(64, 48, seed=seed, cells=7)) // part for seed, part in ((1, 1), (2, 5)))
    alone = [mean_error([each]) for each in (day, night)]
    assert mean_error([day, day, day, night, night, night]) == pytest.approx(np.mean(alone), rel=0.02)
    assert alone[1] < 3 < alone[0]


def mean_error(pictures: list[np.ndarray]) -> float:
    """Of a GIF, in gray levels."""
    found, _, _ = read(encode_animation(frames_of(pictures), ".gif", plays=0)[0])
    return float(np.mean([np.abs(a.astype(int) - b[..., :3]) for a, b in zip(pictures, found, strict=True)]))


def test_few_colors_are_exact() -> None:
    """A drawing of at most 255 colors keeps them all, also colors next to each other."""
    levels = np.zeros((1, 255, 3), np.uint8)
    levels[0, :, 2] = np.arange(255)
    assert np.array_equal(create_palette(levels[0]), levels[0])
    found, _, _ = read(encode_animation(frames_of([levels, levels[:, ::-1]]), ".gif", plays=0)[0])
    assert np.array_equal(found[1][..., :3], levels[:, ::-1])


def test_hidden_colors_are_no_colors() -> None:
    """What is transparent takes no place in the palette, and does not spoil the colors around it."""
    levels = np.zeros((16, 16, 4), np.uint8)
    levels[..., :3] = np.arange(200, 216)[:, None, None]
    levels[4:9, 4:9, :3] = np.random.default_rng(0).integers(0, 256, (5, 5, 3))
    levels[..., 3] = 255
    levels[4:9, 4:9, 3] = 0
    found, _, _ = read(encode_animation(frames_of([levels, levels]), ".gif", plays=0)[0])
    assert np.array_equal(found[1], opaque(levels))


def test_a_frame_may_be_wholly_transparent() -> None:
    """Also in the middle, where Pillow's writer of GIF begins a second file."""
    nothing = np.zeros((24, 33, 4), np.uint8)
    pictures = [nothing, drawing(0, True), nothing, drawing(1, True), nothing]
    for extension in LOSSLESS:
        found, _, _ = read(encode_animation(frames_of(pictures), extension, plays=0, quality=100)[0])
        assert all(np.array_equal(a, b) for a, b in zip(pictures, found, strict=True)), extension


def test_half_transparent_pixels_become_whole_or_none() -> None:
    """A GIF has no half transparency, which a note tells: from half on a pixel is shown."""
    levels = np.full((4, 6, 4), 200, np.uint8)
    levels[:, :, 3] = (0, 40, 127, 128, 200, 255)
    data, notes = encode_animation(frames_of([levels, levels]), ".gif", plays=0)
    assert notes == ("GIF keeps no half-transparent pixels: each is shown or not",)
    assert read(data)[0][0][0, :, 3].tolist() == [0, 0, 0, 255, 255, 255]


def test_the_changed_part() -> None:
    """The smallest rectangle of all changes, from an even place on for WebP; one pixel where nothing changes."""
    before = np.zeros((9, 12), np.int32)
    after = before.copy()
    after[3, 5] = after[6, 7] = 1
    assert changed_part(after, before) == (5, 3, 3, 4)
    assert changed_part(after, before, multiple=2) == (4, 2, 4, 5)
    assert changed_part(after, after) == (0, 0, 1, 1)
    assert changed_part(after, None) == (0, 0, 12, 9)


# --- one at a time ---


def test_frames_are_held_one_at_a_time() -> None:
    """While a frame is made, the one before it is gone: memory does not grow with the number of frames."""
    alive: list[weakref.ref] = []

    def frames() -> Iterator[Frame]:
        for number in range(5):
            assert sum(reference() is not None for reference in alive) <= 1
            photo = photo_of(drawing(number))
            alive.append(weakref.ref(photo.pixels))
            yield Frame(photo, 50)

    encode_animation(frames(), ".png", plays=0)
    assert len(alive) == 5


def test_an_error_of_the_taker_is_its_own() -> None:
    """What goes wrong with a frame that was read is not taken for damage of the file."""
    data, _ = encode_animation(frames_of([drawing(0), drawing(1)]), ".png", plays=0)
    with pytest.raises(ZeroDivisionError), open_animation(io.BytesIO(data)) as found:
        next(found.frames)
        raise ZeroDivisionError


# --- one frame ---


def test_one_frame_is_read_by_its_number() -> None:
    """1 is the first; a number that is not there is refused with those that are."""
    data, _ = encode_animation(frames_of([drawing(n) for n in range(4)]), ".gif", plays=0)
    for number in (1, 3, 4):
        assert np.array_equal(load_frame(io.BytesIO(data), number).levels(np.uint8), drawing(number - 1))
    with pytest.raises(ImageError, match=r"holds 4 frames: give --frames 1 to 4\."):
        load_frame(io.BytesIO(data), 5)


def test_a_still_has_one_frame(tmp_path: Path) -> None:
    """It is read with all that a still has, as its 16 bits."""
    path = tmp_path / "gray.png"
    Image.fromarray(np.full((3, 4), 513, np.uint16)).save(path)
    assert not holds_animation(path)
    assert load_frame(path, 1).bits == 16
    with pytest.raises(ImageError, match=r"holds one picture: give --frames 1\."):
        load_frame(path, 2)


def test_an_animation_is_not_quietly_cut_to_a_frame(tmp_path: Path) -> None:
    """Without a choice it is refused, with the option that makes it."""
    path = tmp_path / "moving.gif"
    save_animation(frames_of([drawing(0), drawing(1)]), path, plays=0)
    assert holds_animation(path)
    with pytest.raises(
        ImageError, match=r"moving\.gif' holds 2 frames: stylize, upscale and invert take --frames all, first or N"
    ):
        load_image(path)


# --- damage ---


@pytest.fixture(scope="module")
def written() -> dict[str, bytes]:
    """An animation of six frames in each format."""
    extensions = [*LOSSLESS, ".avif"] if features.check("avif") else LOSSLESS
    pictures = [drawing(number) for number in range(6)]
    return {each: encode_animation(frames_of(pictures), each, plays=0, quality=100)[0] for each in extensions}


@pytest.mark.parametrize("extension", ALL)
def test_a_file_that_ends_early_is_told_by_its_frame(written: dict[str, bytes], extension: str) -> None:
    """Wherever it is cut, no frame is read, and the numbers of the frames that are named rise up to the last."""
    data, named = written[extension], []
    for end in range(len(data) // 4, len(data) - 1, 5):
        with pytest.raises(ImageError) as refused, open_animation(io.BytesIO(data[:end])):
            pass
        subject = str(refused.value).split(" is damaged or incomplete: ")[0].removesuffix(" of 'standard input'")
        if subject.startswith("Frame "):
            named.append(int(subject.split()[1]))
    assert named == sorted(named)
    assert {3, 4, 5, 6} <= set(named) <= {1, 2, 3, 4, 5, 6}


def test_the_end_of_a_gif_is_missed(written: dict[str, bytes]) -> None:
    """A file that ends after a whole frame has lost others, or only its last byte: it is not taken for whole."""
    with pytest.raises(ImageError, match=r"^Frame 7 of '.*' is damaged or incomplete: the file ends in it, or before"):
        read(written[".gif"][:-1])
    assert load_frame(io.BytesIO(written[".gif"][:-1]), 6).width == 33


def test_a_wrong_checksum_is_told_by_its_frame(written: dict[str, bytes]) -> None:
    """A bit of the third frame of an APNG: frames before it can still be had one by one."""
    data = bytearray(written[".png"])
    place = -1
    for _ in range(3):
        place = data.index(b"fcTL", place + 1)
    data[data.index(b"fdAT", place) + 12] ^= 4
    with pytest.raises(ImageError, match=r"^Frame 3 of 6 of 'standard input' is damaged or incomplete: its "):
        read(bytes(data))
    assert np.array_equal(load_frame(io.BytesIO(bytes(data)), 2).levels(np.uint8), drawing(1))
    with pytest.raises(ImageError, match="Frame 3 of 6"):
        load_frame(io.BytesIO(bytes(data)), 4)


def test_a_wrong_code_is_told_by_its_frame(written: dict[str, bytes]) -> None:
    """What only the decoder finds: other codes in the fourth frame of a WebP, after the 5 bytes of its header."""
    data = bytearray(written[".webp"])
    place = -1
    for _ in range(4):
        place = data.index(b"VP8L", place + 1)
    data[place + 13 : place + 17] = b"\xff" * 4
    with pytest.raises(ImageError, match=r"^Frame 4 of 6 of 'standard input' is damaged or incomplete: "):
        read(bytes(data))


@pytest.mark.parametrize("extension", ALL)
def test_any_damage_is_an_error_that_says_so(written: dict[str, bytes], extension: str) -> None:
    """Bits that flip, and bytes that are lost or cut: an ImageError, or frames of one size where no checksum knows better."""
    source, data = random.Random(extension), written[extension]
    for _ in range(60):
        changed, place = bytearray(data), source.randrange(len(data))
        if source.random() < 0.5:
            changed[place] ^= 1 << source.randrange(8)
        else:
            del changed[place : place + source.choice((1, 20, len(data)))]
        try:
            with open_animation(io.BytesIO(bytes(changed))) as found:
                frames = list(found.frames)
        except ImageError as error:
            assert "Failed to decode frame" not in str(error)  # where Pillow counts from 0
        else:
            assert len({levels.photo.pixels.shape for levels in frames}) == 1


# --- limits ---


def test_formats_that_hold_no_animation_name_those_that_do() -> None:
    """Before any frame is asked for."""
    with pytest.raises(
        UsageError, match=r"A JPG file holds no animation: with --frames all write one of \.png, \.apng"
    ):
        encode_animation(iter([]), ".jpg", plays=0)


def test_too_much_is_refused(written: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file may hold work without end: frames and the pixels of all of them have a limit."""
    monkeypatch.setattr(animation, "MAX_FRAMES", 5)
    with pytest.raises(ImageError, match=r"holds 6 frames: 5 are the most"):
        read(written[".gif"])
    monkeypatch.setattr(animation, "MAX_FRAMES", 6)
    monkeypatch.setattr(animation, "MAX_PIXELS_OF_ALL", 5 * 24 * 33)
    with pytest.raises(ImageError, match=r"holds 6 frames of 33x24 pixels: 5 are the most"):
        read(written[".gif"])


def test_a_side_that_a_format_does_not_hold() -> None:
    """The frames of a WebP are at most 16383 pixels wide."""
    with pytest.raises(ImageError, match=r"A WEBP file holds at most 16383 pixels a side"):
        encode_animation(frames_of([np.zeros((1, 16_384, 3), np.uint8)]), ".webp", plays=0)


def test_checksums_are_those_of_the_specification(written: dict[str, bytes]) -> None:
    """The numbers of the chunks of an APNG follow one another, and each chunk fits its checksum."""
    data, place, numbers = written[".png"], 8, []
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + length]
        assert data[place + 8 + length : place + 12 + length] == struct.pack(">I", zlib.crc32(kind + content))
        if kind in (b"fcTL", b"fdAT"):
            numbers.append(int.from_bytes(content[:4], "big"))
        place += 12 + length
    assert numbers == list(range(11))


@avif
def test_the_tables_of_a_damaged_avif_cost_no_time(written: dict[str, bytes]) -> None:
    """Numbers of 32 bits that claim four thousand million frames, chunks or runs are no loops of that length."""
    data = bytearray(written[".avif"])
    for kind in (b"stsz", b"stco", b"stsc"):
        place = data.index(kind)
        counts = place + (12 if kind == b"stsz" else 8)
        data[counts : counts + 4] = b"\xff" * 4
    with pytest.raises(ImageError):
        read(bytes(data))
