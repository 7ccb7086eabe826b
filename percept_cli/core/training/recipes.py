"""Recipes: the losses that train an image-to-image network, their weights, and the schedule."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.extractors.geometry import check_spatial
from percept_cli.core.losses.scaling import is_typical
from percept_cli.core.losses.terms import (
    ConsistencyTerm,
    ContextualTerm,
    FeatureTerm,
    FourierTerm,
    GramTerm,
    LowFrequencyTerm,
    Parts,
    PixelTerm,
    Term,
    TextureTerm,
    TotalVariationTerm,
)
from percept_cli.core.losses.weighted import PerceptualLoss
from percept_cli.core.pretrained.extractors import ExtractorChoice
from percept_cli.core.training.presets import Recipe
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import UsageError

TEXTURE_PATCH = 16  # the side of EnhanceNet's patches; in which pixels, `TextureTerm` says


def loss_layers(recipe: Recipe, architecture: Architecture) -> list[str]:
    """The layers that the losses of a recipe read, empty if it compares only pixels.

    Raises UsageError for an unknown layer, and for a layer without height and width in a loss that needs them.
    """
    layers: list[str] = []
    for spatial, weight, chosen in (
        ("", recipe.feature_weight, recipe.feature_layers),
        ("A texture loss", recipe.texture_weight, recipe.texture_layers),
        ("A contextual loss", recipe.contextual_weight, recipe.contextual_layers),
        ("A Gram loss", recipe.gram_weight, recipe.gram_layers),
        ("", recipe.content_weight, recipe.content_layers),
    ):
        if weight:
            layers += chosen
            if spatial:
                check_spatial(architecture, chosen, spatial)
    return list(dict.fromkeys(layers))


def shares(layers: tuple[str, ...], weights: tuple[float, ...] = ()) -> dict[str, float]:
    """A weight for each layer, with a sum of 1; equal unless there is a weight for each layer."""
    chosen = weights if len(weights) == len(layers) else (1.0,) * len(layers)
    return {layer: weight / sum(chosen) for layer, weight in zip(layers, chosen, strict=True)}


class RecipeLoss(nn.Module):
    """The losses of a recipe, without those of a discriminator, over one pass of an extractor; see `create_loss`."""

    def __init__(self, to_target: PerceptualLoss | None, to_source: PerceptualLoss | None):
        super().__init__()
        self.to_target, self.to_source = to_target, to_source

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers at which the features of the result are compared."""
        return tuple(dict.fromkeys(layer for loss in (self.to_target, self.to_source) if loss for layer in loss.layers))

    def forward(self, result: Tensor, target: Tensor, source: Tensor) -> Parts:
        """The weighted parts, named as in the log, for images (N, 3, H, W) RGB in [0, 1]."""
        loss = self.to_target or self.to_source
        features = loss.extractor(result, self.layers) if loss and loss.extractor and self.layers else {}
        parts = self.to_target.compare(result, features, target) if self.to_target else {}
        return parts | (self.to_source.compare(result, features, source) if self.to_source else {})


def create_loss(recipe: Recipe, extractor: FeatureExtractor | None, scale: int = 1) -> RecipeLoss:
    """The losses of a recipe; extractor: tapped at its `loss_layers`, None if there are none; scale: of an upscaler.

    Raises UsageError for unknown names, and if all weights are 0, that of the adversarial loss too.
    """
    typical = is_typical(recipe.scaling)
    features = shares(recipe.feature_layers, recipe.feature_shares)
    textures, gram = shares(recipe.texture_layers, recipe.texture_shares), shares(recipe.gram_layers)
    contextual, content = shares(recipe.contextual_layers), shares(recipe.content_layers)
    to_target: dict[str, tuple[Term, float]] = {
        "pixel": (PixelTerm(recipe.pixel), recipe.pixel_weight),
        "feature": (
            FeatureTerm(features, recipe.feature_distance, typical, recipe.mean_one),
            recipe.feature_weight,
        ),
        "texture": (TextureTerm(textures, TEXTURE_PATCH, typical), recipe.texture_weight),
        "contextual": (ContextualTerm(contextual, recipe.bandwidth), recipe.contextual_weight),
        "gram": (GramTerm(gram, typical), recipe.gram_weight),
        "low_frequency": (LowFrequencyTerm(), recipe.low_frequency_weight),
        "consistency": (ConsistencyTerm(scale), recipe.consistency_weight),
        "fourier": (FourierTerm(), recipe.fourier_weight),
    }
    to_source: dict[str, tuple[Term, float]] = {
        "content": (FeatureTerm(content, typical=typical), recipe.content_weight),
        "tv": (TotalVariationTerm(typical=typical), recipe.tv_weight),
    }
    loss = RecipeLoss(_weighted(to_target, extractor), _weighted(to_source, extractor))
    if loss.to_target is None and loss.to_source is None and not recipe.adversarial_weight:
        raise UsageError(
            "All losses have a weight of 0. Give one of --pixel-weight, --feature-weight, --adversarial-weight."
        )
    return loss


def _weighted(terms: dict[str, tuple[Term, float]], extractor: FeatureExtractor | None) -> PerceptualLoss | None:
    if not any(weight for _, weight in terms.values()):
        return None
    return PerceptualLoss(terms, extractor if extractor is not None else "compact")


def run_settings(run: Run, extractor: ExtractorChoice, seed: int, used: bool = True) -> dict[str, Any]:
    """Settings that must be the same in a resumed run; used: whether features are compared at all."""
    return {
        "extractor": extractor.name if used else "",
        "extractor_weights": Path(extractor.weights).name if extractor.weights else "",
        "seed": seed,
        "precision": run.runtime.precision,
        "processes": run.shard[1],
    }


def total_of(parts: Parts) -> Tensor:
    """The scalar to minimize: the sum of the parts."""
    return torch.stack(list(parts.values())).sum()
