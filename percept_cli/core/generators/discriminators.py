"""Discriminators: networks that classify images as real (logit above 0) or generated, for adversarial training.

`smallest` is the smallest side, in pixels, of the images that each takes.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from percept_cli.core.choices import SMALLEST_DISCRIMINATED
from percept_cli.errors import UsageError, unknown_name

SLOPE = 0.2  # of the leaky ReLUs, in all the papers


class SrganDiscriminator(nn.Module):
    """SRGAN's discriminator (Ledig et al. 2017, figure 4): images (N, 3, H, W) in [0, 1] to one logit each, (N, 1).

    Eight 3x3 convolutions, every second with a stride of 2, batch norm on all but the first, two dense layers.
    channels: of the first convolution, 64 in the paper; the last has 8 times as many.
    """

    smallest = 17  # 16 pixels become one, and the batch norm of a single image needs more

    def __init__(self, channels: int = 64):
        super().__init__()
        self.arguments: dict[str, Any] = {"channels": channels}
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.LeakyReLU(SLOPE)]
        inputs = channels
        for factor, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)):
            outputs = factor * channels
            convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(inputs, 16 * channels), nn.LeakyReLU(SLOPE), nn.Linear(16 * channels, 1))

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(2 * images - 1)
        # Departs from the paper, whose first dense layer takes every pixel of the last map, so that crops have one size:
        # here it takes the mean of the map, so that they have any size. The losses compute the sigmoid.
        return self.dense(features.mean(dim=(2, 3)))


class PatchDiscriminator(nn.Module):
    """pix2pix's 70 x 70 PatchGAN (Isola et al. 2017, section 6.1.2): images (N, 3, H, W) in [0, 1] to (N, 1, h, w) logits.

    Each logit depends on 70 x 70 pixels. channels: of the first of five 4x4 convolutions, 64 in the paper. spectral:
    spectral norm (Miyato et al. 2018) of every convolution instead of batch norm. inputs: channels of the images; 6 or 7
    for a source image (and its mask) concatenated with its translation, as in the paper.
    """

    smallest = 24

    def __init__(self, channels: int = 64, spectral: bool = False, inputs: int = 3):
        super().__init__()
        self.arguments: dict[str, Any] = {"channels": channels, "spectral": spectral, "inputs": inputs}
        layers: list[nn.Module] = [_convolution(inputs, channels, 2, spectral), nn.LeakyReLU(SLOPE)]
        inputs = channels
        for factor, stride in ((2, 2), (4, 2), (8, 1)):
            outputs = factor * channels
            layers.append(_convolution(inputs, outputs, stride, spectral, bias=spectral))
            layers += [nn.LeakyReLU(SLOPE)] if spectral else [nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)]
            inputs = outputs
        self.network = nn.Sequential(*layers, _convolution(inputs, 1, 1, spectral))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(2 * images - 1)

    def features(self, images: Tensor) -> list[Tensor]:
        """The features of every hidden layer after its leaky ReLU, (N, C, h, w) each, followed by the logits."""
        features, found = 2 * images - 1, []
        for layer in self.network:
            features = layer(features)
            if isinstance(layer, nn.LeakyReLU):
                found.append(features)
        return [*found, features]


class MultiscaleDiscriminator(nn.Module):
    """pix2pixHD's discriminators of an image at several sizes (Wang et al. 2018, section 3.2), each a `PatchDiscriminator`.

    The first takes the image, each further one half the size of the one before. Called with images (N, 3, H, W) in
    [0, 1] and, if conditional, the sources of their translation, it returns the list of `PatchDiscriminator.features` of
    each. scales: 3 in the paper. inputs: channels of images and sources together.
    """

    smallest = 2 * PatchDiscriminator.smallest  # for two scales

    def __init__(self, channels: int = 64, scales: int = 2, inputs: int = 3):
        super().__init__()
        self.arguments: dict[str, Any] = {"channels": channels, "scales": scales, "inputs": inputs}
        # Departs from the paper, which has instance norms: these would remove differences of brightness and color.
        self.networks = nn.ModuleList(PatchDiscriminator(channels, spectral=True, inputs=inputs) for _ in range(scales))

    def forward(self, images: Tensor, source: Tensor | None = None) -> list[list[Tensor]]:
        if source is not None:
            images = torch.cat((source, images), dim=1)
        outputs = []
        for network in self.networks:
            assert isinstance(network, PatchDiscriminator)
            outputs.append(network.features(images))
            images = F.avg_pool2d(images, 3, stride=2, padding=1, count_include_pad=False)
        return outputs


class UnetDiscriminator(nn.Module):
    """Real-ESRGAN's discriminator (Wang et al. 2021, section 3.3): images (N, 3, H, W) in [0, 1] to (N, 1, H, W) logits.

    A U-Net (Schonfeld et al. 2020) of three halvings and three doublings, which judges every pixel. channels: of the first
    convolution, 64 in the paper; the deepest has 8 times as many. Departs from the paper, which has spectral norm: it is to
    keep a long training stable, and trainings here are short and clip their gradients.
    """

    smallest = 16

    def __init__(self, channels: int = 64):
        super().__init__()
        self.arguments: dict[str, Any] = {"channels": channels}
        widths = [channels * factor for factor in (1, 2, 4, 8)]
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(*pair, 4, 2, padding=1, bias=False) for pair in pairwise(widths))
        self.up = nn.ModuleList(_unbiased3(*pair) for pair in pairwise(reversed(widths)))
        self.last = nn.Sequential(
            *(part for _ in range(2) for part in (_unbiased3(channels, channels), nn.LeakyReLU(SLOPE))),
            nn.Conv2d(channels, 1, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        features = F.leaky_relu(self.first(2 * images - 1), SLOPE)
        before = []
        for layer in self.down:
            before.append(features)
            features = F.leaky_relu(layer(features), SLOPE)
        for layer, skipped in zip(self.up, reversed(before), strict=True):
            enlarged = F.interpolate(features, size=skipped.shape[-2:], mode="bilinear", align_corners=False)
            features = F.leaky_relu(layer(enlarged), SLOPE) + skipped
        return self.last(features)


def _unbiased3(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


class DeepsimDiscriminator(nn.Module):
    """DeePSiM's discriminator (Dosovitskiy & Brox 2016): images (N, 3, H, W) in [0, 1] to one logit each, (N, 1).

    Five unpadded convolutions, their mean over the image (the paper pools the 11x11 that 227 pixels leave), dropout and
    two dense layers. channels: of the first convolution, 32 in the paper. code_channels: of the code that the image is
    generated from, (N, C) or the mean of (N, C, h, w), which is the input of a second branch; 0 for no such branch.
    """

    smallest = SMALLEST_DISCRIMINATED

    def __init__(self, channels: int = 32, code_channels: int = 0):
        super().__init__()
        self.arguments: dict[str, Any] = {"channels": channels, "code_channels": code_channels}
        sizes = ((1, 7, 4), (2, 5, 1), (4, 3, 2), (8, 3, 1), (8, 3, 2))  # of each: factor, kernel, stride
        self.convolutions = nn.ModuleList()
        inputs = 3
        for factor, kernel, stride in sizes:
            self.convolutions.append(nn.Conv2d(inputs, factor * channels, kernel, stride))
            inputs = factor * channels
        width = 8 * channels
        self.code = nn.Sequential()
        if code_channels:
            # Departs from the paper, whose branch is wider than the image's.
            self.code.extend((nn.Linear(code_channels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()))
        joint = 2 * width if code_channels else width
        # Departs from the paper in form only: the difference of its two softmax inputs is this one logit.
        self.dense = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(joint, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 1)
        )
        # As in the released training code: the first logits are near 0.
        small = {self.convolutions[0], self.dense[1], self.dense[4]}
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
                if layer in small:
                    layer.weight.data.mul_(0.1)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The features of each convolution after its ReLU: `conv1` to `conv5`, (N, C, h, w) each."""
        features, found = 2 * images - 1, {}
        for number, convolution in enumerate(self.convolutions, start=1):
            features = F.relu(convolution(features))
            found[f"conv{number}"] = features
        return found

    def forward(self, images: Tensor, code: Tensor | None = None) -> Tensor:
        means = self.features(images)["conv5"].mean(dim=(2, 3))
        if len(self.code):
            assert code is not None
            means = torch.cat((means, self.code(code.mean(dim=(2, 3)) if code.ndim == 4 else code)), dim=1)
        return self.dense(means)


def _convolution(inputs: int, outputs: int, stride: int, spectral: bool, bias: bool = True) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 4, stride, padding=1, bias=bias)
    nn.init.normal_(convolution.weight, std=0.02)  # Isola et al. 2017, section 6.2
    return parametrizations.spectral_norm(convolution) if spectral else convolution


Discriminator = SrganDiscriminator | PatchDiscriminator | UnetDiscriminator | DeepsimDiscriminator
DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "srgan": SrganDiscriminator,
    "patch": PatchDiscriminator,
    "unet": UnetDiscriminator,
    "deepsim": DeepsimDiscriminator,
}


def create_discriminator(name: str, channels: int = 64, **arguments: Any) -> nn.Module:
    """An untrained discriminator by name; `patch` also takes `spectral`. Raises UsageError for an unknown name."""
    if name not in DISCRIMINATORS:
        raise UsageError(unknown_name("discriminator", name, DISCRIMINATORS))
    return DISCRIMINATORS[name](channels, **arguments)
