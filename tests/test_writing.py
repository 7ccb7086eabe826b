"""No file that appeared meanwhile is overwritten, nothing half-written is left, and read-only places are refused first."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from percept_cli.core.files import atomic, locks
from percept_cli.core.files.atomic import PlaceTakenError, atomic_path, atomic_write_bytes, prepare_folder
from percept_cli.errors import UsageError
from tests.conftest import pictures_in


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appeared_is_left_as_it_is(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a filesystem without hard links; with `overwrite` it is replaced as ever."""
    if not links:

        def refuse(*arguments: object, **further: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "result.png"
    taken = pytest.raises(PlaceTakenError, match=r"result\.png' exists: it appeared .* with --overwrite")
    with taken, atomic_path(path, overwrite=False) as temporary:
        temporary.write_bytes(b"mine")
        path.write_bytes(b"another's")
    assert path.read_bytes() == b"another's" and list(tmp_path.iterdir()) == [path]
    atomic_write_bytes(path, b"mine", overwrite=True)
    assert path.read_bytes() == b"mine"
    atomic_write_bytes(tmp_path / "new.png", b"new", overwrite=False)
    assert (tmp_path / "new.png").read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 2


def test_an_output_that_appears_during_a_batch_fails_alone(
    percept: Callable, photos: Path, style_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own line says what to do, the others are written, and the exit code is 3; with --overwrite all are."""
    from percept_cli.core.batches import pictures

    real = pictures.load_image

    def load(source: Path) -> object:
        if source.name == "lake.jpg":
            (tmp_path / "out" / "lake.png").write_bytes(b"another's")
        return real(source)

    monkeypatch.setattr(pictures, "load_image", load)
    arguments = [
        "stylize", photos / "hill.png", photos / "lake.jpg", photos / "nested/road.png", "-m", style_model,
        "-o", f"{tmp_path / 'out'}/", "--name", "{stem}.png", "--device", "cpu",
    ]  # fmt: skip
    outcome = percept(*arguments)
    assert outcome.code == 3, outcome.stderr
    (line,) = [line for line in outcome.stderr.splitlines() if "lake.png" in line and "appeared" in line]
    assert "--overwrite" in line
    assert (tmp_path / "out" / "lake.png").read_bytes() == b"another's"
    assert {path.name for path in pictures_in(tmp_path / "out")} == {"hill.png", "lake.png", "road.png"}
    outcome = percept(*arguments, "--overwrite")
    assert outcome.code == 0 and (tmp_path / "out" / "lake.png").read_bytes() != b"another's"


def test_results_reach_the_disk_before_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content, then the name, then the folder: after a power cut a name never leads to an empty file."""
    done: list[str] = []
    for name in ("fsync", "link", "replace"):
        real = getattr(os, name)

        def record(*arguments: object, name: str = name, real: Callable = real) -> object:
            done.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, record)
    atomic_write_bytes(tmp_path / "a", b"1", overwrite=False)
    atomic_write_bytes(tmp_path / "a", b"2", overwrite=True)
    assert done == ["fsync", "link", "fsync", "fsync", "replace", "fsync"]


def test_what_a_killed_run_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path: Path) -> None:
    """By the next run into that folder; every file that is being written is locked by its process."""
    program = (
        "import sys, pathlib, percept_cli.core.files.atomic as atomic\n"
        "with atomic.atomic_path(pathlib.Path(sys.argv[1]) / 'a.png', overwrite=True) as path:\n"
        "    path.write_bytes(b'half'); print(flush=True); sys.stdin.read()"
    )
    root = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        (half,) = tmp_path.iterdir()
        (tmp_path / ".percept-0123456789abcdef.png").write_bytes(b"of an earlier version, killed")
        (tmp_path / ".hidden").write_bytes(b"someone's")
        prepare_folder(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {half.name, ".hidden"}
        other.kill()
    prepare_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


def test_where_locks_do_not_exist_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".percept-0123456789abcdef.png").write_bytes(b"perhaps a neighbor's")
    monkeypatch.setattr(atomic, "try_lock", lambda handle: None)
    prepare_folder(tmp_path)
    atomic_write_bytes(tmp_path / "a", b"1", overwrite=False)
    assert {path.name for path in tmp_path.iterdir()} == {".percept-0123456789abcdef.png", "a"}


def test_a_lock_is_of_one_process(tmp_path: Path) -> None:
    """Taken twice by the same one, it is free when both gave it back; its file is then gone."""
    first, second = locks.FolderLock(tmp_path), locks.FolderLock(tmp_path)
    assert first.take() is None and second.take() is None
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    first.release()
    assert (tmp_path / "lock").exists()
    second.release()
    assert not (tmp_path / "lock").exists()


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which no file can be made, as on a read-only filesystem, also by root."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    real = os.open

    def refuse(path: object, flags: int, *arguments: object, **further: object) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(folder)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *arguments, **further)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    return folder


def test_a_read_only_folder_is_refused_before_any_work(
    read_only: Path,
    percept: Callable,
    photos: Path,
    style_picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By every command that writes; also where the folder would be made in it. No picture is read, no model is loaded."""

    def never(*arguments: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("percept_cli.core.images.decode.load_image", never)
    monkeypatch.setattr("percept_cli.core.pretrained.files.load_weights_and_metadata", never)
    hill, lake = photos / "hill.png", photos / "lake.jpg"
    lines: list[list[object]] = [
        ["stylize", hill, "-m", "wave", "-o", read_only / "a.png"],
        ["stylize", hill, lake, "-m", "wave", "-o", f"{read_only / 'deep' / 'er'}/"],
        ["stylize", hill, "--style", style_picture, "-o", tmp_path / "a.png", "--preview", read_only / "p.png"],
        ["upscale", hill, "-o", read_only / "a.png"],
        ["invert", hill, "--layer", "conv1_1", "-o", read_only / "a.png"],
        ["compare", hill, hill, "-o", read_only / "a.png"],
        ["visualize", "gram", hill, "-o", read_only / "a.png"],
        ["visualize", "gram", hill, "-o", tmp_path / "a.png", "--data", read_only / "a.json"],
        ["visualize", "report", hill, "-m", "wave", "-o", read_only / "a.html"],
        ["models", "blend", "wave", "udnie", "-o", read_only / "a.safetensors"],
        ["train", "style", "--style", style_picture, "--data", photos, "-o", read_only / "a.safetensors"],
    ]
    for line in lines:
        outcome = percept(*line)
        assert outcome.code == 2, (line, outcome.stderr)
        assert f"Nothing can be written into the folder '{read_only}'" in outcome.stderr, line
        assert "Read-only file system" in outcome.stderr and list(tmp_path.iterdir()) == [read_only], line


def test_a_run_folder_that_is_read_only_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from percept_cli.core.training.runs.folder import lock_folder

    (tmp_path / "a.run").write_bytes(b"a file")
    with pytest.raises(UsageError, match=r"a\.run' cannot be written"):
        lock_folder(tmp_path / "a.run")
