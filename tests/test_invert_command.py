"""`percept invert`: what is read, what is written, what is reported and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percept_cli.core.data.photos import sample_photos
from percept_cli.core.drawing.sheets import GAP, LINE

QUICK = ("--size", 32, "--steps", 4, "--device", "cpu", "--threads", 1)
NAMED = "_size-32_steps-4.png"  # how names of results end with these options


@pytest.fixture
def here(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder but for one photograph, img.jpg of 66 x 97."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img.jpg").write_bytes((photos / "lake.jpg").read_bytes())
    return tmp_path


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_it_works_as_typed_without_an_image(percept: Callable, here: Path) -> None:
    """A sample photograph, the last convolution of block 5, and both are said; the result lies here."""
    outcome = percept("invert", "--layer", "conv5", *QUICK)
    assert outcome.code == 0
    assert outcome.stdout == f"chelsea_conv5_2{NAMED}\n"
    assert "no image was given: chelsea.png, a sample photograph" in outcome.stderr
    assert "conv5 of compact is conv5_2" in outcome.stderr
    assert "chelsea.png: conv5_2: feature error 0." in outcome.stderr
    assert size_of(here / f"chelsea_conv5_2{NAMED}") == (32, 32)
    assert not any(path.parent.joinpath(f"chelsea_conv5_2{NAMED}").exists() for path in sample_photos())
    assert percept("invert", "--layer", "conv5", *QUICK).code == 2  # it is there now


def test_one_layer_is_one_picture_and_its_figures(percept: Callable, here: Path) -> None:
    """The figures in --json are those of the file: a second look at it gives the same."""
    outcome = percept("invert", "img.jpg", "--layer", "relu1_1", *QUICK, "--precision", "fp32", "--json")
    report = json.loads(outcome.stdout)
    assert (outcome.code, report["status"], report["output"]) == (0, "done", f"img_relu1_1{NAMED}")
    (layer,) = report["layers"]
    assert (layer["layer"], layer["sample"], layer["seed"], layer["steps"]) == ("relu1_1", 0, 0, 4)
    with Image.open("img.jpg") as photo, Image.open(f"img_relu1_1{NAMED}") as picture:
        square = np.asarray(photo.convert("RGB").crop((0, 15, 66, 81)).resize((32, 32), Image.Resampling.BICUBIC))
        error = np.sqrt(np.square(np.asarray(picture).astype(float) - square).mean())
    assert layer["image_error"] == pytest.approx(error, abs=0.7)  # Pillow's bicubic rounds between its two passes
    assert 0 < layer["feature_error"] < 1


def test_several_layers_are_a_sheet_from_shallow_to_deep(percept: Callable, here: Path) -> None:
    """The original first, captions below; in the order of the network whatever was typed."""
    outcome = percept("invert", "img.jpg", "--layer", "relu3_1,conv1,relu2_2", *QUICK, "--json", "-o", "sheet.png")
    report = json.loads(outcome.stdout)
    assert [each["layer"] for each in report["layers"]] == ["conv1_2", "relu2_2", "relu3_1"]
    width, height = size_of(here / "sheet.png")
    assert height == GAP + 32 + 2 * LINE + GAP
    assert width >= GAP + 4 * (32 + GAP)
    with Image.open("sheet.png") as sheet:
        original = np.asarray(sheet)[GAP : GAP + 32, GAP : GAP + 32].astype(float)
    with Image.open("img.jpg") as photo:
        square = np.asarray(photo.convert("RGB").crop((0, 15, 66, 81)).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.abs(original - square).max() < 3


def test_samples_begin_elsewhere(percept: Callable, here: Path) -> None:
    """Each has a seed of its own and another result; several layers put each start in a row of its own."""
    one = percept("invert", "img.jpg", "--layer", "relu5", "--samples", 2, "--seed", 5, *QUICK, "--json")
    first, second = json.loads(one.stdout)["layers"]
    assert (first["seed"], second["seed"]) == (5, 6)
    assert first["image_error"] != second["image_error"]
    assert size_of(here / "img_relu5_2_size-32_samples-2_steps-4_seed-5.png")[1] == GAP + 32 + 2 * LINE + GAP

    percept("invert", "img.jpg", "--layer", "relu1_1,relu5", "--samples", 2, *QUICK)
    assert size_of(here / "img_relu1_1+relu5_2_size-32_samples-2_steps-4.png")[1] == GAP + 2 * (32 + 2 * LINE + GAP)


def test_settings_come_from_the_preset_and_then_from_options(percept: Callable, here: Path) -> None:
    """The preset's steps unless --steps is given, and both run."""
    outcome = percept(
        "invert", "img.jpg", "--layer", "relu1_1,conv2", "--preset", "mahendran-vedaldi", *QUICK, "--json"
    )
    assert [each["steps"] for each in json.loads(outcome.stdout)["layers"]] == [4, 4]
    outcome = percept(
        "invert", "img.jpg", "--layer", "relu1_1", "--optimizer", "adam", "--jitter", 1, "--tv-weight", 0.01,
        "--tv-exponent", 1.5, "--alpha-weight", 0.001, *QUICK,
    )  # fmt: skip
    assert outcome.code == 0


