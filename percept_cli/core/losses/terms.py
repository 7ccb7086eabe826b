"""Terms of style: whether images have the textures of a target, wherever in them; see `terms` for what a term is."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.losses.contextual import contextual_loss
from percept_cli.core.losses.functional import (
    PIXEL_DISTANCES,
    feature_cosine_loss,
    feature_l1_loss,
    feature_reconstruction_loss,
    gram_matrix,
    low_frequency_loss,
    patch_grams,
    pixel_loss,
    style_reconstruction_loss,
    total_variation,
    typical_gram_distance,
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
    """Squared difference of blurred images (see `low_frequency_loss`), raw: colors and shapes without their detail."""

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        return {"": low_frequency_loss(images, target_images)}


class StyleTerm(Term):
    """Gram style reconstruction against fixed style images (Johnson et al. 2016, eq. 4).

    With `typical=True` each layer is divided by what untouched photographs cost there (see `calibrate`) and the layers
    are averaged, so that 1.0 means "as far from the style as a photograph" with every extractor and every style; with
    False the layers are summed raw.
    """

    def __init__(self, layers: Sequence[str], typical: bool = True):
        super().__init__()
        self.layers, self.target_layers = tuple(layers), ()
        self.typical = typical
        self.scales: dict[str, float] = {}

    @torch.no_grad()
    def set_target(self, styles: Sequence[Features], weights: Sequence[float] | None = None) -> None:
        """Takes the Gram matrices of one style, or the weighted mean of several.

        The mean has the same gradient as the weighted sum of the distances to each.
        """
        weights = list(weights or [1.0] * len(styles))
        for layer in self.layers:
            grams = [weight * gram_matrix(style[layer]) for style, weight in zip(styles, weights, strict=True)]
            # A buffer, so that it moves with the loss; layer names hold no dots.
            self.register_buffer(f"gram_{layer}", torch.stack(grams).sum(0) / sum(weights), persistent=False)

    @torch.no_grad()
    def calibrate(self, photographs: Features) -> None:
        """Measures the features of untouched photographs (N, C, h, w), whose mean distance from the style becomes 1.0."""
        for layer in self.layers:
            distance = style_reconstruction_loss(gram_matrix(photographs[layer]), self.get_buffer(f"gram_{layer}"))
            # A photograph in its own style is at no distance: a thousandth of the style's own size keeps the loss finite.
            smallest = 1e-3 * self.get_buffer(f"gram_{layer}").square().sum().item()
            self.scales[layer] = max(distance.item(), smallest, 1e-20)

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        parts = {}
        for layer in self.layers:
            part = style_reconstruction_loss(gram_matrix(features[layer]), self.get_buffer(f"gram_{layer}"))
            parts[layer] = part / (self.scales[layer] * len(self.layers)) if self.typical else part
        return parts


class GramTerm(Term):
    """Gram style reconstruction against the compared images, each its own style (Johnson et al. 2016, eq. 4).

    layers: `{layer name: weight}`. With `typical=True` each layer is divided by the squares of the target's own Gram
    matrix, so that 1.0 means "as different as nothing at all" with every extractor; with False it is raw.
    """

    def __init__(self, layers: Mapping[str, float], typical: bool = True):
        super().__init__()
        self.weights = dict(layers)
        self.layers = self.target_layers = tuple(layers)
        self.typical = typical

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        parts = {}
        for layer, weight in self.weights.items():
            target = gram_matrix(targets[layer])
            part = style_reconstruction_loss(gram_matrix(features[layer]), target)
            if self.typical:
                part = part / target.square().sum(dim=(1, 2)).mean().clamp_min(1e-20)
            parts[layer] = weight * part
        return parts


class ContextualStyleTerm(Term):
    """Contextual loss against fixed style images (Mechrez et al. 2018): like comes to look like like, place by place.

    It asks that everything in the style be found somewhere in the images, with what resembles it: sky in sky, eyes in
    eyes. bandwidth: smaller is choosier. points: so many are drawn anew each time from a layer that has more, from the
    seed; None compares all of them. With `typical=True` each layer is divided by what untouched photographs cost
    there (see `calibrate`) and the layers are averaged, as in `StyleTerm`; with False the layers are summed raw.
    """

    def __init__(
        self,
        layers: Sequence[str],
        bandwidth: float,
        typical: bool = True,
        points: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.layers, self.target_layers = tuple(layers), ()
        self.bandwidth, self.typical, self.points = bandwidth, typical, points
        self.generator = torch.Generator().manual_seed(seed)
        self.weights: list[float] = []
        self.scales: dict[str, float] = {}

    @torch.no_grad()
    def set_target(self, styles: Sequence[Features], weights: Sequence[float] | None = None) -> None:
        """Takes the features of one style, or of several, whose losses are then averaged by weight."""
        self.weights = list(weights or [1.0] * len(styles))
        for layer in self.layers:
            for number, style in enumerate(styles):
                self.register_buffer(f"style_{layer}_{number}", style[layer].clone(), persistent=False)

    @torch.no_grad()
    def calibrate(self, photographs: Features) -> None:
        """Measures the features of untouched photographs (N, C, h, w), whose mean distance from the style becomes 1.0."""
        for layer in self.layers:
            # A photograph in its own style is at no distance: the smallest scale keeps the loss finite.
            self.scales[layer] = max(self._distance(layer, photographs[layer]).item(), 1e-2)

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        parts = {layer: self._distance(layer, features[layer]) for layer in self.layers}
        if self.typical:
            parts = {layer: part / (self.scales[layer] * len(self.layers)) for layer, part in parts.items()}
        return parts

    def _styles(self, layer: str) -> list[tuple[Tensor, float]]:
        return [(self.get_buffer(f"style_{layer}_{number}"), weight) for number, weight in enumerate(self.weights)]

    def _distance(self, layer: str, features: Tensor) -> Tensor:
        losses = [
            weight * contextual_loss(features, style, self.bandwidth, points=self.points, generator=self.generator)
            for style, weight in self._styles(layer)
            if weight
        ]
        return torch.stack(losses).sum() / sum(self.weights)


class TextureTerm(Term):
    """Texture of patches against those of the compared images (Sajjadi et al. 2017, EnhanceNet).

    layers: `{layer name: weight}`. patch: its side in pixels of the image, 16 in the paper; at each layer it is that
    many over the layer's stride, and at least 1. With `typical=True` each layer is divided by what a patch costs
    against another of the compared images, so that 1.0 means "as different as the texture of another place" with every
    extractor; with False it is the paper's raw figure, for features as they are.
    """

    def __init__(self, layers: Mapping[str, float], patch: int = 16, typical: bool = True):
        super().__init__()
        if patch < 1:
            raise UsageError(f"A texture patch of {patch} pixels: give 1 or more.")
        self.weights = dict(layers)
        self.layers = self.target_layers = tuple(layers)
        self.patch, self.typical = patch, typical

    def forward(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features
    ) -> dict[str, Tensor]:
        parts = {}
        for layer, weight in self.weights.items():
            stride = round(images.shape[-1] / features[layer].shape[-1])
            side = max(1, self.patch // stride)
            target = patch_grams(targets[layer], side)
            part = style_reconstruction_loss(patch_grams(features[layer], side), target)
            parts[layer] = weight * part / self._scale(target)
        return parts

    def _scale(self, grams: Tensor) -> Tensor | float:
        if not self.typical:
            return 1.0
        grams = grams.detach()
        # Where all patches are one texture, or there is but one: a thousandth of their own size keeps the loss finite.
        smallest = 1e-3 * grams.square().sum(dim=(1, 2)).mean()
        return torch.maximum(typical_gram_distance(grams), smallest).clamp_min(1e-20)
