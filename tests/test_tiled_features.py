"""Features in tiles, and the gradients of what is made of them, are those of the whole picture, in less memory."""

import pytest
import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.tiled import LARGEST_WHOLE, USUAL_TILE, TiledExtractor, tile_extractor
from percept_cli.core.losses import contextual_loss
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.pretrained.extractors import create_extractor

pytestmark = pytest.mark.numerical
TAPS = {"compact": ("relu1_1", "relu3_2", "relu4_1"), "vgg16": ("relu2_2", "relu3_1"), "alexnet": ("relu2", "conv3")}


def picture(height: int, width: int) -> Tensor:
    pixels = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return pixels.requires_grad_()


def create(name: str) -> FeatureExtractor:
    return create_extractor(name, TAPS[name], "random").double()


@pytest.mark.parametrize("name", TAPS)
@pytest.mark.parametrize(("height", "width"), [(96, 150), (131, 64)])
def test_tiles_equal_the_whole(name: str, height: int, width: int) -> None:
    """Every value of every layer, and every pixel's gradient of Gram matrices, contexts and sums, at sizes that no
    stride divides.
    """
    extractor, pixels = create(name), picture(height, width)
    draw = torch.Generator().manual_seed(1)
    results = []
    for version in (extractor, TiledExtractor(extractor, 48)):
        features = version(pixels)
        deepest = features[TAPS[name][-1]]
        target = torch.rand(deepest[..., :4, :4].shape, generator=draw.manual_seed(1), dtype=torch.float64)
        loss = contextual_loss(deepest, target) + sum(map(torch.sum, features.values())) / 1e4
        loss = loss + sum(gram_matrix(layer).square().sum() for layer in features.values())
        results.append((features, torch.autograd.grad(loss, pixels)[0]))

    (whole, wanted), (tiled, found) = results
    assert list(whole) == list(tiled)
    for layer in whole:
        torch.testing.assert_close(tiled[layer], whole[layer], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9 * wanted.abs().max().item())


def test_a_layer_that_no_loss_reads_gives_no_gradient() -> None:
    """One layer of several alone has the gradient that it has when it is the only one there."""
    extractor, pixels = create("compact"), picture(80, 80)
    together, alone = TiledExtractor(extractor, 32)(pixels), TiledExtractor(extractor, 32)(pixels, ["relu1_1"])

    assert list(alone) == ["relu1_1"]
    gradients = [torch.autograd.grad(features["relu1_1"].square().sum(), pixels)[0] for features in (together, alone)]
    torch.testing.assert_close(*gradients)


def test_only_the_tapped_layers_are_kept_for_the_gradient() -> None:
    """What autograd holds on to is the picture; the whole network's maps are a hundred times as large."""
    extractor, pixels = create("compact"), picture(96, 96)
    kept: list[list[int]] = []
    for version in (TiledExtractor(extractor, 32), extractor):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda saved, sizes=sizes: sizes.append(saved.numel()) or saved, lambda saved: saved
        ):
            version(pixels)
        kept.append(sizes)

    assert kept[0] == [pixels.numel()]
    assert sum(kept[1]) > 100 * pixels.numel()


def test_the_size_decides_unless_a_tile_is_given() -> None:
    extractor = create_extractor("compact", ["relu1_1"], "random")
    side = int(LARGEST_WHOLE**0.5)

    assert tile_extractor(extractor, "auto", side, side) is extractor
    assert tile_extractor(extractor, "off", 9000, 9000) is extractor
    assert tile_extractor(extractor, 256, 200, 256) is extractor
    large = tile_extractor(extractor, "auto", side, side + 1)
    assert isinstance(large, TiledExtractor) and large.tile == USUAL_TILE
    given = tile_extractor(extractor, 64, 60, 65)
    assert isinstance(given, TiledExtractor) and given.tile == 64


def test_a_code_of_the_whole_picture_is_never_in_tiles() -> None:
    extractor = create_extractor("squeezenet1_1", ["prob"], "random")

    assert tile_extractor(extractor, 64, 300, 300) is extractor
