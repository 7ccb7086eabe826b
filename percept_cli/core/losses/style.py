"""The style of images against fixed style images: the term of a perceptual loss, and the complete loss of a style."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from percept_cli.core.extractors import Architecture
from percept_cli.core.extractors.geometry import check_spatial
from percept_cli.core.extractors.tiled import AnyExtractor
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import fit_short_side, resize_image
from percept_cli.core.losses.scaling import is_typical
from percept_cli.core.losses.style_losses import (
    BANDWIDTH,
    CONTEXTUAL_POINTS,
    SCALE_NAMES,
    find_style_loss,
    style_scales,
    zero_features,
)
from percept_cli.core.losses.terms import Features, FeatureTerm, Parts, Term, TotalVariationTerm
from percept_cli.core.losses.weighted import PerceptualLoss, shrink
from percept_cli.errors import ImageError, UsageError

SMALLEST_COMPARED = 16  # pixels, of images that were made smaller for the style loss
# Sides of a style image that is taken whole: its short side is enlarged to `style_size`, and a line of pixels would fill
# the memory.
LONGEST = 8


class StyleTerm(Term):
    """Style of images against that of fixed style images, by a loss of `STYLE_LOSSES` (Gram: Johnson et al. 2016, eq. 4).

    typical: divides each layer by the loss of untouched photographs (see `calibrate`) and takes the mean over layers, so
    that 1.0 means "as far from the style as a photograph" with every extractor and style; without it the raw losses, the
    paper's, are summed. bandwidth, points: of the contextual loss; the generator, or torch's own, draws the points of a
    larger layer anew at every call; None compares all points. shrinking: of `Term`; those who set a target and calibrate
    give the features of images shrunk so. Raises UsageError for an unknown loss.
    """

    def __init__(
        self,
        layers: Sequence[str],
        typical: bool = True,
        loss: str = "gram",
        bandwidth: float = BANDWIDTH,
        points: int | None = None,
        generator: torch.Generator | None = None,
        shrinking: int = 1,
    ):
        super().__init__()
        self.layers, self.target_layers = tuple(layers), ()
        self.typical, self.shrinking = typical, shrinking
        self.kind = find_style_loss(loss)
        options = {"bandwidth": bandwidth, "points": points, "generator": generator} if self.kind.sampled else {}
        loss_function = self.kind.loss if typical else self.kind.paper_loss or self.kind.loss
        self.loss: Callable[[Tensor, Tensor], Tensor] = partial(loss_function, **options)
        self.weights: list[float] = []
        self.scales: dict[str, float] = {}

    @torch.no_grad()
    def set_target(self, styles: Sequence[Features], weights: Sequence[float] | None = None) -> None:
        """Sets the features of the style images; of several, the weighted mean of their statistics, or else of their losses.

        The squared distance to the mean of statistics has the same gradient as the mean of the squared distances.
        """
        weights = list(weights or [1.0] * len(styles))
        self.weights = [1.0] if self.kind.statistic else weights
        for layer in self.layers:
            targets = [self.kind.summarize(style[layer]) for style in styles]
            if self.kind.statistic:
                weighted = [weight * target for weight, target in zip(weights, targets, strict=True)]
                targets = [torch.stack(weighted).sum(0) / sum(weights)]
            for number, target in enumerate(targets):
                # A buffer, so that it moves to the device with the loss; layer names have no dots.
                self.register_buffer(f"style_{layer}_{number}", target.clone(), persistent=False)

    @torch.no_grad()
    def calibrate(self, photographs: Features) -> None:
        """Measures the mean loss of untouched photographs' features (N, C, h, w), which becomes 1.0."""
        for layer in self.layers:
            # The loss is 0 for the style image itself: a smallest scale keeps the quotient finite.
            smallest = 1e-2
            if not self.kind.raw:
                smallest = 1e-3 * self._distance(layer, zero_features(photographs[layer])).item()
            self.scales[layer] = max(self._distance(layer, photographs[layer]).item(), smallest, 1e-20)

    def forward(self, images: Tensor, features: Features, target_images: Tensor, targets: Features) -> Parts:
        parts = {layer: self._distance(layer, features[layer]) for layer in self.layers}
        if self.typical:
            parts = {layer: part / (self.scales[layer] * len(self.layers)) for layer, part in parts.items()}
        return parts

    def _distance(self, layer: str, features: Tensor) -> Tensor:
        statistic = self.kind.summarize(features)
        losses = [
            weight * self.loss(statistic, self.get_buffer(f"style_{layer}_{number}"))
            for number, weight in enumerate(self.weights)
            if weight
        ]
        return torch.stack(losses).sum() / sum(self.weights)


@dataclass(frozen=True, kw_only=True)
class StyleLossOptions:
    """The options of the loss of a style; names and meanings as in `percept stylize --style` and `percept train style`.

    blend: the weights of several styles; None for equal ones. content_layers, style_layers: if empty, those of the loss
    or the extractor (see `style_taps`). scaling: `typical` divides each term by its usual size, so that a weight of 1.0
    is the usual balance with every extractor and style; `paper` takes raw losses, and 1.0 is the weight of the paper's
    code. loss: a name of `STYLE_LOSSES`. style_scales: the style is compared at each of these, of images that many times
    smaller; None for the loss's own (see `style_losses.style_scales`). bandwidth, points: of the contextual loss; points
    None compares all.
    """

    blend: Sequence[float] | None = None
    content_layers: Sequence[str] = ()
    style_layers: Sequence[str] = ()
    content_weight: float = 1.0
    style_weight: float = 1.0
    tv_weight: float = 1.0
    scaling: str = "typical"
    loss: str = "gram"
    style_scales: Sequence[int] | None = None
    bandwidth: float = BANDWIDTH
    points: int | None = CONTEXTUAL_POINTS


