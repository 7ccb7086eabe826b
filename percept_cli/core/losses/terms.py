"""Terms of a perceptual loss: a loss function bound to the layers that it reads. They return named, unweighted parts."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.losses.contextual import contextual_loss
from percept_cli.core.losses.functional import (
    PIXEL_DISTANCES,
    at_least_float32,
    feature_cosine_loss,
    feature_l1_loss,
    feature_reconstruction_loss,
    gram_matrix,
    low_frequency_loss,
    patch_grams,
    pixel_loss,
    style_reconstruction_loss,
    total_variation,
    typical_deviation,
    typical_gram_distance,
    typical_square,
)
from percept_cli.errors import UsageError, unknown_name

Features = Mapping[str, Tensor]
LayerLoss = Callable[[Tensor, Tensor], Tensor]  # of the features of images and of a target, or of their statistics
# pix2pixHD (Wang et al. 2018): the weights of VGG-19's relu1_1 to relu5_1, shallow to deep
PIX2PIXHD_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


SCALINGS = ("typical", "paper")


def is_typical(scaling: str) -> bool:
    """Whether a `--scaling` divides terms by their usual size. Raises UsageError, with a suggestion, for an unknown one."""
    if scaling not in SCALINGS:
        raise UsageError(unknown_name("scaling", scaling, SCALINGS))
    return scaling == "typical"


class Term(nn.Module):
    """One part of a perceptual loss: `layers` it reads of the images, `target_layers` of those they are compared with."""

    layers: tuple[str, ...] = ()
    target_layers: tuple[str, ...] = ()


class LayerTerm(Term):
    """A loss between the features of images and of those they are compared with, weighted over layers.

    layers: `{layer name: weight}`. loss: of two statistics, a scalar. statistic: what is compared in place of the
    features (N, C, h, w); called with these and the image pixels that lie between two of their places. scale: of the
    target's statistic, what the loss is divided by; None leaves it raw.
    """

    def __init__(
        self,
        layers: Mapping[str, float],
        loss: LayerLoss,
        statistic: Callable[[Tensor, int], Tensor] | None = None,
        scale: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.weights = dict(layers)
        self.layers = self.target_layers = tuple(layers)
        self.loss, self.statistic, self.scale = loss, statistic, scale

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        parts = {}
        for layer, weight in self.weights.items():
            made, target = features[layer], targets[layer]
            if self.statistic is not None:
                stride = round(images.shape[-1] / made.shape[-1])
                made, target = self.statistic(made, stride), self.statistic(target, stride)
            parts[layer] = weight * self.loss(made, target)
            if self.scale is not None:
                parts[layer] = parts[layer] / self.scale(target).clamp_min(1e-20)
        return parts


def _direction_scale(target: Tensor) -> Tensor:
    """What an unrelated picture costs in `feature_cosine_loss`."""
    # Summed over channels, as the distance is; of a plain target the length of its features keeps it finite.
    return (typical_square(F.normalize(at_least_float32(target), dim=1)) * target.shape[1]).clamp_min(1e-3)


# Of each distance of features: its loss, and what an unrelated picture costs in it.
FEATURE_DISTANCES: dict[str, tuple[LayerLoss, Callable[[Tensor], Tensor]]] = {
    "mse": (feature_reconstruction_loss, lambda target: typical_square(target).clamp_min(1e-12)),
    "l1": (feature_l1_loss, lambda target: typical_deviation(target).clamp_min(1e-12)),
    "cosine": (feature_cosine_loss, _direction_scale),
}


class FeatureTerm(LayerTerm):
    """Feature reconstruction against the compared images, at one layer (Johnson) or weighted over several (pix2pixHD).

    layers: `{layer name: weight}`; a `conv` layer is compared before its activation, a `relu` layer after. distance:
    `mse`, `l1` or `cosine`, which compares the direction of each place's features and so weighs faint places as much as
    strong ones. With `typical=True` each layer is divided by what an unrelated picture would cost there, so that 1.0
    means "as different as another picture" with every extractor; with False it is the papers' raw figure. Raises
    UsageError for an unknown distance.
    """

    def __init__(self, layers: Mapping[str, float], distance: str = "mse", typical: bool = True):
        if distance not in FEATURE_DISTANCES:
            raise UsageError(f"Unknown distance '{distance}'. Known: {', '.join(FEATURE_DISTANCES)}.")
        loss, scale = FEATURE_DISTANCES[distance]
        super().__init__(layers, loss, scale=scale if typical else None)


class ContextualTerm(LayerTerm):
    """Contextual loss against the compared images (Mechrez et al. 2018): the same features, not in the same places.

    layers: `{layer name: weight}`. It is raw with every extractor: a contextual loss does not depend on the scale of
    features, 0 is the same and an unrelated picture costs 1 to 3.
    """

    def __init__(self, layers: Mapping[str, float], bandwidth: float):
        super().__init__(layers, partial(contextual_loss, bandwidth=bandwidth))


class GramTerm(LayerTerm):
    """Gram style reconstruction against the compared images, each its own style (Johnson et al. 2016, eq. 4).

    layers: `{layer name: weight}`. With `typical=True` each layer is divided by the squares of the target's own Gram
    matrix, so that features of 0 cost 1.0 with every extractor; with False it is raw.
    """

    def __init__(self, layers: Mapping[str, float], typical: bool = True):
        super().__init__(
            layers,
            style_reconstruction_loss,
            lambda features, stride: gram_matrix(features),
            (lambda grams: grams.square().sum(dim=(1, 2)).mean()) if typical else None,
        )


class TextureTerm(LayerTerm):
    """Texture of patches against those of the compared images (Sajjadi et al. 2017, EnhanceNet).

    layers: `{layer name: weight}`. patch: its side in pixels of the image, 16 in the paper; at each layer it is that
    many over the layer's stride, and at least 1. With `typical=True` each layer is divided by what a patch costs
    against another of the compared images, so that 1.0 means "as different as the texture of another place" with every
    extractor; with False it is the paper's raw figure, for features as they are. Raises UsageError for a patch below 1.
    """

    def __init__(self, layers: Mapping[str, float], patch: int = 16, typical: bool = True):
        if patch < 1:
            raise UsageError(f"A texture patch of {patch} pixels: give 1 or more.")
        super().__init__(
            layers,
            style_reconstruction_loss,
            lambda features, stride: patch_grams(features, max(1, patch // stride)),
            _texture_scale if typical else None,
        )


def _texture_scale(grams: Tensor) -> Tensor:
    grams = grams.detach()
    # Where all patches are one texture, or there is but one: a thousandth of their own size keeps the loss finite.
    return torch.maximum(typical_gram_distance(grams), 1e-3 * grams.square().sum(dim=(1, 2)).mean())


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
    """Difference of the pixels, `mse`, `l1` or `charbonnier`, raw: pixels have one scale everywhere. UsageError for others."""

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
    """Squared difference of blurred images (see `low_frequency_loss`), raw: colors and shapes without their detail."""

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        return {"": low_frequency_loss(images, target_images)}
