"""The papers' upscaling networks, each as its paper describes it, to compare percept's own with.

All take images (N, 3, h, w) RGB in [0, 1] of any size and return (N, 3, s·h, s·w), not clamped. Tiles of those with
batch norm equal the whole only in evaluation mode, where its statistics are fixed.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.errors import UsageError


class SrcnnGenerator(Generator):
    """SRCNN (Dong et al. 2014): three convolutions of 9, 1 and 5 pixels on the bicubic enlargement."""

    def __init__(self, scale: int = 4):
        super().__init__()
        enlargement_stages("srcnn", scale)
        self.scale = scale
        self.arguments = {"scale": scale}
        self.base = BicubicBase(scale)
        self.receptive_radius = self.base.reach(4 + 0 + 2)
        # Departs from the paper, whose one channel is luma with bicubic colors: here RGB, three channels in and out.
        # Its convolutions are unpadded in training, and its released program repeats the edge; these always repeat it.
        self.first = nn.Conv2d(3, 64, 9, padding=4, padding_mode="replicate")
        self.middle = nn.Conv2d(64, 32, 1)
        self.last = nn.Conv2d(32, 3, 5, padding=2, padding_mode="replicate")

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.first(bicubic(self.base, images)))
        return in_float32(self.last(F.relu(self.middle(features))))


class SrResNetGenerator(Generator):
    """SRResNet, SRGAN's generator (Ledig et al. 2017, figure 4): residual blocks with batch norm, sub-pixel stages."""

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 16):
        super().__init__()
        stages = enlargement_stages("srresnet", scale)
        self.scale = scale
        self.arguments = {"scale": scale, "channels": channels, "blocks": blocks}
        # The convolution of a stage comes before its enlargement, so it reaches a pixel of the smaller map.
        tail = [4, *(step for factor in reversed(stages) for step in (-factor, 1))]
        self.receptive_radius = reach_through(scale, tail) + 4 + 2 * blocks + 1
        self.first = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(*(normed_block(channels, nn.PReLU()) for _ in range(blocks)))
        # A normalization subtracts the mean, and with it any bias of the convolution before it.
        self.joint = nn.Sequential(conv3(channels, channels, bias=False), nn.BatchNorm2d(channels))
        self.enlargement = nn.Sequential(
            *(
                nn.Sequential(conv3(channels, factor**2 * channels), nn.PixelShuffle(factor), nn.PReLU())
                for factor in stages
            )
        )
        self.last = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        features = features + self.joint(self.body(features))
        # The paper's small images are in [0, 1], its large ones in [-1, 1].
        return 0.5 + 0.5 * in_float32(self.last(self.enlargement(features)))


class EnhanceNetGenerator(Generator):
    """EnhanceNet (Sajjadi et al. 2017, table 1): residual blocks, nearest-neighbor stages, added to the bicubic image."""

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 10):
        super().__init__()
        # The paper enlarges only 4 times: here 2 and 8 have one stage less or more, 3 has a single one.
        stages = enlargement_stages("enhancenet", scale)
        self.scale = scale
        self.arguments = {"scale": scale, "channels": channels, "blocks": blocks}
        self.receptive_radius = max(BicubicBase.radius, nearest_reach(scale, stages) + 2 * blocks + 1)
        self.first = conv3(3, channels)
        self.body = nn.Sequential(
            *(Residual(conv3(channels, channels), nn.ReLU(), conv3(channels, channels)) for _ in range(blocks))
        )
        self.enlargement = nearest_enlargement(channels, stages, nn.ReLU())
        self.last = nn.Sequential(conv3(channels, channels), nn.ReLU(), conv3(channels, 3))
        self.base = BicubicBase(scale)

    def forward(self, images: Tensor) -> Tensor:
        # The release subtracts the mean of each channel over its data set.
        features = self.body(F.relu(self.first(images - 0.5)))
        return bicubic(self.base, images) + in_float32(self.last(self.enlargement(features)))


class RrdbGenerator(Generator):
    """ESRGAN's RRDBNet (Wang et al. 2018, figure 4): residual-in-residual dense blocks, nearest-neighbor stages.

    channels, blocks, growth: the paper's nf, nb and gc; 64, 23 and 32.
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 23, growth: int = 32):
        super().__init__()
        stages = enlargement_stages("rrdb", scale)
        self.scale = scale
        self.arguments = {"scale": scale, "channels": channels, "blocks": blocks, "growth": growth}
        self.receptive_radius = nearest_reach(scale, stages) + 1 + 3 * 5 * blocks + 1
        self.first = conv3(3, channels)
        self.body = nn.Sequential(*(DenseGroup(channels, growth) for _ in range(blocks)))
        self.joint = conv3(channels, channels)
        self.enlargement = nearest_enlargement(channels, stages, nn.LeakyReLU(0.2))
        self.last = nn.Sequential(conv3(channels, channels), nn.LeakyReLU(0.2), conv3(channels, 3))

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        features = features + self.joint(self.body(features))
        return in_float32(self.last(self.enlargement(features)))


RESIDUAL_SCALING = 0.2  # multiplies a residual before it is added (Wang et al. 2018, section 3.1)


class DenseGroup(nn.Module):
    """Residual-in-residual dense block (RRDB): three dense blocks, scaled and added to the input."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(channels, growth) for _ in range(3)))

    def forward(self, features: Tensor) -> Tensor:
        return features + RESIDUAL_SCALING * self.blocks(features)


