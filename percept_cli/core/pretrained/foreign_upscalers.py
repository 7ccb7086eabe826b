"""Upscalers trained by others, recognized and built by spandrel.

spandrel gets tensors, never a file: percept reads PyTorch files with `weights_only`, which executes nothing, whereas
spandrel's loader passes TorchScript archives, which are programs, to `torch.jit.load`.
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
from percept_cli.core.pretrained.building import FOREIGN, Limit, check_numbers
from percept_cli.errors import ModelError

# A deprecation that concerns the authors of these networks, not their users
warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)

ROUNDING = 1e-5  # largest difference by rounding in float32; half a gray level is 200 times as much


class ForeignUpscaler(Generator):
    """An upscaler of any of spandrel's architectures: RGB (N, 3, h, w) in [0, 1] to (N, 3, s·h, s·w), clamped.

    A network for gray images enlarges red, green and blue separately; spandrel pads images that are too small.
    `receptive_radius` is None where it is larger than `WIDEST_HALO`, or than that of the convolutions.
    """

    def __init__(self, descriptor: ImageModelDescriptor):
        super().__init__()
        self._descriptor = descriptor
        self.network = descriptor.model  # as a submodule, which is moved with this one
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
            lambda images: self._descriptor(images[:, :channels]),  # runs a gray network only once
            -(-side // self.size_multiple) * self.size_multiple,
        )
        # Attention and pooling may reach farther than the convolutions, which the effect of a cut shows.
        if radius > WIDEST_HALO or bool((cut_errors(self, self.size_multiple)[radius:] > ROUNDING).any()):
            return None
        return radius


def create_foreign_upscaler(state: Mapping[str, Tensor], source: str) -> ForeignUpscaler:
    """The upscaler of a state dict in any format that spandrel recognizes by its keys, in float32 on the processor.

    Raises ModelError for a network of another purpose and for unknown or damaged weights.
    """
    try:
        check_numbers(state)
        with Limit(state, FOREIGN):
            descriptor = ModelLoader("cpu").load_from_state_dict(canonicalize_state_dict(dict(state)))
    except UnsupportedModelError as error:
        raise ModelError(
            f"{source} is not an upscaler that percept knows: its keys are neither percept's nor those of an "
            "architecture of spandrel (ESRGAN, Real-ESRGAN, SwinIR, HAT, ...)."
        ) from error
    except Exception as error:
        # For a damaged state dict or a variant, spandrel raises almost any class of error.
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
