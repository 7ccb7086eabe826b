"""Extractors with shipped, downloaded or random weights, or weights from a file."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import ARCHITECTURES, Architecture, create_architecture
from percept_cli.core.extractors.graph import IMAGENET_MEAN, IMAGENET_STD, FeatureExtractor
from percept_cli.core.pretrained.files import (
    TORCHVISION_FILES,
    load_weights,
    load_weights_and_metadata,
    torchvision_weights,
)
from percept_cli.core.pretrained.manifest import find_model
from percept_cli.errors import ModelError, UsageError

RANDOM = "random"
WEIGHTS_SUFFIXES = frozenset({".safetensors", ".pth", ".pt"})

# The first biases of Oxford's VGG networks, which agree to two digits.
OXFORD_BIASES = (0.730, 0.065, 0.034, 0.826)
OXFORD_MEAN_RGB = (123.68, 116.779, 103.939)


@dataclass(frozen=True)
class ExtractorChoice:
    """The architecture of an extractor by name, and the source of its weights.

    weights: None for the usual ones (shipped for `compact`, else torchvision's, downloaded once), a safetensors or
    PyTorch file, or `random` for untrained weights (the comparator of Dosovitskiy & Brox 2016, section 4).
    """

    name: str
    weights: str | None = None

    @property
    def architecture(self) -> Architecture:
        """The layers and input normalization."""
        return create_architecture(self.name)

    def create(
        self, layers: Iterable[str], seed: int = 0, announce: Callable[[str], None] | None = None
    ) -> FeatureExtractor:
        """The frozen extractor with its weights, tapped at the layers; announce: called with messages for the user.

        Raises UsageError for an unknown layer and ModelError for weights that are missing, damaged or of another network.
        """
        extractor = FeatureExtractor(self.architecture, layers)
        if self.weights == RANDOM:
            randomize(extractor, seed)
            return extractor
        if self.weights is not None:
            path = Path(self.weights)
        elif self.name in TORCHVISION_FILES:
            path = torchvision_weights(self.name, announce)
        else:
            path = find_model(self.name, "extractor").path
        state = load_weights(path)
        if is_oxford_vgg(state):
            if announce:
                order = "BGR" if is_blue_first(state) else "RGB"
                announce(f"{path.name} is a Caffe VGG ({order}, 0 to 255): converted to RGB in [0, 1]")
            state = convert_oxford_vgg(state)
        extractor.load_weights(state, str(path))
        return extractor


COMPACT = ExtractorChoice("compact")


def choose_extractor(given: str, weights: str | Path | None = None) -> ExtractorChoice:
    """The extractor of a name, or of a file written by percept; weights: as in `ExtractorChoice`, only for a name.

    Raises UsageError for an unknown name and for a file with other weights beside it, ModelError for a file without an
    extractor or without the name of its network.
    """
    if Path(given).suffix not in WEIGHTS_SUFFIXES:
        create_architecture(given)  # raises for an unknown name
        return ExtractorChoice(given, None if weights is None else str(weights))
    if weights is not None:
        raise UsageError(f"{given} is an extractor with its weights: leave out {weights}, or give a name beside it.")
    _, metadata = load_weights_and_metadata(Path(given))
    role, architecture = metadata.get("role"), metadata.get("architecture", "")
    if role is not None and role != "extractor":
        raise ModelError(f"{given} is no extractor, its role is '{role}'. Give a file of `percept train extractor`.")
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{given} does not say of which network it is. Give that one's name as the extractor, and this file as its "
            f"weights. Known: {', '.join(ARCHITECTURES)}."
        )
    return ExtractorChoice(architecture, given)


def create_extractor(
    name: str,
    layers: Iterable[str],
    weights: str | Path | None = None,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> FeatureExtractor:
    """The frozen extractor that `choose_extractor` chooses, created by `ExtractorChoice.create`."""
    return choose_extractor(name, weights).create(layers, seed, announce)


def randomize(extractor: FeatureExtractor, seed: int) -> None:
    """Replaces the weights by random ones (He et al. 2015), which keep the scale of activations through the layers."""
    generator = torch.Generator().manual_seed(seed)
    for module in extractor.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def is_oxford_vgg(weights: Mapping[str, Tensor]) -> bool:
    """Whether a VGG state dict expects the input of Oxford's release: 0 to 255, mean subtracted (Caffe's files).

    Keys and shapes equal those of torchvision's files, so it is recognized by its first biases, and by first weights small
    enough for that range. (With torchvision's normalization folded in, Oxford's are 58 times as large.)
    """
    bias, weight = weights.get("features.0.bias"), weights.get("features.0.weight")
    if bias is None or weight is None or weight.shape[1:] != (3, 3, 3):
        return False
    return torch.allclose(bias[:4].float(), torch.tensor(OXFORD_BIASES), atol=0.01) and weight.abs().mean().item() < 1


def is_blue_first(weights: Mapping[str, Tensor]) -> bool:
    """Whether Oxford's weights take BGR, as in Caffe, or RGB, as in some converted files (torchvision's from SSD).

    The first filter of both networks has a larger weight for red than for blue at its first pixel.
    """
    colors = weights["features.0.weight"][0, :, 0, 0]
    return bool(colors[0] < colors[2])


def convert_oxford_vgg(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the same network for RGB in [0, 1] with torchvision's normalization; only the first layer differs."""
    weight = weights["features.0.weight"].float()
    if is_blue_first(weights):
        weight = weight.flip(1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    shift = 255 * torch.tensor(IMAGENET_MEAN) - torch.tensor(OXFORD_MEAN_RGB)
    bias = weights["features.0.bias"].float() + (weight * shift.view(1, 3, 1, 1)).sum((1, 2, 3))
    return {**weights, "features.0.weight": weight * 255 * std, "features.0.bias": bias}


def parse_named_file(option: str, given: str) -> tuple[str, str | None]:
    """Splits `NAME` or `NAME=FILE` into (name, file). Raises UsageError if either is empty."""
    name, separator, file = given.partition("=")
    if not name or (separator and not file):
        raise UsageError(f"{option} {given}: give NAME, or NAME=FILE.")
    return name, file or None
