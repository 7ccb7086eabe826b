"""Losses: pure functions of features and images, terms that apply them to layers, and their weighted sum."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from percept_cli.core.losses.contextual import contextual_loss, contextual_similarity
    from percept_cli.core.losses.style import StyleTerm
    from percept_cli.core.losses.terms import (
        ConsistencyTerm,
        ContextualTerm,
        FeatureTerm,
        FourierTerm,
        GramTerm,
        LowFrequencyTerm,
        PixelTerm,
        TextureTerm,
        TotalVariationTerm,
    )
    from percept_cli.core.losses.weighted import PerceptualLoss

__all__ = [
    "ConsistencyTerm",
    "ContextualTerm",
    "FeatureTerm",
    "FourierTerm",
    "GramTerm",
    "LowFrequencyTerm",
    "PerceptualLoss",
    "PixelTerm",
    "StyleTerm",
    "TextureTerm",
    "TotalVariationTerm",
    "contextual_loss",
    "contextual_similarity",
]
_MODULES = {
    "PerceptualLoss": "weighted", "StyleTerm": "style", "contextual_loss": "contextual",
    "contextual_similarity": "contextual",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported when it is asked for: the table of the style losses loads without torch."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'terms')}"), name)
