"""A style is trained from the network of any style: one painting is fixed in it, and what the others needed is left out."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from percept_cli.commands.train.style import usual_weight
from percept_cli.core.data.photos import find_photos
from percept_cli.core.generators import create_generator
from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.encoder import Encoder
from percept_cli.core.generators.feature_statistics import blend_statistics
from percept_cli.core.generators.one_style import OneStyleGenerator, fix_style, with_forms, without_noise
from percept_cli.core.images.decode import load_image
from percept_cli.core.inference.run import run_generator
from percept_cli.core.pretrained import manifest
from percept_cli.core.pretrained.extractors import ExtractorChoice
from percept_cli.core.pretrained.files import in_16_bits, load_weights, save_weights, sha256_of
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime
from percept_cli.core.training import one_style
from percept_cli.core.training.one_style import describe_styles, start_one_style
from percept_cli.core.training.runs.run import Run
from percept_cli.core.training.style import StyleTraining, train_style
from percept_cli.errors import UsageError
from tests.test_training import assert_same_bits, read_log

GRAY_LEVEL = 1 / 255
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
SMALL = StyleTraining(
    steps=4, batch=1, size=64, style_size=48, extractor=ExtractorChoice("compact", "random"), content_layers=("relu2_2",),
    style_layers=("relu1_1", "relu2_1"),
)  # fmt: skip


def any_network(seed: int = 0) -> AnyStyleGenerator:
    """A small network of any style, in which every weight has an effect."""
    torch.manual_seed(seed)
    network = AnyStyleGenerator(widths=(8, 8, 16, 16))
    for convolution in network.encoder.convolutions.values():
        nn.init.kaiming_normal_(convolution.weight)
    for name, parameter in network.named_parameters():
        if "modulation" in name:
            nn.init.normal_(parameter, std=0.3)
    return network.eval()


def save_any(path: Path, network: AnyStyleGenerator, role: str = "any-style") -> Path:
    metadata = {"percept.format": "1", "role": role, "architecture": "transport", "arguments": network.arguments}
    save_weights(path, in_16_bits(network.state_dict()), metadata)
    return path


@torch.no_grad()
def test_with_its_painting_fixed_a_network_makes_what_it_made() -> None:
    """Of one painting and of a blend, without the layers that read the painting."""
    network = any_network()
    photo, first, second = torch.rand(1, 3, 72, 61), torch.rand(1, 3, 40, 56), torch.rand(1, 3, 48, 48) ** 2
    for paintings, weights in (([first], [1.0]), ([first, second], [1.0, 3.0])):
        described = [network.describe(painting) for painting in paintings]
        expected = network(photo, blend_statistics(described, weights))
        fixed = fix_style(network, describe_styles(network, paintings, weights))
        assert (fixed(photo) - expected).abs().max() < 1e-5
    assert not any(name.startswith("code") for name, _ in fixed.named_parameters())
    assert sum(map(torch.numel, fixed.parameters())) < 0.6 * sum(map(torch.numel, network.parameters()))


@torch.no_grad()
def test_without_noise_a_network_makes_what_it_made_of_a_noise_of_0(tmp_path: Path) -> None:
    """The channels of the noise alone are left out, in its file too; of a plain picture it makes a plain one."""
    network = any_network()
    fixed = fix_style(network, network.describe(torch.rand(1, 3, 48, 48)))
    bare = without_noise(fixed)
    photo, plain = torch.rand(1, 3, 72, 64), torch.full((1, 3, 96, 96), 0.6)
    assert (bare(photo) - fixed(photo)).abs().max() > 1e-3
    assert fixed(plain).var(dim=(2, 3)).max() > 1e-6 and bare(plain)[..., 40:56, 40:56].var(dim=(2, 3)).max() < 1e-10
    for level in (1, 2, 3):
        fixed.get_buffer(f"noise_{level}").zero_()
    torch.testing.assert_close(bare(photo), fixed(photo), atol=1e-5, rtol=0)
    torch.testing.assert_close(without_noise(bare)(photo), bare(photo))

    loaded = load_generator(str(save_any(tmp_path / "a.safetensors", bare, "style")), "style").network
    assert not any(name.startswith("noise") for name in loaded.state_dict())
    assert (loaded(photo) - bare(photo)).abs().max() <= GRAY_LEVEL


@torch.no_grad()
def test_forms_are_smooth_and_repeat_without_a_seam() -> None:
    """Neighbors of the deepest level are alike, those across the edges of the tile too; other levels have no noise."""
    network = any_network()
    fixed = with_forms(fix_style(network, network.describe(torch.rand(1, 3, 48, 48))))
    assert not fixed.noise_1.any() and not fixed.noise_2.any()
    white, forms = network.get_buffer("noise_3"), fixed.get_buffer("noise_3")
    assert forms.std(dim=(2, 3)) == pytest.approx(torch.ones(1, 4), abs=1e-4)
    for axis in (2, 3):
        alike = (forms * forms.roll(1, axis)).mean()
        assert alike > 0.9 and abs((white * white.roll(1, axis)).mean()) < 0.1  # of two Gaussians: exp(-1 / 16)
        seam = forms.select(axis, 0) - forms.select(axis, -1)
        assert seam.square().mean() < 0.2
    again = forms.clone()
    assert torch.equal(with_forms(fixed).get_buffer("noise_3"), again)
    bare = without_noise(fixed)
    assert with_forms(bare) is bare


@torch.no_grad()
def test_a_file_holds_the_painting_too(tmp_path: Path) -> None:
    """In 16 bits and back no pixel differs by more than a gray level."""
    network = any_network()
    fixed = fix_style(network, network.describe(torch.rand(1, 3, 48, 48)))
    photo = torch.rand(1, 3, 64, 50)
    loaded = load_generator(str(save_any(tmp_path / "a.safetensors", fixed, "style")), "style")
    assert loaded.architecture == "transport" and isinstance(loaded.network, OneStyleGenerator)
    assert (loaded.network(photo) - fixed(photo)).abs().max() <= GRAY_LEVEL


@torch.no_grad()
def test_tiles_equal_the_whole() -> None:
    """Each part gets the statistics of the whole picture, and the noise of its place."""
    network = any_network()
    fixed = fix_style(network, network.describe(torch.rand(1, 3, 48, 48)))
    photo = torch.rand(1, 3, 48, 700)
    assert fixed.exact_halo is not None and fixed.exact_halo < 300
    whole, tiled = (run_generator(fixed, photo, RUNTIME, tile) for tile in ("off", 128))
    assert (tiled - whole).abs().max() < 1e-4


@torch.no_grad()
def test_in_training_two_crops_are_moved_as_one_picture() -> None:
    """A crop thrice and the next one have these statistics side by side; at work each photograph has its own."""
    network = any_network()
    fixed = fix_style(network, network.describe(torch.rand(1, 3, 48, 48)))
    features = [torch.randn(2, 5, 6, 6), torch.randn(2, 3, 3, 3) + 4]
    beside = [torch.cat([level[:1]] * 3 + [level[1:]], dim=3) for level in features]
    expected, own = fixed.summarize(beside), fixed.summarize(features)
    trained = fixed.train().summarize(features)
    for (mean, covariance), (whole, around) in zip(trained.tensors, expected.tensors, strict=True):
        assert (mean[0] - whole[0]).abs().max() < 1e-6 and (covariance[0] - around[0]).abs().max() < 1e-6
    assert (own.means[0][0] - own.means[0][1]).abs().max() > 1e-3
    fixed.plain_strokes = 0.0
    for (mean, covariance), (alone, within) in zip(fixed.summarize(features).tensors, own.tensors, strict=True):
        assert (mean - alone).abs().max() < 1e-6 and (covariance - within).abs().max() < 1e-6


@torch.no_grad()
def test_a_plain_picture_has_plain_features_up_to_its_edges() -> None:
    """Zeros around a picture would be features that it has nowhere else, and these became a frame around the result."""
    encoder = any_network().encoder
    assert isinstance(encoder, Encoder)
    for features in encoder(torch.full((1, 3, 40, 40), 0.7)):
        assert features.var(dim=(2, 3)).max() < 1e-10


def test_a_training_starts_from_a_network_of_any_style_or_from_another_style(tmp_path: Path) -> None:
    """Its weights are taken, the painting is the new one; an untrained one has the encoder of `compact`."""
    network, painting, photographs = any_network(), torch.rand(1, 3, 48, 48), torch.rand(2, 3, 64, 64)
    of_any = start_one_style(str(save_any(tmp_path / "any.safetensors", network)), [painting], None, photographs)
    trained = fix_style(network, network.describe(torch.rand(1, 3, 40, 40) ** 3))
    of_style = start_one_style(
        str(save_any(tmp_path / "b.safetensors", trained, "style")), [painting], None, photographs
    )
    for started in (of_any, of_style):
        assert (started.last.weight - network.last.weight).abs().max() < 1e-3
        assert started.arguments["noise"] == 0 and started.plain_strokes == 0
        assert started.training and all(parameter.requires_grad for parameter in started.parameters())
        for mean, expected in zip(started.style.means, started.describe(painting).means, strict=True):
            assert (mean - expected).abs().max() < 1e-3
    filled = start_one_style(str(tmp_path / "any.safetensors"), [painting], None, photographs, plain_strokes=0.25)
    assert filled.plain_strokes == 0.25 and torch.equal(filled.noise_3, with_forms(trained).noise_3)
    name = "stages.3.blocks.0.modulation.values"
    assert torch.equal(of_style.state_dict()[name], load_weights(tmp_path / "b.safetensors")[name].float())

    untrained = start_one_style(None, [painting], None, photographs)
    own, compact = untrained.encoder.state_dict(), load_weights(manifest.find_model("compact", "extractor").path)
    assert torch.equal(own["convolutions.2_1.weight"], compact["trunk.2_1.weight"].float())
    with pytest.raises(UsageError, match=r"is a generator of 'johnson', not 'transport'. Give --generator so"):
        start_one_style(str(save_johnson(tmp_path)), [painting], None, photographs)


def save_johnson(folder: Path) -> Path:
    network = create_generator("style", "johnson", width=0.25)
    metadata = {"percept.format": "1", "role": "style", "architecture": "johnson", "arguments": network.arguments}
    save_weights(folder / "johnson.safetensors", network.state_dict(), metadata)
    return folder / "johnson.safetensors"


def test_a_resumed_training_ends_at_the_same_bits(photos: Path, style_picture: Path, tmp_path: Path) -> None:
    """From a network of any style; its encoder and its painting stay as they were."""
    start = save_any(tmp_path / "any.safetensors", any_network())
    asked = replace(SMALL, start=str(start))

    def train(output: Path, resume: bool = False) -> None:
        run = Run.open(output, RUNTIME, resume=resume)
        for step in train_style([style_picture], find_photos([photos]), run, asked):
            if step.index == 2 and output.stem == "stopped" and not resume:
                run.save_checkpoint()
                return

    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    train(whole)
    train(stopped)
    train(stopped, resume=True)
    assert_same_bits(stopped, whole)
    assert read_log(stopped) == read_log(whole)
    before, after = load_weights(start), load_weights(whole)
    for name in before.keys() & after.keys():
        assert torch.equal(before[name], after[name]) != name.startswith(("stages", "last")), name
    assert after.keys() - before.keys() >= {"style_mean_0", "style_covariance_3"}


def test_a_run_that_was_begun_with_johnson_goes_on_with_it(
    photos: Path, style_picture: Path, percept: Callable, tmp_path: Path
) -> None:
    """As runs of earlier versions, whose command names no generator; so does one that begins from such a style."""
    command = (
        "train-style", "--style", style_picture, "--data", photos, "--batch", 1, "--size", 64, "--style-size", 48,
        "--extractor-weights", "random", "--device", "cpu", "--precision", "fp32", "--threads", 1,
        "-o", tmp_path / "a.safetensors",
    )  # fmt: skip
    assert percept(*command, "--generator", "johnson", "--steps", 2).code == 0
    outcome = percept(*command, "--steps", 3, "--resume", "--learning-rate", 5e-3)
    assert outcome.code == 0, outcome.stderr
    assert load_generator(str(tmp_path / "a.safetensors"), "style").architecture == "johnson"
    outcome = percept(*command[:-1], tmp_path / "b.safetensors", "--steps", 1, "--start", tmp_path / "a.safetensors")
    assert outcome.code == 0, outcome.stderr
    assert load_generator(str(tmp_path / "b.safetensors"), "style").architecture == "johnson"
    shutil.rmtree(tmp_path / "a.run")
    outcome = percept(*command, "--steps", 1, "--resume", "--overwrite")
    assert outcome.code == 0, outcome.stderr
    assert load_generator(str(tmp_path / "a.safetensors"), "style").architecture == "transport"


def test_the_shipped_network_of_any_style_is_the_usual_start(
    photos: Path, style_picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found by its role; the file of the style says from which network it was made."""
    path = save_any(tmp_path / "painter.safetensors", any_network())
    entry = manifest.Model("painter", str(path), "any-style", "transport", sha256_of(path), "", "", "")
    others = {name: model for name, model in manifest.shipped_models().items() if model.role != "any-style"}
    shipped = {**others, "painter": entry}
    for module in (manifest, one_style):
        monkeypatch.setattr(module, "shipped_models", lambda: shipped)
    output = tmp_path / "style.safetensors"
    list(train_style([style_picture], find_photos([photos]), Run.open(output, RUNTIME), replace(SMALL, steps=1)))
    assert json.loads(load_generator(str(output), "style").metadata["recipe"])["start"] == "painter"
    before, after = load_weights(path), load_weights(output)
    assert torch.equal(before["encoder.convolutions.1_1.weight"], after["encoder.convolutions.1_1.weight"])


