"""The filters of a network's first layer, in the colors that they answer to."""

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.extractors.geometry import activation_pairs
from percept_cli.errors import UsageError


def first_layer(architecture: Architecture) -> str:
    """The name of the one layer that is linear in the image."""
    return activation_pairs(architecture)[0][0]


def image_filters(extractor: FeatureExtractor, layer: str) -> Tensor:
    """How every channel of a layer weighs the pixels of the normalized image around its unit: (C, 3, side, side).

    Of a layer that is read out of a convolution by another, as in `compact`, it is the product of both. Raises
    UsageError for a layer behind an activation or a pooling, which has no filter of the image.
    """
    if any(not isinstance(module, nn.Conv2d) for module in extractor.network.values()):
        raise UsageError(
            f"Only {first_layer(extractor.architecture)} of {extractor.architecture.name} is a filter of the image: "
            f"{layer} stands behind an activation."
        )
    grid = extractor.grid(layer)
    assert grid is not None
    side = grid.side
    place = -(-grid.before // grid.stride)
    start = place * grid.stride - grid.before
    width = start + side
    device = next(extractor.network.parameters()).device
    image = extractor.mean.expand(1, 3, width, width).to(device, torch.float32).clone().requires_grad_(True)
    unit = extractor(image, [layer])[layer][0, :, place, place]
    rows = [torch.autograd.grad(value, image, retain_graph=True)[0] for value in unit]
    # Per normalized value: the extractor divides the image by its deviations.
    gradients = torch.cat(rows) * extractor.std.float()
    return gradients[..., start : start + side, start : start + side].cpu()
