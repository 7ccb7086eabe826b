"""Losses: pure functions on features and images, terms that bind them to layers and targets, and their weighted sum."""

from percept_cli.core.losses.contextual import contextual_loss, contextual_similarity
from percept_cli.core.losses.perceptual import PerceptualLoss
from percept_cli.core.losses.style_terms import ContextualStyleTerm, GramTerm, StyleTerm, TextureTerm
from percept_cli.core.losses.terms import (
    ContextualTerm,
    FeatureTerm,
    LowFrequencyTerm,
    PixelTerm,
    TotalVariationTerm,
)

__all__ = [
    "ContextualStyleTerm",
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
