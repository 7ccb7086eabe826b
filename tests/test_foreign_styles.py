"""Style networks of other repositories give the pixels of their own code, which is stated here once more."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from percept_cli.core.generators import strips
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.pretrained.foreign import build_foreign
from percept_cli.core.pretrained.foreign_styles import ForeignStyle
from percept_cli.core.pretrained.generators import load_generator, recognize
from percept_cli.errors import ModelError

pytestmark = pytest.mark.numerical
FULL, HALF = (32, 64, 128), (16, 32, 64)
# Gray levels. The biases that cancel in a normalization leave float32 noise, some 1e-4; in float64 none is left.
FLOAT32_NOISE, FLOAT64_NOISE = 1e-3, 1e-4


class Named(nn.Module):
    """Modules under given names, called one after the other: names make the keys of the files."""

    def __init__(self, **modules: nn.Module):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, features: Tensor) -> Tensor:
        for module in self.children():
            features = module(features)
        return features


def reflected(inputs: int, outputs: int, kernel: int, stride: int = 1) -> dict[str, nn.Module]:
    return {"pad": nn.ReflectionPad2d(kernel // 2), "conv": nn.Conv2d(inputs, outputs, kernel, stride)}


class PytorchExamples(nn.Module):
    """pytorch/examples fast_neural_style: RGB, 0 to 255."""

    def __init__(self, channels: tuple[int, int, int], old: bool = False):
        super().__init__()
        first, second, third = channels

        def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, up: bool = False) -> nn.Module:
            parts = reflected(inputs, outputs, kernel, stride)
            before = {"up": nn.Upsample(scale_factor=2, mode="nearest")} if up else {}
            return Named(**before, pad=parts["pad"], conv2d=parts["conv"])

        def norm(count: int) -> nn.Module:
            return nn.InstanceNorm2d(count, affine=True, track_running_stats=old)

        self.conv1, self.in1 = conv(3, first, 9), norm(first)
        self.conv2, self.in2 = conv(first, second, 3, 2), norm(second)
        self.conv3, self.in3 = conv(second, third, 3, 2), norm(third)
        for number in range(1, 6):
            block = {"conv1": conv(third, third, 3), "in1": norm(third), "relu": nn.ReLU()}
            block |= {"conv2": conv(third, third, 3), "in2": norm(third)}
            self.add_module(f"res{number}", Named(**block))
        self.deconv1, self.in4 = conv(third, second, 3, up=True), norm(second)
        self.deconv2, self.in5 = conv(second, first, 3, up=True), norm(first)
        self.deconv3 = conv(first, 3, 9)

    def forward(self, pixels: Tensor) -> Tensor:
        for number in (1, 2, 3):
            pixels = self.get_submodule(f"in{number}")(self.get_submodule(f"conv{number}")(pixels)).relu()
        for number in range(1, 6):
            pixels = pixels + self.get_submodule(f"res{number}")(pixels)
        pixels = self.in4(self.deconv1(pixels)).relu()
        return self.deconv3(self.in5(self.deconv2(pixels)).relu())


class Rrmina(nn.Module):
    """rrmina/fast-neural-style-pytorch, the network without a tanh: BGR, 0 to 255."""

    def __init__(self, channels: tuple[int, int, int]):
        super().__init__()
        first, second, third = channels

        def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
            parts = reflected(inputs, outputs, kernel, stride)
            return Named(pad=parts["pad"], conv_layer=parts["conv"], norm_layer=nn.InstanceNorm2d(outputs, affine=True))

        def up(inputs: int, outputs: int) -> nn.Module:
            transposed = nn.ConvTranspose2d(inputs, outputs, kernel_size=3, stride=2, padding=1, output_padding=1)
            return Named(conv_transpose=transposed, norm_layer=nn.InstanceNorm2d(outputs, affine=True))

        last = reflected(first, 3, 9)
        self.ConvBlock = nn.Sequential(
            conv(3, first, 9), nn.ReLU(), conv(first, second, 3, 2), nn.ReLU(), conv(second, third, 3, 2), nn.ReLU()
        )
        self.ResidualBlock = nn.Sequential(
            *(Named(conv1=conv(third, third, 3), relu=nn.ReLU(), conv2=conv(third, third, 3)) for _ in range(5))
        )
        self.DeconvBlock = nn.Sequential(
            up(third, second), nn.ReLU(), up(second, first), nn.ReLU(), Named(pad=last["pad"], conv_layer=last["conv"])
        )

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = self.ConvBlock(pixels)
        for block in self.ResidualBlock:
            pixels = block(pixels) + pixels
        return self.DeconvBlock(pixels)


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """Seeded weights, with affine norms that are no identity and an output around the middle gray."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 4:
            parameter.data = noise / parameter[0].numel() ** 0.5
        else:
            parameter.data = 0.3 * noise + (1 if name.endswith("weight") else 0)
    last = list(network.parameters())[-2:]
    last[0].data *= 40
    last[1].data += torch.tensor([90.0, 120.0, 150.0])  # unlike for the three colors
    return network.requires_grad_(False)


