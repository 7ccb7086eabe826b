"""The distance of two pictures' features at every place, tile by tile: a fraction of the memory, the same distances."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.graph import IMAGE, Concatenate
from percept_cli.core.metrics import place_distances
from percept_cli.core.tiling import Region, plan_tiles

# Measured on a processor, of 192 to 768 the fastest: larger tiles see fewer pixels twice, but the memory of their
# features is no longer used again, it is had anew and cleared for each.
TILE = 320


@dataclass(frozen=True)
class Grid:
    """Where the places of a layer lie in the image: place j is that of the `stride` pixels from `j * stride` on.

    What it sees begins `before` pixels before these and ends `after` pixels behind them.
    """

    stride: int = 1
    before: int = 0
    after: int = 0


def distance_maps(
    extractor: FeatureExtractor,
    images: Tensor,
    target: Tensor,
    weights: Mapping[str, Tensor] | None = None,
    *,
    place: Callable[[Tensor], Tensor] = lambda images: images,
    tile: int = TILE,
) -> dict[str, Tensor]:
    """`place_distances` of every tapped layer of two pictures (N, 3, H, W): `{layer: (N, 1, h, w)}`, on the processor.

    Tiles of at most `tile` pixels a side are seen with so much around them that their features are the whole picture's;
    each begins where a place of every layer does. Fully connected layers and `prob` look at all of the picture: with
    one of them it is seen whole. `weights` are those of the channels, by layer; `place` takes a tile to the device.
    """
    height, width = images.shape[-2:]
    grids = layer_grids(extractor)
    if grids is None:
        grids, tile = dict.fromkeys(extractor.layers, Grid()), max(height, width)
    halo = max(max(grid.before, grid.after) for grid in grids.values())
    multiple = math.lcm(*(grid.stride for grid in grids.values()))

    def of_tile(seen: Region, kept: Region) -> dict[str, Tensor]:
        # The features are let go of on return: those of the next tile are as large.
        features, wanted = (extractor(place(pixels[(..., *seen.slices)])) for pixels in (images, target))
        inside, pieces = kept.within(seen), {}
        for layer, grid in grids.items():
            distances = place_distances(features[layer], wanted[layer], None if weights is None else weights[layer])
            # Layers are not just the image's size over their stride: the last tiles reach to a layer's end.
            bottom = None if kept.bottom == height else inside.bottom // grid.stride
            right = None if kept.right == width else inside.right // grid.stride
            rows, columns = slice(inside.top // grid.stride, bottom), slice(inside.left // grid.stride, right)
            pieces[layer] = distances[..., rows, columns].cpu()
        return pieces

    tiles = plan_tiles(height, width, tile, halo, multiple=multiple)
    strips = [
        _joined([of_tile(planned.source, planned.target) for planned in row], dim=3)
        for _, row in groupby(tiles, key=lambda planned: planned.target.top)
    ]
    return _joined(strips, dim=2)


def _joined(pieces: Sequence[Mapping[str, Tensor]], dim: int) -> dict[str, Tensor]:
    return {layer: torch.cat([piece[layer] for piece in pieces], dim) for layer in pieces[0]}


def layer_grids(extractor: FeatureExtractor) -> dict[str, Grid] | None:
    """The grid of every tapped layer; None when there is more than convolutions, maxima and ReLUs on their way."""
    grids = {IMAGE: Grid()}
    for layer in extractor.architecture.layers:
        if layer.name not in extractor.network:
            continue
        module, sources = extractor.network[layer.name], [grids[source] for source in layer.sources]
        seen = Grid(
            sources[0].stride, max(source.before for source in sources), max(source.after for source in sources)
        )
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, padding = (_first(size) for size in (module.kernel_size, module.stride, module.padding))
            seen = Grid(
                seen.stride * stride,
                seen.before + seen.stride * padding,
                seen.after + seen.stride * (kernel - stride - padding),
            )
        elif not isinstance(module, nn.ReLU | Concatenate):
            return None
        grids[layer.name] = seen
    return {layer: grids[layer] for layer in extractor.layers}


def _first(size: object) -> int:
    """Of a pair or of a single number: all of percept's networks are alike in both directions."""
    value = size[0] if isinstance(size, tuple) else size
    assert isinstance(value, int)
    return value
