"""Terms: a function of `functional` bound to layers and a target. Each returns its parts by layer, unweighted.

A term is called with the images, their features and the features of the images they are compared with, and names the
layers it wants in `layers` and, of the compared images, in `target_layers`.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.losses.contextual import contextual_loss
from percept_cli.core.losses.functional import (
    PIXEL_DISTANCES,
    feature_cosine_loss,
    feature_l1_loss,
    feature_reconstruction_loss,
    low_frequency_loss,
    pixel_loss,
    total_variation,
    typical_square,
)
from percept_cli.errors import UsageError

Features = Mapping[str, Tensor]


class Term(nn.Module):
    """What every term has: the layers it wants of the images and of the images they are compared with."""

    layers: tuple[str, ...] = ()
    target_layers: tuple[str, ...] = ()


FEATURE_DISTANCES = {"mse": feature_reconstruction_loss, "l1": feature_l1_loss, "cosine": feature_cosine_loss}
# pix2pixHD (Wang et al. 2018): the weights of VGG-19's relu1_1 to relu5_1, shallow to deep
PIX2PIXHD_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


class FeatureTerm(Term):
    """Feature reconstruction against the compared images, at one layer (Johnson) or weighted over several (pix2pixHD).

    layers: `{layer name: weight}`; a `conv` layer is compared before its activation, a `relu` layer after. distance:
    `mse`, `l1` or `cosine`, which looks at the direction of each place's features and so weighs faint places as much as
    strong ones. With `typical=True` each layer is divided by what an unrelated picture would cost there, so that 1.0
    means "as different as another picture" with every extractor; with False it is the papers' raw figure.
    """

    def __init__(self, layers: Mapping[str, float], distance: str = "mse", typical: bool = True):
        super().__init__()
        if distance not in FEATURE_DISTANCES:
            raise UsageError(f"Unknown distance '{distance}'. Known: {', '.join(FEATURE_DISTANCES)}.")
        self.weights = dict(layers)
        self.layers = self.target_layers = tuple(layers)
        self.distance, self.typical = distance, typical

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        compare = FEATURE_DISTANCES[self.distance]
        return {
            layer: weight * compare(features[layer], targets[layer]) / self._scale(targets[layer])
            for layer, weight in self.weights.items()
        }

    def _scale(self, target: Tensor) -> Tensor | float:
        """Twice the variance of the target, or root 2 times its mean absolute deviation, of what is compared."""
        if not self.typical:
            return 1.0
        if self.distance == "mse":
            return typical_square(target).clamp_min(1e-12)
        target = target.float()
        if self.distance == "cosine":
            # Summed over channels, as the distance is; of a plain target the length of its features keeps it finite.
            return (typical_square(F.normalize(target, dim=1)) * target.shape[1]).clamp_min(1e-3)
        deviation = (target - target.mean(dim=(2, 3), keepdim=True)).abs().mean()
        return (2**0.5 * deviation).clamp_min(1e-12)


class ContextualTerm(Term):
    """Contextual loss against the compared images (Mechrez et al. 2018): the same features, not in the same places.

    layers: `{layer name: weight}`. It is raw with every extractor: a contextual loss has no scale of features, 0 is the
    same and an unrelated picture costs 1 to 3.
    """

    def __init__(self, layers: Mapping[str, float], bandwidth: float):
        super().__init__()
        self.weights = dict(layers)
        self.layers = self.target_layers = tuple(layers)
        self.bandwidth = bandwidth

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        return {
            layer: weight * contextual_loss(features[layer], targets[layer], self.bandwidth)
            for layer, weight in self.weights.items()
        }


class TotalVariationTerm(Term):
    """Smoothness of the images (see `total_variation`), without a layer.

    With `typical=True` it is divided by the compared images' own, so that 1.0 means "as rough as the photograph".
    """

    def __init__(self, exponent: float = 2.0, typical: bool = True):
        super().__init__()
        self.exponent, self.typical = exponent, typical

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        variation = total_variation(images, self.exponent)
        if self.typical:
            variation = variation / total_variation(target_images, self.exponent).clamp_min(1e-6)
        return {"": variation}


class PixelTerm(Term):
    """Difference of the pixels themselves, `mse`, `l1` or `charbonnier`, raw: pixels have one scale everywhere."""

    def __init__(self, distance: str = "mse"):
        super().__init__()
        if distance not in PIXEL_DISTANCES:
            raise UsageError(f"Unknown distance '{distance}'. Known: {', '.join(PIXEL_DISTANCES)}.")
        self.distance = distance

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        return {"": pixel_loss(images, target_images, self.distance)}


class LowFrequencyTerm(Term):
    """Squared difference of blurred images (see `low_frequency_loss`), raw: colours and shapes without their detail."""

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        return {"": low_frequency_loss(images, target_images)}
