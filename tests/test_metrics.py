"""Metrics: known answers, independent formulas, torchmetrics' own networks."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torchvision.models import alexnet, squeezenet1_1
from torchvision.models.vgg import cfgs, make_layers

from percept_cli.core.images.decode import load_image
from percept_cli.core.measures import pixels as metrics
from percept_cli.core.measures.features import distance_maps
from percept_cli.core.measures.learned import create_learned_metric
from percept_cli.core.measures.pixels import (
    MS_SSIM_SMALLEST_SIDE,
    absolute_map,
    crop_border,
    heat_colors,
    levels,
    luma,
    ms_ssim,
    perceptual_distance,
    perceptual_map,
    place_distances,
    psnr,
    ssim,
)
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.errors import ImageError

COLORS = {"white": (1, 1, 1), "black": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}

pytestmark = pytest.mark.numerical


def pictures(width: int, height: int) -> tuple[Tensor, Tensor]:
    """A picture and the same with noise, (1, 3, H, W) of 8-bit levels."""
    random = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 7, 7, generator=random)
    image = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    noisy = (image + torch.randn(image.shape, generator=random) * 12 / 255).clamp(0, 1)
    return (image * 255).round() / 255, (noisy * 255).round() / 255


def distance(features: Tensor, target: Tensor) -> Tensor:
    """The perceptual distance of a single layer."""
    return perceptual_distance({"layer": place_distances(features, target)})


def gaussian(plane: np.ndarray) -> np.ndarray:
    """The 11x11 window of Wang et al. 2004, where it lies within the plane."""
    return gaussian_filter(plane, sigma=1.5, truncate=3.5)[5:-5, 5:-5]


def similarity_and_contrast(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """SSIM and its contrast-structure part, written from the paper: Wang et al. 2004, eq. 13."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean, other = gaussian(first), gaussian(second)
    variance, other_variance = gaussian(first**2) - mean**2, gaussian(second**2) - other**2
    covariance = gaussian(first * second) - mean * other
    contrast = (2 * covariance + c2) / (variance + other_variance + c2)
    return float(((2 * mean * other + c1) / (mean**2 + other**2 + c1) * contrast).mean()), float(contrast.mean())


@pytest.mark.parametrize(
    ("color", "level"), [("white", 235), ("black", 16), ("red", 81.481), ("green", 144.553), ("blue", 40.966)]
)
def test_luma_is_of_studio_range(color: str, level: float) -> None:
    """White is 235 and black 16, the primaries as ITU-R BT.601 weighs them."""
    image = torch.tensor(COLORS[color], dtype=torch.float32).view(1, 3, 1, 1)
    assert luma(image).item() == pytest.approx(level, abs=1e-4)


@pytest.mark.parametrize(("offset", "decibels"), [(1, 48.1308), (5, 34.1514), (255, 0.0)])
def test_psnr_of_a_constant_offset(offset: int, decibels: float) -> None:
    """20 log10(255 / offset), each image of a batch by itself; equal images are infinitely alike."""
    images = torch.zeros(2, 3, 8, 8)
    shifted = images.clone()
    shifted[0] += offset / 255
    assert psnr(images, shifted).tolist() == [pytest.approx(decibels, abs=1e-4), float("inf")]


def test_a_16_bit_file_keeps_its_precision(tmp_path: Path) -> None:
    """Half a level apart is neither equal nor a whole level apart."""
    for name, value in (("a", 257 * 100), ("b", 257 * 100 + 128)):
        Image.fromarray(np.full((12, 12), value, dtype=np.uint16)).save(tmp_path / f"{name}.png")
    first, second = (load_image(tmp_path / f"{name}.png").pixels for name in ("a", "b"))
    assert psnr(first, second).item() == pytest.approx(20 * np.log10(255 / (128 / 257)), abs=0.01)


def test_ssim_is_that_of_the_paper() -> None:
    """1 for equal images, the formula's value for others, the mean over channels of RGB."""
    image, noisy = (picture.double() for picture in pictures(47, 38))
    assert ssim(image, image).item() == pytest.approx(1)
    expected, _ = similarity_and_contrast(luma(image)[0, 0].numpy(), luma(noisy)[0, 0].numpy())
    assert expected < 0.95
    assert ssim(image, noisy, luma).item() == pytest.approx(expected, abs=1e-9)
    of_channels = [
        similarity_and_contrast(levels(image)[0, channel].numpy(), levels(noisy)[0, channel].numpy())[0]
        for channel in range(3)
    ]
    assert ssim(image, noisy).item() == pytest.approx(np.mean(of_channels), abs=1e-9)


