"""The perceptual loss: a weighted sum of named terms over one pass of an extractor."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from percept_cli.core.extractors.tiled import AnyExtractor
from percept_cli.core.images.resize import resize_bicubic
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.losses.functional import at_least_float32
from percept_cli.core.losses.terms import Features, Parts, Term
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.errors import UsageError

# The compared images and their features, by `Term.shrinking`
Targets = Mapping[int, tuple[Tensor, Features]]


def shrink(images: Tensor, shrinking: int) -> Tensor:
    """Images (N, C, H, W) `shrinking` times smaller, to whole pixels: bicubic, antialiased, at least in float32.

    By `resize_bicubic`, since the gradient of PyTorch's own resizing is not the same in every run on a GPU.
    """
    if shrinking == 1:
        return images
    height, width = images.shape[-2] // shrinking, images.shape[-1] // shrinking
    return resize_bicubic(at_least_float32(images), height, width)


class PerceptualLoss(nn.Module):
    """A weighted sum of named terms, whose features are computed once for each size of the images that terms compare.

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
        # Not in a ModuleDict, whose names may have no dots
        self.terms = nn.ModuleList(term for term, _ in used.values())
        self._used = [(name, term, weight) for name, (term, weight) in used.items()]
        self.shrinkings = tuple(sorted({term.shrinking for term, _ in used.values()}))
        layers = [layer for term, _ in used.values() for layer in term.layers]
        self.extractor: AnyExtractor | None
        if isinstance(extractor, str):
            self.extractor = create_extractor(extractor, layers) if layers else None
        else:
            self.extractor = extractor
        self.layers = self._layers_of("layers", 1)

    def forward(self, images: Tensor, target_images: Tensor, targets: Targets | None = None) -> LossAndParts:
        parts = self.compare(images, self._features(images, "layers", 1), target_images, targets)
        return torch.stack(list(parts.values())).sum(), parts

    def compare(
        self, images: Tensor, features: Features, target_images: Tensor, targets: Targets | None = None
    ) -> Parts:
        """The parts, for images with their features at `layers`, which are those of terms that shrink nothing.

        targets: `target_features`, computed if None.
        """
        targets = self.target_features(target_images) if targets is None else targets
        compared = {}
        for shrinking in self.shrinkings:
            small = shrink(images, shrinking)
            read = features if shrinking == 1 else self._features(small, "layers", shrinking)
            compared[shrinking] = small, read, *targets[shrinking]
        parts = {}
        for name, term, weight in self._used:
            for layer, part in term(*compared[term.shrinking]).items():
                parts[f"{name}.{layer}" if layer else name] = weight * part
        return parts

    @torch.no_grad()
    def target_features(self, target_images: Tensor) -> Targets:
        """The compared images and their features that the terms read, at each size; for fixed images computed once."""
        small = {shrinking: shrink(target_images, shrinking) for shrinking in self.shrinkings}
        return {
            shrinking: (images, self._features(images, "target_layers", shrinking))
            for shrinking, images in small.items()
        }

    def _features(self, images: Tensor, which: str, shrinking: int) -> Parts:
        layers = self._layers_of(which, shrinking)
        return self.extractor(images, layers) if self.extractor is not None and layers else {}

    def _layers_of(self, which: str, shrinking: int) -> tuple[str, ...]:
        """`layers` or `target_layers` of the terms that shrink images so many times."""
        terms = [term for _, term, _ in self._used if term.shrinking == shrinking]
        return tuple(dict.fromkeys(layer for term in terms for layer in getattr(term, which)))
