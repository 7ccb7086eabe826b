"""`--frames`: animations through `stylize` and `upscale`, as a whole or one frame of them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
from PIL import Image, features

from percept_cli.core.files.frames import ALL, parse_frames
from percept_cli.core.images.animation import open_animation, sample_frames
from percept_cli.errors import ExitCode, UsageError
from tests.conftest import Percept, smooth_picture

CPU = ("--device", "cpu", "--precision", "fp32")
DURATIONS = [30, 40, 70, 250]
FORMATS = [
    "gif",
    "png",
    "webp",
    pytest.param("avif", marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF")),
]


def drawing(number: int) -> Image.Image:
    """A frame with a disk that moves over a photograph, and a hole that does not."""
    levels = np.asarray(smooth_picture(40, 32, seed=5, cells=6)).copy()
    levels[4:12, 6 * number : 6 * number + 8] = (250, 30, 20)
    picture = Image.fromarray(levels).convert("RGBA")
    picture.paste((0, 0, 0, 0), (30, 22, 38, 30))
    return picture


@pytest.fixture
def moving(tmp_path: Path) -> Callable[[str], Path]:
    """`moving("gif")`: an animation of four frames, played twice, or by GIF's counting repeated twice."""

    def write(extension: str) -> Path:
        path = tmp_path / "in" / f"moving.{extension}"
        path.parent.mkdir(exist_ok=True)
        first, *others = map(drawing, range(4))
        options = {"loop": 2} if extension != "avif" else {}
        more = {"lossless": True} if extension == "webp" else {"disposal": 2} if extension == "gif" else {}
        first.save(path, save_all=True, append_images=others, duration=DURATIONS, **options, **more)
        return path

    return write


def read(path: Path) -> tuple[list[np.ndarray], list[float], int]:
    with open_animation(path) as found:
        frames = list(found.frames)
    return [frame.photo.levels(np.uint8) for frame in frames], [frame.duration for frame in frames], found.plays


@pytest.mark.parametrize("extension", FORMATS)
def test_an_animation_is_enlarged_frame_by_frame(percept: Percept, moving: Callable, extension: str) -> None:
    """Durations, how often it is played and transparency stay; the result is named as that of a picture is."""
    source = moving(extension)
    outcome = percept("upscale", source, "--x2", "--frames", "all", "--json", *CPU)
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    target = source.with_name(f"moving_x2_frames-all.{extension}")
    assert (report["output"], report["frames"], report["width"]) == (str(target), 4, 80)
    frames, durations, plays = read(target)
    assert (durations, plays) == (DURATIONS, read(source)[2])
    assert {levels.shape for levels in frames} == {(64, 80, 4)}
    assert frames[0][50, 68, 3] == 0 < frames[0][10, 10, 3]


def test_each_frame_is_what_it_is_alone(percept: Percept, moving: Callable, tmp_path: Path) -> None:
    """An upscaler sees one frame at a time: each is the result of `--frames N`, to the bit; the first is number 1."""
    source = moving("png")
    assert percept("upscale", source, "--x2", "--frames", "all", "-o", tmp_path / "all.png", *CPU).code == 0
    frames, _, _ = read(tmp_path / "all.png")
    for number, given in ((1, "first"), (3, "3")):
        single = tmp_path / f"{number}.png"
        assert percept("upscale", source, "--x2", "--frames", given, "-o", single, *CPU).code == 0
        assert np.array_equal(read(single)[0][0], frames[number - 1])
    outcome = percept("upscale", source, "--x2", "--frames", 5, "-o", tmp_path / "5.png", *CPU)
    assert outcome.code == ExitCode.ALL_FAILED
    assert "moving.png' holds 4 frames: give --frames 1 to 4." in outcome.stderr


