"""Upscalers that others trained, recognized and built by spandrel: the only module that knows it.

spandrel gets tensors, never a file: percept reads PyTorch files with `weights_only`, which executes nothing. (spandrel's
own unpickler is as strict, but its loader hands TorchScript archives, which are programs, to `torch.jit.load`.)
"""

import warnings
from collections.abc import Mapping

import torch
from spandrel import (
    ImageModelDescriptor,
    ModelLoader,
    ModelTiling,
    UnsupportedModelError,
    canonicalize_state_dict,
)
from torch import Tensor

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.reach import WIDEST_HALO, convolution_radius, cut_errors
from percept_cli.errors import ModelError

# Transformers call it as torch would have them in future not to; that is no concern of who runs them.
warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)

# What float32 leaves of a difference that is none; half a gray level is 500 times as much.
ROUNDING = 1e-5


class ForeignUpscaler(Generator):
    """An upscaler of any of spandrel's architectures: RGB (N, 3, h, w) in [0, 1] to (N, 3, s·h, s·w), clamped.

    A network for gray pictures enlarges red, green and blue one by one; spandrel pads pictures that are too small.
    `receptive_radius` is None where the network sees farther than tiles can show it.
    """

    def __init__(self, descriptor: ImageModelDescriptor):
        super().__init__()
        self._descriptor = descriptor
        self.network = descriptor.model  # as a module of this one, to be moved and placed with it
        self.scale = descriptor.scale
        self.size_multiple = descriptor.size_requirements.multiple_of
        self.architecture = descriptor.architecture.name
        details = ", ".join((f"enlarges {self.scale} times", *descriptor.tags))
        self.description = f"{self.architecture} ({details})"
        if descriptor.tiling is not ModelTiling.SUPPORTED:
            self.description += "; it looks at the whole picture, and --tile off shows it that"
        self.receptive_radius = self._find_radius()

    def forward(self, images: Tensor) -> Tensor:
        half = torch.get_autocast_dtype(images.device.type)
        runs = self._descriptor.supports_half if half == torch.float16 else self._descriptor.supports_bfloat16
        with torch.autocast(images.device.type, enabled=torch.is_autocast_enabled(images.device.type) and runs):
            if self._descriptor.input_channels == 3:
                return self._descriptor(images)
            return torch.cat([self._descriptor(channel) for channel in images.split(1, dim=1)], dim=1)

    def _find_radius(self) -> int | None:
        side = max(16, self._descriptor.size_requirements.minimum)
        channels = self._descriptor.input_channels
        radius = convolution_radius(
            self.network,
            lambda images: self._descriptor(images[:, :channels]),  # a gray one runs once
            -(-side // self.size_multiple) * self.size_multiple,
        )
        # The convolutions are not all there is to a network with attention or pooling: what a cut changes farther away
        # than they see tells.
        if radius > WIDEST_HALO or bool((cut_errors(self, self.size_multiple)[radius:] > ROUNDING).any()):
            return None
        return radius


def create_foreign_upscaler(state: Mapping[str, Tensor], source: str) -> ForeignUpscaler:
    """The upscaler of a state dict in any format that spandrel recognizes by its keys, in float32 on the processor.

    Raises ModelError, which says what it is, for a network of another purpose and for what cannot be recognized.
    """
    try:
        descriptor = ModelLoader("cpu").load_from_state_dict(canonicalize_state_dict(dict(state)))
    except UnsupportedModelError as error:
        raise ModelError(
            f"{source} is not an upscaler that percept knows: its keys are neither percept's nor those of an "
            "architecture of spandrel (ESRGAN, Real-ESRGAN, SwinIR, HAT, ...)."
        ) from error
    except Exception as error:
        # A damaged state dict, or a variant, fails anywhere in the hundreds of lines that deduce an architecture from it.
        raise ModelError(
            f"{source} does not fit the architecture that its keys look like; it is damaged or a variant."
        ) from error
    architecture = descriptor.architecture.name
    if descriptor.purpose != "SR" or not isinstance(descriptor, ImageModelDescriptor):
        raise ModelError(f"{source} is a network for {descriptor.purpose.lower()} ({architecture}), not an upscaler.")
    channels = descriptor.input_channels, descriptor.output_channels
    if channels not in ((1, 1), (3, 3)):
        raise ModelError(
            f"{source} takes {channels[0]} channels and gives {channels[1]} ({architecture}); RGB or gray is needed here."
        )
    return ForeignUpscaler(descriptor)  # type: ignore[arg-type]
