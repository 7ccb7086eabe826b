"""Any style in one pass: features get a painting's mean and covariance, a decoder is trained on many paintings by its losses."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from percept_cli.core.data.painted_crops import PaintedCrops
from percept_cli.core.data.paired_crops import split_example
from percept_cli.core.data.photos import Crops, find_photos
from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.encoder import Encoder
from percept_cli.core.generators.feature_statistics import (
    Statistics,
    blend_statistics,
    measure_statistics,
    transfer,
    transport,
)
from percept_cli.core.losses.any_style import AnyStyleLoss, relative_gram_loss
from percept_cli.core.pretrained.extractors import COMPACT
from percept_cli.core.pretrained.generators import load_generator
from tests.conftest import fitting
from tests.test_training import assert_resumes_to_the_same_bits, read_log

pytestmark = pytest.mark.numerical
Command = Callable[..., list[object]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """With `compact`'s weights, scaled by noise."""
    encoder = Encoder()
    encoder.adopt(COMPACT.create(["conv4_1"]).named_weights(), torch.rand(4, 3, 32, 32))
    return encoder


def covariance(channels: int) -> Tensor:
    root = torch.randn(1, channels, channels)
    return root @ root.transpose(1, 2) / channels + 0.1 * torch.eye(channels)


def test_transport_between_diagonal_covariances_is_the_ratio_of_deviations() -> None:
    content, style = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 1.0])
    matrix = transport(content.diag()[None], style.diag()[None])[0]
    torch.testing.assert_close(matrix, (style / content).sqrt().diag(), rtol=5e-3, atol=5e-3)


def test_transport_gives_the_other_covariance_and_is_symmetric() -> None:
    """A symmetric positive map between two covariances is the one that moves normal distributions least (Brenier)."""
    content, style = covariance(12), covariance(12)
    matrix = transport(content, style)
    torch.testing.assert_close(matrix, matrix.transpose(1, 2), rtol=1e-3, atol=1e-4)
    assert torch.linalg.eigvalsh(matrix).min() > 0
    torch.testing.assert_close(matrix @ content @ matrix.transpose(1, 2), style, rtol=0.03, atol=0.03)


def test_a_picture_moved_to_its_own_statistics_stays() -> None:
    features = torch.randn(2, 6, 9, 7) * torch.arange(1, 7).view(1, 6, 1, 1)
    own = next(iter(measure_statistics([features]).tensors))
    torch.testing.assert_close(transfer(features, own, own), features, rtol=1e-2, atol=5e-2)