class DenseBlock(nn.Module):
    """Five convolutions, each of all maps before it; the last result is scaled and added to the input."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        convolutions = [conv3(channels + index * growth, growth if index < 4 else channels) for index in range(5)]
        for convolution in convolutions:
            # The paper's "smaller initialization", by the factor of its authors' code.
            nn.init.kaiming_normal_(convolution.weight)
            convolution.weight.data.mul_(0.1)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        self.convolutions = nn.ModuleList(convolutions)

    def forward(self, features: Tensor) -> Tensor:
        maps = [features]
        for convolution in self.convolutions[:-1]:
            maps.append(F.leaky_relu(convolution(torch.cat(maps, 1)), 0.2))
        return features + RESIDUAL_SCALING * self.convolutions[-1](torch.cat(maps, 1))


class JohnsonUpscaleGenerator(Generator):
    """Johnson et al. 2016's super-resolution network (supplement, table 2): batch norm, transposed convolutions, tanh.

    The results are in [0, 1].
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 4):
        super().__init__()
        # The paper's scales are 4 and 8; 2 has one stage by the same rule, log2 of the scale.
        stages = enlargement_stages("johnson-upscale", scale, scales=(2, 4, 8))
        self.scale = scale
        self.arguments = {"scale": scale, "channels": channels, "blocks": blocks}
        reach = scale - 1 + 4
        for _ in stages:
            reach = (reach + 1) // 2  # an odd pixel of a transposed convolution also depends on the next small one
        self.receptive_radius = reach + 2 * blocks + 4

        # Unlike in the style network, the blocks are padded: the table's maps stay 72 x 72 throughout. The table does not
        # say how; zeros here. Before a normalization the convolutions need no bias.
        self.first = nn.Sequential(
            nn.Conv2d(3, channels, 9, padding=4, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.body = nn.Sequential(*(normed_block(channels, nn.ReLU()) for _ in range(blocks)))
        self.enlargement = nn.Sequential(
            *(
                nn.Sequential(
                    nn.ConvTranspose2d(channels, channels, 3, 2, padding=1, output_padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                )
                for _ in stages
            )
        )
        self.last = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, images: Tensor) -> Tensor:
        features = self.enlargement(self.body(self.first(2 * images - 1)))
        return 0.5 + 0.5 * torch.tanh(in_float32(self.last(features)))


class Residual(nn.Module):
    """Layers whose result is added to their input."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.residual = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.residual(features)


def normed_block(channels: int, activation: nn.Module) -> Residual:
    """Convolution, batch norm, activation, convolution, batch norm, added to the input (Gross & Wilber 2016)."""
    return Residual(
        conv3(channels, channels, bias=False),
        nn.BatchNorm2d(channels),
        activation,
        conv3(channels, channels, bias=False),
        nn.BatchNorm2d(channels),
    )


def nearest_enlargement(channels: int, stages: Sequence[int], activation: nn.Module) -> nn.Sequential:
    """For each factor in `stages`: nearest-neighbor enlargement, a 3x3 convolution and the activation."""
    return nn.Sequential(
        *(nn.Sequential(nn.Upsample(scale_factor=factor), conv3(channels, channels), activation) for factor in stages)
    )


def conv3(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution padded with zeros, which keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def enlargement_stages(name: str, scale: int, scales: Sequence[int] = (2, 3, 4, 8)) -> list[int]:
    """The factors of a network's successive enlargements: 8 is [2, 2, 2], 3 is [3]. UsageError for other scales."""
    if scale not in scales:
        known = f"{', '.join(map(str, scales[:-1]))} or {scales[-1]}"
        raise UsageError(f"'{name}' does not enlarge {scale} times: give {known}.")
    return [3] if scale == 3 else [2] * (scale.bit_length() - 1)


def reach_through(scale: int, steps: Sequence[int]) -> int:
    """The radius in small pixels on which an output pixel depends through `steps`, from the output to the input.

    A step r >= 0 is a convolution that reaches r pixels, a step -f an enlargement by f. Computed to the right for the
    last of the `scale` output pixels of a small one; by symmetry it is that to the left of the first.
    """
    position = scale - 1
    for step in steps:
        position = position + step if step >= 0 else position // -step
    return position


def nearest_reach(scale: int, stages: Sequence[int]) -> int:
    """As `reach_through`, through `nearest_enlargement` and the two 3x3 convolutions after it."""
    return reach_through(scale, [1, 1, *(step for factor in reversed(stages) for step in (1, -factor))])


def bicubic(base: BicubicBase, images: Tensor) -> Tensor:
    """The bicubic enlargement in full precision, under autocast too."""
    with torch.autocast(images.device.type, enabled=False):
        return base(in_float32(images))


def in_float32(images: Tensor) -> Tensor:
    """Images in float32 or finer: bf16 has too few gray levels."""
    return images.to(torch.promote_types(images.dtype, torch.float32))
