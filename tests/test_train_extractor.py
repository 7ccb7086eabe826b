"""Extractors learn from images alone, go on to the same bits, and are then used wherever an extractor is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import last_values
from PIL import Image

from percept_cli.core.data.photos import find_photos
from percept_cli.core.pretrained.extractors import ExtractorChoice, choose_extractor, create_extractor
from percept_cli.core.pretrained.files import load_weights_and_metadata, save_weights
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.extractors.exemplar import ExemplarTraining, train_by_exemplars
from percept_cli.core.training.extractors.learner import (
    ACTIVATIONS,
    CONVOLUTIONS,
    DEEPEST,
    Headed,
    create_learner,
    is_readout,
    match_scales,
)
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import ModelError, UsageError
from tests.test_training import assert_resumes_to_the_same_bits, read_log

Command = Callable[..., list[object]]
STEPS = 12
METHODS = pytest.mark.parametrize("method", ["exemplar", "video"])


@pytest.fixture(scope="module")
def command(photos: Path) -> Command:
    """`command(method, output, *further)`: the arguments of a small training; a further option overrides."""

    def arguments(method: str, output: Path, *further: object) -> list[object]:
        own = ["--classes", 5, "--batch", 4] if method == "exemplar" else ["--gap", 0, "--batch", 3]
        return last_values([
            "train", "extractor", "--method", method, "--data", photos, "-o", output, "--steps", STEPS,
            "--size", 32, "--device", "cpu", "--precision", "fp32", "--threads", 1, *own, *further,
        ])  # fmt: skip

    return arguments


@pytest.fixture(scope="module")
def trained(percept: Callable, command: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each method, and the standard output beside it."""
    files = {}
    for method in ("exemplar", "video"):
        files[method] = tmp_path_factory.mktemp(method) / "mine.safetensors"
        outcome = percept(*command(method, files[method]))
        assert outcome.code == 0, outcome.stderr
        files[method].with_suffix(".txt").write_text(outcome.stdout)
    return files


def test_fixed_maps_keep_the_distances_of_the_trunk() -> None:
    """Their columns are orthonormal; what learns is the trunk and the deepest layer, and gradients reach all of it."""
    torch.manual_seed(0)
    learner = create_learner()
    for layer in CONVOLUTIONS:
        weight = learner.network[layer].weight
        assert isinstance(weight, torch.Tensor)
        assert weight.requires_grad != is_readout(layer)
        if is_readout(layer):
            columns = weight.flatten(1)
            torch.testing.assert_close(columns.T @ columns, torch.eye(columns.shape[1]), atol=1e-5, rtol=0)
    assert not is_readout(CONVOLUTIONS[-1]) and is_readout(CONVOLUTIONS[0])
    network = Headed(learner, 3)
    network(torch.rand(2, 3, 32, 32)).square().sum().backward()
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    moved = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert moved == learning


def test_matched_layers_have_the_mean_squares_of_the_reference() -> None:
    """And the channels of the fixed maps are 0 on average; the learner's own deepest features keep their direction."""
    torch.manual_seed(0)
    learner, images = create_learner(), torch.rand(3, 3, 48, 48)
    reference = create_extractor("compact", ACTIVATIONS)
    before = learner(images, (DEEPEST,))[DEEPEST]
    match_scales(learner, reference, images)
    wanted, found = reference(images), learner(images, (*CONVOLUTIONS, DEEPEST))
    for layer, activation in zip(CONVOLUTIONS, ACTIVATIONS, strict=True):
        square = found[layer].relu().square().mean()
        torch.testing.assert_close(square, wanted[activation].square().mean(), rtol=1e-3, atol=0)
        if is_readout(layer):
            assert found[layer].mean(dim=(0, 2, 3)).abs().max() < 1e-3 * found[layer].std()
    assert torch.cosine_similarity(before.flatten(), found[DEEPEST].flatten(), dim=0) > 0.9999


