"""The style losses there are: to add one, write its function and enter it in `STYLE_LOSSES`."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from percept_cli.core.losses.contextual import contextual_loss
from percept_cli.core.losses.functional import gram_matrix, style_reconstruction_loss
from percept_cli.errors import UsageError, unknown_name

BANDWIDTH = 0.1
CONTEXTUAL_POINTS = 65 * 65
STYLE_BALANCE = 7.0


@dataclass(frozen=True)
class StyleLoss:
    """A way to compare the style of images: one entry of `STYLE_LOSSES`, where only `loss` and `about` must be given.

    loss: of two statistics, a scalar, 0 where they are equal. about: what it compares, for the protocol of
    `percept compare`. statistic: of features (N, C, H, W), what is compared in place of them; of several styles it is
    averaged, where without a statistic the losses are. sampled: loss also takes `bandwidth`, and the `points` that a
    `generator` draws. raw: it does not depend on the scale of features, so that `compare` does not divide it.
    content_layers, style_layers, compared_layers: those of the paper, for the content term, the style term and
    `compare`; the extractor's own take their place where it does not have them or there are none.
    balance: the weights of content, style and total variation that 1.0 stands for with typical scaling; paper: those
    with `paper` scaling. in_frequencies: pixels are optimized as a spectrum, without which grain stays in the image.
    """

    loss: Callable[..., Tensor]
    about: str
    statistic: Callable[[Tensor], Tensor] | None = None
    sampled: bool = False
    raw: bool = False
    content_layers: tuple[str, ...] = ()
    style_layers: tuple[str, ...] = ()
    compared_layers: tuple[str, ...] = ()
    balance: tuple[float, float, float] = (1.0, STYLE_BALANCE, 0.02)
    paper: tuple[float, float, float] = (1.0, 1.0, 1.0)
    in_frequencies: bool = False

    def summarize(self, features: Tensor) -> Tensor:
        """What is compared: the statistic of features, or the features."""
        return self.statistic(features) if self.statistic else features

    def distance(self, features: Tensor, target: Tensor) -> Tensor:
        """How far features (1, C, H, W) are from the style of a target (1, C, h, w): a scalar, 0 for the same.

        Divided by what features of 0 cost, unless it is `raw`: 1.0 then is as far as a plain image.
        """
        options = {"bandwidth": BANDWIDTH} if self.sampled else {}
        style = self.summarize(target)
        distance: Tensor = self.loss(self.summarize(features), style, **options)
        if self.raw:
            return distance
        nothing: Tensor = self.loss(self.summarize(nothing_like(target)), style, **options)
        return distance / nothing.clamp_min(1e-20)


def nothing_like(features: Tensor) -> Tensor:
    """Features of 0 with as many channels: few, for a large image's would fill the memory."""
    return features.new_zeros(1, features.shape[1], 2, 2)


# The names of `--loss` in `stylize` and `train style`, and of `--metrics` in `compare`.
STYLE_LOSSES: dict[str, StyleLoss] = {
    "gram": StyleLoss(
        style_reconstruction_loss,
        "squared distance of the Gram matrices of A and B over the square of B's",
        statistic=gram_matrix,
        # pytorch/examples' weights, for features of torchvision's networks and Gram matrices over C·H·W
        paper=(1e5, 1e10, 1e2),
    ),
    # Mechrez et al. 2018. Without relu2_2 nothing holds the colors; it is also what would take the time, were its points
    # not drawn as the authors draw them. Cosines do not see grain as long as its direction fits: more total variation,
    # and a spectrum: on pixels a colored grain covered the picture and the palette hardly arrived.
    # Its `paper` scaling is raw; the paper's own content term is a contextual loss too.
    "contextual": StyleLoss(
        contextual_loss,
        f"contextual loss of A's features against B's, cosine, bandwidth {BANDWIDTH}",
        sampled=True,
        raw=True,
        content_layers=("relu4_2",),
        style_layers=("relu2_2", "relu3_2", "relu4_2"),
        compared_layers=("relu3_4",),  # Mechrez et al. 2018b, Maintaining Natural Image Statistics
        balance=(1.0, STYLE_BALANCE, 0.1),
        in_frequencies=True,
    ),
}


def find_style_loss(name: str) -> StyleLoss:
    """A style loss by its name. Raises UsageError, with a suggestion, for one that is not there."""
    if name not in STYLE_LOSSES:
        raise UsageError(unknown_name("loss", name, STYLE_LOSSES))
    return STYLE_LOSSES[name]
