"""What a translation is trained by: losses to the target, to the source, and against a discriminator."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.generators.discriminators import MultiscaleDiscriminator
from percept_cli.core.losses import (
    ContextualTerm,
    FeatureTerm,
    GramTerm,
    LowFrequencyTerm,
    PerceptualLoss,
    PixelTerm,
    TotalVariationTerm,
)
from percept_cli.core.losses.adversarial import ADVERSARIES
from percept_cli.core.losses.terms import PIX2PIXHD_WEIGHTS, Term
from percept_cli.errors import UsageError, unknown_name

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class TranslationRecipe:
    """One way to train a translation; every field is an option of `percept train translate`. 0 leaves a loss out.

    pixel to low_frequency compare the result with the target, content with the source, adversarial and matching by a
    discriminator. Layers are those of VGG-shaped extractors; see `fit_layers` for others.
    """

    pixel: str = "l1"
    pixel_weight: float = 0.0
    feature_weight: float = 0.0
    feature_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    feature_distance: str = "l1"
    contextual_weight: float = 0.0
    contextual_layers: tuple[str, ...] = ("relu3_2", "relu4_2")
    bandwidth: float = 0.1
    gram_weight: float = 0.0
    gram_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    low_frequency_weight: float = 0.0
    content_weight: float = 0.0
    content_layers: tuple[str, ...] = ("relu4_2",)
    adversarial_weight: float = 0.0
    adversarial: str = "least-squares"
    matching_weight: float = 0.0
    discriminator_channels: int = 32
    tv_weight: float = 0.0
    steps: int = 1500
    batch: int = 4
    size: int = 128
    learning_rate: float = 1.5e-3
    optimizer: str = "muon"


UNPAIRED = "unpaired"
PAIRS = "pairs"
MATCH_SOURCE = "match source"
DEGRADE = "degrade"

RECIPES: Mapping[str, TranslationRecipe] = {
    # Mechrez et al. 2018: content from the source, the rest from any picture of the target set. Departs from the paper,
    # whose content term is a contextual loss too: features hold the source in its place.
    UNPAIRED: TranslationRecipe(contextual_weight=1.0, content_weight=1.0),
    # pix2pixHD (Wang et al. 2018): ten times the discriminator's weight for features and for matching. Departs from the
    # paper, whose ten is on raw features: here 1 is an unrelated picture's distance.
    PAIRS: TranslationRecipe(feature_weight=1.0, adversarial_weight=0.1, matching_weight=1.0),
    # No target to be compared with: a discriminator that knows the target set, and a weak tie to the source.
    MATCH_SOURCE: TranslationRecipe(adversarial_weight=0.1, content_weight=0.1),
    DEGRADE: TranslationRecipe(pixel_weight=1.0, batch=8, size=96),
}
# Holes are filled from what lies around them: crops have to be larger than a hole is.
FILL = replace(RECIPES[DEGRADE], batch=4, size=192, feature_weight=0.1)


def usual_recipe(mode: str, degrade: str | None = None) -> TranslationRecipe:
    """What a mode is trained by where no option says otherwise; degrade: the kind of damage."""
    return FILL if degrade == "mask" else RECIPES[mode]


def fit_layers(layers: tuple[str, ...], extractor: str) -> tuple[str, ...]:
    """The layers by their full names where the extractor has them all, else its own style layers, the deepest as many."""
    architecture = create_architecture(extractor)
    known = set(architecture.layer_names)
    if all(layer in known for layer in layers):
        return layers
    return tuple(architecture.style_layers[-len(layers) :])


def spread(weights: tuple[float, ...], layers: tuple[str, ...]) -> dict[str, float]:
    """A weight for each layer: those given where there are as many, equal ones else; together 1."""
    chosen = weights if len(weights) == len(layers) else (1.0,) * len(layers)
    return {layer: weight / sum(chosen) for layer, weight in zip(layers, chosen, strict=True)}


class TranslationLoss(nn.Module):
    """The terms of a recipe over one pass of an extractor: some to the target, content to the source.

    Called with the result, the source and the target, all (N, 3, H, W) RGB in [0, 1], it returns their parts, weighted
    and named as the log shows them. extractor: tapped at `layers` of the recipe (see `translation_taps`), None where there
    are none.
    """

    def __init__(self, recipe: TranslationRecipe, extractor: FeatureExtractor | None):
        super().__init__()
        to_target: dict[str, tuple[Term, float]] = {
            "pixel": (PixelTerm(recipe.pixel), recipe.pixel_weight),
            "feature": (
                FeatureTerm(spread(PIX2PIXHD_WEIGHTS, recipe.feature_layers), recipe.feature_distance),
                recipe.feature_weight,
            ),
            "contextual": (
                ContextualTerm(spread((), recipe.contextual_layers), recipe.bandwidth), recipe.contextual_weight
            ),
            "gram": (GramTerm(spread((), recipe.gram_layers)), recipe.gram_weight),
            "low_frequency": (LowFrequencyTerm(), recipe.low_frequency_weight),
        }  # fmt: skip
        to_source: dict[str, tuple[Term, float]] = {
            "content": (FeatureTerm(spread((), recipe.content_layers)), recipe.content_weight),
            "tv": (TotalVariationTerm(), recipe.tv_weight),
        }
        shared = extractor if extractor is not None else "compact"
        self.to_target = _loss_of(to_target, shared)
        self.to_source = _loss_of(to_source, shared)
        if self.to_target is None and self.to_source is None and not recipe.adversarial_weight:
            raise UsageError("All losses have a weight of 0. Give one of them more, as --contextual-weight 1.")

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the result that are looked at."""
        return tuple(dict.fromkeys(layer for loss in (self.to_target, self.to_source) if loss for layer in loss.layers))

    def forward(self, result: Tensor, source: Tensor, target: Tensor) -> Parts:
        loss = self.to_target or self.to_source
        features = loss.extractor(result, self.layers) if loss and loss.extractor and self.layers else {}
        parts = self.to_target.compare(result, features, target) if self.to_target else {}
        return parts | (self.to_source.compare(result, features, source) if self.to_source else {})


