"""Extractors with their weights: shipped, downloaded, from a file or random."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import create_architecture
from percept_cli.core.extractors.graph import IMAGENET_MEAN, IMAGENET_STD, FeatureExtractor
from percept_cli.core.manifest import find_model
from percept_cli.core.weights import TORCHVISION_FILES, load_weights, torchvision_weights
from percept_cli.errors import UsageError

RANDOM = "random"

# The first biases of the VGG networks as Oxford released them; both share them to two digits.
OXFORD_BIASES = (0.730, 0.065, 0.034, 0.826)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def create_extractor(
    name: str,
    layers: Iterable[str],
    weights: str | Path | None = None,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> FeatureExtractor:
    """A frozen extractor by name, tapped at the layers, with its weights.

    weights: None for the usual ones (`compact` ships with percept, the others are torchvision's, downloaded once), a
    safetensors or PyTorch file, or `random` for untrained weights drawn from `seed` (the comparator of Dosovitskiy &
    Brox 2016, section 4). `announce` gets sentences for the user. Raises UsageError for an unknown name or layer and
    ModelError for weights that are missing, damaged or of another network.
    """
    extractor = FeatureExtractor(create_architecture(name), layers)
    if weights == RANDOM:
        randomise(extractor, seed)
        return extractor
    if weights is not None:
        path = Path(weights)
    elif name in TORCHVISION_FILES:
        path = torchvision_weights(name, announce)
    else:
        path = find_model(name, "extractor").path
    state = load_weights(path)
    if is_caffe_vgg(state):
        if announce:
            announce(f"{path.name} is a Caffe VGG (BGR, 0 to 255): converted to RGB in [0, 1]")
        state = convert_caffe_vgg(state)
    extractor.load_weights(state, str(path))
    return extractor


def randomise(extractor: FeatureExtractor, seed: int) -> None:
    """Untrained weights from a seed (He et al. 2015), so that activations keep their scale through the depth."""
    generator = torch.Generator().manual_seed(seed)
    for module in extractor.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def is_caffe_vgg(weights: Mapping[str, Tensor]) -> bool:
    """Whether a VGG state dict expects Caffe's input: BGR, 0 to 255, mean subtracted.

    Its keys and shapes are those of torchvision's files, so only the values tell: Oxford's first biases, beside weights
    small enough for an input of that range. (Oxford's weights with torchvision's normalisation folded in have first
    weights some 58 times as large, and other biases.)
    """
    bias, weight = weights.get("features.0.bias"), weights.get("features.0.weight")
    if bias is None or weight is None or weight.shape[1:] != (3, 3, 3):
        return False
    return torch.allclose(bias[:4].float(), torch.tensor(OXFORD_BIASES), atol=0.01) and weight.abs().mean().item() < 1


def convert_caffe_vgg(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same network for RGB in [0, 1] with torchvision's normalisation: the input's change folded into layer one."""
    converted = dict(weights)
    weight = weights["features.0.weight"].float().flip(1)  # BGR to RGB
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    shift = 255 * torch.tensor(IMAGENET_MEAN) - torch.tensor(CAFFE_MEAN_BGR).flip(0)
    converted["features.0.weight"] = weight * 255 * std
    converted["features.0.bias"] = weights["features.0.bias"].float() + (weight * shift.view(1, 3, 1, 1)).sum((1, 2, 3))
    return converted


def parse_named_file(option: str, given: str) -> tuple[str, str | None]:
    """`NAME` or `NAME=FILE` as (name, file). Raises UsageError when either is empty."""
    name, separator, file = given.partition("=")
    if not name or (separator and not file):
        raise UsageError(f"{option} {given}: give NAME, or NAME=FILE.")
    return name, file or None
