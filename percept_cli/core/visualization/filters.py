"""The filters of a network's first layer, drawn in color."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.extractors.geometry import activation_pairs
from percept_cli.errors import UsageError

SIDE = 66  # pixels of an enlarged filter
COLUMNS = 16
COLORS = ("red", "green", "blue")


def first_layer(architecture: Architecture) -> str:
    """The name of the first layer, before its activation, which is linear in the image."""
    return activation_pairs(architecture)[0][0]


def image_filters(extractor: FeatureExtractor, layer: str) -> Tensor:
    """The weights of every channel of a layer for the pixels of the normalized image: (C, 3, side, side).

    They are the composition of all convolutions up to the layer, of which `compact` has two. Raises UsageError for a layer
    after an activation or a pooling, which is not linear in the image.
    """
    if any(not isinstance(module, nn.Conv2d) for module in extractor.network.values()):
        raise UsageError(
            f"Only {first_layer(extractor.architecture)} of {extractor.architecture.name} is a filter of the image: "
            f"{layer} stands behind an activation."
        )
    grid = extractor.grid(layer)
    assert grid is not None
    side = grid.side
    # The first unit whose receptive field lies within the image.
    place = -(-grid.before // grid.stride)
    start = place * grid.stride - grid.before
    width = start + side
    device = next(extractor.network.parameters()).device
    image = extractor.mean.expand(1, 3, width, width).to(device, torch.float32).clone().requires_grad_(True)
    unit = extractor(image, [layer])[layer][0, :, place, place]
    rows = [torch.autograd.grad(value, image, retain_graph=True)[0] for value in unit]
    # The extractor divides the image by its standard deviations; the weights are for the normalized image.
    gradients = torch.cat(rows) * extractor.std.float()
    return gradients[..., start : start + side, start : start + side].cpu()


def filter_sheet(weights: Tensor, title: str) -> tuple[Tensor, list[dict[str, object]]]:
    """A sheet (1, 3, h, w) of the enlarged `image_filters` (C, 3, side, side) of a layer, and a record of every weight."""
    panels = []
    for number, weight in enumerate(weights):
        most = weight.abs().max().clamp_min(1e-30)
        enlarged = F.interpolate(0.5 + 0.5 * weight[None] / most, size=(SIDE, SIDE), mode="nearest-exact")
        panels.append(Panel(enlarged, (f"{number}: {canvas.format_number(most.item())}",)))
    note = (
        f"{len(weights)} filters of {weights.shape[-1]}x{weights.shape[-1]} pixels, each by its own strongest weight, which "
        "stands behind its number; gray is 0, a color what the filter is for, its complement what it is against"
    )
    sheet = canvas.column([canvas.heading(title, [note]), contact_sheet(wrap(panels, COLUMNS))])
    records: list[dict[str, object]] = [
        {"filter": number, "color": COLORS[channel], "row": row, "column": column, "weight": float(value)}
        for (number, channel, row, column), value in np.ndenumerate(weights.numpy())
    ]
    return canvas.frame(sheet), records
