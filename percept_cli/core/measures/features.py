"""The distance of two pictures' features at every place, tile by tile: a fraction of the memory, the same distances."""

from collections.abc import Callable, Mapping

from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.tiled import FeatureTile, MapBuilder, plan_feature_tiles
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

    Tiles of at most `tile` pixels a side are seen with so many pixels around them that their features are the whole
    picture's. With a layer that looks at all of it, as fully connected ones and `prob` do, the picture is seen whole.
    weights: those of the channels, by layer. place: takes a tile to the device.
    """
    built = MapBuilder()

    def add(planned: FeatureTile) -> None:
        # The features are let go of on return: those of the next tile are as large.
        features, wanted = (extractor(place(pixels[(..., *planned.source.slices)])) for pixels in (images, target))
        for layer in extractor.layers:
            distances = place_distances(features[layer], wanted[layer], None if weights is None else weights[layer])
            built.add(layer, planned.places[layer], distances[(..., *planned.units[layer])].cpu())

    for planned in reversed(plan_feature_tiles(extractor, extractor.layers, images.shape[-2:], tile)):
        add(planned)
    return {layer: built.maps[layer] for layer in extractor.layers}
