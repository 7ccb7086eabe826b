"""An upscaler is trained by any recipe, goes on to the same bits, and begins from another one."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.data.photos import find_photos
from percept_cli.core.extractors import create_architecture
from percept_cli.core.generators.upscale import SwiftGenerator
from percept_cli.core.losses import PixelTerm
from percept_cli.core.pretrained.files import load_weights, load_weights_and_metadata, save_weights
from percept_cli.core.pretrained.generators import load_generator, start_generator
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.presets import RECIPES, Recipe, find_recipe
from percept_cli.core.training.recipes import create_loss, loss_layers, total_of
from percept_cli.core.training.runs.run import Run
from percept_cli.core.training.upscaling import UpscaleTraining, cut_alike, train_upscale
from percept_cli.errors import UsageError
from tests.conftest import fitting
from tests.test_training import assert_resumes_to_the_same_bits, read_log

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
Command = Callable[..., list[object]]


@pytest.fixture(scope="module")
def command(photos: Path) -> Command:
    """`command(output, *further)`: the arguments of a small training; a further option overrides, and makes others idle."""

    def arguments(output: Path, *further: object) -> list[str]:
        return fitting(
            "train-upscale", "--data", photos, "-o", output, "--scale", 2, "--steps", 1, "--batch", 1, "--patch", 12,
            "--extractor-weights", "random", "--device", "cpu", "--precision", "fp32", "--threads", 1, *further,
        )  # fmt: skip

    return arguments


STEPS = 10
# All there is to a run: features, textures, a discriminator.
EVERYTHING = ("--preset", "swift-natural", "--texture-weight", 0.1, "--discriminator-channels", 8, "--steps", STEPS)


@pytest.fixture(scope="module")
def unbroken(percept: Callable, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "model.safetensors"
    outcome = percept(*command(output, *EVERYTHING))
    assert outcome.code == 0, outcome.stderr
    return output


def test_a_stopped_training_goes_on_to_the_same_bits(
    stop_percept: Callable, percept: Callable, command: Command, unbroken: Path
) -> None:
    """Stopped in its middle with a discriminator beside it, resumed in another process: the same weights and log."""
    assert_resumes_to_the_same_bits(stop_percept, percept, lambda model: command(model, *EVERYTHING), STEPS, unbroken)


def test_every_loss_has_its_name_in_the_log(unbroken: Path) -> None:
    """Pixels, features and textures by layer, the generator's adversarial loss and the discriminator's own."""
    names = {name.partition(".")[0] for name in read_log(unbroken)[0]["parts"]}
    assert names == {"pixel", "feature", "texture", "consistency", "adversarial", "discriminator"}


def test_context_is_compared_at_its_own_layers(percept: Callable, command: Command, tmp_path: Path) -> None:
    """`--contextual-weight` and `--low-frequency-weight` are terms of their own; alone they make a natural upscaler."""
    output = tmp_path / "model.safetensors"
    terms = ("--contextual-weight", 0.5, "--contextual-layers", "relu2_1, relu3_1", "--low-frequency-weight", 3)
    assert percept(*command(output, "--pixel-weight", 0, *terms)).code == 0
    parts = read_log(output)[0]["parts"]
    assert set(parts) == {"contextual.relu2_1", "contextual.relu3_1", "low_frequency"}
    assert load_generator(str(output), "upscaler").metadata["look"] == "natural"


def test_the_result_says_what_it_is(unbroken: Path, percept: Callable, command: Command, tmp_path: Path) -> None:
    """Pixels alone make a faithful upscaler; features, textures or a discriminator a natural one."""
    natural = load_generator(str(unbroken), "upscaler", 2)
    assert (natural.architecture, natural.metadata["look"]) == ("swift-even", "natural")
    output = tmp_path / "plain.safetensors"
    assert percept(*command(output)).code == 0
    assert load_generator(str(output), "upscaler").metadata["look"] == "faithful"
    assert json.loads(load_generator(str(output), "upscaler").metadata["recipe"])["degradation"] == "bicubic"


@pytest.mark.parametrize("preset", [name for name in RECIPES if name != "swift"])
def test_every_preset_trains(preset: str, percept: Callable, command: Command, tmp_path: Path) -> None:
    """One step by the recipe as it stands, four times larger, and a file that loads and enlarges."""
    output = tmp_path / "model.safetensors"
    outcome = percept(*command(output, "--preset", preset, "--scale", 4, "--patch", 8))
    assert outcome.code == 0, outcome.stderr
    loaded = load_generator(str(output), "upscaler", 4)
    assert loaded.architecture == RECIPES[preset].architecture
    with torch.no_grad():
        assert loaded.network(torch.rand(1, 3, 9, 10)).shape == (1, 3, 36, 40)


def test_degradations_and_distances_change_the_loss(percept: Callable, command: Command, tmp_path: Path) -> None:
    """The first loss, of an untrained network that is bicubic enlargement, depends on both."""
    losses = []
    for further in (
        (),
        ("--degradation", "johnson"),
        ("--degradation", "photo"),
        ("--pixel", "mse"),
        ("--pixel", "charbonnier"),
        ("--degradation", "photo", "--pixel", "mse"),
    ):
        output = tmp_path / f"{len(losses)}.safetensors"
        assert percept(*command(output, *further)).code == 0
        losses.append(read_log(output)[0]["total"])
    assert len(set(losses)) == 6


def test_features_are_compared_at_every_offset() -> None:
    """With a jitter of 2 nine places of one size occur, and result and target are cut at the same one."""
    places = torch.arange(8 * 9).view(1, 1, 8, 9).expand(1, 3, 8, 9).float()
    corners = set()
    for seed in range(100):
        result, target = cut_alike(places, places + 0.5, 2, np.random.default_rng(seed))
        assert result.shape == (1, 3, 6, 7)
        assert torch.equal(result + 0.5, target)
        corners.add(int(result[0, 0, 0, 0]))
    assert corners == {9 * top + left for top in range(3) for left in range(3)}
    whole = cut_alike(places, places, 0, np.random.default_rng(0))
    assert torch.equal(whole[0], places)


def test_an_upscaler_learns(percept: Callable, command: Command, tmp_path: Path) -> None:
    """It begins as bicubic enlargement and gets closer than that."""
    output = tmp_path / "model.safetensors"
    outcome = percept(*command(output, "--steps", 24, "--batch", 2, "--learning-rate", 2e-3))
    assert outcome.code == 0, outcome.stderr
    losses = [entry["total"] for entry in read_log(output)]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_a_start_of_another_scale_gives_all_but_its_end(tmp_path: Path) -> None:
    """The body is taken over, the sub-pixel layer begins as it does untrained: from bicubic enlargement."""
    trained = SwiftGenerator(4, channels=8, blocks=2)
    torch.nn.init.normal_(trained.last.weight)
    path = tmp_path / "x4.safetensors"
    metadata = {"percept.format": "1", "role": "upscaler", "architecture": "swift", "arguments": trained.arguments}
    save_weights(path, trained.state_dict(), metadata)
    told: list[str] = []
    started = start_generator("upscaler", "swift", str(path), scale=2, announce=told.append)
    assert isinstance(started, SwiftGenerator)
    assert (started.scale, started.arguments["channels"]) == (2, 8)
    assert torch.equal(started.joint.weight, trained.joint.weight)
    assert not started.last.weight.any()
    assert "last begin untrained" in told[0]
    same = start_generator("upscaler", "swift", str(path), scale=4, announce=told.append)
    assert torch.equal(same.state_dict()["last.weight"], trained.last.weight)
    assert len(told) == 1
    even = start_generator("upscaler", "swift-even", str(path), scale=4, announce=told.append)
    assert torch.equal(even.state_dict()["last.weight"], trained.last.weight)
    with pytest.raises(UsageError, match="'swift', not 'srresnet'"):
        start_generator("upscaler", "srresnet", str(path), scale=4)


def test_layers_are_only_those_the_weights_ask_for() -> None:
    """A loss of weight 0 costs no features."""
    compact = create_architecture("compact")
    for changes, layers in (
        ({}, []),
        ({"feature_weight": 1.0, "feature_layers": ("relu2_2",)}, ["relu2_2"]),
        ({"contextual_weight": 1.0}, ["relu3_4"]),
        ({"low_frequency_weight": 1.0}, []),
        ({"texture_weight": 1.0, "texture_layers": ("relu1_1",)}, ["relu1_1"]),
    ):
        assert loss_layers(replace(find_recipe("swift"), **changes), compact) == layers  # type: ignore[arg-type]


def test_a_recipe_without_losses_is_refused() -> None:
    with pytest.raises(UsageError, match="All losses have a weight of 0"):
        create_loss(Recipe("swift", pixel_weight=0.0), None)


@pytest.mark.parametrize("loss", ["texture", "contextual"])
def test_a_layer_without_places_is_refused_where_places_are_compared(loss: str) -> None:
    recipe = replace(find_recipe("swift"), **{f"{loss}_weight": 1.0, f"{loss}_layers": ("fc6",)})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"A {loss} loss compares features place by place, and fc6 of alexnet"):
        loss_layers(recipe, create_architecture("alexnet"))


def test_terms_add_up() -> None:
    """The sum of a recipe with pixels alone is the weighted pixel distance."""
    images, target = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    parts = create_loss(Recipe("swift", pixel="mse", pixel_weight=3.0), None)(images, target, target)
    assert total_of(parts).item() == pytest.approx(3 * PixelTerm("mse")(images, {}, target, {})[""].item())


def test_an_upscaler_is_trained_from_python(photos: Path, tmp_path: Path) -> None:
    """A few lines, without the command: every step is handed out, a stopped run is resumed, the model is written."""
    asked = UpscaleTraining(replace(find_recipe("swift"), steps=3, batch=1, patch=12), scale=2)
    output = tmp_path / "mine.safetensors"
    steps = train_upscale(find_photos([photos]), Run.open(output, RUNTIME), asked)
    first = next(steps)
    assert (first.index, list(first.parts)) == (1, ["pixel"])
    assert [step.index for step in steps] == [2, 3]
    assert load_generator(str(output), "upscaler", 2).architecture == "swift"


def test_crops_per_photo_are_of_the_same_photograph_in_steps_in_a_row(
    percept: Callable, command: Command, tmp_path: Path
) -> None:
    """Of two, one of noise, which has a large error; a resumed run must have as many, and the default is not noted."""
    Image.new("RGB", (40, 40), (90, 90, 90)).save(tmp_path / "plain.png")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    found = {}
    for count in (1, 3):
        output = tmp_path / f"{count}.safetensors"
        further = ("--data", tmp_path, "--steps", 6, "--crops-per-photo", count, "--learning-rate", 0)
        words = command(output, *further)
        place = words.index("--data")  # of the shared line, which may be given several times
        outcome = percept(*words[:place], *words[place + 2 :])
        assert outcome.code == 0, outcome.stderr
        found[count] = [entry["total"] > 0.05 for entry in read_log(output)]
        settings = json.loads(load_weights_and_metadata(output)[1]["recipe"])
        assert settings.get("crops_per_photo") == (None if count == 1 else 3)
    one, other = found[3][0], found[3][3]
    assert one != other and found[3] == [one] * 3 + [other] * 3
    assert sorted(found[1]) == sorted(found[3]) and found[1] != found[3]
    again = percept(*words[:place], *words[place + 2 :], "--resume", "--steps", 7, "--crops-per-photo", 2)
    assert again.code == 2 and "crops_per_photo was 3, now 2" in again.stderr


@pytest.mark.parametrize(
    ("further", "sentence"),
    [
        (("--preset", "swft"), "Did you mean 'swift'"),
        (("--preset", "swift-natural", "--jitter", 20), "--jitter 20 leaves 4 of 24 pixels"),
        (("--scale", 5), "give one of 2, 3, 4, 8"),
        (("--degradation", "bicubc"), "Did you mean 'bicubic'"),
        (("--optimizer", "muonn"), "Did you mean 'muon'"),
        (("--adversarial", "relative", "--adversarial-weight", 1), "relativistic"),
        (("--preset", "johnson-2016", "--scale", 3), "johnson-upscale"),
        (("--scaling", "papr", "--feature-weight", 1), "Did you mean 'paper'"),
        (("--pixel", "l3"), "l1"),
        (("--texture-layers", "relu1_1, relu9_1", "--texture-weight", 1), "Unknown layer of compact 'relu9_1'"),
    ],
)
def test_bad_options_get_one_sentence(
    further: tuple[object, ...], sentence: str, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """Exit code 2, what is allowed, and no model."""
    output = tmp_path / "model.safetensors"
    outcome = percept(*command(output, *further))
    assert outcome.code == 2
    assert sentence in outcome.stderr
    assert not output.exists()


def test_the_trained_weights_are_half_precision(unbroken: Path, tmp_path: Path) -> None:
    """What is saved is small enough to ship: swift x2 under 4 MB."""
    shutil.copy(unbroken, tmp_path)
    assert all(tensor.dtype == torch.float16 for tensor in load_weights(unbroken).values())
    assert unbroken.stat().st_size < 4_000_000
