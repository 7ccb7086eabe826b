"""One entry that cannot be used is one line: the rest goes on, and nothing waits for a pipe."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import smooth_picture
from PIL import Image

from percept_cli.core.data.photos import Crops, find_photos, fingerprint
from percept_cli.core.files import inputs
from percept_cli.core.files.folders import find_labeled, find_pairs
from percept_cli.core.files.inputs import expand_inputs
from percept_cli.core.files.outputs import plan_outputs
from percept_cli.core.images.decode import load_image
from percept_cli.errors import ImageError, UsageError
from tests.conftest import pictures_in, reported

CPU = ("--device", "cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two good pictures among entries that cannot be used, and a pipe, which is none."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "in"
    place.mkdir()
    for seed, name in enumerate(("a.png", "z.png")):
        smooth_picture(40, 32, seed, cells=5).save(place / name)
    (place / "dangling.png").symlink_to("nowhere")
    (place / "loop.png").symlink_to("loop.png")
    (place / "empty.png").touch()
    (place / "folder.png").mkdir()
    os.mkfifo(place / "pipe.png")
    return place


BAD = ("dangling.png", "empty.png", "loop.png")


def test_a_batch_goes_on_past_links_to_nowhere_pipes_and_folders(
    percept: Callable, folder: Path, style_model: Path
) -> None:
    """Each bad entry has one line of its own and one of JSON; a pipe in a folder is no image; exit 3."""
    outcome = percept("stylize", "in", "-m", style_model, "-o", "out/", "--json", *CPU)
    assert outcome.code == 3, outcome.stderr
    lines = reported(outcome.stdout)
    assert [line["status"] for line in lines] == ["done", "failed", "failed", "failed", "done"]
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error: '")]
    assert [Path(line.split("'")[1]).name for line in errors] == list(BAD)
    assert "its links lead in a circle" in outcome.stderr and "pipe.png" not in outcome.stderr
    assert sorted(path.name for path in pictures_in(Path("out"))) == ["a_blobs.png", "z_blobs.png"]


def test_named_pipes_devices_and_folders_are_refused_at_once(
    percept: Callable, folder: Path, style_model: Path
) -> None:
    """As the shell's *.png gives them. Nothing opens the pipe, into which nobody writes."""
    named = [f"in/{name}" for name in ("pipe.png", "folder.png", "a.png")]
    outcome = percept("stylize", *named, "/dev/zero", "-m", style_model, "-o", "out/", *CPU)
    assert outcome.code == 3, outcome.stderr
    for sentence in ("in/pipe.png' is a pipe", "in/folder.png' is a folder", "'/dev/zero' is a device"):
        assert sentence in outcome.stderr
    assert [path.name for path in pictures_in(Path("out"))] == ["a_blobs.png"]
    for arguments in (
        ("stylize", "in/a.png", "-m", style_model, "--mask", "in/pipe.png"),
        ("stylize", "in/a.png", "--style", "in/pipe.png"),
        ("compare", "in/a.png", "in/pipe.png"),
        ("visualize", "features", "in/pipe.png"),
        ("train", "style", "--style", "in/a.png", "--data", "in/pipe.png"),
    ):
        outcome = percept(*arguments, *CPU)
        assert outcome.code in (2, 4) and "pipe" in outcome.stderr, outcome.stderr


