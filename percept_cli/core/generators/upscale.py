"""Upscaling generators by name: percept's own, `swift`, and those of the papers (`classics`)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import BicubicBase

SCALES = (2, 3, 4, 8)
# Small pixels: with 3 edges grew ragged, with 9 some dots were left.
EVEN_WINDOW = 5


class SwiftGenerator(Generator):
    """percept's own upscaler: a plain chain of 3x3 convolutions on the small image, (N, 3, h, w) to (N, 3, s·h, s·w).

    Images RGB in [0, 1]; the result is not clamped. All the work is done at the small size and in one shape of
    convolution, which is what processors and GPUs run fastest; the network adds detail to the bicubic enlargement, so
    it can shift no color. Residual blocks of two convolutions without normalization (Lim et al. 2017, EDSR), one long
    skip, sub-pixel convolution at the end (Shi et al. 2016).
    """

    receptive_radius: int

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 8):
        super().__init__()
        self.scale = scale
        self.arguments = {"scale": scale, "channels": channels, "blocks": blocks}
        self.receptive_radius = max(BicubicBase.radius, 2 * blocks + 3)
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(PlainBlock(channels) for _ in range(blocks)))
        self.joint = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        self.base = BicubicBase(scale)
        # The untrained network is bicubic enlargement.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images - 0.5)
        features = features + self.joint(self.body(features))
        detail = F.pixel_shuffle(self.arrange(self.last(features).float()), self.scale)
        with torch.autocast(images.device.type, enabled=False):
            return self.base(images.float()) + detail

    def arrange(self, places: Tensor) -> Tensor:
        """The detail (N, 3·s², h, w) as it goes into the sub-pixel convolution's arrangement."""
        return places


class SwiftEvenGenerator(SwiftGenerator):
    """`swift` that can draw no dots of the enlargement's period and shift no color (see `even_out`).

    For losses that would reward both: features, textures, a discriminator.
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 8):
        super().__init__(scale, channels, blocks)
        self.receptive_radius += EVEN_WINDOW // 2

    def arrange(self, places: Tensor) -> Tensor:
        return even_out(places)


def even_out(places: Tensor, window: int = EVEN_WINDOW) -> Tensor:
    """Detail before a sub-pixel convolution's arrangement, (N, C·s², h, w), less its averages over squares of `window`.

    Where the averages of the s² places of a period differ, the same mark stands in every period of the square: a grid of
    dots, which no photograph has and which feature, texture and adversarial losses reward for being as rough as the
    texture that it stands for. What they have in common shifts the color, which the small image knows better.
    """
    return places - F.avg_pool2d(places, window, stride=1, padding=window // 2, count_include_pad=False)


class PlainBlock(nn.Module):
    """Two 3x3 convolutions with a ReLU between them, added to their input (EDSR's block)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # Small at first, so that the chain begins as the identity and takes high learning rates.
        nn.init.kaiming_normal_(self.second.weight, a=math.sqrt(99))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(F.relu(self.first(features)))
