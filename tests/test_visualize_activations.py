"""`percept visualize activations`: the statistics of a layer are what they say."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from percept_cli.core.extractors import create_architecture
from percept_cli.core.extractors.geometry import activation_pairs
from percept_cli.core.visualization.activations import DARKER, layer_figures

CPU = ("--device", "cpu", "--threads", 1)


def test_a_relu_of_centered_noise_silences_half_and_one_channel_is_dead() -> None:
    """Zeros, percentiles in units of the root mean square, contrast: all in closed form."""
    before = torch.randn(1, 50, 100, 100, generator=torch.Generator().manual_seed(0))
    figures = layer_figures("conv", before, before)
    assert figures.zeros == 0 and figures.dead == 0 and figures.brightness == 0
    assert (figures.low, figures.median, figures.high) == pytest.approx((-2.326, 0, 2.326), abs=0.02)
    assert figures.contrast == pytest.approx(1.0, abs=0.001)
    after = before.relu()
    after[:, 0] = 0
    figures = layer_figures("relu", after, after)
    assert figures.zeros == pytest.approx(0.5 * 49 / 50 + 1 / 50, abs=0.005) and figures.dead == pytest.approx(1 / 50)
    # Of a half-normal value the mean square is 1/2, its variance 1/2 - 1/(2 pi).
    assert figures.contrast == pytest.approx((1 - 1 / torch.pi) ** 0.5, abs=0.005) and figures.low == 0


def test_the_answer_to_brightness_of_linear_features() -> None:
    """Features in proportion to the light move by 0.2 of their size; two of their places are the root of 2 deviations apart."""
    features = torch.randn(1, 20, 60, 60, generator=torch.Generator().manual_seed(1)) + 3
    expected = (1 - DARKER) * (10 / 2) ** 0.5
    assert layer_figures("conv", features, DARKER * features).brightness == pytest.approx(expected, rel=0.02)


def test_every_activation_of_a_network_is_found_from_shallow_to_deep() -> None:
    """By their names; the trunk of `compact`, which has none, is left out."""
    pairs = activation_pairs(create_architecture("compact"))
    assert pairs[0] == ("conv1_1", "relu1_1") and pairs[-1] == ("conv5_2", "relu5_2") and len(pairs) == 14
    assert activation_pairs(create_architecture("alexnet"))[-1] == ("fc7", "relu7")
    assert ("fire9_expand", "fire9") in activation_pairs(create_architecture("squeezenet1_1"))


def run(percept: Callable, photos: Path, output: Path, *more: object) -> None:
    outcome = percept("visualize", "activations", photos, "--layer", "conv2_2,relu1_1", "-o", output, *more, *CPU)
    assert outcome.code == 0, outcome.stderr


def test_the_numbers_are_those_of_both_sides_and_all_photographs(
    percept: Callable, photos: Path, tmp_path: Path
) -> None:
    """A ReLU's zeros are the share of values that were not above 0 before it."""
    from percept_cli.core.images.decode import load_image
    from percept_cli.core.pretrained.extractors import create_extractor

    run(percept, photos, tmp_path / "a.svg", "--data", tmp_path / "a.csv")
    drawn = (tmp_path / "a.svg").read_text()
    assert "Silent: values that are 0" in drawn and "relu2_2" in drawn
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["layer"] for row in rows} == {"conv1_1", "relu1_1", "conv2_2", "relu2_2"}
    assert {Path(row["photograph"]).name for row in rows} == {"hill.png", "lake.jpg"} and len(rows) == 8
    with torch.no_grad():
        before = create_extractor("compact", ["conv2_2"])(load_image(photos / "hill.png").pixels)["conv2_2"]
    (row,) = [row for row in rows if row["layer"] == "relu2_2" and row["photograph"].endswith("hill.png")]
    assert float(row["zeros"]) == pytest.approx((before <= 0).float().mean().item(), abs=1e-4)


def test_one_bad_photograph_does_not_stop_the_others(percept: Callable, photos: Path, tmp_path: Path) -> None:
    """Some failed is exit code 3, all is 4 and writes nothing."""
    (tmp_path / "bad.png").write_bytes(b"no picture")
    arguments = ("--layer", "relu1_1", "-o", tmp_path / "a.svg", "--json", *CPU)
    outcome = percept("visualize", "activations", tmp_path / "bad.png", *arguments)
    assert outcome.code == 4 and not (tmp_path / "a.svg").exists()
    Image.new("RGB", (3, 3)).save(tmp_path / "tiny.png")
    deep = ("--layer", "relu2_1,relu4_1", "-o", tmp_path / "b.svg", *CPU)
    outcome = percept("visualize", "activations", tmp_path / "tiny.png", *deep)
    assert outcome.code == 4 and "is 3x3 pixels, but relu4_1 of compact needs 8 a side" in outcome.stderr
    outcome = percept("visualize", "activations", tmp_path / "bad.png", photos / "hill.png", *arguments)
    assert outcome.code == 3 and json.loads(outcome.stdout)["photographs"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "pool2"], "pool2 of compact stands on neither side of a ReLU"),
        (["--extractor", "alexnet", "--layer", "fc6"], "relu6 of alexnet is a code of the whole picture"),
        (["-o", "plot.pdf"], "Unknown output extension"),
        (["-"], "Standard input has no name to stand in a figure"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], message: str, percept: Callable, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work."""
    monkeypatch.chdir(tmp_path)
    outcome = percept("visualize", "activations", photos, *arguments, *CPU)
    assert outcome.code == 2 and message in outcome.stderr, outcome.stderr
    assert not list(tmp_path.iterdir())