def test_ms_ssim_is_that_of_the_paper() -> None:
    """Contrast of four scales and SSIM of the fifth, each to its power (Wang et al. 2003, eq. 7), at the smallest size."""
    image, noisy = (picture.double() for picture in pictures(MS_SSIM_SMALLEST_SIDE, 181))
    first, second = luma(image), luma(noisy)
    expected = 1.0
    for scale, power in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        similarity, contrast = similarity_and_contrast(first[0, 0].numpy(), second[0, 0].numpy())
        expected *= (similarity if scale == 4 else contrast) ** power
        first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
    assert expected < 0.99
    assert ms_ssim(image, noisy).item() == pytest.approx(expected, abs=1e-9)
    assert ms_ssim(image, image).item() == pytest.approx(1)
    assert ms_ssim(image, 1 - image).item() == 0


def test_ms_ssim_has_no_smaller_size() -> None:
    """One pixel less, and the last scale has no room for the window."""
    image = torch.zeros(1, 3, MS_SSIM_SMALLEST_SIDE, MS_SSIM_SMALLEST_SIDE - 1)
    with pytest.raises(ValueError, match="exceeds image extent"):
        ms_ssim(image, image)


@pytest.mark.parametrize("planes", [levels, luma])
def test_bands_give_the_figures_of_the_whole(planes: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last band holds a single place of the window."""
    for height in (192, 203):
        images = pictures(MS_SSIM_SMALLEST_SIDE, height)
        both, others = torch.cat(images), torch.cat(images[::-1]) ** 1.1
        whole = [metric(both, others, planes) for metric in (psnr, ssim, ms_ssim)]
        with monkeypatch.context() as patch:
            patch.setattr(metrics, "_BAND_PIXELS", 1)
            bands = [metric(both, others, planes) for metric in (psnr, ssim, ms_ssim)]
        assert all(torch.allclose(band, figure, rtol=1e-9, atol=0) for band, figure in zip(bands, whole, strict=True))


def test_a_border_leaves_the_inside() -> None:
    """Of both directions; 0 leaves all, and one that leaves nothing is refused."""
    image = torch.arange(5 * 7.0).view(1, 1, 5, 7)
    assert crop_border(image, 2).tolist() == [[[[16, 17, 18]]]]
    assert torch.equal(crop_border(image, 0), image)
    with pytest.raises(ImageError, match="border of 3 pixels leaves nothing of 7x5"):
        crop_border(image, 3)


def test_perceptual_distance_is_an_angle() -> None:
    """0 for equal features of any strength, 2 for features at right angles, 4 for opposite ones; a mean over layers."""
    right, up = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 3.0]).view(1, 2, 1, 1)
    assert distance(right, 5 * right).item() == 0
    assert distance(right, up).item() == 2
    layers = {"a": place_distances(right, -right), "b": place_distances(right, up)}
    assert perceptual_distance(layers).item() == 3


def test_perceptual_distance_takes_every_kind_of_layer() -> None:
    """Places of a convolution are averaged; a fully connected layer has a single one."""
    features = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    target = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(1))
    expected = sum(distance(features[:, :, y, x], target[:, :, y, x]) for y in range(4) for x in range(3))
    assert torch.allclose(distance(features, target), expected / 12)


@pytest.mark.parametrize(
    ("name", "layers", "tile"),
    [
        ("compact", ["relu1_2", "relu2_2", "relu3_4"], 28),
        ("compact", ["conv1_1", "pool2", "relu4_1"], 32),
        ("alexnet", ["relu1"], 16),
        ("alexnet", ["conv1", "pool2", "relu5"], 48),
        ("squeezenet1_0", ["relu1", "fire4_expand", "pool8"], 32),
        ("squeezenet1_1", ["fire4_expand3x3", "fire9"], 64),
    ],
)
def test_tiles_give_the_distances_of_the_whole(name: str, layers: list[str], tile: int) -> None:
    """At every place, whatever a layer's stride, padding and rounding."""
    extractor = create_extractor(name, layers, "random")
    for height, width in ((119, 98), (64, 131)):
        image, noisy = pictures(width, height)
        features, wanted = extractor(image), extractor(noisy)
        whole = {layer: place_distances(features[layer], wanted[layer]) for layer in layers}
        tiles = distance_maps(extractor, image, noisy, tile=tile)
        for layer in layers:
            assert whole[layer].max() > 1e-3
            assert tiles[layer].shape == whole[layer].shape
            assert torch.allclose(tiles[layer], whole[layer], rtol=1e-4, atol=1e-6)
        assert torch.allclose(perceptual_distance(tiles), perceptual_distance(whole), rtol=1e-5, atol=0)


def test_a_layer_that_sees_all_of_the_picture_is_not_tiled() -> None:
    """Pooling to a fixed size has another meaning in a tile."""
    extractor = create_extractor("alexnet", ["relu1", "avgpool"], "random")
    image, noisy = pictures(140, 117)
    features, wanted = extractor(image), extractor(noisy)
    maps = distance_maps(extractor, image, noisy, tile=48)
    assert all(torch.equal(maps[layer], place_distances(features[layer], wanted[layer])) for layer in features)


def test_difference_maps_point_at_the_difference() -> None:
    """Brightest where one square was changed, dark far from it; of the images' own size."""
    image, _ = pictures(67, 52)
    changed = image.clone()
    changed[..., 10:18, 40:48] = 1 - changed[..., 10:18, 40:48]
    extractor = create_extractor("compact", ["relu1_2", "relu2_2"])
    for differences in (
        absolute_map(image, changed),
        perceptual_map(distance_maps(extractor, image, changed), 52, 67),
    ):
        assert differences.shape == (1, 1, 52, 67)
        y, x = divmod(differences.argmax().item(), 67)
        assert 8 <= y < 20 and 38 <= x < 50
        assert differences[..., 35:, :20].max() < 0.01 * differences.max()


def test_heat_goes_from_black_over_red_and_yellow_to_white() -> None:
    """At thirds of its range."""
    heat = heat_colors(torch.tensor([0, 1 / 3, 2 / 3, 1]).view(1, 1, 1, 4))
    assert torch.allclose(heat[0, :, 0].T, torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).float())


