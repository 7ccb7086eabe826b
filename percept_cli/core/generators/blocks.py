"""Residual, upsampling and normalization blocks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.strips import convolve, normalize_in_strips, takes_strips
from percept_cli.core.images.resize import cubic_kernel


class InstanceNorm(nn.Module):
    """Instance normalization with affine parameters (Ulyanov et al. 2016), (N, C, H, W) to the same.

    Each image alone through batch normalization is the same arithmetic, and unlike `F.instance_norm` it keeps the
    channels-last layout: 4 times as fast on a processor, forward and backward.
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
    """Reflection-padded convolution, normalization and, unless `relu` is False, ReLU.

    enlargement: the factor by which nearest neighbors enlarge the features first. Large maps are computed in strips (see
    `strips`).
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
        # A normalization takes the mean away, so the convolution before one needs no bias.
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, bias=norm == "none")
        self.norm = create_norm(norm, outputs)
        self.relu = relu
        self.enlargement = enlargement

    def forward(self, features: Tensor) -> Tensor:
        features = convolve(features, self.conv, self.enlargement)
        if isinstance(self.norm, InstanceNorm) and takes_strips(features):
            norm = self.norm
            return normalize_in_strips(features, norm.weight, norm.bias, relu=self.relu)
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
            # Small at first: nothing else keeps a chain of such sums from growing.
            nn.init.kaiming_normal_(self.second.conv.weight, a=math.sqrt(99))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))


class UnpaddedResidualBlock(nn.Module):
    """Johnson's residual block: unpadded convolutions, which lose 2 pixels at each side, and the identity cropped as much."""

    def __init__(self, channels: int, norm: str):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, channels, 3, bias=False), create_norm(norm, channels), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, bias=False), create_norm(norm, channels))

    def forward(self, features: Tensor) -> Tensor:
        return features[..., 2:-2, 2:-2] + self.second(self.first(features))


class ResizeConvNorm(nn.Module):
    """Nearest-neighbor enlargement by 2, then a convolution (Odena et al. 2016): no checkerboard."""

    def __init__(self, inputs: int, outputs: int, norm: str = "instance"):
        super().__init__()
        self.convolution = ConvNorm(inputs, outputs, 3, norm=norm, enlargement=2)

    def forward(self, features: Tensor) -> Tensor:
        return self.convolution(features)


class BicubicBase(nn.Module):
    """Bicubic enlargement by a whole factor as one convolution with fixed weights, (N, 3, h, w) to (N, 3, s·h, s·w).

    Every output pixel of one phase uses the same weights wherever it lies, so a tile gives what the whole gives.
    `F.interpolate` computes its weights from float32 coordinates: for a factor of 3, at 5,000 pixels, a tile is 5e-4 off.
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
        """How many small pixels beyond its own an output pixel depends on, with the `margin` output pixels around it.

        An output pixel depends on two small pixels on the side that it is nearer to and on one on the other side; in the
        very center of a small pixel it depends on that one alone.
        """
        s = self.scale
        return max(
            pixel // s + (2 if 2 * (pixel % s) > s - 1 else 1 if 2 * (pixel % s) < s - 1 else 0)
            for pixel in range(s + margin)
        )
