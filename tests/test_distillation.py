"""`compact` learns from real networks: what it is measured by, how it starts and goes on, and the command that does it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.compact import teacher_layers
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.files import load_weights, load_weights_and_metadata, save_weights
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.extractors import distillation

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")


@pytest.fixture(scope="module")
def teachers() -> distillation.Teachers:
    """Untrained networks in the real architectures."""
    return distillation.Teachers(
        {name: create_extractor(name, distillation.teacher_taps(name), "random") for name in ("vgg19", "squeezenet1_0")}
    )


@pytest.fixture(scope="module")
def statistics(teachers: distillation.Teachers) -> dict[str, distillation.LayerStatistics]:
    torch.manual_seed(0)
    return distillation.measure_statistics(teachers, [torch.rand(2, 3, 32, 32)], RUNTIME)


def untrained() -> FeatureExtractor:
    torch.manual_seed(0)
    return distillation.create_student()


def test_every_layer_of_compact_has_a_target_of_its_size(teachers: distillation.Teachers) -> None:
    """The teachers' maps have the student's channels, heights and widths, layer by layer."""
    images = torch.rand(1, 3, 48, 32)
    with torch.no_grad():
        features = untrained()(images)
    targets = teachers(images)
    assert targets.keys() == teacher_layers().keys()
    assert {layer: target.shape for layer, target in targets.items()} == {
        layer: features[layer].shape for layer in targets
    }


def test_centered_readouts_that_see_nothing_explain_nothing(
    teachers: distillation.Teachers, statistics: dict[str, distillation.LayerStatistics]
) -> None:
    """With weights of 0 every readout gives its target's mean: the loss before the activation is about all there is."""
    student = untrained()
    distillation.center_readouts(student, statistics)
    with torch.no_grad():
        for layer in statistics:
            student.network[layer].weight.zero_()  # type: ignore[union-attr, operator]
        images = torch.rand(2, 3, 32, 32)
        total, parts = distillation.distillation_loss(student, teachers, statistics, images, 0, RUNTIME)
        distillation.fold_scales(student, statistics)
        for layer, known in statistics.items():
            torch.testing.assert_close(student.network[layer].bias, known.mean)
    assert len(parts) == 14
    assert 0.7 < total.item() < 1.5


def test_a_student_goes_on_from_where_it_was(statistics: dict[str, distillation.LayerStatistics]) -> None:
    """Turned into units of the targets' scales and back, its weights are what they were."""
    before = untrained().named_weights()
    student = distillation.create_student()
    distillation.continue_from(student, before, statistics, "file")
    assert not torch.allclose(student.named_weights()["readout.3_1.weight"], before["readout.3_1.weight"])
    distillation.fold_scales(student, statistics)
    torch.testing.assert_close(student.named_weights(), before)


def test_unexplained_variance_of_the_truth_is_0_and_of_the_mean_1(teachers: distillation.Teachers) -> None:
    """It is a share: pooled over pictures, over the variance about each channel's mean after the ReLU."""
    images = [torch.rand(1, 3, 32, 32), torch.rand(1, 3, 48, 32)]

    class Truth(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return teachers(image)

    targets = [teachers(image) for image in images]
    means = {
        layer: torch.cat([target[layer].relu().flatten(2) for target in targets], dim=2).mean((0, 2))
        for layer in targets[0]
    }

    class Mean(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                layer: means[layer].view(1, -1, 1, 1).expand_as(target) for layer, target in teachers(image).items()
            }

    assert set(distillation.measure_unexplained(Truth(), teachers, images).values()) == {0.0}  # type: ignore[arg-type]
    for share in distillation.measure_unexplained(Mean(), teachers, images).values():  # type: ignore[arg-type]
        assert share == pytest.approx(1, abs=1e-5)


def test_disturbing_is_a_function_of_seed_and_number() -> None:
    """A quarter of the images get noise, blur or another contrast; the rest stay as they are."""
    images = torch.rand(400, 3, 16, 16)
    disturbed = distillation.disturb(images, seed=1, number=2)
    assert torch.equal(disturbed, distillation.disturb(images, seed=1, number=2))
    assert not torch.equal(disturbed, distillation.disturb(images, seed=1, number=3))
    changed = sum(not torch.equal(a, b) for a, b in zip(images, disturbed, strict=True))
    assert 70 < changed < 130
    assert disturbed.min() >= 0 and disturbed.max() <= 1


def test_the_command_distils_measures_and_goes_on(percept: Callable, photos: Path, tmp_path: Path) -> None:
    """Two steps from teachers in files; then one more from the result, which is then not the same."""
    files = {}
    for name in ("vgg19", "squeezenet1_0"):
        files[name] = tmp_path / f"{name}.safetensors"
        network = create_extractor(name, distillation.teacher_taps(name), "random")
        save_weights(files[name], network.named_weights(), {})
    common = [
        "train", "extractor", "--data", photos, "--batch", 2, "--size", 32, "--device", "cpu", "--threads", 1,
        *(argument for name, file in files.items() for argument in ("--teacher", f"{name}={file}")),
    ]  # fmt: skip
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    outcome = percept(*common, "--steps", 2, "--held-out", photos / "hill.png", "-o", first)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.count("unexplained variance") == 14
    outcome = percept(*common, "--steps", 1, "--start", first, "--learning-rate", 1e-6, "-o", second)
    assert outcome.code == 0, outcome.stderr
    one, other = load_weights(first), load_weights(second)
    assert all(torch.allclose(one[name].float(), other[name].float(), rtol=2e-2, atol=1e-3) for name in one)
    _, metadata = load_weights_and_metadata(second)
    assert json.loads(metadata["recipe"])["start"] == "first"