def stylized(original: nn.Module, images: Tensor) -> Tensor:
    """What the repository's own script makes of images (RGB, [0, 1]): RGB, 0 to 255, not clamped."""
    if isinstance(original, Rrmina):  # its images come from OpenCV
        return original(images.flip(1) * 255).flip(1)
    return original(images * 255)


def noise_images(height: int, width: int, count: int = 1) -> Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(1))


def style_of(state: dict[str, Tensor], source: str = "x.pth") -> ForeignStyle:
    _, network = build_foreign(state, source, "style")
    assert isinstance(network, ForeignStyle)
    return network


def loaded(original: nn.Module, folder: Path) -> ForeignStyle:
    """The generator from a file as the repository's training script saves it."""
    path = folder / "style.pth"
    torch.save(original.state_dict(), path)
    return style_of(load_weights(path), str(path)).requires_grad_(False)


ORIGINALS = pytest.mark.parametrize("original", [PytorchExamples, Rrmina])


@ORIGINALS
@pytest.mark.parametrize("channels", [FULL, HALF], ids=["full", "half"])
def test_same_pixels_as_the_original_code(original, channels, tmp_path):
    network = randomized(original(channels))
    generator, images = loaded(network, tmp_path), noise_images(48, 64)

    expected = stylized(network, images)

    assert expected.std() > 20  # a picture, not a plain
    torch.testing.assert_close(255 * generator(images), expected, atol=FLOAT32_NOISE, rtol=0)


@ORIGINALS
def test_same_pixels_in_double_precision(original, tmp_path):
    network = randomized(original(HALF))
    generator, images = loaded(network, tmp_path).double(), noise_images(48, 64, count=2).double()

    expected = stylized(network.double(), images)

    # The generator gives its result in float32.
    torch.testing.assert_close(255 * generator(images).double(), expected, atol=FLOAT64_NOISE, rtol=0)


@ORIGINALS
@pytest.mark.parametrize("size", [(49, 63), (50, 66), (5, 5), (5, 40), (8, 8)])
def test_every_size_comes_back_as_it_went_in(original, size, tmp_path):
    generator = loaded(randomized(original(HALF)), tmp_path)

    styled = generator(noise_images(*size))

    assert styled.shape == (1, 3, *size)
    assert torch.isfinite(styled).all()


@ORIGINALS
def test_smallest_is_the_smallest(original, tmp_path):
    generator = loaded(randomized(original(HALF)), tmp_path)

    with pytest.raises(RuntimeError, match=r"[Pp]adding"):
        generator(noise_images(generator.smallest - 1, 32))