# LPIPS and DISTS, on untrained networks: no weights are downloaded here


def save_untrained(name: str, folder: Path) -> Path:
    """The state dict of an untrained network in torchvision's keys."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if name == "vgg16":
            state = {f"features.{key}": value for key, value in make_layers(cfgs["D"]).state_dict().items()}
        else:
            state = {"alexnet": alexnet, "squeezenet1_1": squeezenet1_1}[name](weights=None).state_dict()
    path = folder / f"{name}.pth"
    torch.save({key: value for key, value in state.items() if key.startswith("features")}, path)
    return path


@pytest.mark.parametrize(
    ("name", "backbone", "net", "smallest"),
    [("lpips", "alexnet", "alex", 31), ("lpips_vgg", "vgg16", "vgg", 16), ("lpips_squeeze", "squeezenet1_1", "squeeze", 17)],
)  # fmt: skip
def test_lpips_is_that_of_torchmetrics(
    name: str, backbone: str, net: str, smallest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same figure as torchmetrics' network on the same features, 0 for equal images, and no smaller size."""
    from torchmetrics.functional.image import lpips

    weights = save_untrained(backbone, tmp_path)
    features = {"alexnet": alexnet, "squeezenet1_1": squeezenet1_1}.get(backbone)
    network = make_layers(cfgs["D"]) if features is None else features(weights=None).features
    network.load_state_dict({key.removeprefix("features."): value for key, value in torch.load(weights).items()})
    monkeypatch.setattr(lpips, "_get_tv_model_features", lambda *_: network)
    reference = lpips._LPIPS(net=net)

    metric = create_learned_metric(name, weights)
    image, noisy = pictures(smallest + 20, smallest)
    expected = reference(image, noisy, normalize=True).item()
    assert expected > 1e-3
    assert metric(image, noisy).item() == pytest.approx(expected, rel=1e-3)
    assert metric(image, image).item() == 0
    assert metric.smallest_side == smallest
    with pytest.raises(RuntimeError):
        reference(image[..., 1:, :], noisy[..., 1:, :], normalize=True)


def test_dists_is_that_of_torchmetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figure as torchmetrics' network on the same features, for each image of a batch; 0 for equal images."""
    from torchmetrics.functional.image import dists

    weights = save_untrained("vgg16", tmp_path)
    features = make_layers(cfgs["D"])
    features.load_state_dict({key.removeprefix("features."): value for key, value in torch.load(weights).items()})
    monkeypatch.setattr(dists, "vgg16", lambda **_: SimpleNamespace(features=features))
    reference = dists.DISTSNetwork()

    metric = create_learned_metric("dists", weights)
    image, noisy = pictures(45, 38)
    both, others = torch.cat((image, noisy)), torch.cat((noisy, image.flip(-1)))
    expected = reference(both, others)
    assert expected.min() > 1e-3
    assert torch.allclose(metric(both, others), expected, atol=1e-5)
    assert metric(image, image).item() == pytest.approx(0, abs=1e-6)
