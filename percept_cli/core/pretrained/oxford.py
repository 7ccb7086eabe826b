"""Oxford's VGG weights (Caffe's files), recognized and converted to torchvision's conventions."""

from collections.abc import Mapping

import torch
from torch import Tensor

from percept_cli.core.extractors.architecture import IMAGENET_MEAN, IMAGENET_STD

# The first biases of Oxford's VGG networks, which agree to two digits.
OXFORD_BIASES = (0.730, 0.065, 0.034, 0.826)
OXFORD_MEAN_RGB = (123.68, 116.779, 103.939)


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
