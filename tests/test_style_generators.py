"""Style generators: exactly the input's size, a known reach, the paper's network to the parameter, no checkerboard."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core import choices
from percept_cli.core.generators import create_generator, strips
from percept_cli.core.generators.blocks import InstanceNorm, ResidualBlock, UnpaddedResidualBlock
from percept_cli.core.generators.style import JohnsonGenerator, StyleGenerator, fold_norms, pad_to_multiple
from percept_cli.core.pretrained.files import save_weights
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.errors import ModelError, UsageError

STYLES = choices.JOHNSON_GENERATORS
GRAY_LEVEL = 1 / 255

pytestmark = pytest.mark.numerical


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_is_that_of_torch(count: int, layout: torch.memory_format) -> None:
    """Values and all gradients are those of F.instance_norm, for one image and for several, in either layout."""
    features = torch.randn(count, 5, 6, 7, dtype=torch.float64) * 3 + 2
    outer = torch.randn_like(features)
    norm = InstanceNorm(5).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)

    def gradients(result: Tensor, leaf: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((result * outer).sum(), (leaf, norm.weight, norm.bias))

    leaf = features.contiguous(memory_format=layout).requires_grad_()
    plain = features.clone().requires_grad_()
    ours, theirs = norm(leaf), F.instance_norm(plain, weight=norm.weight, bias=norm.bias, eps=1e-5)
    torch.testing.assert_close(ours, theirs)
    for mine, reference in zip(gradients(ours, leaf), gradients(theirs, plain), strict=True):
        torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize("count", [1, 3])
def test_instance_norm_keeps_the_layout(count: int) -> None:
    """Channels-last features stay channels last: that is what it is written for."""
    features = torch.randn(count, 8, 6, 7).contiguous(memory_format=torch.channels_last)
    assert InstanceNorm(8)(features).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(64, 48), (71, 93)])
def test_large_maps_in_strips_equal_the_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of a few rows give the picture that whole maps give: same padding, same statistics, no seams."""
    network = StyleGenerator(0.25).double().eval()
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        whole = network(images)
        monkeypatch.setattr(strips, "WHOLE_PIXELS", 0)
        monkeypatch.setattr(strips, "STRIP_PIXELS", 5 * size[1])
        torch.testing.assert_close(network(images), whole)


