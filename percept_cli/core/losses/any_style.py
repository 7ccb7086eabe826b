"""The loss of restyled photographs against paintings that differ from one to the next."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from percept_cli.core.extractors.tiled import AnyExtractor
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.losses.style_losses import SCALE_NAMES, STYLE_LOSSES
from percept_cli.core.losses.terms import Features, FeatureTerm, Parts, TotalVariationTerm
from percept_cli.core.losses.weighted import shrink

# Of the painting's own Gram matrix: a photograph that is nearer to it counts as being so far, since the loss is divided by
# that distance.
SMALLEST_DISTANCE = 0.1


def relative_gram_loss(gram: Tensor, target: Tensor, untouched: Tensor) -> Tensor:
    """Squared distance of Gram matrices over that of the untouched photographs', mean over images; all (N, C, C).

    It is 0 for the painting's own and 1 for the photograph's, whichever the painting.
    """
    scale = (untouched - target).square().sum(dim=(1, 2))
    smallest = SMALLEST_DISTANCE * target.square().sum(dim=(1, 2))
    return ((gram - target).square().sum(dim=(1, 2)) / torch.maximum(scale, smallest).clamp_min(1e-20)).mean()


class AnyStyleLoss(nn.Module):
    """Content, style at several sizes, and total variation (Johnson et al. 2016) of photographs, each with its own painting.

    layers: the content layers and the style layers of the extractor. scales: how many times images are shrunk before
    their style is compared. weights: of content, style and total variation; of 1.0 each they have the balance of the loss
    of a single style.

    Called with restyled photographs, the photographs and the paintings, all (N, 3, H, W) RGB in [0, 1], it returns the
    scalar to minimize and its weighted parts, named as in the log: `style.half.relu3_1`.
    """

    def __init__(
        self,
        extractor: AnyExtractor,
        layers: tuple[Sequence[str], Sequence[str]],
        scales: Sequence[int],
        weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ):
        super().__init__()
        self.extractor, self.scales = extractor, tuple(scales)
        self.content_layers, self.style_layers = (tuple(names) for names in layers)
        self.content = FeatureTerm(dict.fromkeys(self.content_layers, 1 / len(self.content_layers)))
        self.variation = TotalVariationTerm()
        balance = STYLE_LOSSES["gram"].balance
        self.weights = tuple(usual * weight for usual, weight in zip(balance, weights, strict=True))

    def forward(self, images: Tensor, photographs: Tensor, paintings: Tensor) -> LossAndParts:
        content_weight, style_weight, variation_weight = self.weights
        parts: Parts = {}
        for scale in dict.fromkeys((1, *self.scales)):
            style = self.style_layers if scale in self.scales else ()
            layers = tuple(dict.fromkeys([*(self.content_layers if scale == 1 else ()), *style]))
            made = self.extractor(shrink(images, scale), layers)
            with torch.no_grad():
                untouched = self.extractor(shrink(photographs, scale), layers)
                target = self.extractor(shrink(paintings, scale), style) if style else {}
            if scale == 1:
                compared = self.content(images, made, photographs, untouched)
                parts |= {f"content.{layer}": content_weight * part for layer, part in compared.items()}
            share = style_weight / (len(self.scales) * len(self.style_layers))
            size = "style" if scale == 1 else f"style.{SCALE_NAMES[scale]}"
            parts |= {f"{size}.{layer}": share * _compare(layer, made, target, untouched) for layer in style}
        parts["tv"] = variation_weight * self.variation(images, {}, photographs, {})[""]
        return torch.stack(list(parts.values())).sum(), parts


def _compare(layer: str, made: Features, target: Features, untouched: Features) -> Tensor:
    return relative_gram_loss(*(gram_matrix(features[layer]) for features in (made, target, untouched)))
