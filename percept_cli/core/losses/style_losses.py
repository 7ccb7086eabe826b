"""The style losses, by name: a new one is a function and an entry in `STYLE_LOSSES`.

The table names its functions, so that the command line knows the losses without torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from percept_cli.core.deferred import Deferred
from percept_cli.core.losses.scaling import total_variation_factor
from percept_cli.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

FUNCTIONAL = "percept_cli.core.losses.functional"

PAPER_SIDE = 256  # pixels, of the photographs of Johnson et al. 2016
BANDWIDTH = 0.1
CONTEXTUAL_POINTS = 65 * 65
STYLE_BALANCE = 7.0


@dataclass(frozen=True)
class StyleLoss:
    """A loss that compares the style of images, an entry of `STYLE_LOSSES`; only `loss` and `about` are required.

    loss: a scalar function of two statistics, 0 if they are equal. about: its description, for `percept compare`.
    statistic: a function of features (N, C, H, W); None compares the features themselves. With several styles the
    statistics are averaged, or without one the losses. sampled: whether loss has the arguments `bandwidth`, `points` and
    `generator`. raw: whether it does not depend on the scale of features, so that `compare` does not divide it.
    content_layers, style_layers, compared_layers: the paper's, for the content term, the style term and `compare`; an
    extractor without them has its own. scales: how many times smaller images are that the style term compares with
    typical scaling; in the papers they are as they are. balance: the weights of content, style and total variation for
    options of 1.0 with typical scaling; paper: the same with `paper` scaling, where paper_loss replaces the loss.
    in_frequencies: whether pixels are optimized as a spectrum, without which grain stays in the image.
    """

    loss: "Callable[..., Tensor]"
    about: str
    statistic: "Callable[[Tensor], Tensor] | None" = None
    sampled: bool = False
    raw: bool = False
    content_layers: tuple[str, ...] = ()
    style_layers: tuple[str, ...] = ()
    compared_layers: tuple[str, ...] = ()
    scales: tuple[int, ...] = (1,)
    balance: tuple[float, float, float] = (1.0, STYLE_BALANCE, 0.02)
    paper: tuple[float, float, float] = (1.0, 1.0, 1.0)
    paper_loss: "Callable[..., Tensor] | None" = None
    in_frequencies: bool = False

    def summarize(self, features: "Tensor") -> "Tensor":
        """The statistic of features, or the features themselves if there is no statistic."""
        return self.statistic(features) if self.statistic else features

    def distance(self, features: "Tensor", target: "Tensor") -> "Tensor":
        """The loss of features (1, C, H, W) against the style of a target (1, C, h, w), a scalar.

        Unless it is `raw`, it is divided by the loss of features of 0, so that 1.0 is the loss of a plain image.
        """
        options = {"bandwidth": BANDWIDTH} if self.sampled else {}
        style = self.summarize(target)
        distance: Tensor = self.loss(self.summarize(features), style, **options)
        if self.raw:
            return distance
        of_zeros: Tensor = self.loss(self.summarize(zero_features(target)), style, **options)
        return distance / of_zeros.clamp_min(1e-20)


def zero_features(features: "Tensor") -> "Tensor":
    """Features of 0 with as many channels, (1, C, 2, 2): a small map, to save memory."""
    return features.new_zeros(1, features.shape[1], 2, 2)


# The names of `--loss` in `stylize` and `train style`, and of `--metrics` in `compare`.
STYLE_LOSSES: dict[str, StyleLoss] = {
    "gram": StyleLoss(
        Deferred(FUNCTIONAL, "style_reconstruction_loss"),
        "squared distance of the Gram matrices of A and B over the square of B's",
        statistic=Deferred(FUNCTIONAL, "gram_matrix"),
        # A unit of relu3_4 sees 48 pixels a side: strokes; at smaller sizes, forms that are two and four times as large.
        scales=(1, 2, 4),
        # Of the code of Johnson et al. 2016, since the paper names no weights: 1 and 5 are for means of squared differences,
        # of Gram matrices too, where the paper has sums (eq. 4), and 1e-6 for half a sum.
        paper=(1.0, 5.0, total_variation_factor(1e-6, PAPER_SIDE)),
        paper_loss=Deferred(FUNCTIONAL, "gram_mean_loss"),
    ),
    # Mechrez et al. 2018. relu2_2 transfers the colors; it would be slow without the authors' drawing of points. The cosine
    # distance hardly depends on grain, so the weight of total variation is larger and pixels are optimized as a spectrum:
    # otherwise a colored grain covered the picture and few colors were transferred.
    # Departs from the paper, whose content term is a contextual loss too; `paper` scaling is raw.
    "contextual": StyleLoss(
        Deferred("percept_cli.core.losses.contextual", "contextual_loss"),
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


# The names of scales in parts of a loss, as in `style.half.relu3_3`; full size has none
SCALE_NAMES = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth"}


def style_scales(given: Sequence[int] | None, loss: str, typical: bool) -> tuple[int, ...]:
    """How many times smaller images are that a style loss compares, from full size on: as given, or the loss's own.

    Raises UsageError for numbers that are not different or not from 1 to 8, and for an unknown loss.
    """
    if given is None:
        return find_style_loss(loss).scales if typical else (1,)
    return _checked_scales(given, ",".join(map(str, given)))


def parse_scales(text: str) -> tuple[int, ...]:
    """The scales of a style loss from `1,2,4`. Raises UsageError as `style_scales`."""
    try:
        given = [int(part) for part in text.split(",")]
    except ValueError:
        given = []
    return _checked_scales(given, text)


def _checked_scales(given: Sequence[int], text: str) -> tuple[int, ...]:
    if not given or len(set(given)) < len(given) or any(scale != 1 and scale not in SCALE_NAMES for scale in given):
        raise UsageError(
            f"--style-scales {text}: give different whole numbers from 1 to 8, as in 1,2,4, for styles at full size, half "
            "and a quarter of it."
        )
    return tuple(sorted(given))


def find_style_loss(name: str) -> StyleLoss:
    """A style loss by its name. Raises UsageError, with a suggestion, for an unknown one."""
    if name not in STYLE_LOSSES:
        raise UsageError(unknown_name("loss", name, STYLE_LOSSES))
    return STYLE_LOSSES[name]


def parse_blend(given: str | None, count: int) -> list[float]:
    """The weights of several styles from `0.7,0.3`; None gives equal ones. Raises UsageError for unsuitable weights."""
    if given is None:
        return [1.0] * count
    try:
        weights = [float(part) for part in given.split(",")]
    except ValueError:
        weights = []
    if len(weights) != count or not min(weights, default=-1.0) >= 0 or not 0 < sum(weights) < float("inf"):
        raise UsageError(f"--blend {given}: give one positive number for each of the {count} styles, as in 0.7,0.3.")
    return weights