def _loss_of(terms: dict[str, tuple[Term, float]], extractor: FeatureExtractor | str) -> PerceptualLoss | None:
    return PerceptualLoss(terms, extractor) if any(weight for _, weight in terms.values()) else None


def translation_taps(recipe: TranslationRecipe) -> list[str]:
    """The layers that a recipe's losses read, none when it compares pixels alone."""
    weighed = (
        (recipe.feature_weight, recipe.feature_layers),
        (recipe.contextual_weight, recipe.contextual_layers),
        (recipe.gram_weight, recipe.gram_layers),
        (recipe.content_weight, recipe.content_layers),
    )
    return list(dict.fromkeys(layer for weight, layers in weighed if weight for layer in layers))


def check_recipe(recipe: TranslationRecipe, mode: str) -> None:
    """Refuses, with a UsageError, losses that the data of a mode cannot have."""
    if recipe.adversarial not in ADVERSARIES:
        raise UsageError(unknown_name("adversarial loss", recipe.adversarial, ADVERSARIES))
    if recipe.adversarial_weight and recipe.size < MultiscaleDiscriminator.smallest:
        raise UsageError(
            f"--size {recipe.size}: the discriminators need {MultiscaleDiscriminator.smallest} pixels or more."
        )
    if mode in (UNPAIRED, MATCH_SOURCE) and recipe.matching_weight:
        raise UsageError("--matching-weight compares a result with its own target: it needs --pairs or --degrade.")
    if recipe.matching_weight and not recipe.adversarial_weight:
        raise UsageError("--matching-weight needs a discriminator that learns: give an --adversarial-weight above 0.")
    if mode == MATCH_SOURCE and any(
        (recipe.pixel_weight, recipe.feature_weight, recipe.contextual_weight, recipe.gram_weight,
         recipe.low_frequency_weight)
    ):  # fmt: skip
        raise UsageError(
            "--match source has no target to compare with: leave the weights of pixels, features, contextual, Gram and low "
            "frequencies out."
        )


def total_of(parts: Parts) -> Tensor:
    """The scalar to minimize."""
    return torch.stack(list(parts.values())).sum()
