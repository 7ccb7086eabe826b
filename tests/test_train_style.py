"""A style is trained from Python and by any style loss; the loss is one of a run's settings; what it cannot compare is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from percept_cli.core.data.photos import find_photos
from percept_cli.core.images.decode import load_image
from percept_cli.core.losses.style_losses import STYLE_LOSSES
from percept_cli.core.pretrained.extractors import ExtractorChoice
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.runs.run import Run
from percept_cli.core.training.style import StyleTraining, train_style
from percept_cli.errors import UsageError
from tests.test_training import assert_same_bits, read_log

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
SMALL = StyleTraining(
    steps=4, batch=1, size=64, style_size=48, generator="johnson", width=0.25, extractor=ExtractorChoice("compact", "random"),
    content_layers=("relu2_2",), style_layers=("relu1_1", "relu2_1"), points=200,
)  # fmt: skip


@pytest.fixture
def arguments(photos: Path, style_picture: Path) -> list[object]:
    return [
        "train-style", "--style", style_picture, "--data", photos, "--steps", 2, "--batch", 1, "--size", 64,
        "--style-size", 48,
        "--generator", "johnson", "--width", 0.25, "--extractor-weights", "random", "--device", "cpu", "--precision", "fp32",
        "--threads", 1,
    ]  # fmt: skip


@pytest.mark.parametrize("loss", STYLE_LOSSES)
def test_a_run_from_python_is_resumed_to_the_same_bits(
    loss: str, photos: Path, style_picture: Path, tmp_path: Path
) -> None:
    """Every step is handed out, the model is written after the last; the points of a contextual loss go on too."""
    asked = replace(SMALL, loss=loss)

    def train(output: Path, resume: bool = False) -> tuple[Run, list[int]]:
        run = Run.open(output, RUNTIME, resume=resume)
        indices = []
        for step in train_style([style_picture], find_photos([photos]), run, asked):
            indices.append(step.index)
            if step.index == 2 and output.stem == "stopped" and not resume:
                run.save_checkpoint()
                break
        return run, indices

    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    assert train(whole)[1] == [1, 2, 3, 4]
    assert train(stopped)[1] == [1, 2] and not stopped.exists()
    assert train(stopped, resume=True)[1] == [3, 4]
    assert_same_bits(stopped, whole)
    assert read_log(stopped) == read_log(whole)
    assert load_generator(str(whole), "style").architecture == "johnson"


def test_every_loss_trains_a_style_of_its_own(arguments: list[object], percept: Callable, tmp_path: Path) -> None:
    """At layers of its own, which are said; a run that was begun with one is not resumed with another."""
    for loss in STYLE_LOSSES:
        outcome = percept(*arguments, "-o", tmp_path / f"{loss}.safetensors", "--loss", loss)
        assert outcome.code == 0, outcome.stderr
    assert "content at relu4_2; style at relu2_2, relu3_2, relu4_2 of compact" in outcome.stderr
    assert {"style.relu3_2", "content.relu4_2"} <= read_log(tmp_path / "contextual.safetensors")[0]["parts"].keys()
    gram, contextual = (load_weights(tmp_path / f"{loss}.safetensors") for loss in ("gram", "contextual"))
    assert any(not torch.equal(gram[name], contextual[name]) for name in gram)


def test_a_run_is_not_resumed_with_another_loss(photos: Path, style_picture: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    for begun, resumed in (("contextual", "gram"), ("gram", "contextual")):
        run = Run.open(output, RUNTIME, overwrite=True)
        next(train_style([style_picture], find_photos([photos]), run, replace(SMALL, loss=begun)))
        run.save_checkpoint()
        with pytest.raises(UsageError, match=r"is of a run with other settings .*loss was"):
            train_style(
                [style_picture], find_photos([photos]), Run.open(output, RUNTIME, resume=True), replace(SMALL, loss=resumed)
            )  # fmt: skip


@pytest.mark.parametrize(
    ("further", "sentence"),
    [
        (["--loss", "contextul"], "Did you mean 'contextual'"),
        (
            ["--extractor", "alexnet", "--style-layers", "relu1, fc6"],
            "fc6 of alexnet has one code for the whole picture",
        ),
        (["--style-layers", "relu1_1, relu9_1"], "Unknown layer of compact 'relu9_1'"),
    ],
)
def test_what_a_style_loss_cannot_compare_is_refused_in_a_sentence(
    further: list[str], sentence: str, arguments: list[object], percept: Callable, photos: Path, tmp_path: Path
) -> None:
    """In a training and in an optimization alike."""
    style = ["stylize", photos / "hill.png", *arguments[1:3], "--extractor-weights", "random", "-o", tmp_path / "a.png"]
    for command in ([*arguments, "-o", tmp_path / "model.safetensors"], style):
        outcome = percept(*command, *further)
        assert outcome.code == 2
        assert sentence in outcome.stderr


def test_layer_names_may_have_spaces_between_them(arguments: list[object], percept: Callable, tmp_path: Path) -> None:
    output = tmp_path / "model.safetensors"
    outcome = percept(*arguments, "-o", output, "--style-layers", "relu1_1, relu2_1", "--content-layers", " relu2_2")
    assert outcome.code == 0, outcome.stderr
    assert read_log(output)[0]["parts"].keys() == {
        "content.relu2_2", "style.relu1_1", "style.relu2_1", "style.half.relu1_1", "style.half.relu2_1", "tv"
    }  # fmt: skip


def test_a_training_at_other_sizes_is_another_style(arguments: list[object], percept: Callable, tmp_path: Path) -> None:
    """A painting of 48 pixels is too small for a quarter, which is said."""
    outcome = percept(*arguments, "-o", tmp_path / "usual.safetensors")
    assert "of --style-scales 1,2,4, 1,2 is used: a short side of 48 pixels is too small for more" in outcome.stderr
    outcome = percept(*arguments, "-o", tmp_path / "full.safetensors", "--style-scales", "1")
    assert outcome.code == 0 and "style-scales" not in outcome.stderr
    usual, full = (read_log(tmp_path / f"{name}.safetensors")[0]["parts"] for name in ("usual", "full"))
    assert "style.half.relu2_1" in usual and not any("half" in name for name in full)
    assert usual["style.relu2_1"] == pytest.approx(full["style.relu2_1"] / 2, rel=1e-5)


def test_a_stroke_of_2_is_twice_the_style_size(
    arguments: list[object], percept: Callable, photos: Path, style_picture: Path, tmp_path: Path
) -> None:
    """In a training and in an optimization alike, to the same bits."""
    for name, further in (("stroke", ["--stroke", 2]), ("size", ["--style-size", 96])):
        given = [*arguments, "-o", tmp_path / f"{name}.safetensors", *further]
        if name == "size":
            place = given.index("--style-size")
            del given[place : place + 2]
        assert percept(*given).code == 0
    assert_same_bits(tmp_path / "stroke.safetensors", tmp_path / "size.safetensors")

    for name, further in (("stroke", ["--stroke", 2, "--style-size", 48]), ("size", ["--style-size", 96])):
        call = [
            "stylize",
            photos / "hill.png",
            "--style",
            style_picture,
            "-o",
            tmp_path / f"{name}.png",
            "--steps",
            2,
            "--init",
            "content",
        ]
        assert percept(*call, *further, "--steps", 2, "--extractor-weights", "random", "--precision", "fp32").code == 0
    stroke, size = (load_image(tmp_path / f"{name}.png").pixels for name in ("stroke", "size"))
    assert torch.equal(stroke, size)


@pytest.mark.parametrize("value", ["9", "0", "large", "nan"])
def test_the_command_line_refuses_other_strokes(
    value: str, arguments: list[object], percept: Callable, tmp_path: Path
) -> None:
    outcome = percept(*arguments, "-o", tmp_path / "a.safetensors", "--stroke", value)
    assert outcome.code == 2 and f"--stroke {value}: give " in outcome.stderr
