"""What makes a style: the loss that a style generator is trained on and a picture is optimized on."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from percept_cli.core.extractors import create_architecture
from percept_cli.core.extractors.tiled import AnyExtractor
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import fit_short_side, resize_image
from percept_cli.core.losses import ContextualStyleTerm, FeatureTerm, PerceptualLoss, StyleTerm, TotalVariationTerm
from percept_cli.errors import ImageError, UsageError, unknown_name

# With typical scaling every option's default is 1.0; these are the balance that 1.0 stands for.
STYLE_BALANCE = 7.0
TOTAL_VARIATION_BALANCE = 0.02
# pytorch/examples' weights, for features of torchvision's networks and Gram matrices over C·H·W
PAPER_CONTENT, PAPER_STYLE, PAPER_TOTAL_VARIATION = 1e5, 1e10, 1e2

# Of the contextual loss. Without relu2_2 nothing holds the colors; it is also what would take the time, were its points
# not drawn as the authors draw them. Cosines do not see grain as long as its direction fits: more total variation.
CONTEXTUAL_BALANCE = 7.0
CONTEXTUAL_TOTAL_VARIATION_BALANCE = 0.1
CONTEXTUAL_CONTENT_LAYER = "relu4_2"
CONTEXTUAL_STYLE_LAYERS = ("relu2_2", "relu3_2", "relu4_2")
BANDWIDTH = 0.1
CONTEXTUAL_POINTS = 65 * 65

SCALINGS = ("typical", "paper")
STYLE_LOSSES = ("gram", "contextual")


def style_taps(
    extractor: str, content_layers: str | None, style_layers: str | None, style_loss: str = "gram"
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The content and the style layers by their full names: as given, separated by commas, or the usual ones.

    Those of the contextual loss are the paper's where the extractor has them, else the extractor's deepest. Raises
    UsageError, with a suggestion, for a layer or an extractor that is not there.
    """
    _check_style_loss(style_loss)
    architecture = create_architecture(extractor)
    usual_content, usual_style = architecture.content_layer, architecture.style_layers
    if style_loss == "contextual":
        known = set(CONTEXTUAL_STYLE_LAYERS) <= set(architecture.layer_names)
        usual_content = CONTEXTUAL_CONTENT_LAYER if known else usual_style[-1]
        usual_style = CONTEXTUAL_STYLE_LAYERS if known else usual_style[-3:]
    content = content_layers.split(",") if content_layers else [usual_content]
    style = style_layers.split(",") if style_layers else usual_style
    return tuple(architecture.resolve(name) for name in content), tuple(architecture.resolve(name) for name in style)


def _check_style_loss(name: str) -> None:
    if name not in STYLE_LOSSES:
        raise UsageError(unknown_name("loss", name, STYLE_LOSSES))


def load_styles(paths: Sequence[Path], short_side: int) -> list[Tensor]:
    """The style images, each (1, 3, h, w) in [0, 1] with its short side at `short_side` pixels.

    Raises UsageError when one cannot be read: without it nothing can begin.
    """
    styles = []
    for path in paths:
        try:
            pixels = load_image(path).pixels
        except ImageError as error:
            raise UsageError(f"--style: {error}") from error
        styles.append(resize_image(pixels, *fit_short_side(pixels.shape[-2], pixels.shape[-1], short_side)))
    return styles


def parse_blend(given: str | None, count: int) -> list[float]:
    """The weights of several styles from `0.7,0.3`, equal when not given. Raises UsageError when they do not fit."""
    if given is None:
        return [1.0] * count
    try:
        weights = [float(part) for part in given.split(",")]
    except ValueError:
        weights = []
    if len(weights) != count or not min(weights, default=-1.0) >= 0 or not 0 < sum(weights) < float("inf"):
        raise UsageError(f"--blend {given}: give one positive number for each of the {count} styles, as in 0.7,0.3.")
    return weights


def create_style_loss(
    extractor: AnyExtractor,
    styles: Sequence[Tensor],
    photographs: Tensor,
    *,
    style_weights: Sequence[float] | None = None,
    content_layers: Sequence[str],
    style_layers: Sequence[str],
    content_weight: float = 1.0,
    style_weight: float = 1.0,
    total_variation_weight: float = 1.0,
    scaling: str = "typical",
    style_loss: str = "gram",
    bandwidth: float = BANDWIDTH,
    points: int | None = CONTEXTUAL_POINTS,
    seed: int = 0,
) -> PerceptualLoss:
    """Johnson's perceptual loss for one style or a blend: content, style and total variation.

    styles: each (1, 3, H, W); photographs (N, 3, H, W), untouched, whose distance from the style is 1.0. scaling:
    `typical` (each term divided by what is typical for it, so weights mean the same with every extractor and style:
    weight 1.0 is the usual balance) or `paper` (raw squared errors and Gram distances with the weights of
    pytorch/examples at 1.0). style_loss: `gram`, or `contextual` with its bandwidth, on all points
    or on so many drawn from the seed, which takes the style from what
    is alike in both pictures instead of from all over (Mechrez et al. 2018).
    """
    _check_style_loss(style_loss)
    if scaling not in SCALINGS:
        raise UsageError(unknown_name("scaling", scaling, SCALINGS))
    typical = scaling == "typical"
    contextual = style_loss == "contextual"
    style_term = (
        ContextualStyleTerm(style_layers, bandwidth, typical, points, seed)
        if contextual
        else StyleTerm(style_layers, typical)
    )
    style_term.set_target([extractor(style, style_term.layers) for style in styles], style_weights)
    style_term.calibrate(extractor(photographs, style_term.layers))
    content_term = FeatureTerm({layer: 1 / len(content_layers) for layer in content_layers}, typical=typical)
    if contextual:
        # Raw for `paper`; the paper's own content term is a contextual loss too.
        balance = (1.0, CONTEXTUAL_BALANCE, CONTEXTUAL_TOTAL_VARIATION_BALANCE) if typical else (1.0, 1.0, 1.0)
    else:
        balance = (1.0, STYLE_BALANCE, TOTAL_VARIATION_BALANCE) if typical else (
            PAPER_CONTENT, PAPER_STYLE, PAPER_TOTAL_VARIATION
        )  # fmt: skip
    return PerceptualLoss(
        {
            "content": (content_term, balance[0] * content_weight),
            "style": (style_term, balance[1] * style_weight),
            "tv": (TotalVariationTerm(typical=typical), balance[2] * total_variation_weight),
        },
        extractor,
    )
