"""The network of `percept train translate`, which adds a change to its input."""

import itertools

import torch
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import ConvNorm, ResidualBlock, ResizeConvNorm
from percept_cli.core.generators.strips import convolve
from percept_cli.core.generators.style import pad_to_multiple
from percept_cli.errors import UsageError

CHANNELS = (32, 64, 96, 128)  # at 1, 1/2, 1/4 and 1/8 of the image's size
RESIDUAL_BLOCKS = 4


class TranslationGenerator(Generator):
    """A U-Net (Ronneberger et al. 2015) without norms whose output is added to its input, between images of one size.

    Images (N, 3, H, W) RGB in [0, 1] with sides of at least 16 pixels; with `inputs=4` a fourth channel is a mask, 1
    where the image is hidden. The result may exceed the range. Without norms an output pixel depends only on nearby
    pixels, so brightness and color are not forced to the statistics of other pictures. width: multiplies the channels.
    """

    size_multiple = 8
    smallest = 16
    receptive_radius = 101  # the tests measure it by gradients

    def __init__(self, width: float = 1.0, inputs: int = 3):
        super().__init__()
        if not 0.1 <= width <= 4:
            raise UsageError(f"--width {width}: give 0.1 to 4 (1 has 32 to 128 channels).")
        channels = [max(8, round(width * count / 8) * 8) for count in CHANNELS]
        self.arguments = {"width": width, "inputs": inputs}
        self.inputs = inputs
        self.opening = ConvNorm(inputs, channels[0], 3, norm="none")
        self.down = nn.ModuleList(
            ConvNorm(fine, coarse, 3, stride=2, norm="none") for fine, coarse in itertools.pairwise(channels)
        )
        self.bottom = nn.Sequential(*(ResidualBlock(channels[-1], "none", "none") for _ in range(RESIDUAL_BLOCKS)))
        self.up = nn.ModuleList(
            ResizeConvNorm(coarse, fine, "none") for fine, coarse in reversed(list(itertools.pairwise(channels)))
        )
        self.blocks = nn.ModuleList(ResidualBlock(count, "none", "none") for count in reversed(channels[:-1]))
        self.last = nn.Conv2d(channels[0], 3, 3)
        self.last.weight.data.mul_(0.1)  # the first changes are small
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        features = self.opening(2 * pad_to_multiple(images, self.size_multiple) - 1)
        finer = []
        for down in self.down:
            finer.append(features)
            features = down(features)
        features = self.bottom(features)
        for up, block in zip(self.up, self.blocks, strict=True):
            features = block(up(features) + finer.pop())
        device = images.device.type
        with torch.autocast(device, enabled=self.training and torch.is_autocast_enabled(device)):
            change = convolve(features, self.last, dtype=None if self.training else images.dtype)
        return images[:, :3] + change[..., :height, :width].float()
