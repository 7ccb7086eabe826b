"""Style networks that others trained, recognized by the keys of their weights and run with the same pixels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import ConvNorm, InstanceNorm, ResidualBlock, ResizeConvNorm
from percept_cli.core.generators.strips import convolve
from percept_cli.core.generators.style import RESIDUAL_BLOCKS, pad_to_multiple
from percept_cli.errors import ModelError


@dataclass(frozen=True)
class StyleFormat:
    """How a repository builds Johnson's network and names its weights.

    signature: keys that all of its files have. prefixes: of the keys, our module to theirs. transposed: it enlarges by
    transposed convolutions, else by resizing. blue_first: it takes and gives BGR. ignored: keys that change no pixel.
    """

    name: str
    signature: frozenset[str]
    prefixes: Mapping[str, str]
    transposed: bool
    blue_first: bool
    ignored: re.Pattern[str]

    def recognizes(self, state: Mapping[str, Tensor]) -> bool:
        """Whether tensors of these keys are of this format."""
        return self.signature <= state.keys()


class ForeignStyle(Generator):
    """Johnson's network as others rebuilt it, without a tanh: images to images of one size.

    Images (N, 3, H, W) RGB in [0, 1] of any size from 5 pixels on; the result is not clamped. Inside it works in 0 to
    255. channels: of the three levels, shallow to deep.
    """

    description = ""
    size_multiple = 4
    # Reflected to 8, where the padding of 4 that a 9x9 needs still has pixels to take.
    smallest = 5

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
        pixels = 255 * pad_to_multiple(images, self.size_multiple)
        features = self.decoder(self.residual(self.encoder(pixels.flip(1) if self.blue_first else pixels)))
        output = convolve(features, self.last).float() / 255
        return (output.flip(1) if self.blue_first else output)[..., :height, :width]


class TransposedConvNorm(nn.Module):
    """Enlargement by 2 in a transposed 3x3 convolution, normalization, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1, bias=False)
        self.norm = InstanceNorm(outputs)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(features)))


def _pytorch_examples() -> StyleFormat:
    prefixes = {"last": "deconv3.conv2d"}
    for index in range(3):
        prefixes |= {f"encoder.{index}.conv": f"conv{index + 1}.conv2d", f"encoder.{index}.norm": f"in{index + 1}"}
    for index in range(RESIDUAL_BLOCKS):
        for number, half in enumerate(("first", "second"), start=1):
            prefixes[f"residual.{index}.{half}.conv"] = f"res{index + 1}.conv{number}.conv2d"
            prefixes[f"residual.{index}.{half}.norm"] = f"res{index + 1}.in{number}"
    for index in range(2):
        prefixes[f"decoder.{index}.convolution.conv"] = f"deconv{index + 1}.conv2d"
        prefixes[f"decoder.{index}.convolution.norm"] = f"in{index + 4}"
    return StyleFormat(
        name="pytorch-examples",
        signature=frozenset({"conv1.conv2d.weight", "in1.weight", "res1.conv1.conv2d.weight", "deconv1.conv2d.weight"}),
        prefixes=prefixes,
        transposed=False,
        blue_first=False,
        # Old releases of PyTorch saved statistics with instance norms, and some the number of batches that they were
        # taken from; this network never uses them (pytorch/examples#367).
        ignored=re.compile(r"(res\d\.)?in\d\.(running_(mean|var)|num_batches_tracked)"),
    )


def _rrmina() -> StyleFormat:
    prefixes = {"last": "DeconvBlock.4.conv_layer"}
    for index in range(3):
        prefixes[f"encoder.{index}.conv"] = f"ConvBlock.{2 * index}.conv_layer"
        prefixes[f"encoder.{index}.norm"] = f"ConvBlock.{2 * index}.norm_layer"
    for index in range(RESIDUAL_BLOCKS):
        for number, half in enumerate(("first", "second"), start=1):
            prefixes[f"residual.{index}.{half}.conv"] = f"ResidualBlock.{index}.conv{number}.conv_layer"
            prefixes[f"residual.{index}.{half}.norm"] = f"ResidualBlock.{index}.conv{number}.norm_layer"
    for index in range(2):
        prefixes[f"decoder.{index}.conv"] = f"DeconvBlock.{2 * index}.conv_transpose"
        prefixes[f"decoder.{index}.norm"] = f"DeconvBlock.{2 * index}.norm_layer"
    return StyleFormat(
        name="rrmina",
        signature=frozenset({
            "ConvBlock.0.conv_layer.weight", "ResidualBlock.0.conv1.conv_layer.weight",
            "DeconvBlock.0.conv_transpose.weight",
        }),
        prefixes=prefixes,
        transposed=True,
        blue_first=True,
        # Statistics here mean that it was built with batch norm, which is another network: nothing is ignored.
        ignored=re.compile(r"(?!)"),
    )  # fmt: skip


STYLE_FORMATS = (_pytorch_examples(), _rrmina())


def create_foreign_style(state: Mapping[str, Tensor], source: str, known: StyleFormat) -> ForeignStyle:
    """The generator of a state dict of a format, of whatever width, in float32.

    rrmina's variant with a tanh has the same keys as the one without, and is taken for that. Raises ModelError, naming
    the tensor that is missing, surplus or of another shape.
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
    # Without memory at first: a file of odd shapes is refused before anything of that size is made.
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
    # The biases of normalized convolutions, which our blocks lack, are among the prefixes: normalization cancels them.
    named = {f"{prefix}.{kind}" for prefix in known.prefixes.values() for kind in ("weight", "bias")}
    surplus = [key for key in state if key not in named and not known.ignored.fullmatch(key)]
    if surplus:
        raise ModelError(f"{variant} {surplus[0]} has no place in it. {advice}")
    network = network.to_empty(device="cpu")
    network.load_state_dict({own: state[key].float() for own, key in keys.items()})
    return network
