"""percept's own upscaling generators, `swift` and `swift-even`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import BicubicBase, PlainBlock

EVEN_WINDOW = 5  # small pixels; with 3 edges become ragged, with 9 some dots remain


class SwiftGenerator(Generator):
    """percept's own upscaler: a chain of 3x3 convolutions on the small image, (N, 3, h, w) to (N, 3, s·h, s·w).

    Images RGB in [0, 1]; the result is not clamped. Residual blocks of two convolutions without normalization (Lim et al.
    2017, EDSR), one long skip, sub-pixel convolution at the end (Shi et al. 2016), added to the bicubic enlargement. All
    convolutions have one shape at the small size, which processors and GPUs run fastest.
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
        # The untrained network is the bicubic enlargement.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images - 0.5)
        features = features + self.joint(self.body(features))
        detail = F.pixel_shuffle(self.arrange(self.last(features).float()), self.scale)
        with torch.autocast(images.device.type, enabled=False):
            return self.base(images.float()) + detail

    def arrange(self, places: Tensor) -> Tensor:
        """The detail (N, 3·s², h, w) that is added to the bicubic enlargement after the pixel shuffle."""
        return places


class SwiftEvenGenerator(SwiftGenerator):
    """`swift` whose detail cannot contain a grid of dots, one per small pixel, or another color (see `even_out`).

    For losses that reward such dots: of features, textures and discriminators.
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 8):
        super().__init__(scale, channels, blocks)
        self.receptive_radius += EVEN_WINDOW // 2

    def arrange(self, places: Tensor) -> Tensor:
        return even_out(places)


def even_out(places: Tensor, window: int = EVEN_WINDOW) -> Tensor:
    """Detail for a pixel shuffle, (N, C·s², h, w), minus its averages over squares of `window` small pixels.

    The s² channels of a color become the s x s output pixels of each small pixel. Differences between the averages of
    these channels repeat one pattern in every small pixel: a grid of dots, which photographs do not have, and which losses
    of features, textures and discriminators reward as texture. Their common part would change the color.
    """
    return places - F.avg_pool2d(places, window, stride=1, padding=window // 2, count_include_pad=False)
