"""Style networks trained by others, recognized by the keys of their weights; they give the same pixels as there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import ConvNorm, InstanceNorm, ResidualBlock, ResizeConvNorm
from percept_cli.core.generators.strips import convolve
from percept_cli.core.generators.style import RESIDUAL_BLOCKS
from percept_cli.errors import ModelError


@dataclass(frozen=True)
class StyleFormat:
    """A repository's variant of Johnson's network and its names of the weights.

    signature: keys in all of its files. prefixes: names of its modules by those of `ForeignStyle`. transposed: enlarges
    by transposed convolutions, else by resizing. blue_first: input and output are BGR. ignored: keys without effect.
    """

    name: str
    signature: frozenset[str]
    prefixes: Mapping[str, str]
    transposed: bool
    blue_first: bool
    ignored: re.Pattern[str]

    def recognizes(self, state: Mapping[str, Tensor]) -> bool:
        """Whether the keys are those of this format."""
        return self.signature <= state.keys()


class ForeignStyle(Generator):
    """Johnson's network without a tanh, in the variants of other repositories, between images of one size.

    Images (N, 3, H, W) RGB in [0, 1] with sides of at least 5 pixels; the result is not clamped. Inside, values are 0 to
    255. channels: of the three levels, shallow to deep.
    """

    description = ""
    smallest = 5  # for the padding of 4 by reflection of a 9x9 convolution

    def __init__(self, known: StyleFormat, channels: tuple[int, int, int]):
        super().__init__()
        self.architecture, self.blue_first = known.name, known.blue_first
        first, second, third = channels
        up = TransposedConvNorm if known.transposed else ResizeConvNorm
        self.encoder = nn.Sequential(
            ConvNorm(3, first, 9), ConvNorm(first, second, 3, stride=2), ConvNorm(second, third, 3, stride=2)
        )
        self.residual = nn.Sequential(*(ResidualBlock(third) for _ in range(RESIDUAL_BLOCKS)))
        self.decoder = nn.Sequential(up(third, second), up(second, first))
        self.last = nn.Conv2d(first, 3, 9)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        pixels = 255 * images
        features = self.decoder(self.residual(self.encoder(pixels.flip(1) if self.blue_first else pixels)))
        # Each stride rounds the side up, so the decoder makes up to 3 pixels more at the right and the bottom.
        output = convolve(features, self.last).float() / 255
        return (output.flip(1) if self.blue_first else output)[..., :height, :width]


class TransposedConvNorm(nn.Module):
    """Enlargement by 2 with a transposed 3x3 convolution, instance norm, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1, bias=False)
        self.norm = InstanceNorm(outputs)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(features)))


_HALVES = tuple(
    (f"residual.{block}.{half}", block, number)
    for block in range(RESIDUAL_BLOCKS)
    for number, half in enumerate(("first", "second"), start=1)
)

STYLE_FORMATS = (
    StyleFormat(
        name="pytorch-examples",
        signature=frozenset({"conv1.conv2d.weight", "in1.weight", "res1.conv1.conv2d.weight", "deconv1.conv2d.weight"}),
        prefixes={
            "last": "deconv3.conv2d",
            **{f"encoder.{block}.conv": f"conv{block + 1}.conv2d" for block in range(3)},
            **{f"encoder.{block}.norm": f"in{block + 1}" for block in range(3)},
            **{f"{half}.conv": f"res{block + 1}.conv{number}.conv2d" for half, block, number in _HALVES},
            **{f"{half}.norm": f"res{block + 1}.in{number}" for half, block, number in _HALVES},
            **{f"decoder.{block}.convolution.conv": f"deconv{block + 1}.conv2d" for block in range(2)},
            **{f"decoder.{block}.convolution.norm": f"in{block + 4}" for block in range(2)},
        },
        transposed=False,
        blue_first=False,
        # Old releases of PyTorch saved statistics with instance norms, and some the number of batches that they are
        # of; this network never uses them (pytorch/examples#367).
        ignored=re.compile(r"(res\d\.)?in\d\.(running_(mean|var)|num_batches_tracked)"),
    ),
    StyleFormat(
        name="rrmina",
        signature=frozenset({
            "ConvBlock.0.conv_layer.weight", "ResidualBlock.0.conv1.conv_layer.weight",
            "DeconvBlock.0.conv_transpose.weight",
        }),
        prefixes={
            "last": "DeconvBlock.4.conv_layer",
            **{f"encoder.{block}.conv": f"ConvBlock.{2 * block}.conv_layer" for block in range(3)},
            **{f"encoder.{block}.norm": f"ConvBlock.{2 * block}.norm_layer" for block in range(3)},
            **{f"{half}.conv": f"ResidualBlock.{block}.conv{number}.conv_layer" for half, block, number in _HALVES},
            **{f"{half}.norm": f"ResidualBlock.{block}.conv{number}.norm_layer" for half, block, number in _HALVES},
            **{f"decoder.{block}.conv": f"DeconvBlock.{2 * block}.conv_transpose" for block in range(2)},
            **{f"decoder.{block}.norm": f"DeconvBlock.{2 * block}.norm_layer" for block in range(2)},
        },
        transposed=True,
        blue_first=True,
        # Nothing: statistics in a file mean batch norm, which is another network.
        ignored=re.compile(r"(?!)"),
    ),
)  # fmt: skip


def create_foreign_style(state: Mapping[str, Tensor], source: str, known: StyleFormat) -> ForeignStyle:
    """The generator of a state dict of a format, of any width, in float32.

    rrmina's variant with a tanh has the same keys as the one without, and is treated as that. Raises ModelError, with the
    name of the tensor, for one that is missing, surplus or of another shape.
    """
    variant = f"{source} looks like a {known.name} style network, but"
    advice = "It is damaged, or a variant that percept does not know."

    def shape(key: str) -> tuple[int, ...]:
        if key not in state:
            raise ModelError(f"{variant} {key} is missing. {advice}")
        return tuple(state[key].shape)

    channels = []
    for index in range(3):
        key = f"{known.prefixes[f'encoder.{index}.conv']}.weight"
        if len(shape(key)) != 4:
            raise ModelError(f"{variant} {key} has shape {shape(key)}, not that of a convolution. {advice}")
        channels.append(shape(key)[0])
    # On the meta device, so that a file with wrong shapes is refused before memory of that size is taken.
    with torch.device("meta"):
        network = ForeignStyle(known, (channels[0], channels[1], channels[2]))
    keys = {}
    for own, parameter in network.state_dict().items():
        prefix, _, kind = own.rpartition(".")
        keys[own] = f"{known.prefixes[prefix]}.{kind}"
        if shape(keys[own]) != tuple(parameter.shape):
            raise ModelError(
                f"{variant} {keys[own]} has shape {shape(keys[own])} where {tuple(parameter.shape)} belongs. {advice}"
            )
    # Biases of normalized convolutions are allowed, though our blocks have none: normalization cancels them.
    named = {f"{prefix}.{kind}" for prefix in known.prefixes.values() for kind in ("weight", "bias")}
    surplus = [key for key in state if key not in named and not known.ignored.fullmatch(key)]
    if surplus:
        raise ModelError(f"{variant} {surplus[0]} has no place in it. {advice}")
    network = network.to_empty(device="cpu")
    network.load_state_dict({own: state[key].float() for own, key in keys.items()})
    return network
