"""Closed, full and narrow standard streams: pictures are made all the same, and the exit code tells what was not delivered."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Outcome, pictures_in

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")

# Runs commands one after the other, each in a fork that begins with the heavy packages loaded and without streams of its own.
SERVER = """
import json, os, shlex, sys
import torch, PIL.Image  # forks begin with these
import percept_cli.app, percept_cli.commands.batch, percept_cli.core.inference.restyle
import percept_cli.core.pretrained.generators, percept_cli.core.images.masks
PIL.Image.init()
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, place in order["streams"]:
            os.close(number)
            if place is not None:
                kept = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
                if kept != number:
                    os.dup2(kept, number)
                    os.close(kept)
        names = {0: "stdin", 1: "stdout", 2: "stderr"}
        for number, name in names.items():
            try:
                os.fstat(number)
                stream = open(number, "r" if number == 0 else "w", encoding=order["encoding"], closefd=False)
            except OSError:
                stream = None
            setattr(sys, name, stream)
        sys.argv = ["percept", *order["words"]]
        from percept_cli.__main__ import main
        try:
            main()
        except SystemExit as leaving:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(leaving.code)
        os._exit(99)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run_with(surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`run_with(words, {1: None, 2: "/dev/full"})`: a command whose streams are files; None is a closed one."""
    import json

    folder = tmp_path_factory.mktemp("streams")
    environment = {**os.environ, **surroundings, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None

        def call(*words: object, streams: dict[int, str | None] | None = None, encoding: str = "utf-8") -> Outcome:
            usual = {0: os.devnull, 1: str(folder / "out"), 2: str(folder / "err")}
            for name in ("out", "err"):
                (folder / name).write_bytes(b"")
            chosen = sorted((usual | (streams or {})).items())
            order = {"words": [os.fsdecode(str(word)) for word in words], "streams": chosen, "encoding": encoding}
            server.stdin.write(json.dumps(order) + "\n")
            server.stdin.flush()
            code = int(server.stdout.readline())
            texts = [(folder / name).read_bytes().decode("utf-8", "surrogateescape") for name in ("out", "err")]
            return Outcome(code, *texts)

        yield call
        server.stdin.close()


@pytest.mark.parametrize(
    "streams",
    [{0: None}, {1: None}, {2: None}, {0: None, 1: None, 2: None}, {2: "/dev/full"}, {1: None, 2: "/dev/full"}],
    ids=str,
)
def test_pictures_are_made_without_streams(
    streams: dict[int, str | None], run_with: Run, style_model: Path, photos: Path, tmp_path: Path
) -> None:
    """No file gets the number of a closed stream: the picture is whole and nothing is written into it."""
    outcome = run_with("stylize", photos / "hill.png", "-m", style_model, "-o", tmp_path / "a.png", streams=streams)
    assert outcome.code == 0
    usual = run_with("stylize", photos / "hill.png", "-m", style_model, "-o", tmp_path / "b.png")
    assert usual.code == 0 and usual.stdout == f"{tmp_path / 'b.png'}\n"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_full_disk_under_the_names_is_told_once_at_the_end(
    run_with: Run, style_model: Path, photos: Path, tmp_path: Path
) -> None:
    """All pictures are made; the exit code says that something was not delivered."""
    outcome = run_with("stylize", photos, "-m", style_model, "-o", f"{tmp_path}/out/", streams={1: "/dev/full"})
    assert outcome.code == 3
    assert outcome.stderr.count("standard output could not be written: No space left on device") == 1
    assert len(pictures_in(tmp_path / "out")) == 2


@pytest.mark.parametrize("line", ["models list", "--help", "models list --json"])
def test_a_full_disk_under_the_only_result_is_a_failure(line: str, run_with: Run) -> None:
    """With the reason, and no internal error."""
    outcome = run_with(*line.split(), streams={1: "/dev/full"})
    assert outcome.code == 4 and "The result is lost." in outcome.stderr and "internal" not in outcome.stderr


@pytest.mark.parametrize(("place", "reason"), [("/dev/full", "No space left on device"), (None, "it is closed")])
def test_an_image_that_stdout_does_not_take_has_failed(
    place: str | None, reason: str, run_with: Run, style_model: Path, photos: Path
) -> None:
    """Its bytes are the result."""
    outcome = run_with("stylize", photos / "hill.png", "-m", style_model, "-o", "-", streams={1: place})
    assert outcome.code == 4 and reason in outcome.stderr and outcome.stderr.count("error:") == 1


def test_names_come_out_as_they_are_whatever_the_encoding(
    run_with: Run, style_model: Path, photos: Path, tmp_path: Path
) -> None:
    """Names that ASCII or any encoding cannot hold, as bytes of the file system; messages with escapes."""
    odd = [tmp_path / "é.png", tmp_path / os.fsdecode(b"odd\xff.png")]
    for path in odd:
        path.write_bytes((photos / "hill.png").read_bytes())
    for encoding in ("ascii", "utf-8", "latin-1"):
        out = tmp_path / encoding
        outcome = run_with("stylize", *odd, "-m", style_model, "-o", f"{out}/", encoding=encoding)
        assert outcome.code == 0, outcome.stderr
        assert len(pictures_in(out)) == 2
        if encoding != "latin-1":  # which has an é of its own
            assert outcome.stdout.splitlines() == [
                f"{out}/é_blobs.png",
                f"{out}/{os.fsdecode(b'odd%c' % 255)}_blobs.png",
            ]
        missing = run_with(
            "stylize", tmp_path / "ü.png", tmp_path / "missing.png", "-m", style_model, encoding=encoding
        )
        assert missing.code == 4 and "does not exist" in missing.stderr


def test_a_reader_of_names_that_goes_away_loses_no_picture(
    style_model: Path, photos: Path, tmp_path: Path, surroundings: dict[str, str]
) -> None:
    """`percept ... | head -n 0`: the batch goes on to its end, and nothing is wrong."""
    command = [
        sys.executable,
        "-m",
        "percept_cli",
        "stylize",
        str(photos),
        "-r",
        "-m",
        str(style_model),
        "-q",
        "-o",
        f"{tmp_path}/",
    ]
    line = f"{shlex.join(command)} | head -n 0; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, **surroundings, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=300)
    assert (finished.stdout, finished.stderr) == ("0\n", "")
    assert len(list(tmp_path.rglob("*_blobs.*"))) == 4