def test_strips_are_for_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradients the maps stay whole, however large: in-place strips would spoil what the gradient needs."""
    monkeypatch.setattr(strips, "WHOLE_PIXELS", 0)
    network = StyleGenerator(0.25).eval()
    network(torch.rand(1, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_images_of_a_batch_do_not_see_each_other() -> None:
    """With instance norm a batch gives what its images give one by one."""
    network = StyleGenerator(0.25).eval()
    images = torch.rand(3, 3, 20, 24)
    with torch.no_grad():
        torch.testing.assert_close(network(images), torch.cat([network(image[None]) for image in images]))


def test_the_result_has_exactly_the_images_size() -> None:
    """Odd and even, wide and tall, multiples of 4 or not."""
    network = StyleGenerator(0.25).eval()
    with torch.no_grad():
        for height, width in ((16, 16), (17, 32), (18, 31), (19, 30), (33, 16), (31, 31)):
            assert network(torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize("size", [(48, 48), (49, 51), (50, 67), (64, 55)])
def test_the_papers_network_keeps_the_size_too(size: tuple[int, int]) -> None:
    """Its one padding of 40 is just what its ten unpadded convolutions take away."""
    with torch.no_grad():
        assert JohnsonGenerator(0.25).eval()(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_padding_repeats_no_edge_and_moves_nothing() -> None:
    """Padding to a multiple reflects at the right and the bottom; the picture stays at the top left."""
    image = torch.arange(15.0).view(1, 1, 3, 5)
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 8)
    assert torch.equal(padded[..., :3, :5], image)
    assert padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert torch.equal(padded[..., 3, :5], image[..., 1, :])


def reaches_of_pixels(network: nn.Module, positions: Sequence[int], side: int) -> list[tuple[int, int]]:
    """How far to the left and to the right of pixels on the diagonal their values depend on the input."""
    image = torch.full((1, 3, side, side), 0.501, dtype=torch.float64, requires_grad=True)
    result, reaches = network(image), []
    for position in positions:
        (gradient,) = torch.autograd.grad(result[0, 0, position, position], image, retain_graph=True)
        columns = gradient[0].abs().sum((0, 1)).nonzero()
        reaches.append((position - int(columns.min()), int(columns.max()) - position))
    return reaches


def test_the_receptive_radius_is_measured() -> None:
    """An output pixel depends on input up to `receptive_radius` pixels away and on nothing further, norms aside.

    The strides make it lopsided: 4 + 1 + 2 + 40 + 2 + 1 + 4 = 54 to the right and below, up to 3 more to the left and
    above. A tile whose edges lie on multiples of 4 needs 55 pixels around it, so a halo of 56 is exact.
    """
    network = StyleGenerator(0.25).double()
    for module in network.modules():
        # All weights positive, so that no path is cut off by a ReLU or canceled by another.
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, nn.Identity())
    reaches = reaches_of_pixels(network, range(60, 64), side=124)
    assert max(right for _, right in reaches) == 54
    assert max(max(reach) for reach in reaches) == StyleGenerator.receptive_radius
    assert max(left - phase for phase, (left, _) in enumerate(reaches)) == 55
    assert max(right - (3 - phase) for phase, (_, right) in enumerate(reaches)) <= 55


def test_the_papers_network_has_the_papers_parameters() -> None:
    """Counted by hand from the tables of the supplement: 1.68 million, nine tenths of them in the residual blocks."""
    convolutions = (
        9 * 9 * 3 * 32
        + 3 * 3 * 32 * 64
        + 3 * 3 * 64 * 128
        + 5 * 2 * 3 * 3 * 128 * 128
        + 3 * 3 * 128 * 64
        + 3 * 3 * 64 * 32
        + 9 * 9 * 32 * 3
        + 3  # only the last has a bias: the others are normalized
    )
    norms = 2 * (32 + 64 + 128 + 5 * 2 * 128 + 64 + 32)
    network = create_generator("style", "johnson-2016")
    assert sum(parameter.numel() for parameter in network.parameters()) == convolutions + norms == 1_677_635
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 15


def test_residual_blocks_add_to_the_identity() -> None:
    """With nothing learned, a block is the identity; the paper's unpadded one is the identity cropped by 2."""
    features = torch.randn(1, 8, 12, 13)
    for block, expected in (
        (ResidualBlock(8), features),
        (UnpaddedResidualBlock(8, "instance"), features[..., 2:-2, 2:-2]),
    ):
        for module in block.modules():
            if isinstance(module, InstanceNorm):
                nn.init.zeros_(module.weight)
        assert torch.equal(block(features), expected)


@pytest.mark.parametrize("name", STYLES)
def test_results_stay_near_the_range_of_images(name: str) -> None:
    """The paper's network ends within [0, 1]; ours may pass it by 5 percent, to reach pure black and white."""
    network = create_generator("style", name, width=0.25, norm="instance").eval()
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    nn.init.normal_(last.weight, std=1.0)
    with torch.no_grad():
        result = network(torch.rand(1, 3, 48, 48))
    excess = 0.05 if name == "johnson" else 0.0
    assert result.min() >= -excess - 1e-6 and result.max() <= 1 + excess + 1e-6
    assert result.min() < 0.05 and result.max() > 0.95


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize(("width", "channels"), [(1.0, (32, 64, 128)), (0.5, (16, 32, 64)), (0.25, (8, 16, 32))])
def test_width_scales_the_papers_channels(name: str, width: float, channels: tuple[int, ...]) -> None:
    """1 is the paper's 32, 64 and 128; half of that is what its authors released."""
    network = create_generator("style", name, width=width)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert tuple(convolution.out_channels for convolution in convolutions[:3]) == channels
    assert network.arguments["width"] == width


@pytest.mark.parametrize("width", [0.0, 0.05, -1.0, 4.5, float("nan")])
def test_a_width_out_of_range_is_refused(width: float) -> None:
    """The message names the option and the range; 0 is a width given, not a width left out."""
    with pytest.raises(UsageError, match="--width"):
        create_generator("style", "johnson", width=width)


