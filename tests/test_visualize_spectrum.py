"""`percept visualize spectrum`: a pattern is marked at its frequency and nothing else is."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.measures.spectrum import THRESHOLD, checkerboard_peaks, frequency_peaks, log_power, spectrum_side


def with_pattern(side: int = 160) -> torch.Tensor:
    """Noise, and a wave of period 4 across with 3 gray levels of amplitude."""
    noise = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0)).expand(1, 3, -1, -1)
    wave = 3 / 255 * torch.cos(torch.pi / 2 * torch.arange(side))
    return (0.4 + 0.05 * noise + wave).contiguous()


def test_a_wave_stands_out_at_its_two_frequencies_alone() -> None:
    """A real wave has a frequency and its negative; all others of the grid stay among their surroundings."""
    peaks = frequency_peaks(with_pattern(), 4)
    assert len(peaks) == 15
    assert [(peak.down, peak.across, peak.period) for peak in peaks if peak.height >= THRESHOLD] == [
        (0, 0.25, 4), (0, 0.75, 4)
    ]  # fmt: skip


def test_the_periods_have_the_highest_of_their_frequencies() -> None:
    """And a spectrum that is there already gives the same."""
    image = with_pattern()
    peaks = frequency_peaks(image, 4, log_power(image, spectrum_side(image, 4)))
    assert peaks == frequency_peaks(image, 4)
    best = {period: max(peak.height for peak in peaks if peak.period == period) for period in (2, 4)}
    assert checkerboard_peaks(image, 4) == best


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    levels = (with_pattern()[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "wave.png")
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(100, 140, (160, 160, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    return tmp_path


def test_patterns_are_counted_marked_and_listed(
    percept: Callable, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each picture has its own panel."""
    monkeypatch.chdir(pictures)
    arguments = ("visualize", "spectrum", "noise.png", "wave.png")
    outcome = percept(*arguments, "-o", "a.svg", "--data", "a.csv", "--json")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["patterns"] == [0, 2]
    drawn = Path("a.svg").read_text()
    assert "no pattern" in drawn and "2 of 15 stand out, period 4" in drawn
    with Path("a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    strong = [row for row in rows if float(row["db_over_surroundings"]) >= THRESHOLD]
    assert {(row["image"], row["period"], row["cycles_down"]) for row in strong} == {("wave.png", "4", "0.0")}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["noise.png", "--scale", "9"], 2, "--scale"),
        (["tiny.png"], 4, "'tiny.png': The spectrum of an image enlarged 4 times needs 36 pixels a side"),
        (["noise.png"] * 10, 2, "10 spectra would be too small to read"),
    ],
    ids=["scale", "size", "count"],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], code: int, message: str, percept: Callable, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exit code of its kind, and nothing written."""
    monkeypatch.chdir(pictures)
    Image.new("RGB", (20, 20)).save("tiny.png")
    outcome = percept("visualize", "spectrum", *arguments, "-o", "a.svg")
    assert outcome.code == code and message in outcome.stderr, outcome.stderr
    assert not Path("a.svg").exists()
