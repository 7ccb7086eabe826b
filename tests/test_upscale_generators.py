"""The papers' upscalers: their parameters to the last one, any size, a reach that gradients confirm."""

import pytest
import torch
from torch import Tensor, nn

from percept_cli.core.generators import ARCHITECTURES, Generator
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.images.resize import resize_bicubic
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical

SMALL: dict[str, dict[str, int]] = {
    "srcnn": {},
    "srresnet": {"channels": 4, "blocks": 2},
    "enhancenet": {"channels": 4, "blocks": 2},
    "rrdb": {"channels": 4, "blocks": 1, "growth": 2},
    "johnson-upscale": {"channels": 4, "blocks": 2},
}
CLASSICS = {name: ARCHITECTURES["upscaler"][name] for name in SMALL}
# Each with two stages of 2, and of the others those that no other case resembles
CASES = [
    *((name, 4) for name in CLASSICS),
    *[("srcnn", 2), ("srcnn", 3), ("srresnet", 8), ("enhancenet", 3), ("rrdb", 2), ("johnson-upscale", 8)],
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def create(name: str, scale: int) -> Generator:
    return CLASSICS[name](scale=scale, **SMALL[name]).eval()


def parameters(network: nn.Module, *kinds: type[nn.Module]) -> int:
    """How many parameters a network has, or its modules of some kinds."""
    modules = [module for module in network.modules() if isinstance(module, kinds)] if kinds else [network]
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


# --- the papers' figures


def test_srcnn_has_the_papers_weights() -> None:
    """Dong et al. 2016 (the journal's version) count 8,032 weights for 9-1-5 on one channel; three go in and out here."""
    first, middle, last = (
        module.weight.numel() for module in CLASSICS["srcnn"]().modules() if isinstance(module, nn.Conv2d)
    )
    assert first // 3 + middle + last // 3 == 8_032
    assert parameters(CLASSICS["srcnn"]()) == 20_099


def test_srresnet_has_the_papers_parameters() -> None:
    """Ahn et al. 2018 (CARN) list SRResNet x4 with 1,543K: convolutions and PReLUs; batch norm adds 4,224."""
    network = CLASSICS["srresnet"]()
    assert parameters(network, nn.Conv2d, nn.PReLU) == 1_543_126
    assert parameters(network) == 1_543_126 + 2 * 64 * 33 == 1_547_350
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 33


def test_enhancenet_has_the_papers_parameters() -> None:
    """Sajjadi et al. 2017, table 1: 3 to 64, ten blocks of two, two stages and one more of 64 to 64, 64 to 3."""
    layer = 3 * 3 * 64 * 64 + 64
    assert parameters(CLASSICS["enhancenet"]()) == (3 * 3 * 3 * 64 + 64) + 23 * layer + (3 * 3 * 64 * 3 + 3) == 852_867


def test_rrdb_has_the_papers_parameters() -> None:
    """16.7 million as published for RRDBNet x4 with 64 channels, 23 blocks and growth 32; every stage adds 36,928."""
    with torch.device("meta"):
        assert parameters(CLASSICS["rrdb"]()) == 16_697_987
        assert parameters(CLASSICS["rrdb"](8)) - parameters(CLASSICS["rrdb"](4)) == 3 * 3 * 64 * 64 + 64


@pytest.mark.parametrize(("scale", "stages"), [(2, 1), (4, 2), (8, 3)])
def test_johnson_has_the_papers_layers(scale: int, stages: int) -> None:
    """Johnson et al. 2016, supplement: 9x9x64, four residual blocks, log2 of the scale up-convolutions, 9x9x3."""
    network = CLASSICS["johnson-upscale"](scale)
    inner = 4 * 2 + stages
    convolutions = 9 * 9 * 3 * 64 + inner * 3 * 3 * 64 * 64 + 9 * 9 * 64 * 3 + 3
    assert parameters(network) == convolutions + (1 + inner) * 2 * 64
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == stages


# --- sizes


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_the_result_is_the_scale_times_the_image(name: str, scale: int) -> None:
    """From one pixel on, odd or even, wide or tall, one image or several."""
    network = create(name, scale)
    assert network.scale == scale and network.size_multiple == 1
    with torch.no_grad():
        for count, height, width in ((1, network.smallest, network.smallest), (2, 5, 8), (1, 9, 3)):
            assert network(torch.rand(count, 3, height, width)).shape == (count, 3, scale * height, scale * width)


@pytest.mark.parametrize("name", CLASSICS)
def test_a_scale_that_a_network_has_not_is_refused(name: str) -> None:
    """In one sentence that lists the others."""
    with pytest.raises(UsageError, match=f"'{name}' does not enlarge 5 times: give 2, .*4 or 8"):
        CLASSICS[name](scale=5)
    if name == "johnson-upscale":
        with pytest.raises(UsageError, match="give 2, 4 or 8"):
            CLASSICS[name](scale=3)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_its_arguments_rebuild_a_network(name: str, scale: int) -> None:
    """The weights of one fit the other, and both paint the same."""
    network, image = create(name, scale), torch.rand(1, 3, 4, 5)
    copy = CLASSICS[name](**network.arguments).eval()
    copy.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(copy(image), network(image))


@pytest.mark.parametrize("name", CLASSICS)
def test_results_are_float32_under_autocast(name: str) -> None:
    """bf16 has 256 levels in all of [0.5, 1) and [0.25, 0.5): the sum with the base is not made in it."""
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert create(name, 4)(torch.rand(1, 3, 6, 6)).dtype == torch.float32


@pytest.mark.parametrize("name", CLASSICS)
def test_every_parameter_learns(name: str) -> None:
    """In training mode, with batch norm's statistics of the batch, a gradient reaches all of them."""
    network = create(name, 2).train()
    network(torch.rand(2, 3, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


# --- reach


def reach(network: Generator, scale: int) -> int:
    """How many small pixels beyond its own any output pixel of a small one depends on, by gradients."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # All weights positive, so that no path is cut off by a ReLU or canceled by another.
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    radius = network.receptive_radius
    middle = radius + 2
    image = torch.full((1, 3, 2 * middle + 1, 2 * middle + 1), 0.501, dtype=torch.float64, requires_grad=True)
    result = network.double()(image)
    furthest = 0
    for phase in (0, scale // 2, scale - 1):
        pixel = middle * scale + phase
        (gradient,) = torch.autograd.grad(result[0, 0, pixel, pixel], image, retain_graph=True)
        touched = gradient[0].abs().sum((0, 1)).nonzero()
        furthest = max(furthest, middle - int(touched.min()), int(touched.max()) - middle)
    return furthest


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_the_receptive_radius_is_measured(name: str, scale: int) -> None:
    """An output pixel depends on small pixels up to `receptive_radius` from its own, and on none further."""
    network = create(name, scale)
    assert reach(network, scale) == network.receptive_radius


@pytest.mark.parametrize(("name", "more"), [("srresnet", 2), ("enhancenet", 2), ("rrdb", 15), ("johnson-upscale", 2)])
def test_a_block_more_reaches_its_convolutions_further(name: str, more: int) -> None:
    """So the radius measured on few blocks holds for many."""
    few = create(name, 4)
    many = CLASSICS[name](scale=4, **(SMALL[name] | {"blocks": SMALL[name]["blocks"] + 1})).eval()
    assert reach(many, 4) == many.receptive_radius == few.receptive_radius + more


@pytest.mark.parametrize(
    ("name", "radius"), [("srcnn", 3), ("srresnet", 40), ("enhancenet", 23), ("rrdb", 349), ("johnson-upscale", 14)]
)
def test_the_papers_radii_at_scale_4(name: str, radius: int) -> None:
    """What a tile needs around it; channels have no part in it."""
    thin = {"channels": 1} if name != "srcnn" else {}
    assert CLASSICS[name](scale=4, **thin).receptive_radius == radius


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_a_tile_with_its_radius_around_it_equals_the_whole(name: str, scale: int) -> None:
    """At any place, odd or even: strides and phases are those of the small pixels."""
    network = create(name, scale).double()
    radius, side = network.receptive_radius, 3
    image = torch.rand(1, 3, 2 * radius + side + 2, 2 * radius + side + 2, dtype=torch.float64)
    with torch.no_grad():
        whole = network(image)
        for top, left in ((0, 0), (1, 2)):
            tile = network(image[..., top : top + 2 * radius + side, left : left + 2 * radius + side])
            inside = tile[..., radius * scale : (radius + side) * scale, radius * scale : (radius + side) * scale]
            rows, columns = (slice((start + radius) * scale, (start + radius + side) * scale) for start in (top, left))
            torch.testing.assert_close(inside, whole[..., rows, columns], rtol=0, atol=1e-12)


# --- the base


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_base_is_bicubic_enlargement(scale: int) -> None:
    """One convolution gives what resizing by weights computed from coordinates gives, to the edges."""
    image = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    enlarged = resize_bicubic(image, 5 * scale, 7 * scale)
    torch.testing.assert_close(BicubicBase(scale)(image), enlarged, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("margin", [0, 1, 6, 11])
def test_the_reach_of_a_window_on_the_base(scale: int, margin: int) -> None:
    """Measured by gradients: which small pixels a window of `margin` around an output pixel takes its values from."""
    base, middle = BicubicBase(scale), 20
    image = torch.zeros(1, 3, 1, 41, dtype=torch.float64, requires_grad=True)
    result = base.double()(image)
    furthest = 0
    for pixel in range(middle * scale, (middle + 1) * scale):
        for other in range(pixel - margin, pixel + margin + 1):
            (gradient,) = torch.autograd.grad(result[0, 0, 0, other], image, retain_graph=True)
            touched = gradient[0, 0, 0].nonzero()
            furthest = max(furthest, middle - int(touched.min()), int(touched.max()) - middle)
    assert furthest == base.reach(margin)


def test_detail_is_added_to_the_base() -> None:
    """EnhanceNet whose last layer gives nothing is bicubic enlargement; so SRCNN cannot be, which repaints all of it."""
    network, image = create("enhancenet", 4), torch.rand(1, 3, 6, 6)
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    expected: Tensor = BicubicBase(4)(image)
    with torch.no_grad():
        assert torch.equal(network(image), expected)
