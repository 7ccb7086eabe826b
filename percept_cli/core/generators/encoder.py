"""The encoder of the network of any style: what `compact` sees of a picture at four depths."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.feature_statistics import Statistics, measure_statistics, scale_statistics
from percept_cli.core.generators.strips import in_strips

# Of the input of `compact`
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The convolutions of `compact` that the encoder takes over, by level: strides 1, 2, 4 and 8
ENCODER = (("1_1", "1_2"), ("2_1", "2_2"), ("3_1", "3_2", "3_3"), ("3_4", "4_1"))
ENCODER_CHANNELS = {
    "1_1": 16, "1_2": 32, "2_1": 48, "2_2": 64, "3_1": 96, "3_2": 112, "3_3": 112, "3_4": 128, "4_1": 144
}  # fmt: skip
LEVELS = tuple(ENCODER_CHANNELS[names[-1]] for names in ENCODER)
# How far, in pixels, features of the encoder depend on pixels around those that they cover, rounded up to its largest
# stride: at strides 1, 2, 4 and 8 two, two, three and two 3x3 convolutions reach 2 + 4 + 12 + 16.
ENCODER_RADIUS = 40
SMALLEST_DEVIATION = 0.1  # of a channel, as a share of the root mean square of all channels' deviations


class FixedConvolution(nn.Module):
    """A 3x3 convolution and ReLU whose weights are buffers: they are saved with the network and never trained.

    It reflects the edges. Zeros there, with which `compact` was trained, are features that a photograph has nowhere else:
    the transport makes them a frame around the result.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs, 3, 3))
        self.register_buffer("bias", torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        return F.relu_(F.conv2d(F.pad(features, [1, 1, 1, 1], mode="reflect"), self.weight, self.bias))


class Encoder(nn.Module):
    """The trunk of `compact`, with each channel of each level scaled to mean 0 and deviation 1 over photographs."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name, width in ENCODER_CHANNELS.items():
            self.convolutions[name] = FixedConvolution(channels, width)
            channels = width
        for level, count in enumerate(LEVELS):
            self.register_buffer(f"mean_{level}", torch.zeros(count))
            self.register_buffer(f"std_{level}", torch.ones(count))

    @torch.no_grad()
    def adopt(self, weights: Mapping[str, Tensor], photographs: Tensor) -> None:
        """Takes over `compact`'s weights, by its names, and scales the levels by photographs (N, 3, H, W) in [0, 1]."""
        for name, convolution in self.convolutions.items():
            convolution.load_state_dict({key: weights[f"trunk.{name}.{key}"] for key in ("weight", "bias")})
        for level, features in enumerate(self.unscaled(photographs)):
            variance, mean = torch.var_mean(features.float(), dim=(0, 2, 3), correction=0)
            self.get_buffer(f"mean_{level}").copy_(mean)
            smallest = SMALLEST_DEVIATION * variance.mean().sqrt()
            self.get_buffer(f"std_{level}").copy_(variance.sqrt().clamp_min(smallest.item()))

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """The features (N, C, H / s, W / s), float32, of images (N, 3, H, W) at the strides s of 1, 2, 4 and 8."""
        levels = []
        for level, features in enumerate(self.unscaled(images)):
            mean, std = (each.view(1, -1, 1, 1) for each in self.scales(level))
            levels.append((features.float() - mean).div_(std))
        return levels

    def scales(self, level: int) -> tuple[Tensor, Tensor]:
        """The means and deviations (C,) of a level's channels over photographs."""
        return self.get_buffer(f"mean_{level}"), self.get_buffer(f"std_{level}")

    def describe(self, features: Sequence[Tensor]) -> Statistics:
        """The statistics that the levels would have if they were scaled; features: of `unscaled`."""
        return scale_statistics(measure_statistics(features), [self.scales(level) for level in range(len(features))])

    @torch.no_grad()
    def unscaled(self, images: Tensor) -> Iterator[Tensor]:
        """The features of images (N, 3, H, W) at each level as `compact` gives them."""
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        features = (images - mean) / std
        for level, names in enumerate(ENCODER):
            if level:
                features = F.max_pool2d(features, 2)
            features = in_strips(nn.Sequential(*(self.convolutions[name] for name in names)), features)
            yield features
