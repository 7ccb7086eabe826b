"""`--show`: pictures in terminals that can show them, by their own protocol or as half blocks; elsewhere never."""

import base64
import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.drawing.terminal import half_blocks, iterm2_sequence, kitty_sequence, picture_way, shown_columns
from tests.conftest import ROOT, Percept

XTERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        (XTERM, "blocks"),
        (XTERM | {"KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        (XTERM | {"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        (XTERM | {"LC_TERMINAL": "iTerm2"}, "iterm2"),
        (XTERM | {"KITTY_WINDOW_ID": "1", "TMUX": "1"}, "blocks"),
        (XTERM | {"KITTY_WINDOW_ID": "1", "NO_COLOR": "1"}, None),
        ({"TERM": "dumb"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_way_is_the_terminals_and_none_where_there_is_none(environment: dict[str, str], way: str | None) -> None:
    """By its variables; whatever they say, what is no terminal is shown nothing."""
    assert picture_way(environment, True) == way
    assert picture_way(environment, False) is None


def test_kitty_gets_the_whole_file_in_chunks() -> None:
    """At most 4096 bytes each, the last of which says that it is; put together again they are the file."""
    png = np.random.default_rng(0).bytes(10_000)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", kitty_sequence(png, 40))
    assert base64.b64decode("".join(data for _, data in parts)) == png
    assert all(len(data) <= 4096 for _, data in parts)
    assert [keys.rpartition("m=")[2] for keys, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
    assert "f=100" in parts[0][0] and "c=40" in parts[0][0]


def test_iterm2_gets_the_whole_file() -> None:
    sequence = iterm2_sequence(b"a picture", 40)
    assert sequence.startswith("\x1b]1337;File=inline=1;size=9;width=40") and sequence.endswith("\x07\n")
    assert base64.b64decode(sequence.rpartition(":")[2].rstrip("\x07\n")) == b"a picture"


def test_half_blocks_are_two_pixels_a_cell_and_fit() -> None:
    """A picture of the terminal's own size comes out pixel by pixel; a high one is as high as the terminal."""
    pixels = torch.randint(0, 256, (1, 3, 10, 8), generator=torch.Generator().manual_seed(0)) / 255
    cells = half_blocks(pixels, columns=8, rows=20)
    rows = [[pair[half] for pair in row] for row in cells for half in (0, 1)]
    assert torch.equal(torch.tensor(rows).permute(2, 0, 1)[None] / 255, pixels)
    tall = half_blocks(torch.rand(1, 3, 400, 100), columns=80, rows=24)
    assert len(tall) == 24 and len(tall[0]) == shown_columns(400, 100, 80, 24) == 12


def test_a_result_is_shown_on_a_terminal(tmp_path: Path, surroundings: dict[str, str]) -> None:
    """Through a pseudo terminal of 60 columns that says it is kitty: the picture that comes is the one in the file."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        **surroundings,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-kitty",
        "COLUMNS": "60",
        "LINES": "40",
    }
    for name in ("TMUX", "STY", "NO_COLOR"):
        environment.pop(name, None)
    arguments = ["visualize", "filters", "--show", "-o", str(tmp_path / "f.png")]
    process = subprocess.Popen(
        [sys.executable, "-m", "percept_cli", *arguments], env=environment, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    received = b""
    # The end of a pseudo terminal is an error to its reader.
    try:
        while chunk := os.read(ours, 65536):
            received += chunk
    except OSError:
        pass
    stdout, _ = process.communicate(timeout=300)
    os.close(ours)
    assert process.returncode == 0 and stdout.decode().strip() == str(tmp_path / "f.png")
    data = b"".join(re.findall(rb"\x1b_G[^;]*;([^\x1b]*)\x1b\\", received))
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown, Image.open(tmp_path / "f.png") as written:
        assert shown.size == written.size
        assert np.array_equal(np.asarray(shown), np.asarray(written.convert("RGB")))


def test_what_is_no_terminal_gets_no_picture(
    percept: Percept, style_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the variables say: messages and results are as without --show."""
    monkeypatch.setenv("TERM", "xterm-kitty")
    commands = [
        ("stylize", photos / "hill.png", "-m", style_model, "-o", tmp_path / "a.png"),
        ("visualize", "compare", photos / "hill.png", tmp_path / "a.png", "-o", tmp_path / "b.png"),
    ]
    for command in commands:
        outcome = percept(*command, "--show")
        assert outcome.code == 0 and "\x1b" not in outcome.stderr and outcome.stdout == f"{command[-1]}\n"