@pytest.mark.slow
@METHODS
def test_a_stopped_training_goes_on_to_the_same_bits(
    method: str, stop_percept: Callable, percept: Callable, command: Command, trained: dict[str, Path]
) -> None:
    """The head, its running means and the draws of patches, transformations and pairs included."""
    assert_resumes_to_the_same_bits(stop_percept, percept, lambda model: command(method, model), STEPS, trained[method])
    assert set(read_log(trained[method])[0]["parts"]) == {"errors"}


def test_what_was_reached_is_reported_and_kept_in_the_file(trained: dict[str, Path]) -> None:
    """Without the head; with a sheet of what was held for one thing."""
    said = {method: file.with_suffix(".txt").read_text() for method, file in trained.items()}
    assert "of 5 classes under held-out transformations" in said["exemplar"]
    assert "ranked wrongly, in other places of the same clips" in said["video"]
    figures = {"exemplar": ["surrogate_accuracy"], "video": ["ranking_loss", "ranking_errors"]}
    for method, file in trained.items():
        weights, metadata = load_weights_and_metadata(file)
        assert weights.keys() == create_extractor("compact", ACTIVATIONS).named_weights().keys()
        assert (metadata["role"], metadata["architecture"]) == ("extractor", "compact")
        assert json.loads(metadata["recipe"])["method"] == method
        assert all(0 <= float(metadata[figure]) <= 1.5 for figure in figures[method])
        with Image.open(file.with_suffix(".run") / "preview.png") as sheet:
            assert sheet.height > 100


def test_a_few_classes_are_learned(percept: Callable, command: Command, tmp_path: Path) -> None:
    """Three patches are told apart under transformations never seen, far above chance."""
    output = tmp_path / "mine.safetensors"
    outcome = percept(
        *command("exemplar", output, "--classes", 3, "--steps", 40, "--batch", 8, "--learning-rate", 3e-4), "--json"
    )
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout.splitlines()[0])["surrogate_accuracy"] > 0.5


def test_an_extractor_is_trained_from_python(photos: Path, tmp_path: Path) -> None:
    """Its steps come one by one, what was measured at the end is with the run; nothing is printed."""
    run = Run.open(tmp_path / "mine.safetensors", Runtime(torch.device("cpu"), torch.float32, ""))
    steps = train_by_exemplars(find_photos([photos]), run, ExemplarTraining(classes=3, steps=2, batch=4))
    assert [step.index for step in steps] == [1, 2]
    assert 0 <= run.figures["surrogate_accuracy"] <= 1
    assert choose_extractor(str(run.output)).name == "compact"


