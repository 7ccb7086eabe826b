"""Adversarial losses by hand, the loss against each kind of discriminator, and discriminators of crops of any size."""

import math

import pytest
import torch
from torch import Tensor, nn

from percept_cli.core.generators.discriminators import (
    DISCRIMINATORS,
    DeepsimDiscriminator,
    MultiscaleDiscriminator,
    create_discriminator,
)
from percept_cli.core.losses.adversarial import (
    AdversarialLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    least_squares_adversarial_loss,
    least_squares_discriminator_loss,
    relativistic_adversarial_loss,
    relativistic_discriminator_loss,
)
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")


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
def test_half_precision_logits_are_compared_in_float32(name: str, dtype: torch.dtype) -> None:
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


def test_least_squares_by_hand() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.5])
    assert least_squares_adversarial_loss(fake).item() == pytest.approx(0.25)
    assert least_squares_discriminator_loss(real, fake).item() == pytest.approx(0.5 * (2.0 + 0.25))


def test_feature_matching_by_hand_and_its_gradient_goes_to_the_fakes_alone() -> None:
    fake = [torch.zeros(1, 2, requires_grad=True), torch.ones(1, 1, 3, requires_grad=True)]
    real = [torch.ones(1, 2, requires_grad=True), torch.full((1, 1, 3), 4.0, requires_grad=True)]
    loss = feature_matching_loss(fake, real)
    assert loss.item() == pytest.approx((1 + 3) / 2)
    loss.backward()
    assert all(feature.grad is not None for feature in fake)
    assert all(feature.grad is None for feature in real)


# --- the loss against a discriminator


class Undecided(nn.Module):
    """A discriminator that cannot tell: every logit is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images.mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "generators", "own"),
    [("standard", math.log(2), math.log(2)), ("relativistic", math.log(2), math.log(2)), ("least-squares", 1.0, 0.5)],
)
def test_a_discriminator_sees_what_the_generator_made(kind: str, generators: float, own: float) -> None:
    """Of one that cannot tell the losses are known; the generator's has gradients for the result, the other has none."""
    loss = AdversarialLoss(Undecided(), RUNTIME, kind, weight=0.5)
    result = torch.rand(2, 3, 8, 8, requires_grad=True)
    parts = loss.generator_parts(result, torch.rand(2, 3, 8, 8))
    assert list(parts) == ["adversarial"]
    assert parts["adversarial"].item() == pytest.approx(0.5 * generators)
    total, named = loss.discriminator_loss(loss.discriminator, torch.rand(2, 3, 8, 8), 0)
    assert total.item() == pytest.approx(own)
    assert list(named) == ["discriminator"]
    total.backward()
    assert result.grad is None
    parts["adversarial"].backward()
    assert result.grad is not None


@pytest.mark.parametrize("scales", [1, 2])
@pytest.mark.parametrize("kind", ["standard", "relativistic", "least-squares"])
def test_the_loss_of_several_scales_is_their_mean(kind: str, scales: int) -> None:
    """Each scale by the formula of its kind."""
    functions = {
        "standard": (lambda real, fake: adversarial_loss(fake), discriminator_loss),
        "relativistic": (relativistic_adversarial_loss, relativistic_discriminator_loss),
        "least-squares": (lambda real, fake: least_squares_adversarial_loss(fake), least_squares_discriminator_loss),
    }[kind]
    network = MultiscaleDiscriminator(4, scales).eval()
    loss = AdversarialLoss(network, RUNTIME, kind, weight=2.0)
    result, target = torch.rand(2, 1, 3, 64, 64)
    reals, fakes = ([outputs[-1] for outputs in network(images)] for images in (target, result))
    generators, own = (sum(f(r, g) for r, g in zip(reals, fakes, strict=True)) / scales for f in functions)
    torch.testing.assert_close(loss.generator_parts(result, target)["adversarial"], 2 * generators)
    torch.testing.assert_close(loss.discriminator_loss(network, target, 0)[0], own)


def test_a_conditional_discriminator_knows_the_source() -> None:
    """Its loss changes with the source, of images (translations) or of codes (inversion); without one it has none."""
    result, target, source = torch.rand(3, 1, 3, 64, 64)
    code = torch.rand(1, 5, 4, 4)
    for network, given in (
        (MultiscaleDiscriminator(4, inputs=6).eval(), source),
        (DeepsimDiscriminator(4, code_channels=5).eval(), code),
    ):
        loss = AdversarialLoss(network, RUNTIME)
        costs = []
        for condition in (given, 1 - given):
            generators = loss.generator_parts(result, target, condition)["adversarial"].item()
            costs.append((generators, loss.discriminator_loss(network, target, 0)[0].item()))
        assert costs[0][0] != costs[1][0] and costs[0][1] != costs[1][1]


def test_matching_is_nothing_for_the_target_itself() -> None:
    loss = AdversarialLoss(MultiscaleDiscriminator(4, inputs=7).eval(), RUNTIME, "standard", 0.5, matching_weight=2.0)
    source, (target, other) = torch.rand(1, 4, 64, 64), torch.rand(2, 1, 3, 64, 64)
    assert loss.generator_parts(target, target, source)["matching"].item() == 0
    assert loss.generator_parts(other, target, source)["matching"].item() > 0


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
def test_crops_of_any_size_get_logits(name: str) -> None:
    """From `smallest` on, one image in training mode too: one logit an image, or one a patch."""
    network = create_discriminator(name, 4)
    for height, width in ((network.smallest, network.smallest), (network.smallest + 9, 81), (96, 70)):
        logits: Tensor = network(torch.rand(1, 3, height, width))
        assert logits.shape[:2] == (1, 1)
        assert logits.dim() == (2 if name in ("srgan", "deepsim") else 4)


@pytest.mark.parametrize(
    ("name", "arguments"), [("srgan", {}), ("patch", {}), ("patch", {"spectral": True}), ("unet", {})]
)
def test_a_discriminator_learns_to_tell(name: str, arguments: dict[str, bool]) -> None:
    """Noise from plains, in ten steps; its arguments rebuild it."""
    network = create_discriminator(name, 4, **arguments)
    assert type(network)(**network.arguments).state_dict().keys() == network.state_dict().keys()
    real, fake = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 1, 1).expand(4, 3, 32, 32)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        loss = discriminator_loss(network(real), network(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_spectral_norm_takes_the_place_of_batch_norm() -> None:
    """Each convolution's largest singular value is 1, that of its weights as a matrix of output channels."""
    network = create_discriminator("patch", 4, spectral=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.05)


def test_the_unet_judges_every_pixel() -> None:
    """A logit for each pixel of a picture of any sides, by the published layers: 4,376,897 parameters with 64 channels."""
    network = create_discriminator("unet")
    assert parameters(network) == 4_376_897
    assert network(torch.rand(1, 3, 37, 50)).shape == (1, 1, 37, 50)


def test_an_unknown_discriminator_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'patch'"):
        create_discriminator("pach")
