"""The terms of a perceptual loss: a loss function with the layers that it reads. They return named, unweighted parts."""

import weakref
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core import choices
from percept_cli.core.choices import PIXEL_DISTANCES
from percept_cli.core.images.resize import resize_bicubic
from percept_cli.core.losses.contextual import contextual_loss
from percept_cli.core.losses.functional import (
    at_least_float32,
    feature_cosine_loss,
    feature_l1_loss,
    feature_reconstruction_loss,
    gram_matrix,
    low_frequency_loss,
    mean_one_gram_loss,
    patch_grams,
    pixel_loss,
    style_reconstruction_loss,
    total_variation,
    typical_deviation,
    typical_gram_distance,
    typical_square,
)
from percept_cli.core.processes import mean_over_processes
from percept_cli.errors import UsageError

Features = Mapping[str, Tensor]
Parts = dict[str, Tensor]
LayerLoss = Callable[[Tensor, Tensor], Tensor]  # of the features of images and of a target, or of their statistics


class Term(nn.Module):
    """A part of a perceptual loss, which reads `layers` of the images and `target_layers` of the compared images.

    Called with images (N, 3, H, W) and their features, and with the compared images and theirs; returns its parts by
    name, `{layer: scalar}` or `{"": scalar}`. shrinking: how many times smaller both images and their features are than
    those of the loss; only whole pixels are left.
    """

    layers: tuple[str, ...] = ()
    target_layers: tuple[str, ...] = ()
    shrinking: int = 1


class LayerTerm(Term):
    """A loss between the features of images and of the compared images, weighted over layers.

    layers: `{layer name: weight}`. loss: a scalar function of two statistics. statistic: a function of features
    (N, C, h, w) and their stride in image pixels; None compares the features themselves. scale: a function of the
    target's statistic that divides the loss; None leaves it raw.
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
        self.loss, self.statistic = loss, statistic
        self.scales = {layer: remember_last(scale) for layer in layers} if scale else {}

    def forward(self, images: Tensor, features: Features, target_images: Tensor, targets: Features) -> Parts:
        parts = {}
        for layer, weight in self.weights.items():
            made, target = features[layer], targets[layer]
            if self.statistic is not None:
                stride = round(images.shape[-1] / made.shape[-1])
                made, target = self.statistic(made, stride), self.statistic(target, stride)
            parts[layer] = weight * self.loss(made, target)
            if layer in self.scales:
                parts[layer] = parts[layer] / mean_over_processes(self.scales[layer](target)).clamp_min(1e-20)
        return parts


def remember_last(measure: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same function, which measures a tensor once for as long as it gets the same one, unchanged.

    For loops whose target is fixed: its features at full size are large.
    """
    last: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def remembered(target: Tensor) -> Tensor:
        nonlocal last
        if target.requires_grad or target.is_inference():
            return measure(target)
        if last is None or last[0]() is not target or last[1] != target._version:
            last = weakref.ref(target), target._version, measure(target)
        return last[2]

    return remembered


def _direction_scale(target: Tensor) -> Tensor:
    """The `feature_cosine_loss` of an unrelated picture."""
    # Summed over channels, as the distance is; at least 1e-3, since it is 0 for a target of one color.
    return (typical_square(F.normalize(at_least_float32(target), dim=1)) * target.shape[1]).clamp_min(1e-3)


# Of each distance of features: its loss, and the loss of an unrelated picture
_DISTANCES: tuple[tuple[LayerLoss, Callable[[Tensor], Tensor]], ...] = (
    (feature_reconstruction_loss, lambda target: typical_square(target).clamp_min(1e-12)),
    (feature_l1_loss, lambda target: typical_deviation(target).clamp_min(1e-12)),
    (feature_cosine_loss, _direction_scale),
)
FEATURE_DISTANCES = dict(zip(choices.FEATURE_DISTANCES, _DISTANCES, strict=True))


class FeatureTerm(LayerTerm):
    """Feature reconstruction against the compared images, at one layer (Johnson) or weighted over several (pix2pixHD).

    layers: `{layer name: weight}`; a `conv` layer is compared before its activation, a `relu` layer after. distance:
    `mse`, `l1` or `cosine`, which compares directions, so that weak features weigh as much as strong ones. typical:
    divides each layer by the loss of an unrelated picture, so that 1.0 means "as different as another picture" with every
    extractor; without it the loss is raw, as in the papers. mean_one: instead divides the features by the mean of the
    target's (Sajjadi et al. 2017, section 5.3); only for `mse`. Raises UsageError for an unknown distance.
    """

    def __init__(
        self, layers: Mapping[str, float], distance: str = "mse", typical: bool = True, mean_one: bool = False
    ):
        if distance not in FEATURE_DISTANCES:
            raise UsageError(f"Unknown distance '{distance}'. Known: {', '.join(FEATURE_DISTANCES)}.")
        loss, scale = FEATURE_DISTANCES[distance]
        if mean_one and not typical:
            super().__init__(layers, loss, scale=lambda target: at_least_float32(target).mean().square())
        else:
            super().__init__(layers, loss, scale=scale if typical else None)