def test_moved_features_have_the_statistics_of_the_style() -> None:
    features, style = torch.randn(1, 5, 40, 40), torch.randn(1, 5, 30, 50) * 3 + 2
    content, wanted = (next(iter(measure_statistics([each]).tensors)) for each in (features, style))
    mean, spread = next(iter(measure_statistics([transfer(features, content, wanted)]).tensors))
    torch.testing.assert_close(mean, wanted[0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(spread, wanted[1], rtol=2e-2, atol=2e-2)


def test_statistics_by_torchs_own(encoder: Encoder) -> None:
    features = encoder(torch.rand(1, 3, 32, 48))
    for level, (mean, spread) in zip(features, measure_statistics(features).tensors, strict=True):
        rows = level[0].flatten(1)
        torch.testing.assert_close(mean[0].float(), rows.mean(1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(spread[0].float(), torch.cov(rows, correction=0), rtol=1e-3, atol=1e-3)


def test_a_blend_of_one_style_is_that_style_and_of_two_their_weighted_mean() -> None:
    one, two = (Statistics((torch.full((1, 2), value),), (torch.eye(2)[None] * value,)) for value in (1.0, 5.0))
    assert torch.equal(blend_statistics([one, one], [1.0, 3.0]).means[0], one.means[0])
    blend = blend_statistics([one, two], [3.0, 1.0])
    torch.testing.assert_close(blend.means[0], torch.full((1, 2), 2.0))
    torch.testing.assert_close(blend.covariances[0], torch.eye(2)[None] * 2)


def test_the_encoder_is_the_trunk_of_compact(encoder: Encoder) -> None:
    """Away from the edges, which it reflects: a 1x1 convolution of its features before scaling gives those of `compact`."""
    images, compact = torch.rand(1, 3, 64, 64), COMPACT.create(["conv2_2"])
    weights = compact.named_weights()
    mean, std = (encoder.get_buffer(f"{name}_1").view(1, -1, 1, 1) for name in ("mean", "std"))
    trunk = encoder(images)[1] * std + mean
    predicted = torch.nn.functional.conv2d(trunk, weights["readout.2_2.weight"], weights["readout.2_2.bias"])
    middle = slice(4, -4)
    expected = compact(images)["conv2_2"]
    torch.testing.assert_close(predicted[..., middle, middle], expected[..., middle, middle], rtol=1e-3, atol=1e-3)


def test_the_result_has_the_size_of_the_photograph_whatever_that_of_the_painting() -> None:
    network = AnyStyleGenerator().eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 45, 67), torch.rand(1, 3, 40, 90)).shape == (1, 3, 45, 67)
        described = network.describe(torch.rand(1, 3, 40, 90))
        images = torch.rand(1, 3, 48, 40)
        whole = network(images, described)
        torch.testing.assert_close(network(images, described, network.describe(images)), whole)


def test_noise_belongs_to_a_place_of_the_whole_picture() -> None:
    network = AnyStyleGenerator()
    whole = network.noise(2, torch.zeros(1, 1, 40, 50), (0, 0))
    part = network.noise(2, torch.zeros(1, 1, 10, 12), (16, 8))
    assert torch.equal(part, whole[..., 4:14, 2:14])


def test_the_loss_is_0_for_the_painting_and_1_for_the_photograph() -> None:
    """Whichever the painting, so that none outweighs another; a photograph like its painting divides by no tiny number."""
    grams = [torch.randn(3, 4, 4) * 10**power for power in (-3, 0, 3)]
    for target in grams:
        untouched = target + torch.randn_like(target) * target.abs().mean()
        assert relative_gram_loss(target, target, untouched) == 0
        assert relative_gram_loss(untouched, target, untouched).item() == pytest.approx(1.0, rel=1e-4)
        assert relative_gram_loss(target * 1.1, target, target).item() == pytest.approx(0.1, rel=1e-3)


def test_parts_of_the_loss_are_those_of_a_style_and_have_gradients() -> None:
    """Named by size and layer; a restyled photograph that is its photograph costs no content, and each style size its share."""
    extractor = COMPACT.create(["relu1_1", "relu2_1", "relu2_2"])
    loss = AnyStyleLoss(extractor, (["relu2_2"], ["relu1_1", "relu2_1"]), [1, 2])
    photographs, paintings = (
        torch.rand(2, 3, 32, 32),
        torch.rand(2, 3, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3),
    )
    total, parts = loss(photographs, photographs, paintings)
    assert set(parts) == {
        "content.relu2_2", "style.relu1_1", "style.relu2_1", "style.half.relu1_1", "style.half.relu2_1", "tv"
    }  # fmt: skip
    assert parts["content.relu2_2"] == 0
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-5)
    for name, part in parts.items():
        if name.startswith("style"):
            assert part.item() == pytest.approx(7.0 / 4, rel=1e-3), name
    images = photographs.clone().requires_grad_()
    loss(images, photographs, paintings)[0].backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_examples_are_the_crops_of_photographs_and_of_paintings(photos: Path) -> None:
    """Half of the paintings in another order of colors; example n is the same in every run."""
    found = find_photos([photos])
    examples, plain = PaintedCrops(found, found, 32, 5, 20), Crops(found, 32, 6, 20, 0.6)
    permuted = 0
    for number in range(20):
        photograph, painting = split_example(examples[number][None])
        assert torch.equal(photograph[0], Crops(found, 32, 5, 20)[number])
        assert torch.equal(painting[0].sort(0).values, plain[number].sort(0).values)
        permuted += not torch.equal(painting[0], plain[number])
        assert torch.equal(examples[number], PaintedCrops(found, found, 32, 5, 20)[number])
    assert 2 <= permuted <= 15


@pytest.fixture(scope="module")
def command(photos: Path) -> Command:
    """`command(output, *further)`: the arguments of a small training; a further option overrides."""

    def arguments(output: Path, *further: object) -> list[object]:
        return fitting(
            "train-any-style", "--paintings", photos, "--data", photos, "-o", output, "--steps", 2, "--batch", 1,
            "--size", 64, "--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_2", "--device", "cpu",
            "--precision", "fp32", "--threads", 1, *further,
        )  # fmt: skip

    return arguments


def test_its_file_gives_the_same_images_and_a_training_goes_on_from_it(
    percept: Callable, command: Command, tmp_path: Path
) -> None:
    """In at most 6 MB; the encoder is fixed."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert percept(*command(first, "--ema", 0.5)).code == 0
    assert first.stat().st_size < 6e6
    assert percept(*command(second, "--start", first, "--style-scales", "1")).code == 0
    begun, further = (load_generator(str(path), "any-style").network for path in (first, second))
    assert isinstance(begun, AnyStyleGenerator) and isinstance(further, AnyStyleGenerator)
    assert "style.quarter.relu2_1" in read_log(first)[0]["parts"]
    assert "style.half.relu2_1" not in read_log(second)[0]["parts"]
    for (name, old), new in zip(begun.state_dict().items(), further.state_dict().values(), strict=True):
        changed = name.startswith(("stages", "code", "last")) and not name.endswith("bias")
        assert torch.equal(old, new) != changed or not changed, name


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_bits(
    stop_percept: Callable, percept: Callable, command: Command, tmp_path: Path
) -> None:
    unbroken = tmp_path / "unbroken.safetensors"
    assert percept(*command(unbroken, "--steps", 12)).code == 0
    assert_resumes_to_the_same_bits(stop_percept, percept, lambda model: command(model, "--steps", 12), 12, unbroken)
