"""Image sizes of layers, their receptive fields, and pairs of layers before and after an activation.

Torch is imported only where a network is built, so that names of layers are checked without it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from percept_cli.core.extractors.architecture import Architecture, ReLU
from percept_cli.errors import UsageError

if TYPE_CHECKING:
    from percept_cli.core.extractors.graph import FeatureExtractor

USUAL_SIDE = 224  # pixels; side of the images that the classification networks were trained on


def fixed_side(extractor: "FeatureExtractor") -> int | None:
    """The only image side in pixels of the tapped layers: 224 for fully connected ones, None for any.

    The weights of fully connected layers belong to positions in the image. The pooling before them allows other sizes,
    but the network was not trained on them.
    """
    from torch import nn

    return USUAL_SIDE if any(isinstance(module, nn.Linear) for module in extractor.modules()) else None


def choose_side(
    architecture: Architecture,
    layers: Sequence[str],
    asked: int | None,
    usual: int = USUAL_SIDE,
    announce: Callable[[str], None] | None = None,
) -> int:
    """The side in pixels of square images for layers: `asked`, or if None the only possible or the usual one.

    announce: called with a message where only one is possible. Loads no weights. Raises UsageError for a side that is
    not possible.
    """
    outline = _outline(architecture, layers)
    needed = fixed_side(outline)
    if needed is not None:
        if asked not in (None, needed):
            raise UsageError(
                f"Fully connected layers of {architecture.name} take {needed}x{needed} pixels: leave --size out."
            )
        if announce:
            announce(f"fully connected layers of {architecture.name} take {needed}x{needed} pixels")
        return needed
    side = asked or usual
    if side < outline.smallest_side:
        raise UsageError(
            f"{shallow_to_deep(architecture, layers)[-1]} of {architecture.name} is too deep for {side}x{side} pixels: "
            f"give --size {outline.smallest_side} or more, or a shallower layer."
        )
    return side


def shallow_to_deep(architecture: Architecture, layers: Sequence[str]) -> list[str]:
    """The full names of layers, each once, in the order of the network. Raises UsageError for unknown names."""
    wanted = {architecture.resolve(layer) for layer in layers}
    return [name for name in architecture.layer_names if name in wanted]


def check_spatial(architecture: Architecture, layers: Sequence[str], what: str) -> None:
    """Raises UsageError for layers without spatial features, such as fully connected ones; what: subject of the message."""
    outline = _outline(architecture, layers)
    for layer in layers:
        if outline.grid(layer) is None:
            raise UsageError(
                f"{what} compares features place by place, and {layer} of {architecture.name} has one code for the whole "
                "picture: give a convolution, an activation or a pooling before it."
            )


def _outline(architecture: Architecture, layers: Sequence[str]) -> "FeatureExtractor":
    """The extractor without weights."""
    import torch

    from percept_cli.core.extractors.graph import FeatureExtractor

    with torch.device("meta"):
        return FeatureExtractor(architecture, layers)


def theoretical_side(extractor: "FeatureExtractor", layer: str) -> int:
    """Side in pixels of the theoretical receptive field. Raises UsageError for layers that depend on the whole image."""
    grid = extractor.grid(layer)
    if grid is None:
        raise UsageError(
            f"{layer} of {extractor.architecture.name} sees the whole picture: give a convolution or a pooling."
        )
    return grid.side


def activation_pair(architecture: Architecture, layer: str) -> tuple[str, str]:
    """The names of the layers before and after a ReLU, of which `layer` is either.

    Raises UsageError for a layer without a ReLU, such as a pooling.
    """
    name = architecture.resolve(layer)
    for pair in activation_pairs(architecture):
        if name in pair:
            return pair
    raise UsageError(f"{name} of {architecture.name} stands on neither side of a ReLU: leave it or --before-after out.")


def activation_pairs(architecture: Architecture) -> list[tuple[str, str]]:
    """The names (before, after) of the layers around each ReLU, from shallow to deep."""
    known = architecture.layer_names
    return [
        (each.sources[0], each.name)
        for each in architecture.layers
        if each.name in known and each.sources[0] in known and getattr(each.build, "func", each.build) == ReLU
    ]