def test_held_out_clips_are_ranked_and_only_read(
    percept: Callable, command: Command, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "mine.safetensors"
    outcome = percept(*command("video", output, "--steps", 1, "--held-out", photos, "--gap", 4))
    assert outcome.code == 0, outcome.stderr
    assert "clips never trained on" in outcome.stdout
    assert "4 photographs, whose later frame is an overlapping crop of the same photograph" in outcome.stderr


def test_the_file_is_an_extractor_by_itself(
    percept: Callable, trained: dict[str, Path], photos: Path, style_picture: Path, tmp_path: Path
) -> None:
    """To compare, to train a style, to be inverted and as a comparator; the same as weights of `compact`."""
    mine, hill = trained["video"], photos / "hill.png"
    frames = tmp_path / "flat.png"
    Image.new("RGB", Image.open(hill).size, "teal").save(frames)
    outcomes = [
        percept("compare", hill, frames, "--metrics", "perceptual", "--json", *which)
        for which in (("--extractor", mine), ("--extractor-weights", mine), ())
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes[0].stderr
    distances = [json.loads(outcome.stdout)["figures"]["perceptual"] for outcome in outcomes]
    assert distances[0] == distances[1] != distances[2]
    small = ["--steps", 1, "--batch", 2, "--data", photos, "--device", "cpu", "--precision", "fp32", "--threads", 1]
    outcome = percept("train-style", "--style", style_picture, "--extractor", mine, *small, "--size", 64,
                      "--style-size", 48,
                      "--generator", "johnson", "--width", 0.25, "-o", tmp_path / "style.safetensors")  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    _, metadata = load_weights_and_metadata(tmp_path / "style.safetensors")
    recipe = json.loads(metadata["recipe"])
    assert (recipe["extractor"], recipe["extractor_weights"]) == ("compact", "mine.safetensors")
    inverter = tmp_path / "back.safetensors"
    outcome = percept("train-invert", "--extractor", mine, "--layer", "conv2", "--comparator", mine, "--loss", "feature",
                      "--comparator-layers", "relu2_2, relu3_4", "--size", 32, "--width", 0.1, *small, "-o", inverter)  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    _, metadata = load_weights_and_metadata(inverter)
    assert metadata["fingerprint"] == create_extractor(str(mine), ["conv2"]).fingerprint("conv2_2")
    recipe = json.loads(metadata["recipe"])
    assert (recipe["comparator"], recipe["comparator_weights"]) == ("compact", "mine.safetensors")
    assert recipe["comparator_layers"] == ["relu2_2", "relu3_4"]


def test_what_is_no_extractor_is_refused_in_one_sentence(
    percept: Callable, style_model: Path, trained: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    """A model of another role, a file that names no network, one that is not there, and two kinds of weights at once."""
    with pytest.raises(ModelError, match="is no extractor, its role is 'style'"):
        choose_extractor(str(style_model))
    nameless = tmp_path / "vgg.safetensors"
    save_weights(nameless, {"features.0.weight": torch.zeros(1)}, {})
    with pytest.raises(ModelError, match="does not say of which network it is"):
        create_extractor(str(nameless), ["relu1_1"])
    with pytest.raises(ModelError, match="no such weights file"):
        choose_extractor("missing.safetensors")
    with pytest.raises(UsageError, match="leave out random"):
        create_extractor(str(trained["video"]), ["relu1_1"], "random")
    weights = tmp_path / "file.pth"
    weights.touch()
    assert choose_extractor("vgg19", weights) == ExtractorChoice("vgg19", str(weights))
    hill = photos / "hill.png"
    outcome = percept("compare", hill, hill, "--extractor", style_model)
    assert outcome.code == 5 and "no extractor" in outcome.stderr
    for command in (["stylize", hill, "--style", hill], ["invert", hill, "--layer", "relu1_1"]):
        assert percept(*command, "--extractor", style_model, "-o", tmp_path / "out.png").code == 5


@pytest.mark.parametrize(
    ("method", "further", "sentence"),
    [
        ("exemplars", (), "Unknown method 'exemplars'. Did you mean 'exemplar'?"),
        ("exemplar", ("--margin", 0.5), "--margin is for --method video, not for exemplar"),
        ("exemplar", ("--teacher", "vgg19"), "--teacher is for --method distil, not for exemplar"),
        ("exemplar", ("--held-out", "photos"), "--held-out is for --method distil and video, not for exemplar"),
        ("video", ("--classes", 7), "--classes is for --method exemplar, not for video"),
        ("distil", ("--gap", 7), "--gap is for --method video, not for distil"),
        ("video", ("--start", "a.safetensors"), "--start is for --method distil, not for video"),
        ("video", ("--batch", 1), "ranked against others of their batch"),
        ("exemplar", ("--size", 40), "--size 40: give a multiple of 16"),
    ],
)
def test_bad_options_get_one_sentence(
    method: str, further: tuple[object, ...], sentence: str, percept: Callable, photos: Path, tmp_path: Path
) -> None:
    """Exit code 2, and nothing is made."""
    output = tmp_path / "mine.safetensors"
    outcome = percept("train-extractor", "--method", method, "--data", photos, "-o", output, *further)
    assert outcome.code == 2, outcome.stderr
    assert sentence in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_photograph_cannot_be_ranked(percept: Callable, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.safetensors"
    outcome = percept("train", "extractor", "--method", "video", "--data", photos / "hill.png", "-o", output)
    assert outcome.code == 2 and "two clips or photographs" in outcome.stderr