def style_taps(
    architecture: Architecture,
    content_layers: Sequence[str] | None = None,
    style_layers: Sequence[str] | None = None,
    loss: str = "gram",
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The content and style layers of a loss by their full names: as given, or the paper's, or else the extractor's own.

    Raises UsageError, with a suggestion, for an unknown loss or layer, and for a style layer without height and width.
    """
    kind = find_style_loss(loss)
    own = (architecture.content_layer,) if not kind.content_layers else None
    content = architecture.choose_layers(content_layers, kind.content_layers, own)
    style = architecture.choose_layers(style_layers, kind.style_layers)
    check_spatial(architecture, style, "A style loss")
    return content, style


def fitting_scales(scales: Sequence[int], extractor: AnyExtractor, sides: Sequence[int]) -> tuple[int, ...]:
    """The scales that leave images at least `SMALLEST_COMPARED` pixels and the extractor's smallest side; (1,) if none does.

    sides: the short sides in pixels of the images that are compared.
    """
    smallest = max(SMALLEST_COMPARED, extractor.smallest_side)
    return tuple(scale for scale in scales if min(sides) // scale >= smallest) or (1,)


def scales_left_out(scales: Sequence[int], extractor: AnyExtractor, sides: Sequence[int]) -> str:
    """A sentence on the scales that `fitting_scales` leaves out; empty if it takes all."""
    used = fitting_scales(scales, extractor, sides)
    if used == tuple(scales):
        return ""
    asked, taken = (",".join(map(str, each)) for each in (scales, used))
    return f"of --style-scales {asked}, {taken} is used: a short side of {min(sides)} pixels is too small for more"


def compared_taps(architecture: Architecture, layers: Sequence[str] | None, loss: str) -> tuple[str, ...]:
    """The layers of a style loss in `compare`, by their full names. Raises UsageError as `style_taps`."""
    kind = find_style_loss(loss)
    own = (architecture.content_layer,) if kind.compared_layers else None
    chosen = architecture.choose_layers(layers, kind.compared_layers, own)
    check_spatial(architecture, chosen, "A style loss")
    return chosen


def create_style_loss(
    extractor: AnyExtractor,
    styles: Sequence[Tensor],
    photographs: Tensor,
    options: StyleLossOptions,
    generator: torch.Generator | None = None,
) -> PerceptualLoss:
    """The loss of one style or a blend (Johnson et al. 2016, section 3): content, style and total variation.

    Departs from the paper: the style is compared at several sizes, each with an equal share of the style weight.
    styles: each (1, 3, H, W). photographs: (N, 3, H, W), untouched; with typical scaling their style loss is 1.0. Scales
    for which a style or a photograph is too small are left out (see `fitting_scales`). generator: draws the points of the
    contextual loss; None for torch's own. Raises UsageError for unknown names, and as `style_taps`.
    """
    typical = is_typical(options.scaling)
    content, style = style_taps(extractor.architecture, options.content_layers, options.style_layers, options.loss)
    content_term = FeatureTerm({layer: 1 / len(content) for layer in content}, typical=typical)
    kind = find_style_loss(options.loss)
    content_balance, style_balance, tv_balance = kind.balance if typical else kind.paper
    terms: dict[str, tuple[Term, float]] = {"content": (content_term, content_balance * options.content_weight)}
    asked = style_scales(options.style_scales, options.loss, typical)
    scales = fitting_scales(asked, extractor, [min(images.shape[-2:]) for images in (*styles, photographs)])
    for scale in scales:
        term = StyleTerm(style, typical, options.loss, options.bandwidth, options.points, generator, scale)
        term.set_target([extractor(shrink(picture, scale), style) for picture in styles], options.blend)
        term.calibrate(extractor(shrink(photographs, scale), style))
        name = f"style.{SCALE_NAMES[scale]}" if scale in SCALE_NAMES else "style"
        terms[name] = term, style_balance * options.style_weight / len(scales)
    terms["tv"] = TotalVariationTerm(typical=typical), tv_balance * options.tv_weight
    return PerceptualLoss(terms, extractor)


def load_styles(
    paths: Sequence[Path], short_side: int, announce: Callable[[str], None] = lambda message: None
) -> list[Tensor]:
    """The style images, each (1, 3, h, w) in [0, 1] with a short side of `short_side` pixels, over black where transparent.

    Of one that is longer than `LONGEST` times its short side the middle is taken, which is announced. Raises UsageError if
    one cannot be read.
    """
    styles = []
    for path in paths:
        try:
            photo = load_image(path)
        except ImageError as error:
            raise UsageError(f"--style: {error}") from error
        whole, pixels = (photo.height, photo.width), photo.visible()
        pixels = _middle(pixels, LONGEST * min(whole))
        if pixels.shape[-2:] != whole:
            announce(
                f"--style {path}: {whole[1]}x{whole[0]} pixels are too long; of the style, the middle "
                f"{pixels.shape[-1]}x{pixels.shape[-2]} are used"
            )
        styles.append(resize_image(pixels, *fit_short_side(pixels.shape[-2], pixels.shape[-1], short_side)))
    return styles


def _middle(pixels: Tensor, longest: int) -> Tensor:
    """The middle of images (N, C, H, W), of at most `longest` pixels a side."""
    height, width = (min(side, longest) for side in pixels.shape[-2:])
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return pixels[..., top : top + height, left : left + width]