def test_a_seed_fixes_the_file(percept: Callable, here: Path) -> None:
    """The same command gives the same bytes."""
    for name in ("a.png", "b.png"):
        percept("invert", "img.jpg", "--layer", "relu2_1", *QUICK, "-o", name)
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_one_bad_file_does_not_stop_the_rest(percept: Callable, here: Path) -> None:
    """Exit code 3, and the good one is there."""
    Path("bad.png").write_bytes(b"no picture")
    outcome = percept("invert", "bad.png", "img.jpg", "--layer", "relu1_1", *QUICK, "-o", "out/")
    assert outcome.code == 3
    assert Path(f"out/img_relu1_1{NAMED}").exists()


def test_networks_of_others_down_to_their_softmax(percept: Callable, here: Path) -> None:
    """Untrained SqueezeNet, whose code has no place in the image."""
    outcome = percept(
        "invert", "img.jpg", "--layer", "fire2,prob", "--extractor", "squeezenet1_1", "--extractor-weights", "random",
        *QUICK, "--json",
    )  # fmt: skip
    assert outcome.code == 0
    assert [each["layer"] for each in json.loads(outcome.stdout)["layers"]] == ["fire2", "prob"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--layer", "conv6"], 2, "Unknown layer of compact 'conv6'. Did you mean 'conv"),
        ([], 2, "Give --layer"),
        (["--layer", "conv1", "--extractor", "compct"], 2, "Did you mean 'compact'?"),
        (["--layer", "relu5_2", "--size", 12], 2, "relu5_2 of compact is too deep for 12x12 pixels: give --size 16"),
        (
            ["--layer", "fire2", "--extractor", "squeezenet1_1", "--extractor-weights", "none.pth"],
            5,
            "no such weights file",
        ),
        (["--layer", "conv1", "--preset", "mahendran"], 2, "Did you mean 'mahendran-vedaldi'?"),
        (["--layer", "conv1", "--optimizer", "adams"], 2, "Did you mean 'adam'?"),
        (["--layer", "conv1", "--jitter", 2], 2, "add --optimizer adam"),
        (["--layer", "conv1", "--method", "generate"], 2, "Did you mean 'generator'?"),
        (["--layer", "conv1", "-m", "x"], 5, "Unknown inverter model 'x'"),
        (["--layer", "conv1", "-m", "x", "--method", "optimize"], 2, "-m names a generator"),
        (["--layer", "conv1", "--method", "generator"], 5, "No inverter of conv1_2 of compact is shipped"),
        (["--layer", "conv1,conv2", "--method", "generator", "-m", "x"], 2, "give one of --layers"),
        (["--layer", "conv1", "--method", "generator", "--samples", "2"], 2, "leave --samples out"),
        (["--layer", "conv1", "--method", "generator", "-m", "x.safetensors"], 5, "no such weights file"),
        (["--layer", "conv1,relu2", "-o", "sheet.xyz"], 2, "output extension"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[object], code: int, message: str, percept: Callable, here: Path
) -> None:
    """With the exit code of its kind, and nothing written."""
    outcome = percept("invert", "img.jpg", *arguments, "--device", "cpu")
    assert outcome.code == code
    assert message in outcome.stderr
    assert [path.name for path in here.iterdir()] == ["img.jpg"]


def test_fully_connected_layers_refuse_another_size(percept: Callable, here: Path) -> None:
    """Said with the size they take."""
    outcome = percept(
        "invert", "img.jpg", "--layer", "fc6", "--extractor", "alexnet", "--extractor-weights", "random", *QUICK
    )
    assert outcome.code == 2
    assert "Fully connected layers of alexnet take 224x224 pixels: leave --size out." in outcome.stderr


def test_an_inverter_knows_its_layer(percept: Callable, here: Path) -> None:
    """`-m` alone does what `--layer` and `--method generator` do with the shipped one, to the same bits."""
    plain = ("--size", 48, "--no-provenance")
    alone = percept("invert", "img.jpg", "-m", "compact-conv3_4", *plain, "-o", "alone.png")
    assert alone.code == 0, alone.stderr
    asked = percept("invert", "img.jpg", "--layer", "conv3", "--method", "generator", *plain, "-o", "asked.png")
    assert asked.code == 0, asked.stderr
    assert (here / "alone.png").read_bytes() == (here / "asked.png").read_bytes()
