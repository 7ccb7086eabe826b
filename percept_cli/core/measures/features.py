"""Distances of the features of two pictures at each place, computed in tiles to save memory."""

from collections.abc import Callable, Mapping

from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.tiled import FeatureTile, MapBuilder, plan_feature_tiles
from percept_cli.core.measures.pixels import place_distances

# The fastest of 192 to 768 on a processor. Larger tiles overlap less, but the memory of their features is allocated and
# cleared anew for each tile instead of being reused.
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
    """`place_distances` of each tapped layer of two pictures (N, 3, H, W): `{layer: (N, 1, h, w)}`, on the processor.

    Tiles of at most `tile` pixels a side get as many pixels around them as their features depend on, so that these are
    those of the whole picture. Where a layer depends on all pixels, as `prob` does, the picture is one tile.
    weights: of the channels, by layer. place: moves a tile to the device.
    """
    built = MapBuilder()

    def add(planned: FeatureTile) -> None:
        # A function, so that the memory of the features is free before the next tile.
        features, wanted = (extractor(place(pixels[(..., *planned.source.slices)])) for pixels in (images, target))
        for layer in extractor.layers:
            distances = place_distances(features[layer], wanted[layer], None if weights is None else weights[layer])
            built.add(layer, planned.places[layer], distances[(..., *planned.units[layer])].cpu())

    for planned in reversed(plan_feature_tiles(extractor, extractor.layers, images.shape[-2:], tile)):
        add(planned)
    return {layer: built.maps[layer] for layer in extractor.layers}
