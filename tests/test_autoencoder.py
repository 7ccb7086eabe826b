"""An autoencoder keeps an image as a small code, is trained by the losses of inverters, and goes on to the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from percept_cli.core.generators.autoencoder import Autoencoder, divergence
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.errors import ModelError
from tests.conftest import fitting
from tests.test_training import assert_resumes_to_the_same_bits, read_log

pytestmark = pytest.mark.numerical
Command = Callable[..., list[object]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def command(photos: Path) -> Command:
    """`command(output, *further)`: the arguments of a small training; a further option overrides, and makes others idle."""

    def arguments(output: Path, *further: object) -> list[str]:
        return fitting(
            "train-autoencoder", "--data", photos, "-o", output, "--steps", 1, "--batch", 2, "--width", 0.1,
            "--comparator-weights", "random", "--comparator-layers", "relu1_2", "--discriminator-channels", 4,
            "--device", "cpu", "--precision", "fp32", "--threads", 1, *further,
        )  # fmt: skip

    return arguments


@pytest.mark.parametrize("variational", [False, True])
def test_a_code_is_eight_times_smaller(variational: bool) -> None:
    """The image comes back in its own size, odd sides too; 64 pixels are 8x8 units of 8 channels, as in the paper."""
    network = Autoencoder(variational=variational, width=0.1)
    with torch.no_grad():
        assert network.encode(torch.rand(2, 3, 64, 64))[0].shape == (2, 8, 8, 8)
        image, code, spread = network(torch.rand(1, 3, 75, 61))
        assert image.shape == (1, 3, 75, 61) and code.shape == (1, 8, 10, 8)
        assert (spread is not None) == variational
        assert network.decode(torch.randn(2, 8, 3, 4)).shape == (2, 3, 24, 32)


def test_only_training_draws_a_gaussian_code() -> None:
    network, images = Autoencoder(variational=True, width=0.1), torch.rand(1, 3, 16, 16)
    assert not torch.equal(network(images)[0], network(images)[0])
    network.eval()
    assert torch.equal(network(images)[0], network(images)[0])
    assert torch.equal(network(images)[0], network.decode(network.encode(images)[0]))


def test_divergence_by_torchs_own() -> None:
    """Of a Gaussian from the standard one; 0 for that itself."""
    mean, spread = torch.randn(3, 4), torch.randn(3, 4)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (spread / 2).exp()), normal(0.0, 1.0)).mean()
    assert divergence(mean, spread).item() == pytest.approx(expected.item(), rel=1e-5)
    assert divergence(torch.zeros(2), torch.zeros(2)).item() == 0


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_bits(
    stop_percept: Callable, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """With a drawn code, a discriminator and its dropout."""
    unbroken, everything = tmp_path / "unbroken.safetensors", ("--variational", "--steps", 14)
    assert percept(*command(unbroken, *everything)).code == 0
    assert_resumes_to_the_same_bits(stop_percept, percept, lambda model: command(model, *everything), 14, unbroken)
    assert set(read_log(unbroken)[0]["parts"]) == {"image", "feature.relu1_2", "adversarial", "kl", "discriminator"}


def test_it_learns_and_its_file_gives_the_same_images(percept: Callable, command: Command, tmp_path: Path) -> None:
    """By pixels alone, absolute or squared: the loss falls, the weights are saved in 16 bits."""
    for pixel in ("l1", "mse"):
        output = tmp_path / f"{pixel}.safetensors"
        further = ("--loss", "image", "--pixel", pixel, "--learning-rate", 5e-3, "--size", 32)
        outcome = percept(*command(output, *further, "--steps", 30, "--batch", 4, "--width", 0.3))
        assert outcome.code == 0, outcome.stderr
        losses = [entry["total"] for entry in read_log(output)]
        assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
        loaded = load_generator(str(output), "autoencoder")
        assert loaded.network(torch.rand(1, 3, 20, 30))[0].shape == (1, 3, 20, 30)
        assert all(tensor.dtype == torch.float16 for tensor in load_weights(output).values())


def test_what_is_no_autoencoder_is_refused(style_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="role 'autoencoder'"):
        load_generator(str(style_model), "autoencoder")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="is not an autoencoder"):
        load_generator(str(tmp_path / "other.pth"), "autoencoder")


@pytest.mark.parametrize(
    ("further", "sentence"),
    [
        (("--pixel", "l3", "--loss", "image"), "Unknown pixel distance 'l3'"),
        (("--size", 32), "the discriminator needs 63 pixels"),
        (("--loss", "image", "--image-weight", 0), "All losses have a weight of 0"),
    ],
)
def test_bad_options_get_one_sentence(
    further: tuple[object, ...], sentence: str, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """Exit code 2 and no model."""
    output = tmp_path / "model.safetensors"
    outcome = percept(*command(output, *further))
    assert outcome.code == 2, outcome.stderr
    assert sentence in outcome.stderr
    assert not output.exists()