@pytest.mark.parametrize(
    ("further", "usual"),
    [
        ((), (1.5, 2, 0.9)),
        (("--scaling", "paper"), (1.0, 2, 0.9)),
        (("--loss", "contextual"), (1.0, 2, 0.9)),
        (("--style-weight", 1), (1.0, 2, 0.9)),
        (("--generator", "johnson", "--width", 0.1), (1.0, 4, 0.5)),
    ],
)
def test_a_generator_has_usual_settings_of_its_own(
    further: tuple[object, ...], usual: tuple[float, int, float], photos: Path, style_picture: Path,
    percept: Callable, tmp_path: Path,
) -> None:  # fmt: skip
    """The weight of the style, crops of a step, and the smallest of them."""
    output, start = tmp_path / "a.safetensors", save_any(tmp_path / "any.safetensors", any_network())
    begun = () if "johnson" in further else ("--start", start)
    outcome = percept(
        "train-style", "--style", style_picture, "--data", photos, "--steps", 1, "--size", 64, "--style-size", 48,
        "--extractor-weights", "random", "--device", "cpu", "--precision", "fp32", "--threads", 1, "-o", output, *begun, *further,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert [usual_weight("transport", "gram", "typical", fast) for fast in (False, True)] == [1.5, 1.0]
    recipe = json.loads(load_generator(str(output), "style").metadata["recipe"])
    assert (recipe["style_weight"], recipe["batch"], recipe["smallest_crop"]) == usual


def test_a_style_of_this_kind_restyles_a_photograph(photos: Path, percept: Callable, tmp_path: Path) -> None:
    """`percept stylize -m FILE` gives the network's own result."""
    network = any_network()
    fixed = fix_style(network, network.describe(torch.rand(1, 3, 48, 48)))
    path = save_any(tmp_path / "a.safetensors", fixed, "style")
    outcome = percept("stylize", photos / "hill.png", "-m", path, "-o", tmp_path / "b.png", "--precision", "fp32")
    assert outcome.code == 0, outcome.stderr
    with torch.no_grad():
        expected = load_generator(str(path), "style").network(load_image(photos / "hill.png").pixels).clamp(0, 1)
    result = load_image(tmp_path / "b.png").pixels
    assert (result - expected).abs().max() <= 0.5 * GRAY_LEVEL + 1e-4