@ORIGINALS
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "strips"])
@pytest.mark.parametrize("size", [(30, 41), (31, 43), (29, 40)])
def test_any_size_gives_the_pixels_of_the_original_code_cut_to_the_size(original, size, whole, tmp_path, monkeypatch):
    """The original networks get the picture as it is; theirs is larger where a side is no multiple of 4."""
    if not whole:
        monkeypatch.setattr(strips, "WHOLE_PIXELS", 0)
        monkeypatch.setattr(strips, "STRIP_PIXELS", 5 * size[1])
    network = randomized(original(HALF))
    generator, images = loaded(network, tmp_path), noise_images(*size)

    expected = stylized(network, images)

    assert expected.shape[-2:] == tuple(-(-side // 4) * 4 for side in size)
    torch.testing.assert_close(255 * generator(images), expected[..., : size[0], : size[1]], atol=FLOAT32_NOISE, rtol=0)


@ORIGINALS
def test_the_order_of_colors_matters(original, tmp_path):
    network = randomized(original(HALF))
    generator, images = loaded(network, tmp_path), noise_images(32, 32)

    swapped = stylized(network, images.flip(1)).flip(1)

    assert (255 * generator(images) - swapped).abs().mean() > 5


@pytest.mark.parametrize("counted", [False, True])
def test_running_statistics_of_old_files_are_left_out(counted, tmp_path):
    """As PyTorch before 0.4 saved them, and with the number of batches that later releases saved beside them."""
    old = randomized(PytorchExamples(HALF, old=True))
    for name, statistic in old.named_buffers():
        if not name.endswith("num_batches_tracked"):
            statistic.uniform_(3, 4)
    state = {key: value for key, value in old.state_dict().items() if counted or "num_batches" not in key}
    assert "res5.in2.running_var" in state and "in1.running_mean" in state
    assert ("res1.in2.num_batches_tracked" in state) == counted
    torch.save(state, tmp_path / "old.model")
    images = noise_images(32, 32)

    loaded = load_generator(str(tmp_path / "old.model"), "style")

    assert loaded.architecture == "pytorch-examples"
    expected = stylized(old, images)  # in training mode, as its script ran it: each image's own statistics
    torch.testing.assert_close(255 * loaded.network(images).detach(), expected, atol=FLOAT32_NOISE, rtol=0)


def test_recognized_by_keys_alone():
    for name, original in (("pytorch-examples", PytorchExamples), ("rrmina", Rrmina)):
        state = original(FULL).state_dict()
        assert len(state) == 62
        assert recognize(state, "x.pth") == ("style", name)


@pytest.mark.parametrize("state", [{}, {"features.0.weight": torch.zeros(64, 3, 3, 3)}], ids=["empty", "VGG"])
def test_unknown_keys_are_no_style_network(state):
    with pytest.raises(
        ModelError, match=r"x\.pth is not a style model that percept knows: its keys are those of neither"
    ):
        style_of(state)


@ORIGINALS
def test_files_in_half_precision_become_float32(original, tmp_path):
    generator = loaded(randomized(original(HALF)).half(), tmp_path)

    assert {parameter.dtype for parameter in generator.parameters()} == {torch.float32}


def test_the_weights_are_copies():
    state = randomized(Rrmina(HALF)).state_dict()
    generator = style_of(state)

    state["ConvBlock.0.conv_layer.weight"].zero_()

    assert generator.encoder[0].conv.weight.abs().sum() > 0


DAMAGE = {
    "missing": ("pytorch", lambda state: state.pop("res3.in2.weight"), "res3.in2.weight is missing"),
    "width": ("pytorch", lambda state: state.pop("conv2.conv2d.weight"), "conv2.conv2d.weight is missing"),
    "shape": (
        "pytorch",
        lambda state: state.update({"deconv1.conv2d.weight": torch.zeros(32, 64, 5, 5)}),
        "deconv1.conv2d.weight has shape (32, 64, 5, 5) where (32, 64, 3, 3) belongs",
    ),
    "scalar": (
        "pytorch",
        lambda state: state.update({"conv1.conv2d.weight": torch.zeros(())}),
        "conv1.conv2d.weight has shape (), not that of a convolution",
    ),
    "deeper": (
        "pytorch",
        lambda state: state.update({"res6.conv1.conv2d.weight": torch.zeros(64, 64, 3, 3)}),
        "res6.conv1.conv2d.weight has no place",
    ),
    # ResNeXt, from the same repository
    "variant": (
        "rrmina",
        lambda state: state.update({"ResidualBlock.0.conv3.conv_layer.weight": torch.zeros(64, 64, 1, 1)}),
        "ResidualBlock.0.conv3.conv_layer.weight has no place",
    ),
    # Batch norm: leaving its statistics out would give other pixels.
    "batch norm": (
        "rrmina",
        lambda state: state.update({"ConvBlock.0.norm_layer.running_mean": torch.zeros(16)}),
        "ConvBlock.0.norm_layer.running_mean has no place",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_does_not_fit_is_named(case):
    kind, damage, message = DAMAGE[case]
    state = dict((PytorchExamples if kind == "pytorch" else Rrmina)(HALF).state_dict())
    damage(state)

    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        style_of(state)
    assert str(caught.value).startswith("x.pth looks like a ")
