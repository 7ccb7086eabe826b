"""Losses: pure functions of features and images, terms that apply them to layers, and their weighted sum."""

from percept_cli.core.losses.contextual import contextual_loss, contextual_similarity
from percept_cli.core.losses.style import StyleTerm
from percept_cli.core.losses.terms import (
    ContextualTerm,
    FeatureTerm,
    GramTerm,
    LowFrequencyTerm,
    PixelTerm,
    TextureTerm,
    TotalVariationTerm,
)
from percept_cli.core.losses.weighted import PerceptualLoss

__all__ = [
    "ContextualTerm",
    "FeatureTerm",
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
