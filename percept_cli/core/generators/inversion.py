"""Inverters: networks that reconstruct an image from its features at one layer (Dosovitskiy & Brox 2015, 2016)."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import PlainBlock
from percept_cli.errors import UsageError

SLOPE = 0.3  # of the leaky ReLUs (Dosovitskiy & Brox 2016, section 3.3)
# The image of an output of 0, the mean gray of photographs. Departs from the paper, which subtracts the mean image.
GRAY = 0.43
# As a share of the root mean square of all channels' deviations: channels that vary less are scaled up no further, as
# they would be mostly noise.
SMALLEST_DEVIATION = 0.1
# lean: channels at strides 1, 2, 4, 8, 16 and 32 or more; 4 MB in 16 bits for 1,000 channels at stride 32
WIDTHS = (16, 64, 96, 128, 160, 176)
DENSE_UNITS = 512
# deepsim-2016: channels of the enlargements, each by 2, from deep to shallow, and of the 3x3 convolution after each or 0
STAGES = ((256, 512), (256, 256), (128, 128), (64, 0), (32, 0), (3, 0))
BASE = 4  # side of the first map made from a code of the whole image
# The first layer, the layers between, and the layer that gives RGB: apart, as `Muon` does not train the first and last.
Layers = tuple[nn.Module, nn.Module, nn.Module]


class Inverter(Generator):
    """A network from raw features of one layer, (N, C, h, w) or (N, C), to images (N, 3, H, W) RGB in [0, 1], not clamped.

    channels: C. stride, offset: position of the layer's units in the image (see `Grid`); stride is a power of 2, or 0 for
    a code of the whole image, which becomes an image of `side` pixels. width: multiplies the channels of all layers.
    `mean` and `std` are those of each channel over photographs (see `calibrate`). Raises UsageError for another stride.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        create_layers: Callable[[int, int, float, bool], Layers],
        channels: int,
        stride: int,
        offset: float = 0.0,
        side: int = 0,
        width: float = 1.0,
    ):
        super().__init__()
        if stride and math.log2(stride) % 1:
            raise UsageError(f"A layer with a unit every {stride} pixels cannot be inverted: only powers of 2 can.")
        self.arguments = {
            "channels": channels, "stride": stride, "offset": offset, "side": side, "width": width,
        }  # fmt: skip
        self.inputs = channels
        self.stride, self.offset, self.side = stride, offset, side
        doublings = int(math.log2(stride)) if stride else max(1, math.ceil(math.log2(side / BASE)))
        self.first, self.inner, self.last = create_layers(channels, doublings, width, not stride)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    @torch.no_grad()
    def calibrate(self, features: Tensor) -> None:
        """Sets `mean` and `std` from the features of photographs, (N, C, h, w) or (N, C)."""
        rows = self._flat(features).float().movedim(1, -1).flatten(0, -2)
        std = rows.std(0, correction=0)
        self.mean.copy_(rows.mean(0))
        self.std.copy_(std.clamp_min(SMALLEST_DEVIATION * std.square().mean().sqrt().item()).clamp_min(1e-6))

    def normalize(self, features: Tensor) -> Tensor:
        """Features in float32, scaled so that each channel over photographs has mean 0 and standard deviation 1."""
        features = self._flat(features)
        shape = (1, -1, *[1] * (features.ndim - 2))
        return (features.float() - self.mean.view(shape)) / self.std.view(shape)

    def forward(self, features: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The images of features; size: their height and width, by default h and w times the stride, or `side`."""
        code = self.normalize(features)
        if self.stride:
            size = size or (code.shape[2] * self.stride, code.shape[3] * self.stride)
            code, start = self._cover(code, size)
            return self._run(code)[..., start : start + size[0], start : start + size[1]]
        images = self._run(code)
        size = size or (self.side, self.side)
        if images.shape[-2:] != size:
            # Departs from the paper, which crops: a code of the whole image should give all of it.
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        return images

    def _run(self, code: Tensor) -> Tensor:
        return self.last(self.inner(self.first(code))).float() + GRAY

    def _flat(self, features: Tensor) -> Tensor:
        return features if self.stride else features.flatten(1)  # SqueezeNet's last pooling leaves (N, C, 1, 1)

    def _cover(self, code: Tensor, size: tuple[int, int]) -> tuple[Tensor, int]:
        """The code, its outer units repeated so that they cover the image, and the first row and column of the image."""
        offset = math.floor(self.offset)
        before = max(0, math.ceil(offset / self.stride))
        after = [
            max(0, math.ceil((side - offset) / self.stride) - count)
            for side, count in zip(size, code.shape[2:], strict=True)
        ]
        if before or any(after):
            code = F.pad(code, (before, after[1], before, after[0]), mode="replicate")
        return code, before * self.stride - offset


def leaky_block(channels: int) -> PlainBlock:
    """A `PlainBlock` with a leaky ReLU."""
    return PlainBlock(channels, partial(F.leaky_relu, negative_slope=SLOPE))


class Doubling(nn.Module):
    """Bilinear enlargement by 2; with nearest neighbors the units of the code would be visible as squares."""

    def forward(self, features: Tensor) -> Tensor:
        if features.device.type == "cuda":  # whose bilinear gradient is summed in a varying order
            return double_by_pooling(features)
        return F.interpolate(features, scale_factor=2, mode="bilinear")


def double_by_pooling(features: Tensor) -> Tensor:
    """Bilinear enlargement by 2, (N, C, H, W) to (N, C, 2H, 2W), by operations with reproducible gradients."""
    for axis in (2, 3):
        first, last = features.narrow(axis, 0, 1), features.narrow(axis, features.shape[axis] - 1, 1)
        features = torch.cat((first, features, last), dim=axis)
    doubled = F.interpolate(features, scale_factor=2)[..., 1:-1, 1:-1]
    return F.avg_pool2d(F.avg_pool2d(doubled, 2, 1), 2, 1)  # weights 1/4, 1/2, 1/4 along both axes


def create_lean_layers(channels: int, doublings: int, width: float, dense: bool) -> Layers:
    """The layers of percept's own inverter: most of the work at the size of the code, one convolution per doubling."""
    widths = [max(4, round(width * WIDTHS[min(step, len(WIDTHS) - 1)])) for step in range(doublings + 1)]
    here = widths[-1]
    if dense:
        units = max(16, round(width * DENSE_UNITS))
        first: nn.Module = nn.Linear(channels, units)
        head = [nn.LeakyReLU(SLOPE), nn.Linear(units, here * BASE**2), nn.Unflatten(1, (here, BASE, BASE))]
    else:
        first, head = nn.Conv2d(channels, here, 1), []
    inner = [*head, nn.LeakyReLU(SLOPE), leaky_block(here), leaky_block(here)]
    for below in reversed(widths[:-1]):
        inner += [Doubling(), nn.Conv2d(here, below, 3, padding=1), nn.LeakyReLU(SLOPE)]
        here = below
    last = nn.Conv2d(here, 3, 3, padding=1)
    for layer in (first, *inner, last):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    last.weight.data.mul_(0.1)  # the first images are nearly gray
    return first, nn.Sequential(*inner), last


def create_paper_layers(
    channels: int, doublings: int, width: float, dense: bool, upsampling: str = "deconvolution"
) -> Layers:
    """The layers of Dosovitskiy & Brox 2016's released generators: three layers, then the last `doublings` of `STAGES`.

    dense: for codes of the whole image, three dense layers of 4096 units, as 256 maps of 4x4; else three 3x3 convolutions
    of 512 channels. upsampling: `deconvolution`, 4x4 with a stride of 2, as in the released weights, or `linear`, bilinear
    enlargement and a 3x3 convolution. Raises UsageError for more doublings than there are stages.
    """
    stages = STAGES[len(STAGES) - doublings :]
    if len(stages) < doublings:
        raise UsageError(f"deepsim-2016 enlarges {2 ** len(STAGES)} times at most: give a --size of 256 or less.")

    def scaled(count: int) -> int:
        return count if count == 3 else max(4, round(width * count))

    inner: list[nn.Module] = [nn.LeakyReLU(SLOPE)]
    if dense:
        here = scaled(4096 // BASE**2)
        units = here * BASE**2
        first: nn.Module = nn.Linear(channels, units)
        for _ in range(2):
            inner += [nn.Linear(units, units), nn.LeakyReLU(SLOPE)]
        inner.append(nn.Unflatten(1, (here, BASE, BASE)))
    else:
        here = scaled(512)
        first = nn.Conv2d(channels, here, 3, padding=1, bias=False)
        for _ in range(2):
            # Departs from the paper, whose third is unpadded, from 6x6 units to 4x4.
            inner += [nn.Conv2d(here, here, 3, padding=1, bias=False), nn.LeakyReLU(SLOPE)]
    for enlarged, convolved in stages[:-1]:
        inner += [_enlarge(here, scaled(enlarged), upsampling), nn.LeakyReLU(SLOPE)]
        here = scaled(enlarged)
        if convolved:
            inner += [nn.Conv2d(here, scaled(convolved), 3, padding=1, bias=False), nn.LeakyReLU(SLOPE)]
            here = scaled(convolved)
    last = _enlarge(here, 3, upsampling) if stages else nn.Conv2d(here, 3, 3, padding=1, bias=False)
    layers = first, nn.Sequential(*inner), last
    for module in nn.ModuleList(layers).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)
        elif isinstance(module, nn.ConvTranspose2d):
            # Each output pixel is a sum over 2x2 of the 4x4 weights of all inputs.
            nn.init.normal_(module.weight, std=math.sqrt(2 / (1 + SLOPE**2) / (4 * module.in_channels)))
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    for weight in last.parameters():
        weight.data.mul_(0.1)
    return layers


def _enlarge(inputs: int, outputs: int, upsampling: str) -> nn.Module:
    if upsampling == "deconvolution":
        return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(Doubling(), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
