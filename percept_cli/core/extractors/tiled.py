"""Features of a large picture, and the gradient of whatever is made of them, in the memory of one tile.

A network keeps every map that it passes through for its gradient: of four megapixels they are gigabytes. Here only the
tapped layers are kept. The gradient that a loss gives for them is carried down to the pixels tile by tile, each run
anew with so much around it that its features, and what becomes of them, are the whole picture's.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.geometry import Reach, layer_grids
from percept_cli.core.images.tiles import AUTO, OFF, Region, Tile, plan_tiles

USUAL_TILE = 512  # pixels
LARGEST_WHOLE = 1 << 20  # pixels; beyond, `auto` takes tiles


class TiledExtractor(nn.Module):
    """An extractor whose features are made, and give their gradients, tile by tile; they are those of the whole picture.

    tile: the side in pixels of what is kept of a tile; smaller pictures are seen whole. Called as the extractor is.
    Gradients of the second order are not to be had.
    """

    def __init__(self, extractor: FeatureExtractor, tile: int = USUAL_TILE):
        super().__init__()
        self.extractor, self.tile = extractor, tile
        self.layers, self.architecture = extractor.layers, extractor.architecture

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The features of the layers, or of all that are tapped, of images (N, 3, H, W) in [0, 1]."""
        asked = self.layers if layers is None else tuple(layers)
        if max(images.shape[-2:]) <= self.tile:
            return self.extractor(images, asked)
        names = tuple(self.extractor.architecture.resolve(name) for name in asked)
        return dict(zip(asked, _TiledFeatures.apply(images, self.extractor, names, self.tile), strict=True))


AnyExtractor = FeatureExtractor | TiledExtractor


def tile_extractor(extractor: FeatureExtractor, tile: int | str, height: int, width: int) -> AnyExtractor:
    """An extractor for pictures of that size: in tiles of so many pixels, `off`, or by their number (`auto`).

    Fully connected layers see all of a picture: with one of them it is never in tiles.
    """
    if tile == AUTO:
        tile = USUAL_TILE if height * width > LARGEST_WHOLE else OFF
    if isinstance(tile, str) or tile >= max(height, width) or layer_grids(extractor) is None:
        return extractor
    return TiledExtractor(extractor, tile)


class _TiledFeatures(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, images: Tensor, extractor: FeatureExtractor, names: tuple[str, ...], tile: int
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(images)
        ctx.arguments = extractor, names, tile
        ctx.set_materialize_grads(False)
        maps: dict[str, Tensor] = {}
        # From the last tile on, whose end is that of the maps.
        for planned, places in reversed(list(_tiles(images, extractor, names, tile))):
            features = extractor(images[(..., *planned.source.slices)], names)
            for name in names:
                inside, target = places[name]
                part = features[name][(..., *inside)]
                if name not in maps:
                    size = target[0].start + part.shape[2], target[1].start + part.shape[3]
                    maps[name] = part.new_empty((*part.shape[:2], *size)).to(memory_format=torch.channels_last)
                maps[name][(..., *target)] = part
        return tuple(maps[name] for name in names)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (images,) = ctx.saved_tensors
        extractor, names, tile = ctx.arguments
        given = {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
        total = torch.zeros_like(images)
        for planned, places in _tiles(images, extractor, names, tile) if given else ():
            source = (..., *planned.source.slices)
            with torch.enable_grad():
                pixels = images[source].detach().requires_grad_()
                features = extractor(pixels, given)
                parts = [features[name][(..., *places[name][0])] for name in given]
            shares = [gradient[(..., *places[name][1])] for name, gradient in given.items()]
            total[source] += torch.autograd.grad(parts, pixels, shares)[0]
        return total, None, None, None


Places = tuple[slice, slice]


def _tiles(
    images: Tensor, extractor: FeatureExtractor, names: tuple[str, ...], tile: int
) -> Iterator[tuple[Tile, dict[str, tuple[Places, Places]]]]:
    """Each tile with the places of every layer that are kept of it: among its own and among those of the whole map."""
    height, width = images.shape[-2:]
    every = layer_grids(extractor)
    assert every is not None
    grids = {name: every[name] for name in names}
    halo = max(max(grid.before, grid.after) for grid in grids.values())
    multiple = math.lcm(*(grid.stride for grid in grids.values()))
    for planned in plan_tiles(height, width, tile, halo, multiple=multiple):
        inside = planned.target.within(planned.source)
        ends = planned.target.bottom == height, planned.target.right == width
        yield (
            planned,
            {name: (_places(inside, grid, ends), _places(planned.target, grid, ends)) for name, grid in grids.items()},
        )


def _places(region: Region, grid: Reach, ends: tuple[bool, bool]) -> Places:
    """The places of a layer in a region of pixels, up to the layer's end where the tile ends with the picture."""
    bottom = None if ends[0] else region.bottom // grid.stride
    right = None if ends[1] else region.right // grid.stride
    return slice(region.top // grid.stride, bottom), slice(region.left // grid.stride, right)
