"""An extractor of one's own in `percept visualize`: every command takes its file, and layer names with spaces after commas."""

import json
from pathlib import Path

import pytest

from percept_cli.core.extractors import create_architecture
from percept_cli.core.pretrained.extractors import RANDOM, ExtractorChoice
from percept_cli.core.pretrained.files import save_weights
from tests.conftest import Percept

CPU = ("--device", "cpu", "--threads", 1)
SMALL = ("--size", 32)
LAYERS = "relu1_1, relu2_1"
COMMANDS = {
    "features": ("{photo}", "--layer", LAYERS, "-n", 1, *SMALL, *CPU),
    "activations": ("{photo}", "--layer", LAYERS, *SMALL, *CPU),
    "filters": (),
    "gram": ("{photo}", "--layer", LAYERS, *SMALL, *CPU),
    "receptive-field": (LAYERS, "--starts", 1, *CPU),
    "objective": ("relu1_1:3", "--steps", 1, *SMALL, *CPU),
    "reconstructions": ("{photo}", "--layers", LAYERS, "--style-layers", LAYERS, "--steps", 1, *SMALL, *CPU),
    "compare": ("{photo}", "{photo}", "--labels", "a,b", "--heat", "--layers", LAYERS, *CPU),
    "sweep": ("{photo}", "--style", "{photo}", "--rows", "style-layers=relu1_1+relu2_1, relu2_2", "--steps", 1, *SMALL, *CPU),
}  # fmt: skip
PLOTS = ("activations", "gram", "receptive-field")


@pytest.fixture(scope="module")
def own_extractor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained `compact`, as `percept train extractor` writes one."""
    path = tmp_path_factory.mktemp("extractor") / "own.safetensors"
    extractor = ExtractorChoice("compact", RANDOM).create(create_architecture("compact").layer_names, seed=3)
    save_weights(
        path, extractor.named_weights(), {"percept.format": "1", "role": "extractor", "architecture": "compact"}
    )
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_a_file_as_the_extractor(
    name: str, own_extractor: Path, percept: Percept, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called by its architecture's name, in titles with that of the file, and in the picture's own name."""
    monkeypatch.chdir(tmp_path)
    arguments = [str(word).format(photo=photos / "nested" / "road.png") for word in COMMANDS[name]]
    output = ("-o", "plot.svg") if name in PLOTS else ()
    outcome = percept("visualize", name, *arguments, "--extractor", own_extractor, *output, "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report.get("extractor", "compact") == "compact"
    if name in PLOTS:
        assert "compact (own.safetensors)" in Path("plot.svg").read_text()
    if name == "filters":
        assert report["output"] == "compact_filters.png"


def test_a_file_gives_what_its_architecture_gives_with_the_same_weights(
    own_extractor: Path, percept: Percept, photos: Path, tmp_path: Path
) -> None:
    """To the byte."""
    sheets = []
    for number, given in enumerate(
        (("--extractor", own_extractor), ("--extractor", "compact", "--extractor-weights", own_extractor))
    ):
        sheets.append(tmp_path / f"{number}.png")
        arguments = ("visualize", "features", photos / "hill.png", "--layer", "relu1_1", "-n", 1, *given, *CPU)
        assert percept(*arguments, "-o", sheets[-1]).code == 0
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
