"""The distance of two pictures' features at every place, tile by tile: a fraction of the memory, the same distances."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.geometry import Reach, layer_grids
from percept_cli.core.images.tiles import Region, plan_tiles
from percept_cli.core.measures.pixels import place_distances

# Measured on a processor, of 192 to 768 the fastest: larger tiles see fewer pixels twice, but the memory of their
# features is no longer used again, it is had anew and cleared for each.
TILE = 320


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
        grids, tile = dict.fromkeys(extractor.layers, Reach()), max(height, width)
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
