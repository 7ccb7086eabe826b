"""The perceptual loss: a weighted sum of named terms over one pass of an extractor."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from percept_cli.core.extractors.tiled import AnyExtractor
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.losses.terms import Features, Parts, Term
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.errors import UsageError


class PerceptualLoss(nn.Module):
    """A weighted sum of named terms, whose features are computed once.

    terms: `{name: (term, weight)}`; a term of weight 0 is left out. extractor: a FeatureExtractor, in tiles or not, or a
    name, for one that is tapped at the layers of the terms. Raises UsageError if all weights are 0.

    Called with images and the compared images, both (N, 3, H, W) RGB in [0, 1], it returns the scalar to minimize and its
    weighted parts, named as in the log: `style.relu3_1`.
    """

    def __init__(self, terms: Mapping[str, tuple[Term, float]], extractor: AnyExtractor | str = "compact"):
        super().__init__()
        if not any(weight for _, weight in terms.values()):
            raise UsageError("A perceptual loss needs a term of a weight other than 0.")
        used = {name: pair for name, pair in terms.items() if pair[1] != 0}
        self.terms = nn.ModuleDict({name: term for name, (term, _) in used.items()})
        self.weights = {name: weight for name, (_, weight) in used.items()}
        layers = [layer for term, _ in used.values() for layer in term.layers]
        self.extractor: AnyExtractor | None
        if isinstance(extractor, str):
            self.extractor = create_extractor(extractor, layers) if layers else None
        else:
            self.extractor = extractor
        self.layers = tuple(dict.fromkeys(layers))
        self.target_layers = tuple(dict.fromkeys(layer for term, _ in used.values() for layer in term.target_layers))

    def forward(self, images: Tensor, target_images: Tensor, targets: Features | None = None) -> LossAndParts:
        parts = self.compare(images, self._features(images, self.layers), target_images, targets)
        return torch.stack(list(parts.values())).sum(), parts

    def compare(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Features | None = None
    ) -> Parts:
        """The parts, for images with their features at `layers`; targets: `target_features`, computed if None."""
        targets = self.target_features(target_images) if targets is None else targets
        parts = {}
        for name, term in self.terms.items():
            for layer, part in term(images, features, target_images, targets).items():
                parts[f"{name}.{layer}" if layer else name] = self.weights[name] * part
        return parts

    @torch.no_grad()
    def target_features(self, target_images: Tensor) -> Parts:
        """The features of the compared images that the terms read; for fixed images they can be computed once."""
        return self._features(target_images, self.target_layers)

    def _features(self, images: Tensor, layers: tuple[str, ...]) -> Parts:
        return self.extractor(images, layers) if self.extractor is not None and layers else {}
