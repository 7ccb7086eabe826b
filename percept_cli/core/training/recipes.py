"""Recipes: which losses train an image-to-image network, how much each weighs, and on what schedule."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.extractors.geometry import check_spatial
from percept_cli.core.losses.terms import (
    ContextualTerm,
    FeatureTerm,
    GramTerm,
    LowFrequencyTerm,
    PixelTerm,
    Term,
    TextureTerm,
    TotalVariationTerm,
    is_typical,
)
from percept_cli.core.losses.weighted import PerceptualLoss
from percept_cli.core.pretrained.extractors import ExtractorChoice
from percept_cli.core.training.run import Run
from percept_cli.errors import UsageError

Parts = dict[str, Tensor]
TEXTURE_PATCH = 16  # pixels, the side of EnhanceNet's patches


@dataclass(frozen=True)
class Recipe:
    """One way to train a network; the fields are options of `percept train upscale` or `percept train translate`.

    name: of an upscaler's preset, or of what a translation learns from. Weights of 0 leave a loss out. The losses of
    pixels, features, textures, context, Gram matrices and low frequencies compare the result with its target; content
    compares it with its source; the adversarial loss and feature matching are by a discriminator, whose first layer has
    `discriminator_channels`. feature_shares: the weights of the feature layers among each other, equal where there are
    not as many. `scaling`: `typical` makes 1.0 the usual size of a feature or texture term, `paper` takes the raw
    figure. architecture, degradation, patch (the side of a crop before it is enlarged, in pixels): of upscalers. size
    (the side of a crop in pixels): of translations.
    """

    name: str
    architecture: str = ""
    pixel: str = "l1"
    pixel_weight: float = 1.0
    feature_weight: float = 0.0
    feature_layers: tuple[str, ...] = ("relu2_2", "relu3_4")
    feature_distance: str = "mse"
    texture_weight: float = 0.0
    texture_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    contextual_weight: float = 0.0
    contextual_layers: tuple[str, ...] = ("relu3_4",)
    bandwidth: float = 0.1
    gram_weight: float = 0.0
    gram_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    low_frequency_weight: float = 0.0
    content_weight: float = 0.0
    content_layers: tuple[str, ...] = ("relu4_2",)
    adversarial_weight: float = 0.0
    adversarial: str = "standard"
    matching_weight: float = 0.0
    discriminator_channels: int = 64
    tv_weight: float = 0.0
    scaling: str = "typical"
    degradation: str = "bicubic"
    steps: int = 3000
    batch: int = 16
    patch: int = 48
    size: int = 128
    optimizer: str = "muon"
    learning_rate: float = 1.5e-3
    feature_shares: tuple[float, ...] = ()

    def settings(self, without: Sequence[str]) -> dict[str, Any]:
        """What a checkpoint and a model file say of it: all fields but some, and tuples as the lists that files hold."""
        left_out = {"name", "feature_shares", *without}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in left_out
        }


def loss_layers(recipe: Recipe, architecture: Architecture) -> list[str]:
    """The layers that a recipe's losses read, none when it compares pixels alone.

    Raises UsageError for one that is not there, and for one without places in a loss that compares places.
    """
    layers: list[str] = []
    for loss, weight, wanted in (
        ("", recipe.feature_weight, recipe.feature_layers),
        ("A texture loss", recipe.texture_weight, recipe.texture_layers),
        ("A contextual loss", recipe.contextual_weight, recipe.contextual_layers),
        ("A Gram loss", recipe.gram_weight, recipe.gram_layers),
        ("", recipe.content_weight, recipe.content_layers),
    ):
        if weight:
            layers += wanted
            if loss:
                check_spatial(architecture, wanted, loss)
    return list(dict.fromkeys(layers))


def shares(layers: tuple[str, ...], weights: tuple[float, ...] = ()) -> dict[str, float]:
    """A weight for each layer: those given where there are as many, equal ones else; together 1."""
    chosen = weights if len(weights) == len(layers) else (1.0,) * len(layers)
    return {layer: weight / sum(chosen) for layer, weight in zip(layers, chosen, strict=True)}


class RecipeLoss(nn.Module):
    """The losses of a recipe but those of a discriminator, over one pass of an extractor; see `create_loss`."""

    def __init__(self, to_target: PerceptualLoss | None, to_source: PerceptualLoss | None):
        super().__init__()
        self.to_target, self.to_source = to_target, to_source

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that are read of the result."""
        return tuple(dict.fromkeys(layer for loss in (self.to_target, self.to_source) if loss for layer in loss.layers))

    def forward(self, result: Tensor, target: Tensor, source: Tensor) -> Parts:
        """The parts, weighted and named as the log shows them, of images (N, 3, H, W) RGB in [0, 1]."""
        loss = self.to_target or self.to_source
        features = loss.extractor(result, self.layers) if loss and loss.extractor and self.layers else {}
        parts = self.to_target.compare(result, features, target) if self.to_target else {}
        return parts | (self.to_source.compare(result, features, source) if self.to_source else {})


def create_loss(recipe: Recipe, extractor: FeatureExtractor | None) -> RecipeLoss:
    """The losses of a recipe, on an extractor tapped at its `loss_layers`, None where there are none.

    Raises UsageError for unknown names, and where all losses have a weight of 0, the adversarial one too.
    """
    typical = is_typical(recipe.scaling)
    features = shares(recipe.feature_layers, recipe.feature_shares)
    textures, gram = shares(recipe.texture_layers), shares(recipe.gram_layers)
    contextual, content = shares(recipe.contextual_layers), shares(recipe.content_layers)
    to_target: dict[str, tuple[Term, float]] = {
        "pixel": (PixelTerm(recipe.pixel), recipe.pixel_weight),
        "feature": (FeatureTerm(features, recipe.feature_distance, typical), recipe.feature_weight),
        "texture": (TextureTerm(textures, TEXTURE_PATCH, typical), recipe.texture_weight),
        "contextual": (ContextualTerm(contextual, recipe.bandwidth), recipe.contextual_weight),
        "gram": (GramTerm(gram, typical), recipe.gram_weight),
        "low_frequency": (LowFrequencyTerm(), recipe.low_frequency_weight),
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
    """What every run must have the same to be resumed; used: whether features are compared at all."""
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
