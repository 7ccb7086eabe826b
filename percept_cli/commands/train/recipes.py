"""Conditions of the options of `train upscale` and `train translate`: a loss of weight 0 has no layers and no distance."""

from collections.abc import Callable

from percept_cli.conditions import Call, EffectIf
from percept_cli.core.training.presets import Recipe

RecipeOf = Callable[[Call], Recipe]


def weighs(recipe_of: RecipeOf, *losses: str) -> EffectIf:
    """The condition that one of the losses has a weight above 0 in the recipe of a call."""
    weights = [f"{loss}_weight" for loss in losses]
    options = " and ".join("--" + weight.replace("_", "-") for weight in weights)
    verb = "is 0" if len(losses) == 1 else "are 0"
    return EffectIf(lambda call: any(getattr(recipe_of(call), weight) for weight in weights), f"{options} {verb}")
