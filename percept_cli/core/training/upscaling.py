"""The loss of a recipe: pixels, features, textures, context, smoothness and a discriminator, each its own named term."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.generators.discriminators import create_discriminator
from percept_cli.core.losses.adversarial import (
    LossAndParts,
    adversarial_loss,
    discriminator_loss,
    relativistic_adversarial_loss,
    relativistic_discriminator_loss,
)
from percept_cli.core.losses.terms import (
    ContextualTerm,
    FeatureTerm,
    LowFrequencyTerm,
    PixelTerm,
    Term,
    TextureTerm,
    TotalVariationTerm,
)
from percept_cli.core.losses.weighted import PerceptualLoss
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.recipes import Recipe
from percept_cli.errors import UsageError, unknown_name

# EnhanceNet: Gram matrices of patches of 16x16 pixels
TEXTURE_PATCH = 16
# Mechrez et al. 2018b
CONTEXTUAL_BANDWIDTH = 0.1
ADVERSARIES = ("standard", "relativistic")


def upscale_taps(recipe: Recipe) -> list[str]:
    """The layers that a recipe's losses read, none when it compares pixels alone."""
    taps = list(recipe.feature_layers) if recipe.feature_weight else []
    taps += recipe.texture_layers if recipe.texture_weight else ()
    return [*taps, *recipe.contextual_layers] if recipe.contextual_weight else taps


def create_upscale_loss(recipe: Recipe, extractor: FeatureExtractor | None) -> PerceptualLoss | None:
    """The recipe's terms without its discriminator, on an extractor tapped at `upscale_taps`; None when it has none."""
    typical = is_typical(recipe.scaling)
    features = {layer: 1 / len(recipe.feature_layers) for layer in recipe.feature_layers}
    textures = {layer: 1 / len(recipe.texture_layers) for layer in recipe.texture_layers}
    contextual = {layer: 1 / len(recipe.contextual_layers) for layer in recipe.contextual_layers}
    terms: dict[str, tuple[Term, float]] = {
        "pixel": (PixelTerm(recipe.pixel), recipe.pixel_weight),
        "feature": (FeatureTerm(features, recipe.feature_distance, typical=typical), recipe.feature_weight),
        "texture": (TextureTerm(textures, TEXTURE_PATCH, typical=typical), recipe.texture_weight),
        "contextual": (ContextualTerm(contextual, CONTEXTUAL_BANDWIDTH), recipe.contextual_weight),
        "low_frequency": (LowFrequencyTerm(), recipe.low_frequency_weight),
        "tv": (TotalVariationTerm(typical=typical), recipe.tv_weight),
    }
    if not any(weight for _, weight in terms.values()):
        return None
    return PerceptualLoss(terms, extractor if extractor is not None else "compact")


def is_typical(scaling: str) -> bool:
    """Whether a `--scaling` divides terms by their usual size. Raises UsageError for an unknown one."""
    if scaling not in ("typical", "paper"):
        raise UsageError(unknown_name("scaling", scaling, ["typical", "paper"]))
    return scaling == "typical"


@dataclass
class Duel:
    """A generator's losses against a discriminator, which is shown the results that the generator was judged on."""

    recipe: Recipe
    discriminator: nn.Module
    runtime: Runtime
    generated: Tensor | None = None

    @classmethod
    def create(cls, recipe: Recipe, runtime: Runtime) -> "Duel":
        """A duel with an untrained discriminator. Raises UsageError for an unknown kind."""
        if recipe.adversarial not in ADVERSARIES:
            raise UsageError(unknown_name("adversarial loss", recipe.adversarial, ADVERSARIES))
        return cls(recipe, create_discriminator("srgan", recipe.discriminator_channels), runtime)

    def generator_part(self, result: Tensor, images: Tensor) -> Tensor:
        """The generator's weighted loss for its result (N, 3, H, W), which is kept for `discriminator_part`."""
        self.generated = result.detach()
        with self.runtime.autocast():
            fake = self.discriminator(result)
            if self.recipe.adversarial == "relativistic":
                part = relativistic_adversarial_loss(self.discriminator(images), fake)
            else:
                part = adversarial_loss(fake)
        return self.recipe.adversarial_weight * part

    def discriminator_part(self, discriminator: nn.Module, images: Tensor, step: int) -> LossAndParts:
        """The discriminator's own loss on real images and on the last result."""
        assert self.generated is not None
        with self.runtime.autocast():
            real, fake = discriminator(images), discriminator(self.generated)
            relativistic = self.recipe.adversarial == "relativistic"
            loss = relativistic_discriminator_loss(real, fake) if relativistic else discriminator_loss(real, fake)
        return loss, {"discriminator": loss}


def combine(loss: PerceptualLoss | None, duel: Duel | None) -> Callable[[Tensor, Tensor], LossAndParts]:
    """One function of results and the images they should be: the sum of the losses there are, and their parts."""
    if loss is None and duel is None:
        raise UsageError(
            "All losses have a weight of 0. Give one of --pixel-weight, --feature-weight, --adversarial-weight."
        )

    def compute(result: Tensor, images: Tensor) -> LossAndParts:
        parts: dict[str, Tensor] = loss(result, images)[1] if loss is not None else {}
        if duel is not None:
            parts["adversarial"] = duel.generator_part(result, images)
        return torch.stack(list(parts.values())).sum(), parts

    return compute