class ContextualTerm(LayerTerm):
    """Contextual loss against the compared images (Mechrez et al. 2018): the same features, at any places.

    layers: `{layer name: weight}`. It is always raw, since it does not depend on the scale of features: that of an
    unrelated picture is 1 to 3.
    """

    def __init__(self, layers: Mapping[str, float], bandwidth: float):
        super().__init__(layers, partial(contextual_loss, bandwidth=bandwidth))


class GramTerm(LayerTerm):
    """Gram style reconstruction against the compared images, each its own style (Johnson et al. 2016, eq. 4).

    layers: `{layer name: weight}`. typical: divides each layer by the squared norm of the target's Gram matrix, so that
    features of 0 give 1.0 with every extractor; without it the loss is raw.
    """

    def __init__(self, layers: Mapping[str, float], typical: bool = True):
        super().__init__(
            layers,
            style_reconstruction_loss,
            lambda features, stride: gram_matrix(features),
            (lambda grams: grams.square().sum(dim=(1, 2)).mean()) if typical else None,
        )


class TextureTerm(LayerTerm):
    """The texture of patches against the compared images (Sajjadi et al. 2017, EnhanceNet).

    layers: `{layer name: weight}`. patch: its side in pixels of the image; at a layer it is divided by the layer's stride,
    and at least 1. typical: divides each layer by the distance of two patches of the compared images, so that 1.0 means
    "as different as the texture of another place" with every extractor; without it the loss is the paper's,
    `mean_one_gram_loss`, with patches of feature pixels. Raises UsageError for a patch below 1.
    """

    def __init__(self, layers: Mapping[str, float], patch: int = 16, typical: bool = True):
        if patch < 1:
            raise UsageError(f"A texture patch of {patch} pixels: give 1 or more.")
        if typical:
            super().__init__(
                layers,
                style_reconstruction_loss,
                lambda features, stride: patch_grams(features, max(1, patch // stride)),
                _texture_scale,
            )
        else:
            super().__init__(layers, partial(mean_one_gram_loss, patch=patch))


def _texture_scale(grams: Tensor) -> Tensor:
    grams = grams.detach()
    # The distance is 0 if all patches are equal or there is only one.
    return torch.maximum(typical_gram_distance(grams), 1e-3 * grams.square().sum(dim=(1, 2)).mean())


class TotalVariationTerm(Term):
    """The total variation of the images (see `total_variation`).

    typical: divides it by that of the compared images, so that 1.0 means "as rough as the photograph".
    """

    def __init__(self, exponent: float = 2.0, typical: bool = True):
        super().__init__()
        self.exponent, self.typical = exponent, typical

    def forward(self, images: Tensor, features: Features, target_images: Tensor, targets: Features) -> Parts:
        variation = total_variation(images, self.exponent)
        if self.typical:
            usual = mean_over_processes(total_variation(target_images, self.exponent))
            variation = variation / usual.clamp_min(1e-6)
        return {"": variation}


class PixelTerm(Term):
    """The difference of pixels, always raw; distance: `mse`, `l1` or `charbonnier`. Raises UsageError for others."""

    def __init__(self, distance: str = "mse"):
        super().__init__()
        if distance not in PIXEL_DISTANCES:
            raise UsageError(f"Unknown distance '{distance}'. Known: {', '.join(PIXEL_DISTANCES)}.")
        self.distance = distance

    def forward(self, images: Tensor, features: Features, target_images: Tensor, targets: Features) -> Parts:
        return {"": pixel_loss(images, target_images, self.distance)}


class LowFrequencyTerm(Term):
    """The squared difference of blurred images (see `low_frequency_loss`), always raw."""

    def forward(self, images: Tensor, features: Features, target_images: Tensor, targets: Features) -> Parts:
        return {"": low_frequency_loss(images, target_images)}


class ConsistencyTerm(Term):
    """The absolute difference of images and compared images that were shrunk `scale` times, as the network's input was.

    To whole pixels: what is left of a side that `scale` does not divide counts too.
    """

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale

    def forward(self, images: Tensor, features: Features, target_images: Tensor, targets: Features) -> Parts:
        height, width = images.shape[-2] // self.scale, images.shape[-1] // self.scale
        difference = resize_bicubic(at_least_float32(images) - target_images, height, width)
        return {"": difference.abs().mean()}


class FourierTerm(Term):
    """The absolute difference of the spectra of images and compared images, mean over frequencies, channels and images.

    Of the orthonormal transform, so that noise has the size that it has in pixels, and a pattern of one frequency the root
    of the number of pixels times it (Cho et al. 2021, "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", whose
    transform is not normalized).
    """

    def forward(self, images: Tensor, features: Features, target_images: Tensor, targets: Features) -> Parts:
        spectrum = torch.fft.rfft2(at_least_float32(images) - target_images, norm="ortho")
        return {"": torch.view_as_real(spectrum).abs().mean()}
