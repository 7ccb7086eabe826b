"""The moving average of the weights (`--ema`): what it is, that it is saved and previewed, and resumed to the same bits."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from percept_cli.core.data.photos import Crops, find_photos
from percept_cli.core.pretrained.files import load_weights, load_weights_and_metadata
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.loop import (
    DiscriminatorTraining,
    Training,
    TrainingStep,
    create_accelerator,
    create_average,
    train,
)
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import ModelError, UsageError
from tests.conftest import fitting

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
STEPS = 16


def train_small(run: Run, photos: Path) -> Iterator[TrainingStep]:
    """A training of milliseconds against a discriminator; the model is the generator's weights as they are at the end."""
    torch.manual_seed(0)
    training = run.create_training(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)), "adam", STEPS
    )
    discriminator = nn.Conv2d(3, 1, 3)
    shown: list[Tensor] = []

    def discriminator_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (network(images) - 1).square().mean() + network(shown.pop()).square().mean()
        return loss, {"discriminator": loss}

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        result = network(images)
        shown.append(result.detach())
        loss = (result - images).square().mean() + 0.1 * (discriminator(result) - 1).square().mean()
        return loss, {"pixel": loss}

    training.discriminator = DiscriminatorTraining(
        discriminator, torch.optim.Adam(discriminator.parameters()), discriminator_loss
    )
    crops = Crops(find_photos([photos]), 8, 0, 2 * STEPS)
    sample = crops[0][None]
    return run.train(
        training, crops, 2, compute_loss, 0.1, {"steps": STEPS}, shown=(sample, sample),
        finish=lambda: run.save(training.network.state_dict(), {}),
    )  # fmt: skip


def last_picture(run: Run) -> Image.Image:
    with Image.open(run.preview) as strip:
        return strip.crop((strip.width - 8, 0, strip.width, 8))


