"""Adversarial losses by hand, and discriminators that judge crops of any size."""

import math

import pytest
import torch
from torch import Tensor, nn

from percept_cli.core.generators.discriminator import DISCRIMINATORS, create_discriminator
from percept_cli.core.losses.adversarial import (
    adversarial_loss,
    discriminator_loss,
    relativistic_adversarial_loss,
    relativistic_discriminator_loss,
)
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical
LOSSES = {
    "adversarial": lambda real, fake: adversarial_loss(fake),
    "discriminator": discriminator_loss,
    "relativistic adversarial": relativistic_adversarial_loss,
    "relativistic discriminator": relativistic_discriminator_loss,
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def log_sigmoid(value: float) -> float:
    return -math.log(1 + math.exp(-value))


# --- losses


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(4, 1), (2, 1, 5, 5)])
def test_a_discriminator_that_cannot_tell_costs_log_2(name: str, shape: tuple[int, ...]) -> None:
    """One logit an image, or one a patch."""
    assert LOSSES[name](torch.zeros(shape), torch.zeros(shape)).item() == pytest.approx(math.log(2))


def test_losses_by_hand() -> None:
    """The equations written out for two real logits, 2 and 0, and two fake ones, 1 and -3."""
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([1.0, -3.0])

    fooled = -(log_sigmoid(1) + log_sigmoid(-3)) / 2
    assert adversarial_loss(fake).item() == pytest.approx(fooled)

    told = -(log_sigmoid(2) + log_sigmoid(0)) / 2, -(log_sigmoid(-1) + log_sigmoid(3)) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(sum(told) / 2)

    # The means are 1 and -1.
    told = -(log_sigmoid(2 + 1) + log_sigmoid(0 + 1)) / 2, -(log_sigmoid(-(1 - 1)) + log_sigmoid(-(-3 - 1))) / 2
    assert relativistic_discriminator_loss(real, fake).item() == pytest.approx(sum(told) / 2)
    fooled = -(log_sigmoid(-(2 + 1)) + log_sigmoid(-(0 + 1))) / 2, -(log_sigmoid(1 - 1) + log_sigmoid(-3 - 1)) / 2
    assert relativistic_adversarial_loss(real, fake).item() == pytest.approx(sum(fooled) / 2)


def test_relativistic_losses_are_each_other_with_the_roles_exchanged() -> None:
    """And a constant on all logits changes neither: only differences count."""
    real, fake = torch.randn(5, 1), torch.randn(5, 1)

    assert relativistic_adversarial_loss(real, fake) == relativistic_discriminator_loss(fake, real)
    for loss in (relativistic_adversarial_loss, relativistic_discriminator_loss):
        torch.testing.assert_close(loss(real + 3, fake + 3), loss(real, fake))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str) -> None:
    """Against finite differences; what the real logits get of the generator's loss is tested below."""
    real, fake = torch.randn(3, 1, dtype=torch.float64), torch.randn(3, 1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: LOSSES[name](real, values), (fake,))
    if "discriminator" in name:
        assert torch.autograd.gradcheck(LOSSES[name], (real.requires_grad_(), fake))


def test_the_generators_loss_leaves_the_real_logits_alone() -> None:
    """They are constants to the generator; the discriminator learns from both."""
    real, fake = torch.randn(3, 1, requires_grad=True), torch.randn(3, 1, requires_grad=True)

    relativistic_adversarial_loss(real, fake).backward()
    assert real.grad is None and fake.grad is not None and fake.grad.abs().min() > 0

    relativistic_discriminator_loss(real, fake).backward()
    assert real.grad is not None and real.grad.abs().min() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_judged_in_float32(name: str, dtype: torch.dtype) -> None:
    """A sure discriminator of half precision gives finite losses, that of the right side near 0."""
    real, fake = torch.full((4, 1), 300.0, dtype=dtype), torch.full((4, 1), -300.0, dtype=dtype)
    loss = LOSSES[name](real, fake)
    assert loss.dtype == torch.float32
    if "discriminator" in name:
        assert loss.item() == 0
    else:
        assert loss.item() == pytest.approx(300 if name == "adversarial" else 600)


def test_the_generators_gradient_does_not_vanish_where_the_discriminator_is_sure() -> None:
    """The non-saturating form: log(1 − σ) would have a gradient of nothing at a logit of −20."""
    fake = torch.tensor([-20.0], requires_grad=True)
    adversarial_loss(fake).backward()
    assert fake.grad is not None and fake.grad.item() == pytest.approx(-1)


# --- discriminators


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_srgans_discriminator_has_the_papers_layers() -> None:
    """Ledig et al. 2017, figure 4: k3n64s1 to k3n512s2, the dense layer of 1024 on 512 means instead of 6x6x512."""
    network = create_discriminator("srgan")
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [module.out_channels for module in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [module.stride[0] for module in convolutions] == [1, 2] * 4
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 7
    assert parameters(network) == 5_213_569


def test_pix2pix_discriminator_has_the_published_parameters() -> None:
    """2,768,705 are what pix2pix's own code has for pairs of images, six channels; three of them see no image here."""
    assert parameters(create_discriminator("patch")) == 2_768_705 - 3 * 4 * 4 * 64


def test_a_logit_of_the_patch_discriminator_sees_70_pixels() -> None:
    """Isola et al. 2017's 70 x 70, by gradients."""
    network = create_discriminator("patch", 4).eval()
    images = torch.rand(1, 3, 160, 160, requires_grad=True)
    logits = network(images)
    (gradient,) = torch.autograd.grad(logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2], images)
    for axis in (0, 1):
        touched = gradient[0].abs().sum(0).sum(axis).nonzero()
        assert int(touched.max() - touched.min()) + 1 == 70


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_crops_of_any_size_are_judged(name: str) -> None:
    """From `smallest` on, one image in training mode too: one logit an image, or one a patch."""
    network = create_discriminator(name, 4)
    for height, width in ((network.smallest, network.smallest), (network.smallest + 9, 81), (96, 70)):
        logits: Tensor = network(torch.rand(1, 3, height, width))
        assert logits.shape[:2] == (1, 1)
        assert logits.dim() == (4 if name == "patch" else 2)


@pytest.mark.parametrize(("name", "arguments"), [("srgan", {}), ("patch", {}), ("patch", {"spectral": True})])
def test_a_discriminator_learns_to_tell(name: str, arguments: dict[str, bool]) -> None:
    """Noise from plains, in ten steps; its arguments rebuild it."""
    network = create_discriminator(name, 4, **arguments)
    assert type(network)(**network.arguments).state_dict().keys() == network.state_dict().keys()
    real, fake = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 1, 1).expand(4, 3, 32, 32)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        loss = discriminator_loss(network(real), network(fake))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_spectral_norm_takes_the_place_of_batch_norm() -> None:
    """Each convolution's largest singular value is 1, that of its weights as a matrix of output channels."""
    network = create_discriminator("patch", 4, spectral=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.05)


def test_an_unknown_discriminator_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'patch'"):
        create_discriminator("pach")