def test_what_stands_still_is_restyled_alike(percept: Percept, tmp_path: Path, style_model: Path) -> None:
    """Where nothing moves within reach of the network, all frames are the same; one by one they are not."""
    first = np.asarray(smooth_picture(320, 48, seed=2, cells=8))
    second = first.copy()
    second[:, :60] = 255 - second[:, :60]
    source = tmp_path / "in.png"
    Image.fromarray(first).save(source, save_all=True, append_images=[Image.fromarray(second)], duration=50)
    stylize = ("stylize", source, "-m", style_model, *CPU, "--frames")
    for frames in ("all", "1", "2"):
        assert percept(*stylize, frames, "-o", tmp_path / f"{frames}.png").code == 0
    (one, other), _, _ = read(tmp_path / "all.png")
    alone, changed = (read(tmp_path / f"{number}.png")[0][0] for number in (1, 2))
    assert np.array_equal(one[:, 200:], other[:, 200:])
    assert not np.array_equal(alone[:, 200:], changed[:, 200:])
    assert np.abs(one.astype(int) - alone).mean() < 12


def test_every_frame_is_inverted(percept: Percept, moving: Callable, tmp_path: Path) -> None:
    """By a shipped inverter, into an animated PNG of squares."""
    invert = ("invert", moving("gif"), "-m", "compact-conv5_2", "--size", 64, *CPU, "--frames", "all")
    outcome = percept(*invert, "-o", tmp_path / "out.png")
    assert outcome.code == 0, outcome.stderr
    frames, durations, _ = read(tmp_path / "out.png")
    assert durations == DURATIONS
    assert {levels.shape for levels in frames} == {(64, 64, 3)}
    assert not np.array_equal(frames[0], frames[3])


def test_without_a_choice_an_animation_is_refused(percept: Percept, moving: Callable) -> None:
    """With the option to give, and nothing is written."""
    source = moving("gif")
    outcome = percept("upscale", source, "--x2", *CPU)
    assert outcome.code == ExitCode.ALL_FAILED
    assert "moving.gif' holds 4 frames: stylize, upscale and invert take --frames all, first or N" in outcome.stderr
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.parametrize("output", ["out.jpg", "out.bmp", "out.tif"])
def test_formats_that_hold_no_animation_are_refused_before_any_work(
    percept: Percept, moving: Callable, tmp_path: Path, output: str
) -> None:
    """For the animation of a batch, whatever else is in it; a single frame goes there."""
    source = moving("webp")
    outcome = percept("upscale", source, "--x2", "--frames", "all", "-o", tmp_path / output, *CPU)
    assert outcome.code == ExitCode.USAGE
    assert "file holds no animation: with --frames all write one of .png, .apng, .webp, .avif, .gif" in outcome.stderr
    assert "moving.webp' cannot be written to" in outcome.stderr
    assert percept("upscale", source, "--x2", "--frames", "first", "-o", tmp_path / output, *CPU).code == 0
    named = percept(
        "upscale", source, source, "--frames", "all", "-o", f"{tmp_path}/", "--name", f"{{stem}}_{output}", *CPU
    )
    assert named.code == ExitCode.USAGE


def test_a_gif_is_written_of_all_frames_alone(percept: Percept, moving: Callable, tmp_path: Path) -> None:
    """One frame of a GIF becomes a PNG, as a still GIF does; `-o out.gif` is for animations, and stills beside them."""
    source = moving("gif")
    assert percept("upscale", source, "--x2", "--frames", 2, *CPU).stdout.strip().endswith("moving_x2_frames-2.png")
    outcome = percept("upscale", source, "--x2", "--frames", 2, "-o", tmp_path / "out.gif", *CPU)
    assert outcome.code == ExitCode.USAGE
    assert "Unknown output extension '.gif'" in outcome.stderr
    still = source.with_name("still.gif")
    drawing(0).quantize(16).save(still)
    assert percept("upscale", still, "--x2", "--frames", "all", *CPU).code == 0
    frames, _, plays = read(still.with_name("still_x2_frames-all.gif"))
    assert (len(frames), plays) == (1, 1)