def test_the_average_is_that_of_the_formula() -> None:
    """a₁ = w₁, then d·a + (1 − d)·w with d the smaller of the decay and (1 + n) / (10 + n), n being 1, 2, ..."""
    torch.manual_seed(0)
    network = nn.Linear(1, 1, bias=False)
    training = Training(network, torch.optim.SGD(network.parameters()), 40, average=create_average(network, 0.6))
    images = [torch.full((1, 1, 1, 1), value) for value in torch.rand(40)]
    seen: list[float] = []

    def loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return network(images).sum(), {}

    for _ in train(training, images, loss, lambda step: 1.0, RUNTIME, create_accelerator(RUNTIME)):
        seen.append(network.weight.item())

    expected = seen[0]
    for count, weight in enumerate(seen[1:], start=1):
        decay = min(0.6, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weight
    assert isinstance(training.result, nn.Linear)
    assert training.result.weight.item() == pytest.approx(expected)
    assert abs(expected - seen[-1]) > 0.1  # another weight than the last


def test_a_decay_of_almost_one_is_the_mean_of_the_last_ninth() -> None:
    """At its start the average reaches over a tenth of the steps, and not back to the first weights."""
    network = nn.Linear(1, 1, bias=False)
    average = create_average(network, 0.999999)
    for value in [100.0] * 10 + [1.0] * 90:
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
    assert average.module.weight.item() == pytest.approx(1, abs=1e-4)


def test_the_average_is_saved_and_previewed_and_the_last_weights_go_on(photos: Path, tmp_path: Path) -> None:
    """The model and the last picture are the average's; the checkpoint has both, and the discriminator as it is."""
    runs = {
        name: Run.open(tmp_path / f"{name}.safetensors", RUNTIME, ema=ema) for name, ema in (("no", 0.0), ("ema", 0.9))
    }
    for run in runs.values():
        assert len(list(train_small(run, photos))) == STEPS
    states = {name: torch.load(run.checkpoint, weights_only=True)["state"] for name, run in runs.items()}
    for key in ("network", "rival"):  # the average changes nothing of the training itself
        assert all(torch.equal(tensor, states["ema"][key][name]) for name, tensor in states["no"][key].items())
    average = {name.removeprefix("module."): tensor for name, tensor in states["ema"]["average"].items()}
    assert average.pop("n_averaged") == STEPS
    saved = load_weights(runs["ema"].output)
    for name, tensor in saved.items():
        torch.testing.assert_close(tensor.float(), average[name].float(), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(saved["0.weight"].float(), states["ema"]["network"]["0.weight"], atol=1e-3)
    assert torch.equal(average["1.running_mean"], states["ema"]["network"]["1.running_mean"])
    assert last_picture(runs["ema"]).tobytes() != last_picture(runs["no"]).tobytes()
    assert "average" not in states["no"]


def test_a_resumed_average_has_the_same_bits(photos: Path, tmp_path: Path) -> None:
    whole = Run.open(tmp_path / "whole.safetensors", RUNTIME, ema=0.9)
    list(train_small(whole, photos))
    output = tmp_path / "resumed.safetensors"
    stopped = Run.open(output, RUNTIME, ema=0.9)
    steps = train_small(stopped, photos)
    for _ in range(5):
        next(steps)
    stopped.save_checkpoint()
    stopped.close()
    resumed = Run.open(output, RUNTIME, resume=True, ema=0.9)
    assert len(list(train_small(resumed, photos))) == STEPS - 5
    first, second = (load_weights(run.output) for run in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert last_picture(whole).tobytes() == last_picture(resumed).tobytes()


@pytest.mark.parametrize(
    ("before", "now", "sentence"),
    [(0.0, 0.9, "ema was 0.0, now 0.9"), (0.9, 0.0, "ema was 0.9, now 0.0"), (0.9, 0.99, "ema was 0.9, now 0.99")],
)
def test_another_decay_does_not_resume(before: float, now: float, sentence: str, photos: Path, tmp_path: Path) -> None:
    """Nor does a checkpoint without an average, as those of earlier versions, with one; without one it does."""
    output = tmp_path / "model.safetensors"
    run = Run.open(output, RUNTIME, ema=before)
    next(train_small(run, photos))
    run.save_checkpoint()
    run.close()
    assert ("ema" in torch.load(run.checkpoint, weights_only=True)["settings"]) == bool(before)
    other = Run.open(output, RUNTIME, resume=True, ema=now)
    with pytest.raises(UsageError, match=rf"other settings \({sentence}\). Give the same ones"):
        train_small(other, photos)
    other.close()
    same = Run.open(output, RUNTIME, resume=True, ema=before)
    assert next(train_small(same, photos)).index == 2
    same.close()


def test_a_checkpoint_that_lost_its_average_is_refused(photos: Path, tmp_path: Path) -> None:
    from percept_cli.core.training.runs.checkpoints import encode_checkpoint

    output = tmp_path / "model.safetensors"
    run = Run.open(output, RUNTIME, ema=0.9)
    next(train_small(run, photos))
    run.save_checkpoint()
    run.close()
    content = torch.load(run.checkpoint, weights_only=True)
    for change, sentence in (
        (lambda average: average.pop("module.0.bias"), "module.0.bias is missing"),
        (lambda average: average.clear(), "is missing"),
    ):
        change(content["state"]["average"])
        run.checkpoint.write_bytes(encode_checkpoint(content["state"], content["settings"]))
        again = Run.open(output, RUNTIME, resume=True, ema=0.9)
        with pytest.raises(ModelError, match=re.escape(sentence)):
            train_small(again, photos)
        again.close()


def test_every_training_has_the_option(photos: Path, percept: Callable, tmp_path: Path) -> None:
    """An upscaler and an extractor by the command: the model says so, and has other weights than without it."""
    for line in (
        ("train-upscale", "--scale", 2, "--steps", 4, "--batch", 1, "--patch", 12, "--learning-rate", 0.01),
        (
            "train-extractor",
            "--method",
            "exemplar",
            "--classes",
            4,
            "--steps",
            3,
            "--batch",
            4,
            "--learning-rate",
            0.01,
        ),
    ):
        models = []
        for name, further in (("no", ()), ("ema", ("--ema", 0.9))):
            output = tmp_path / f"{line[0]}-{name}.safetensors"
            outcome = percept(
                *fitting(*line, "--data", photos, "-o", output, "--device", "cpu", "--precision", "fp32", *further)
            )
            assert outcome.code == 0, outcome.stderr
            models.append(load_weights_and_metadata(output))
        (plain, described), (averaged, told) = models
        assert any(not torch.equal(plain[name], averaged[name]) for name in plain)
        assert "ema" not in json.loads(described["recipe"]) and json.loads(told["recipe"])["ema"] == 0.9


@pytest.mark.parametrize("decay", [1, -0.1, "nan"])
def test_a_decay_that_is_none_is_refused(decay: object, percept: Callable, tmp_path: Path) -> None:
    outcome = percept("train-upscale", "--ema", decay, "-o", tmp_path / "model.safetensors")
    assert outcome.code == 2 and "give a decay below 1, such as 0.999" in outcome.stderr