def test_a_list_may_come_through_a_pipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from the shell's <(...), even if it is written late; without a writer, a sentence says so soon."""
    os.mkfifo("list")
    writer = threading.Timer(0.2, lambda: Path("list").write_text("in/a.png\nin/z.png\n"))
    writer.start()
    items = expand_inputs([], recursive=False, from_file=Path("list"))
    assert [item.label for item in items] == ["in/a.png", "in/z.png"]
    reading, writing = os.pipe()
    os.write(writing, b"in/z.png\n")
    os.close(writing)
    items = expand_inputs([], recursive=False, from_file=Path(f"/dev/fd/{reading}"))
    os.close(reading)
    assert [item.label for item in items] == ["in/z.png"]
    monkeypatch.setattr(inputs, "WAIT_FOR_WRITER", 0.1)
    with pytest.raises(UsageError, match="nothing is written"):
        expand_inputs([], recursive=False, from_file=Path("in/pipe.png"))
    with pytest.raises(UsageError, match="is a device"):
        expand_inputs([], recursive=False, from_file=Path("/dev/zero"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of Unix")
def test_a_folder_that_is_closed_to_the_user_is_one_entry(folder: Path) -> None:
    """Below a folder that is searched, as an argument, among classes, and in training data."""
    for place in (folder.parent, folder):
        place.chmod(0o755)
    Path("out").mkdir()
    Path("out").chmod(0o777)
    for name in ("one", "two", "closed"):
        (folder / name).mkdir()
        Image.new("RGB", (32, 32)).save(folder / name / "a.png")
    (folder / "folder.png").rmdir()
    closed = Path("in/closed")
    closed.chmod(0)
    root = os.geteuid() == 0
    if root:  # who may read everything
        os.seteuid(65534)
    try:
        for given in (["in"], ["in/one/a.png", "in/closed"]):
            items = expand_inputs(given, recursive=True, from_file=None)
            assert closed in [item.source for item in items] and len(items) >= 2
        for place in (closed, closed / "a.png"):
            with pytest.raises(ImageError, match="Permission denied"):
                load_image(place)
        jobs = plan_outputs(items, "out/", name="{stem}.png", op="x2", overwrite=False, skip_existing=False)
        assert [job.destination for job in jobs] == [Path("out/a.png"), None]
        photos = find_photos([Path("in")])
        assert closed in photos and "in/closed/a.png" not in map(str, photos) and fingerprint(photos)
        found = find_labeled(Path("in"))
        assert found.classes == ("one", "two") and "Permission denied" in found.unreadable[closed]
        with pytest.raises(UsageError, match="cannot be read: Permission denied"):
            find_pairs(Path("in/one"), closed)
    finally:
        if root:
            os.seteuid(0)
        closed.chmod(0o700)


def test_a_folder_among_the_inputs_takes_no_output_from_an_image(folder: Path) -> None:
    """It has no result, so `folder.png/` and `folder.jpg` do not collide."""
    (folder / "folder.jpg").touch()
    items = expand_inputs(["in/folder.png", "in/folder.jpg"], recursive=False, from_file=None)
    jobs = plan_outputs(items, "out/", name="{stem}_{op}.png", op="x2", overwrite=False, skip_existing=False)
    assert [job.destination for job in jobs] == [None, Path("out/folder_x2.png")]


def test_training_data_may_hold_links_to_nowhere(folder: Path) -> None:
    """They are left out by name, and do not change what the digest says of the others."""
    photos = find_photos([folder])
    assert [path.name for path in photos] == ["a.png", *BAD, "z.png"]
    assert len(fingerprint(photos)) == 16
    crops = Crops(photos, 16, seed=0, count=10)
    for number in range(10):
        assert crops[number].shape == (3, 16, 16)
    assert sorted(path.name for path in crops.unreadable) == list(BAD)


def test_a_training_goes_on_past_bad_entries(percept: Callable, folder: Path) -> None:
    """And warns of each once, at the end."""
    outcome = percept(
        "train", "upscale", "--data", "in", "--scale", 2, "--steps", 2, "--batch", 5, "--patch", 8, "-o", "m.safetensors",
        *CPU,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    for name in BAD:
        assert outcome.stderr.count(f"{name} could not be read and was left out") == 1


def test_folders_of_classes_and_of_pairs_keep_what_can_be_read(percept: Callable, folder: Path) -> None:
    """`compare` of two folders, and the files that a probe finds: a link to nowhere is an entry, a pipe none."""
    (folder / "folder.png").rmdir()
    for name in ("one", "two"):
        (folder / name).mkdir()
        Image.new("RGB", (32, 32)).save(folder / name / "a.png")
        (folder / name / "b.png").symlink_to("nowhere")
        os.mkfifo(folder / name / "c.png")
    assert [path.name for path in find_labeled(folder).files] == ["a.png", "b.png"] * 2
    outcome = percept("compare", folder / "one", folder / "two", "--metrics", "psnr", *CPU)
    assert outcome.code == 3, outcome.stderr
    assert "one/b.png' does not exist" in outcome.stderr and "1 failed, 1 compared" in outcome.stderr


def test_figures_of_many_files_keep_the_good_ones(percept: Callable, folder: Path) -> None:
    """The bad ones are named, and the exit code is 3; where nothing is left it is 4, and nothing is written."""
    for arguments in (
        ("gram", "in", "--layer", "relu1_1", "--size", 32),
        ("spectrum", "in/a.png", "in/loop.png", "in/z.png", "--scale", 2),
        ("compare", "in/a.png", "in/empty.png", "in/z.png", "--crops", 0),
    ):
        outcome = percept(
            "visualize", *arguments, "-o", f"{arguments[0]}.png", *(CPU if arguments[0] != "spectrum" else ())
        )
        assert outcome.code == 3, outcome.stderr
        assert outcome.stderr.count("error: ") in (1, len(BAD)), outcome.stderr
        assert Path(f"{arguments[0]}.png").is_file()
    outcome = percept("visualize", "spectrum", "in/loop.png", "in/empty.png", "-o", "none.png")
    assert outcome.code == 4 and not Path("none.png").exists()


def test_a_collision_has_a_way_out(folder: Path) -> None:
    """`a.gif` and `a.png` would both be `a_x2.png`: the advice is a name that works; of two folders, two commands."""
    Image.new("RGB", (8, 8)).save(folder / "a.gif")
    options = {"op": "x2", "overwrite": False, "skip_existing": False}
    items = expand_inputs(["in/a.gif", "in/a.png"], recursive=False, from_file=None)
    with pytest.raises(UsageError, match=r"--name '\{name\}_\{op\}\{ext\}' tells them apart"):
        plan_outputs(items, "out/", name="{stem}_{op}{ext}", **options)
    jobs = plan_outputs(items, "out/", name="{name}_{op}{ext}", **options)
    assert [job.destination.name for job in jobs if job.destination] == ["a.gif_x2.png", "a.png_x2.png"]
    (folder / "other").mkdir()
    items = expand_inputs(["in/a.png", "in/other/a.png"], recursive=False, from_file=None)
    with pytest.raises(UsageError, match="give each a command and -o of its own"):
        plan_outputs(items, "out/", name="{stem}_{op}{ext}", **options)
