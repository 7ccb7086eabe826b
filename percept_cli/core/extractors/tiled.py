"""Features of a large image and their gradient, computed tile by tile in the memory of one tile.

A network keeps all its maps for the gradient: for four megapixels they are gigabytes. Here only the tapped features are
kept, and the maps of each tile are computed again for its gradient. Each tile is run with as many pixels around it as its
features need to equal those of the whole image.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from percept_cli.core.extractors.graph import FeatureExtractor, Grid
from percept_cli.core.images.tiles import AUTO, OFF, Region, plan_tiles

USUAL_TILE = 512  # pixels
LARGEST_WHOLE = 1 << 20  # pixels; `auto` takes tiles for larger images

Slices = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class FeatureTile:
    """A tile of an image and its units that are kept, by layer.

    source: the pixels that are the network's input. units: rows and columns in the tile's features. places: the same in
    the features of the whole image.
    """

    source: Region
    units: dict[str, Slices]
    places: dict[str, Slices]


def plan_feature_tiles(
    extractor: FeatureExtractor, layers: Sequence[str], size: Sequence[int], tile: int
) -> list[FeatureTile]:
    """Tiles of at most `tile` pixels a side, row by row, whose kept features together are those of the image.

    size: (height, width) of the image. It is the only tile if a layer depends on all of it, as fully connected ones do.
    """
    height, width = size
    found = {layer: extractor.grid(layer) for layer in layers}
    grids = {layer: grid for layer, grid in found.items() if grid is not None}
    if len(grids) < len(found):
        grids, tile = dict.fromkeys(layers, Grid()), max(height, width)
    halo = max(max(grid.before, grid.after) for grid in grids.values())
    multiple = math.lcm(*(grid.stride for grid in grids.values()))
    planned = []
    for each in plan_tiles(height, width, tile, halo, multiple=multiple):
        inside = each.target.within(each.source)
        # A layer may have more units than the side of the image over its stride: the last tiles keep them.
        ends = each.target.bottom == height, each.target.right == width
        units, places = (
            {layer: _units(region, grid, ends) for layer, grid in grids.items()} for region in (inside, each.target)
        )
        planned.append(FeatureTile(each.source, units, places))
    return planned


def _units(region: Region, grid: Grid, ends: tuple[bool, bool]) -> Slices:
    """The units of a layer in a region of pixels; ends: whether it reaches the bottom and the right of the image."""
    bottom = None if ends[0] else region.bottom // grid.stride
    right = None if ends[1] else region.right // grid.stride
    return slice(region.top // grid.stride, bottom), slice(region.left // grid.stride, right)


class MapBuilder:
    """Assembles maps (N, C, h, w) by layer from parts, of which that of the last tile comes first."""

    def __init__(self) -> None:
        self.maps: dict[str, Tensor] = {}

    def add(self, layer: str, places: Slices, part: Tensor) -> None:
        """Writes a part at its places; the end of the first part is the end of the map."""
        if layer not in self.maps:
            size = places[0].start + part.shape[2], places[1].start + part.shape[3]
            self.maps[layer] = part.new_empty((*part.shape[:2], *size)).to(memory_format=torch.channels_last)
        self.maps[layer][(..., *places)] = part


class TiledExtractor(nn.Module):
    """An extractor that runs tile by tile, with the features and first-order gradients of the whole image.

    tile: side of a tile in pixels, without its margin; smaller images are not divided. Called like `FeatureExtractor`.
    """

    def __init__(self, extractor: FeatureExtractor, tile: int = USUAL_TILE):
        super().__init__()
        self.extractor, self.tile = extractor, tile
        self.layers, self.architecture = extractor.layers, extractor.architecture
        self.smallest_side = extractor.smallest_side

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The features of the given layers, or of all tapped ones, of images (N, 3, H, W) in [0, 1]."""
        asked = self.layers if layers is None else tuple(layers)
        if max(images.shape[-2:]) <= self.tile:
            return self.extractor(images, asked)
        names = tuple(self.extractor.architecture.resolve(name) for name in asked)
        return dict(zip(asked, _TiledFeatures.apply(images, self.extractor, names, self.tile), strict=True))


AnyExtractor = FeatureExtractor | TiledExtractor


def tile_extractor(extractor: FeatureExtractor, tile: int | str, height: int, width: int) -> AnyExtractor:
    """The extractor for images of height x width pixels, tiled if they need it.

    tile: side of tiles in pixels, `off`, or `auto`: tiles for more than a megapixel. Never tiled with a layer that
    depends on all of an image, as fully connected ones do.
    """
    if tile == AUTO:
        tile = USUAL_TILE if height * width > LARGEST_WHOLE else OFF
    untiled = isinstance(tile, str) or tile >= max(height, width)
    if untiled or any(extractor.grid(layer) is None for layer in extractor.layers):
        return extractor
    return TiledExtractor(extractor, int(tile))


class _TiledFeatures(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, images: Tensor, extractor: FeatureExtractor, names: tuple[str, ...], tile: int
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(images)
        ctx.arguments = extractor, names, tile
        ctx.set_materialize_grads(False)
        built = MapBuilder()
        for planned in reversed(plan_feature_tiles(extractor, names, images.shape[-2:], tile)):
            features = extractor(images[(..., *planned.source.slices)], names)
            for name in names:
                built.add(name, planned.places[name], features[name][(..., *planned.units[name])])
        return tuple(built.maps[name] for name in names)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (images,) = ctx.saved_tensors
        extractor, names, tile = ctx.arguments
        given = {name: gradient for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
        total = torch.zeros_like(images)
        for planned in plan_feature_tiles(extractor, names, images.shape[-2:], tile) if given else ():
            source = (..., *planned.source.slices)
            with torch.enable_grad():
                pixels = images[source].detach().requires_grad_()
                features = extractor(pixels, given)
                parts = [features[name][(..., *planned.units[name])] for name in given]
            shares = [gradient[(..., *planned.places[name])] for name, gradient in given.items()]
            total[source] += torch.autograd.grad(parts, pixels, shares)[0]
        return total, None, None, None
