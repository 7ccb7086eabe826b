"""Johnson et al. 2016's image transformation network, as percept trains it and as the paper describes it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
# A little past [0, 1], so that pure black and white lie where the gradient of tanh has not gone.
OUTPUT_RANGE = 1.1


class StyleGenerator(Generator):
    """Johnson's network with instance norm, reflection padding and resize-convolutions: images to images of one size.

    Images (N, 3, H, W) RGB in [0, 1] of any size from 16 pixels on; the result may pass the range by a few percent.
    Departs from the paper, which has batch norm, one padding at the input and transposed convolutions (see
    `JohnsonGenerator`): instance norm makes better styles (Ulyanov et al. 2016), resizing leaves no checkerboard.

    norm: `inner` is instance norm in the encoder and after each block's first convolution alone; `instance` and `batch`
    are after every convolution but the last.
    """

    norms = ("inner", "instance", "batch")
    size_multiple = 4
    smallest = 16
    # Of the convolutions alone. Measured by gradients in the tests: 54 to the right and below, 57 to the left and above,
    # where strided convolutions and nearest neighbors round the other way.
    receptive_radius = 57
    tiles_exactly = False

    def __init__(self, width: float = 0.5, norm: str = "inner"):
        super().__init__()
        first, second, third = _channels(width, norm, self.norms)
        self.arguments = {"width": width, "norm": norm}
        # With a norm after every convolution, a network learns to make one huge value in the smoothest bright place of a
        # picture. It rules the statistics of the norm, so that everywhere else the norm does next to nothing; it is seen
        # as a white blotch in the sky (StyleGAN's droplets, Karras et al. 2020). Without norms after the sums of the
        # residual blocks and in the decoder, such a value gains nothing.
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
            # Under bf16 autocast the ends and the sum that runs through the residual blocks stay in float32: with all
            # of it rounded, single pixels came out up to 8 gray levels off.
            with torch.autocast(images.device.type, enabled=False):
                features = self.encoder[0](features)
            for layer in self.encoder[1:]:  # one by one, so that the full-size map is let go
                features = layer(features)
            features = self.decoder(self.residual(features.to(images.dtype)))
            with torch.autocast(images.device.type, enabled=False):
                output = convolve(features, self.last, dtype=images.dtype)
        output = 0.5 + 0.5 * OUTPUT_RANGE * torch.tanh(output.float())
        return output[..., :height, :width]


@torch.no_grad()
def fold_norms(trained: StyleGenerator, photographs: Tensor) -> StyleGenerator:
    """Turns a generator of `instance` norms into one of `inner` norms, from which training can go on.

    Each norm that is left out becomes a part of the convolution before it: the scale and shift that it has on
    photographs (N, 3, H, W) in [0, 1], taken together.
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

    Batch norm by default (`norm="instance"` is the released models' form), transposed convolutions. Images (N, 3, H, W)
    RGB in [0, 1], H and W multiples of 4 inside, any size outside.
    """

    norms = ("batch", "instance")
    size_multiple = 4
    smallest = 48  # the reflection of 40 needs more pixels than that
    padding = 40

    def __init__(self, width: float = 1.0, norm: str = "batch"):
        super().__init__()
        first, second, third = _channels(width, norm, self.norms)
        self.arguments = {"width": width, "norm": norm}

        def down(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
            return [convolution, create_norm(norm, outputs), nn.ReLU()]

        def up(inputs: int, outputs: int) -> list[nn.Module]:
            convolution = nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1, bias=False)
            return [convolution, create_norm(norm, outputs), nn.ReLU()]

        self.network = nn.Sequential(
            *down(3, first, 9, 1),
            *down(first, second, 3, 2),
            *down(second, third, 3, 2),
            *(UnpaddedResidualBlock(third, norm) for _ in range(RESIDUAL_BLOCKS)),
            *up(third, second),
            *up(second, first),
            nn.Conv2d(first, 3, 9, padding=4),
        )

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = F.pad(pad_to_multiple(images, self.size_multiple), [self.padding] * 4, mode="reflect")
        # The release works in mean-subtracted BGR and multiplies tanh by 150; the paper's text has (tanh + 1) / 2.
        output = 0.5 + 0.5 * torch.tanh(self.network(2 * padded - 1).float())
        return output[..., :height, :width]


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Reflects the right and bottom edge until both sides are multiples; the top left pixel stays where it is."""
    height, width = images.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    return F.pad(images, [0, right, 0, bottom], mode="reflect") if right or bottom else images


def _channels(width: float, norm: str, norms: Sequence[str]) -> tuple[int, int, int]:
    """The channels of the three levels. Raises UsageError for a norm that is not among `norms` and for an odd width."""
    if norm not in norms:
        raise UsageError(unknown_name("norm", norm, norms))
    if not 0.1 <= width <= 4:
        raise UsageError(f"--width {width}: give 0.1 to 4 (1 is the paper's 32, 64 and 128 channels).")
    first, second, third = (max(8, round(width * channels / 8) * 8) for channels in CHANNELS)
    return first, second, third
