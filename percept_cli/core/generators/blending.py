"""Upscalers between two looks: their weights interpolated, or their pictures."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.generators.loading import LoadedGenerator, load_upscaler
from percept_cli.errors import UsageError


class BlendedUpscaler(nn.Module):
    """The pictures of two upscalers of one scale, mixed: `share` of the second; (N, 3, h, w) to (N, 3, s·h, s·w)."""

    def __init__(self, first: nn.Module, second: nn.Module, share: float):
        super().__init__()
        self.first, self.second, self.share = first, second, share
        self.scale = first.scale
        facts: list[Any] = [first, second]
        radii = [generator.receptive_radius for generator in facts]
        self.receptive_radius: int | None = None if None in radii else max(radii)
        self.size_multiple: int = math.lcm(*(generator.size_multiple for generator in facts))
        self.smallest: int = max(generator.smallest for generator in facts)

    def forward(self, images: Tensor) -> Tensor:
        return torch.lerp(self.first(images).float(), self.second(images).float(), self.share)


def load_look(scale: int, look: str | None, blend: float | None) -> LoadedGenerator:
    """The shipped upscaler of a scale and a look (see `find_upscaler`), or with `blend` between faithful (0) and natural."""
    if blend is None:
        return load_upscaler(None, scale, look)
    if blend in (0, 1):
        return load_upscaler(None, scale, "natural" if blend else "faithful")
    return blend_upscalers(load_upscaler(None, scale, "faithful"), load_upscaler(None, scale, "natural"), blend)


def blend_upscalers(first: LoadedGenerator, second: LoadedGenerator, share: float) -> LoadedGenerator:
    """An upscaler between two of one scale: share 0 is the first, 1 the second, in [0, 1].

    Of one architecture and one size, weight by weight (Wang et al. 2018, section 3.4), which costs no more than one;
    otherwise pixel by pixel. UsageError if their scales differ.
    """
    if first.network.scale != second.network.scale:
        raise UsageError(f"{first.name} and {second.name} enlarge differently and cannot be blended.")
    name = f"{first.name}-{second.name}-{share:g}"
    alike = first.architecture == second.architecture and first.metadata.get("arguments") == second.metadata.get(
        "arguments"
    )
    if not alike:
        network: nn.Module = BlendedUpscaler(first.network, second.network, share)
        return LoadedGenerator(network, name, "blend", {}, "the looks differ in architecture: their pictures are mixed")
    network = copy.deepcopy(first.network)
    others = second.network.state_dict()
    network.load_state_dict(
        {
            key: torch.lerp(tensor, others[key], share) if tensor.is_floating_point() else tensor
            for key, tensor in network.state_dict().items()
        }
    )
    return LoadedGenerator(network, name, first.architecture, first.metadata)