def test_unknown_names_get_a_suggestion() -> None:
    """For generators and for norms."""
    with pytest.raises(UsageError, match="Did you mean 'johnson'"):
        create_generator("style", "jonson")
    with pytest.raises(UsageError, match="Did you mean 'instance'"):
        create_generator("style", "johnson", norm="instanse")


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_model_saved_in_half_precision_paints_the_same(name: str, norm: str, tmp_path: Path) -> None:
    """File and back, no pixel differs by more than one gray level from the network in memory."""
    network = create_generator("style", name, width=0.25, norm=norm)
    image = torch.rand(1, 3, 64, 52)
    with torch.no_grad():
        network.train()(image)  # gives batch norm statistics
        expected = network.eval()(image)
    half = {
        key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in network.state_dict().items()
    }
    metadata = {"percept.format": "1", "role": "style", "architecture": name, "arguments": network.arguments}
    save_weights(tmp_path / "model.safetensors", half, metadata)
    loaded = load_generator(str(tmp_path / "model.safetensors"), "style")
    assert loaded.architecture == name
    assert (loaded.network(image) - expected).abs().max() <= GRAY_LEVEL


def test_a_file_that_does_not_fit_its_own_description_is_damaged(tmp_path: Path) -> None:
    """Weights of one width with another in the metadata are refused, not loaded in part."""
    network = StyleGenerator(0.25)
    metadata = {"percept.format": "1", "role": "style", "architecture": "johnson", "arguments": {"width": 0.5}}
    save_weights(tmp_path / "model.safetensors", network.state_dict(), metadata)
    with pytest.raises(ModelError, match="does not fit its architecture 'johnson'"):
        load_generator(str(tmp_path / "model.safetensors"), "style")


def test_a_folder_of_a_models_name_does_not_hide_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-m wave` beside a folder `wave/` still means the shipped model, or says that there is none of that name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-such-style").mkdir()
    with pytest.raises(ModelError, match="Unknown style model 'no-such-style'"):
        load_generator("no-such-style", "style")


def test_resize_convolutions_leave_no_checkerboard() -> None:
    """A plain surface stays plain to its edges, whatever the weights; the paper's transposed convolutions pattern it.

    With batch norm, evaluating: instance norm would flatten a plain surface by itself.
    """
    surface = torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    with torch.no_grad():
        ours = StyleGenerator(0.25, norm="batch").eval()(surface)[0]
        papers = JohnsonGenerator(0.25, norm="batch").eval()(surface)[0]
    assert ours.flatten(1).std(1).max() < 1e-6
    inside = papers[:, 24:40, 24:40]  # far from the padding of the other convolutions
    assert inside.flatten(1).std(1).max() > 1e-4
    # The pattern is that of the strides: it repeats every 4 pixels, and not every one.
    torch.testing.assert_close(inside[:, 4:, 4:], inside[:, :-4, :-4])


@pytest.mark.parametrize("norm", ["inner", "instance"])
def test_one_huge_value_rules_a_picture_only_through_instance_norm(norm: str) -> None:
    """The blotch in the sky: where the sum of the blocks is normalized, one place changes all of the others."""
    network = StyleGenerator(0.25, norm).double().eval()
    features = torch.randn(1, 32, 24, 24, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    spiked = features.clone()
    spiked[..., 2, 2] += 1e3
    with torch.inference_mode():
        there = network.residual[-1].second(features), network.decoder(features)
        spiked_there = network.residual[-1].second(spiked), network.decoder(spiked)
    for before, after in zip(there, spiked_there, strict=True):
        far = (..., slice(before.shape[-2] // 2, None), slice(before.shape[-1] // 2, None))
        if norm == "inner":
            torch.testing.assert_close(after[far], before[far], rtol=0, atol=1e-12)
        else:
            assert (after[far] - before[far]).abs().mean() > 0.3 * before[far].abs().mean()


def test_folded_norms_are_the_norms_of_those_photographs() -> None:
    """On the very photograph that they were folded on, nothing changes; elsewhere a huge value rules no more."""
    torch.manual_seed(0)
    trained = StyleGenerator(0.25, "instance").double().eval()
    photograph = torch.rand(1, 3, 48, 64, dtype=torch.double)
    folded = fold_norms(trained, photograph).double().eval()
    assert folded.arguments == {"width": 0.25, "norm": "inner"}
    torch.testing.assert_close(folded(photograph), trained(photograph), rtol=0, atol=1e-5)