def test_a_damaged_frame_is_named_and_the_batch_goes_on(percept: Percept, moving: Callable, tmp_path: Path) -> None:
    """Nothing of that animation is written; pictures and other animations are."""
    whole = moving("png")
    data = bytearray(whole.read_bytes())
    data[data.rindex(b"fdAT") + 20] ^= 1
    (whole.parent / "bad.png").write_bytes(data)
    drawing(0).convert("RGB").save(whole.parent / "photo.jpg")
    outcome = percept(
        "upscale", whole.parent, "--x2", "--frames", "all", "-o", f"{tmp_path / 'out'}/", "--name", "{stem}{ext}", *CPU
    )
    assert outcome.code == ExitCode.SOME_FAILED
    assert f"Frame 4 of 4 of '{whole.parent / 'bad.png'}' is damaged or incomplete: its " in outcome.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.*g")} == {"moving.png", "photo.jpg"}
    assert len(read(tmp_path / "out" / "moving.png")[0]) == 4


def test_a_batch_of_animations_goes_on(percept: Percept, moving: Callable, tmp_path: Path) -> None:
    """`--resume` leaves an animation that is done, and makes one that changed again."""
    paths = [moving("gif"), moving("png")]
    batch = ("upscale", *paths, "--x2", "--frames", "all", "-o", f"{tmp_path / 'out'}/", "--name", "{name}.png", *CPU)
    assert percept(*batch).code == 0
    drawing(0).save(paths[1], save_all=True, append_images=[drawing(3)], duration=50)
    again = percept(*batch, "--resume", "--json").stdout.splitlines()
    assert [json.loads(line)["status"] for line in again[:2]] == ["skipped", "done"]
    assert len(read(tmp_path / "out" / "moving.png.png")[0]) == 2


def test_an_animation_goes_through_pipes(start_percept: Callable[..., Popen[bytes]], moving: Callable) -> None:
    """Standard output gets the format that standard input had."""
    data = moving("gif").read_bytes()
    with start_percept("upscale", "-", "--x2", "--frames", "all", "-o", "-", *CPU) as process:
        result, errors = process.communicate(data, timeout=120)
    assert process.returncode == 0, errors.decode()
    with Image.open(io.BytesIO(result)) as image:
        assert (image.format, image.size, image.n_frames) == ("GIF", (80, 64), 4)  # type: ignore[attr-defined]


def test_the_plan_counts_frames(percept: Percept, moving: Callable) -> None:
    """`--dry-run` tells how many there are, and their seconds together."""
    source = moving("webp")
    lines = percept("upscale", source, "--x2", "--frames", "all", "--dry-run", "--json", *CPU).stdout.splitlines()
    planned = json.loads(lines[0])
    assert (planned["frames"], planned["width"], planned["height"]) == (4, 80, 64)
    one = json.loads(
        percept("upscale", source, "--x2", "--frames", 1, "--dry-run", "--json", *CPU).stdout.splitlines()[0]
    )
    assert one["frames"] == 1


def test_what_frames_takes() -> None:
    """`first` is 1, `all` is all of them; frames are counted from 1."""
    assert [parse_frames(text) for text in ("first", "1", "12", "all", "ALL")] == [1, 1, 12, ALL, ALL]
    for text in ("0", "-1", "last", "1.5", ""):
        with pytest.raises(UsageError, match=r"give all, first, or the number of a frame; the first one is 1\."):
            parse_frames(text)


def test_sampled_frames_are_spread_over_the_animation(moving: Callable) -> None:
    """Of many some from every part, in order; of few all."""
    source = moving("png")
    everything, _, _ = read(source)
    for count, expected in ((1, [2]), (2, [1, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])):
        found = [photo.levels(np.uint8) for photo in sample_frames(source, count)]
        assert len(found) == len(expected)
        assert all(np.array_equal(levels, everything[place]) for levels, place in zip(found, expected, strict=True))
