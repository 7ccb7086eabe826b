"""Residual, upsampling and normalization blocks."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.strips import convolve, normalize_in_strips, takes_strips
from percept_cli.core.images.resize import cubic_kernel


class InstanceNorm(nn.Module):
    """Instance normalization with affine parameters (Ulyanov et al. 2016), (N, C, H, W) to the same.

    Computed as batch normalization of one image at a time: unlike `F.instance_norm` it keeps the channels-last layout,
    which is 4 times as fast on a processor.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        normalized = [
            F.batch_norm(image, None, None, self.weight, self.bias, training=True, eps=1e-5)
            for image in features.split(1)
        ]
        return normalized[0] if len(normalized) == 1 else torch.cat(normalized)


def create_norm(norm: str, channels: int) -> nn.Module:
    """A normalization by name: `instance`, `batch` or `none`, which returns its input."""
    if norm == "none":
        return nn.Identity()
    return InstanceNorm(channels) if norm == "instance" else nn.BatchNorm2d(channels)


class ConvNorm(nn.Module):
    """Reflection-padded convolution, normalization and, unless `relu` is False, ReLU; large maps in strips (see `strips`).

    enlargement: factor of a nearest-neighbor enlargement before the convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        norm: str = "instance",
        relu: bool = True,
        enlargement: int = 1,
    ):
        super().__init__()
        # A normalization subtracts the mean, and with it any bias of the convolution before it.
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, bias=norm == "none")
        self.norm = create_norm(norm, outputs)
        self.relu = relu
        self.enlargement = enlargement

    def forward(self, features: Tensor) -> Tensor:
        features = convolve(features, self.conv, self.enlargement)
        if isinstance(self.norm, InstanceNorm) and takes_strips(features):
            return normalize_in_strips(features, self.norm.weight, self.norm.bias, relu=self.relu)
        features = self.norm(features)
        return F.relu(features) if self.relu else features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and the identity, no ReLU after the sum (Gross & Wilber 2016).

    norm: that of the first convolution; closing_norm: that of the second, which is added to the input.
    """

    def __init__(self, channels: int, norm: str = "instance", closing_norm: str | None = None):
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, norm=norm)
        self.second = ConvNorm(channels, channels, 3, norm=closing_norm or norm, relu=False)
        if closing_norm == "none":
            shrink(self.second.conv)  # nothing else keeps a chain of such sums from growing

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))


class PlainBlock(nn.Module):
    """Two 3x3 convolutions with an activation between them, added to their input (EDSR's block, Lim et al. 2017)."""

    def __init__(self, channels: int, activate: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.activate = activate
        shrink(self.second)  # the chain begins as the identity, and so takes high learning rates

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.activate(self.first(features)))


def shrink(convolution: nn.Conv2d) -> None:
    """Initializes the weights of a convolution at a tenth of the scale of He et al. 2015."""
    nn.init.kaiming_normal_(convolution.weight, a=math.sqrt(99))


class UnpaddedResidualBlock(nn.Module):
    """Johnson's residual block: two unpadded 3x3 convolutions, which crop 2 pixels at each side, and the cropped input."""

    def __init__(self, channels: int, norm: str):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, channels, 3, bias=False), create_norm(norm, channels), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, bias=False), create_norm(norm, channels))

    def forward(self, features: Tensor) -> Tensor:
        return features[..., 2:-2, 2:-2] + self.second(self.first(features))


class ResizeConvNorm(nn.Module):
    """Nearest-neighbor enlargement by 2, then a convolution (Odena et al. 2016), which makes no checkerboard."""

    def __init__(self, inputs: int, outputs: int, norm: str = "instance"):
        super().__init__()
        self.convolution = ConvNorm(inputs, outputs, 3, norm=norm, enlargement=2)

    def forward(self, features: Tensor) -> Tensor:
        return self.convolution(features)


class BicubicBase(nn.Module):
    """Bicubic enlargement by a whole factor as one convolution with fixed weights, (N, 3, h, w) to (N, 3, s·h, s·w).

    The weights do not depend on the position, so a tile equals that part of the whole. `F.interpolate` computes its
    weights from float32 coordinates: for a factor of 3, at 5,000 pixels, a tile differs by 5e-4.
    """

    radius = 2

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale
        phases = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
        taps = torch.arange(-2, 3, dtype=torch.float64)
        weights = cubic_kernel(phases[:, None] - taps)  # (scale, 5); rows sum to 1
        square = torch.einsum("ak,bl->abkl", weights, weights).reshape(scale * scale, 1, 5, 5)
        self.register_buffer("kernel", square.float().repeat(3, 1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        padded = F.pad(images, [self.radius] * 4, mode="replicate")
        kernel = self.get_buffer("kernel").to(images.dtype)
        return F.pixel_shuffle(F.conv2d(padded, kernel, groups=3), self.scale)

    def reach(self, margin: int) -> int:
        """The radius in small pixels on which an output pixel and the `margin` output pixels around it depend.

        An output pixel depends on two small pixels on the nearer side of its own and on one on the other side; in the
        exact center of a small pixel it depends on that pixel alone.
        """
        s = self.scale
        return max(
            pixel // s + (2 if 2 * (pixel % s) > s - 1 else 1 if 2 * (pixel % s) < s - 1 else 0)
            for pixel in range(s + margin)
        )
