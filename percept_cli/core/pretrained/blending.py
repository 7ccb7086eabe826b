"""Interpolation between two networks, of their weights or of their results."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from percept_cli.core.generators import Generator
from percept_cli.core.pretrained.files import load_weights_and_metadata
from percept_cli.core.pretrained.generators import LoadedGenerator, load_generator, read_recipe
from percept_cli.core.pretrained.manifest import INPUTS, find_upscaler
from percept_cli.errors import UsageError

# The quality of a JPEG, 1 to 100, from which on less than all of the network for photographs is taken. With the shares that
# follow, PSNR is at most 0.11 dB below that of the best share, at x2 and x4 (docs/upscaling.md).
WORST_BLENDED = 80

BLEND = "blend"  # the architecture of a network that mixes the pictures of two
PLAIN, EVEN = "swift", "swift-even"


class BlendedUpscaler(Generator):
    """The results of two upscalers of one scale mixed, with `share` of the second; (N, 3, h, w) to (N, 3, s·h, s·w)."""

    def __init__(self, first: Generator, second: Generator, share: float):
        super().__init__()
        self.first, self.second, self.share = first, second, share
        self.scale = first.scale
        radii = (first.receptive_radius, second.receptive_radius)
        self.receptive_radius = None if radii[0] is None or radii[1] is None else max(radii[0], radii[1])
        self.size_multiple = math.lcm(first.size_multiple, second.size_multiple)
        self.smallest = max(first.smallest, second.smallest)
        self.tiles_exactly = first.tiles_exactly and second.tiles_exactly

    def forward(self, images: Tensor) -> Tensor:
        return torch.lerp(self.first(images).float(), self.second(images).float(), self.share)


def photo_share(quality: int | None) -> float:
    """The share, 0 to 1 in quarters, of the network for photographs in one for a JPEG of a quality from 1 to 100.

    quality: None for a picture that lost nothing.
    """
    if quality is None:
        return 0.0
    return round(4 * min(1.0, (100 - quality) / (100 - WORST_BLENDED))) / 4


def load_shipped_upscaler(
    scale: int, look: str | None = None, blend: float | None = None, *, photo_share: float = 0.0
) -> LoadedGenerator:
    """The shipped upscaler of a scale and a look (see `find_upscaler`), or a blend from 0, faithful, to 1, natural.

    photo_share: from 0, the network for clean pictures, to 1, the one for compressed photographs; without effect where
    none of these is shipped. Raises ModelError where none is shipped for the scale and the looks.
    """

    def load(look: str | None) -> LoadedGenerator:
        models = [find_upscaler(scale, look, input) for input in INPUTS]
        ends = [models[0]] if photo_share == 0 or models[0] == models[1] else models
        if photo_share == 1:
            ends = ends[-1:]
        networks = [load_generator(str(model.path), "upscaler", scale) for model in ends]
        return blend_upscalers(networks[0], networks[1], photo_share) if len(networks) == 2 else networks[0]

    if blend is None:
        return load(look)
    if blend in (0, 1):
        return load("natural" if blend else "faithful")
    return blend_upscalers(load("faithful"), load("natural"), blend)


def blend_upscalers(first: LoadedGenerator, second: LoadedGenerator, share: float) -> LoadedGenerator:
    """An upscaler between two of one scale; share: 0 is the first, 1 the second.

    Weights are interpolated (Wang et al. 2018, section 3.4) where they correspond (see `joint_architecture`) and the
    arguments are the same, which takes the time of one network; otherwise pixels are. Raises UsageError if their scales differ.
    """
    if first.network.scale != second.network.scale:
        raise UsageError(f"{first.name} and {second.name} enlarge differently and cannot be blended.")
    name = f"{first.name}-{second.name}-{share:g}"
    architecture = joint_architecture(first.architecture, second.architecture)
    alike = first.metadata.get("arguments") == second.metadata.get("arguments")
    if architecture is None or architecture == BLEND or not alike:
        network: Generator = BlendedUpscaler(first.network, second.network, share)
        return LoadedGenerator(
            network, name, BLEND, {}, "the networks differ in architecture: their pictures are mixed"
        )
    weights = blend_weights(first.network.state_dict(), second.network.state_dict(), share)
    end = first if first.architecture == architecture else second
    network = copy.deepcopy(end.network)
    network.load_state_dict(weights)
    return LoadedGenerator(network, name, architecture, end.metadata)


def joint_architecture(first: str, second: str) -> str | None:
    """The architecture of a blend of the weights of two architectures, or None where these do not correspond.

    A `swift` and a `swift-even` have the same weights; what lies between them is a `swift-even`.
    """
    if first == second:
        return first
    return EVEN if {first, second} == {PLAIN, EVEN} else None


def blend_weights(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Tensors of the same names and shapes, each (1 - share) · first + share · second, computed in float32."""
    return {
        name: torch.lerp(tensor.float(), second[name].float(), share).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }


def blend_files(first: Path, second: Path, share: float) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and metadata of a model between two files of percept's own; share: 0 is the first, 1 the second.

    Between two looks lie intermediate looks (Wang et al. 2018, section 3.4); the blend of two stages of one training is
    often better than both (Wortsman et al. 2022, "model soups"). Raises UsageError for weights that do not correspond.
    """
    (weights, metadata), (others, other) = (load_weights_and_metadata(path) for path in (first, second))
    architecture = joint_architecture(metadata.get("architecture", ""), other.get("architecture", ""))
    for key in ("role", "architecture", "arguments", "extractor", "layer"):
        if architecture is None if key == "architecture" else metadata.get(key) != other.get(key):
            raise UsageError(
                f"{first} and {second} differ in {key} ({metadata.get(key)}, {other.get(key)}): their weights do not "
                "correspond. Give two models of one kind."
            )
    if not metadata.get("role"):
        raise UsageError(f"{first} and {second} are not percept's own files: what they are is not known.")
    recipes = {path.stem: read_recipe(each) for path, each in ((first, metadata), (second, other))}
    blended: dict[str, Any] = metadata | {"architecture": architecture, "recipe": {"blend": recipes, "share": share}}
    if metadata.get("look") != other.get("look"):
        blended["look"] = "natural"
    return blend_weights(weights, others, share), blended
