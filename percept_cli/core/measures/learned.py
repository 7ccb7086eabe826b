"""LPIPS and DISTS: distances of features with weights that were learned from human judgments.

The weights are those in torchmetrics. The networks are torchvision's, from percept's own cache.
"""

from dataclasses import replace
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.choices import BACKBONES
from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.extractors.vgg import CHANNELS
from percept_cli.core.measures.features import distance_maps
from percept_cli.core.pretrained.files import load_weights

VGG_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
# metric: (torchmetrics' name of its weights, layers)
_LPIPS = {
    "lpips": ("alex", ("relu1", "relu2", "relu3", "relu4", "relu5")),
    "lpips_vgg": ("vgg", VGG_LAYERS),
    "lpips_squeeze": ("squeeze", ("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9")),
}


class LearnedMetric(nn.Module):
    """A distance (N,) of images (N, 3, H, W) RGB in [0, 1], 0 for equal images. Sides have at least `smallest_side` pixels."""

    def __init__(self, extractor: FeatureExtractor):
        super().__init__()
        self.extractor = extractor
        self.smallest_side = extractor.smallest_side


class Lpips(LearnedMetric):
    """LPIPS 0.1, linear (Zhang et al. 2018, eq. 1)."""

    def __init__(self, name: str, weights: Path):
        file, layers = _LPIPS[name]
        extractor = FeatureExtractor(create_architecture(BACKBONES[name]), layers)
        extractor.load_weights(load_weights(weights), str(weights))
        super().__init__(extractor)
        learned = load_weights(_torchmetrics_file(f"lpips_models/{file}.pth"))
        for number, layer in enumerate(layers):
            self.register_buffer(layer, learned[f"lin{number}.model.1.weight"])

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        weights = {layer: self.get_buffer(layer) for layer in self.extractor.layers}
        distances = distance_maps(self.extractor, images, target, weights)
        return torch.stack([places.mean(dim=(1, 2, 3)) for places in distances.values()]).sum(dim=0)


class Dists(LearnedMetric):
    """DISTS (Ding et al. 2020): structure and texture similarity of the image itself and of five layers of VGG-16.

    It compares variances over the whole image, so all features are in memory at once: gigabytes for a photograph.
    """

    alpha: Tensor
    beta: Tensor

    STABILITY = 1e-6  # keeps both ratios finite where features are constant

    def __init__(self, weights: Path):
        plain = create_architecture("vgg16")
        pools = {f"pool{block}": channels for block, channels in enumerate(CHANNELS, start=1)}
        layers = tuple(
            replace(layer, build=partial(L2Pool, pools[layer.name])) if layer.name in pools else layer
            for layer in plain.layers
        )
        extractor = FeatureExtractor(replace(plain, layers=layers), VGG_LAYERS)
        extractor.load_weights(load_weights(weights), str(weights))
        super().__init__(extractor)
        learned = load_weights(_torchmetrics_file("dists_models/weights.pt"))
        total = learned["alpha"].sum() + learned["beta"].sum()
        self.register_buffer("alpha", learned["alpha"].detach() / total)
        self.register_buffer("beta", learned["beta"].detach() / total)

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        features = [images, *self.extractor(images).values()]
        wanted = [target, *self.extractor(target).values()]
        channels = [layer.shape[1] for layer in features]
        similarity = images.new_zeros(len(images))
        for first, second, alpha, beta in zip(
            features, wanted, self.alpha.split(channels, dim=1), self.beta.split(channels, dim=1), strict=True
        ):
            first_mean, second_mean = first.mean((2, 3), keepdim=True), second.mean((2, 3), keepdim=True)
            variances = (first - first_mean).square() + (second - second_mean).square()
            covariance = ((first - first_mean) * (second - second_mean)).mean((2, 3), keepdim=True)
            texture = (2 * first_mean * second_mean + self.STABILITY) / (
                first_mean.square() + second_mean.square() + self.STABILITY
            )
            structure = (2 * covariance + self.STABILITY) / (variances.mean((2, 3), keepdim=True) + self.STABILITY)
            similarity = similarity + (alpha * texture + beta * structure).sum(dim=(1, 2, 3))
        return 1 - similarity


class L2Pool(nn.Module):
    """Pooling to half the size: root of Hann-weighted squares (Ding et al. 2020), with less aliasing than maxima."""

    window: Tensor

    def __init__(self, channels: int):
        super().__init__()
        taps = torch.tensor(np.hanning(5)[1:-1], dtype=torch.float32)
        window = torch.outer(taps, taps)
        self.register_buffer("window", (window / window.sum()).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        squares = F.conv2d(features.square(), self.window, stride=2, padding=1, groups=features.shape[1])
        return (squares + 1e-12).sqrt()


def create_learned_metric(name: str, weights: Path) -> LearnedMetric:
    """The metric of that name, one of `BACKBONES`, on torchvision's weights of its network. Raises ModelError."""
    return Dists(weights) if name == "dists" else Lpips(name, weights)


def _torchmetrics_file(name: str) -> Path:
    # Without importing torchmetrics, which takes seconds.
    return Path(str(distribution("torchmetrics").locate_file(f"torchmetrics/functional/image/{name}")))
