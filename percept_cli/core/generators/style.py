"""Johnson et al. 2016's image transformation network: percept's version and the paper's."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.choices import STYLE_NORMS
from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import (
    ConvNorm,
    InstanceNorm,
    ResidualBlock,
    ResizeConvNorm,
    UnpaddedResidualBlock,
    create_norm,
)
from percept_cli.core.generators.strips import convolve
from percept_cli.errors import UsageError, unknown_name

CHANNELS = (32, 64, 128)  # the paper's; its released instance-norm models have half
RESIDUAL_BLOCKS = 5
OUTPUT_RANGE = 1.1  # wider than [0, 1], so that tanh has a gradient at pure black and white


class StyleGenerator(Generator):
    """Johnson's network with instance norm, reflection padding and resize-convolutions, between images of one size.

    Images (N, 3, H, W) RGB in [0, 1] with sides of at least 16 pixels; the result may exceed the range by a few percent.
    Departs from the paper, which has batch norm, one padding at the input and transposed convolutions (see
    `JohnsonGenerator`): instance norm makes better styles (Ulyanov et al. 2016), resizing leaves no checkerboard.

    width: multiplies the paper's channels. norm: `inner` is instance norm in the encoder and after the first convolution
    of each block; `instance` and `batch` are after every convolution but the last. Raises UsageError for others.
    """

    norms = STYLE_NORMS
    size_multiple = 4
    smallest = 16
    # Of the convolutions. The tests measure it by gradients: 54 to the right and below, 57 to the left and above, as
    # strided convolutions and nearest neighbors round differently there.
    receptive_radius = 57
    tiles_exactly = False

    def __init__(self, width: float = 0.5, norm: str = "inner"):
        super().__init__()
        first, second, third = _channels(width, norm, self.norms)
        self.arguments = {"width": width, "norm": norm}
        # With a norm after every convolution, a network learns to make one huge value in the smoothest bright area of a
        # picture. It dominates the statistics of the norm, so that all other values are scaled down, and is visible as a
        # white blotch in the sky (StyleGAN's droplets, Karras et al. 2020). Without norms after the sums of the residual
        # blocks and in the decoder, such a value does not lower the loss.
        opening, closing = ("instance", "none") if norm == "inner" else (norm, norm)
        self.encoder = nn.Sequential(
            ConvNorm(3, first, 9, norm=opening),
            ConvNorm(first, second, 3, stride=2, norm=opening),
            ConvNorm(second, third, 3, stride=2, norm=opening),
        )
        self.residual = nn.Sequential(*(ResidualBlock(third, opening, closing) for _ in range(RESIDUAL_BLOCKS)))
        self.decoder = nn.Sequential(
            ResizeConvNorm(third, second, closing),
            ResizeConvNorm(second, first, closing),
        )
        self.last = nn.Conv2d(first, 3, 9)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        features = 2 * pad_to_multiple(images, self.size_multiple) - 1
        if self.training:
            features = self.residual(self.encoder(features))
            output = convolve(self.decoder(features), self.last)
        else:
            # Under bf16 autocast the first and last layers and the sums of the residual blocks stay in float32:
            # otherwise single pixels differ by up to 8 gray levels.
            with torch.autocast(images.device.type, enabled=False):
                features = self.encoder[0](features)
            for layer in self.encoder[1:]:  # one by one, which frees the full-size map
                features = layer(features)
            features = self.decoder(self.residual(features.to(images.dtype)))
            with torch.autocast(images.device.type, enabled=False):
                output = convolve(features, self.last, dtype=images.dtype)
        output = 0.5 + 0.5 * OUTPUT_RANGE * torch.tanh(output.float())
        return output[..., :height, :width]


@torch.no_grad()
def fold_norms(trained: StyleGenerator, photographs: Tensor) -> StyleGenerator:
    """Converts a generator with `instance` norms to one with `inner` norms, whose training can continue.

    Each norm that is left out becomes part of the convolution before it, with the scale and shift that it has over all
    the photographs (N, 3, H, W) in [0, 1].
    """
    folded = StyleGenerator(trained.arguments["width"], "inner")
    state = folded.state_dict()
    handles = []

    def fold(name: str, layer: ConvNorm, norm: InstanceNorm) -> None:
        def measure(convolution: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            variance, mean = torch.var_mean(output.float(), dim=(0, 2, 3), correction=0)
            scale = norm.weight * torch.rsqrt(variance + 1e-5)
            state[f"{name}.conv.weight"] = layer.conv.weight * scale[:, None, None, None]
            state[f"{name}.conv.bias"] = norm.bias - mean * scale

        handles.append(layer.conv.register_forward_hook(measure))

    for name, layer in trained.named_modules():
        if isinstance(layer, ConvNorm) and isinstance(layer.norm, InstanceNorm):
            if f"{name}.conv.bias" in state:
                fold(name, layer, layer.norm)
            else:
                state |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
    trained(photographs)
    for handle in handles:
        handle.remove()
    folded.load_state_dict(state | {f"last.{key}": value for key, value in trained.last.state_dict().items()})
    return folded


class JohnsonGenerator(Generator):
    """The network of the paper's supplement: reflection padding of 40 once, unpadded residual blocks, scaled tanh.

    Images (N, 3, H, W) RGB in [0, 1] to images of one size. Transposed convolutions; norm: `batch`, or `instance` as in
    the released models.
    """

    norms = ("batch", "instance")
    size_multiple = 4
    smallest = 48  # reflection of 40 pixels needs more than 40
    padding = 40

    def __init__(self, width: float = 1.0, norm: str = "batch"):
        super().__init__()
        first, second, third = _channels(width, norm, self.norms)
        self.arguments = {"width": width, "norm": norm}

        def normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
            return [convolution, create_norm(norm, convolution.out_channels), nn.ReLU()]

        up = partial(nn.ConvTranspose2d, kernel_size=3, stride=2, padding=1, output_padding=1, bias=False)
        self.network = nn.Sequential(
            *normed(nn.Conv2d(3, first, 9, padding=4, bias=False)),
            *normed(nn.Conv2d(first, second, 3, 2, padding=1, bias=False)),
            *normed(nn.Conv2d(second, third, 3, 2, padding=1, bias=False)),
            *(UnpaddedResidualBlock(third, norm) for _ in range(RESIDUAL_BLOCKS)),
            *normed(up(third, second)),
            *normed(up(second, first)),
            nn.Conv2d(first, 3, 9, padding=4),
        )

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = F.pad(pad_to_multiple(images, self.size_multiple), [self.padding] * 4, mode="reflect")
        # The release works in mean-subtracted BGR and multiplies tanh by 150; the paper's text has (tanh + 1) / 2.
        output = 0.5 + 0.5 * torch.tanh(self.network(2 * padded - 1).float())
        return output[..., :height, :width]


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pads the right and bottom edge by reflection until both sides are multiples of `multiple` pixels."""
    height, width = images.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    return F.pad(images, [0, right, 0, bottom], mode="reflect") if right or bottom else images


def _channels(width: float, norm: str, norms: Sequence[str]) -> tuple[int, int, int]:
    """The channels of the three levels. Raises UsageError for a norm that is not in `norms` or a width out of range."""
    if norm not in norms:
        raise UsageError(unknown_name("norm", norm, norms))
    if not 0.1 <= width <= 4:
        raise UsageError(f"--width {width}: give 0.1 to 4 (1 is the paper's 32, 64 and 128 channels).")
    first, second, third = (max(8, round(width * channels / 8) * 8) for channels in CHANNELS)
    return first, second, third
