"""Style transfer by optimization of the image (Gatys et al. 2016), from coarse to fine sizes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.choices import INITS, ONE_PASS
from percept_cli.core.extractors.graph import FeatureExtractor
from percept_cli.core.extractors.tiled import AnyExtractor, tile_extractor
from percept_cli.core.images.masks import keep_outside
from percept_cli.core.images.photo import Photo, resize_image
from percept_cli.core.images.tiles import AUTO
from percept_cli.core.inference.restyle import finish
from percept_cli.core.losses.style import StyleLossOptions, create_style_loss
from percept_cli.core.losses.style_losses import find_style_loss
from percept_cli.core.optimization.loop import Loss, OptimizationStep, optimize_image, penalize_range
from percept_cli.core.optimization.parametrization import Frequencies, Parametrization
from percept_cli.core.runtime import BYTES_PER_PIXEL, Runtime, memory_errors, size_advice
from percept_cli.core.strokes import SMALLEST_PAINTING
from percept_cli.errors import ImageError, UsageError, unknown_name

COARSEST = 192  # short side in pixels of the first size
GROWTH = 2.0
SMALLEST_SIZE = 16  # of --size, pixels
# From one pass the large forms are there already, and steps are few: as many for each size, at a higher rate that does not
# decrease. 96 steps reach a loss of .718 in 16 s, where 300 from the photograph reach .723 in 37 s, and 120 from one pass that
# are split and slow down like those from the photograph .792 in 15 s (384x512 pixels, two photographs and paintings).
ONE_PASS_SHARE, ONE_PASS_RATE = 1.0, 0.05
RANGE_WEIGHT = 10.0  # larger than for inversion, as style losses are several times as large as feature errors


@dataclass(frozen=True)
class StyleOptions(StyleLossOptions):
    """Options of style transfer by optimization; names and meanings as in `percept stylize --style`.

    init: content, noise or style; or one-pass, which needs a function that restyles in one pass.
    """

    steps: int = 300
    optimizer: str = "adam"
    init: str = "content"
    style_size: int = 256
    seed: int = 0


@dataclass(frozen=True)
class StyleStep(OptimizationStep):
    """One update of a restyled photograph."""

    finish: Callable[[Tensor], Photo]

    @property
    def photo(self) -> Photo:
        """The result so far, of full size, with strength, colors and mask applied."""
        return self.finish(self.image)


def stylize(
    photo: Photo,
    styles: Sequence[Tensor],
    extractor: FeatureExtractor,
    runtime: Runtime,
    options: StyleOptions,
    *,
    size: int | None = None,
    strength: float = 1.0,
    keep_colors: bool = False,
    mask: Tensor | None = None,
    tile: int | str = AUTO,
    one_pass: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[StyleStep]:
    """Restyles a photograph with style images by optimization, yielding every step; `photo` of the last is the result.

    styles: each (1, 3, h, w) in [0, 1]. extractor: frozen by the runtime, tapped at `style_taps`. size, strength,
    keep_colors, mask: as for `restyle`. tile: as for `tile_extractor`. one_pass: restyles images (1, 3, H, W) in [0, 1] in
    one pass, from which an init of one-pass goes on (see `restyle_at_stroke`). Raises ImageError for a photograph that is too
    small for the layers, UsageError as `optimize_style`, and DeviceError if memory is not enough.
    """
    pixels = photo.visible(size)
    height, width = pixels.shape[-2:]
    if min(height, width) < extractor.smallest_side:
        raise ImageError(
            f"{width}x{height} pixels are too few for {extractor.architecture.name}: give --size {extractor.smallest_side}."
        )

    def finished(image: Tensor) -> Photo:
        restyled = resize_image(image.cpu(), height, width) if image.shape[-2:] != pixels.shape[-2:] else image.cpu()
        result = photo.with_visible(finish(restyled, pixels, strength=strength, keep_colors=keep_colors))
        return result if mask is None else keep_outside(result, photo, mask)

    fitting = tile_extractor(extractor, tile, height, width)
    advice = _memory_advice(height, width, styles, mask, extractor, runtime.device)
    with memory_errors(f"{width}x{height} pixels", advice):
        begin = one_pass(pixels) if one_pass else None
        for step in optimize_style(pixels, styles, fitting, runtime, options, begin):
            yield StyleStep(step.index, step.total, step.parts, step.image, finished)


def _memory_advice(
    height: int,
    width: int,
    styles: Sequence[Tensor],
    mask: Tensor | None,
    extractor: FeatureExtractor,
    device: torch.device,
) -> str:
    """What to do where memory is not enough for a photograph of height x width pixels: to make the larger image smaller."""
    style = max((each.shape[-2:] for each in styles), key=lambda size: size[0] * size[1])
    if style[0] * style[1] > height * width:
        return size_advice(style[0], style[1], BYTES_PER_PIXEL, device, SMALLEST_PAINTING, "--style-size")
    if mask is not None:
        return "Shrink the photograph and its mask"
    return size_advice(height, width, BYTES_PER_PIXEL, device, max(extractor.smallest_side, SMALLEST_SIZE))


def scales(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes (height, width) of an optimization, by factors of 2 from a short side of `COARSEST` to the full size."""
    sizes = [(height, width)]
    while min(sizes[0]) > COARSEST * GROWTH**0.5:
        factor = max(1 / GROWTH, COARSEST / min(sizes[0]))
        sizes.insert(0, (round(sizes[0][0] * factor), round(sizes[0][1] * factor)))
    return sizes


def split_steps(steps: int, count: int, share: float = 0.5) -> list[int]:
    """Steps for each of `count` sizes from coarse to fine: each has `share` times as many as the one before.

    Half as many by default, as its steps take four times as long.
    """
    shares = [share**position for position in range(count)]
    split = [max(1, round(steps * share / sum(shares))) for share in shares]
    split[0] = max(1, steps - sum(split[1:]))
    # With few steps rounding may give some too many, which the largest of the others lose.
    while sum(split) > steps and max(split[1:], default=1) > 1:
        split[split.index(max(split[1:]), 1)] -= 1
    return split


def optimize_style(
    content: Tensor,
    styles: Sequence[Tensor],
    extractor: AnyExtractor,
    runtime: Runtime,
    options: StyleOptions,
    one_pass: Tensor | None = None,
) -> Iterator[OptimizationStep]:
    """Restyles an image (1, 3, H, W) in [0, 1] with style images, each (1, 3, h, w), yielding every step.

    The image of a step has the current size of the optimization, that of the last the content's. The style images have
    the same size throughout, so that strokes do too, in pixels. one_pass: the content restyled by a network, (1, 3, H, W),
    for an init of one-pass. Raises UsageError for an unknown init, optimizer, loss or layer.
    """
    if options.init not in ((ONE_PASS, *INITS) if one_pass is not None else INITS):
        raise UsageError(unknown_name("init", options.init, INITS))
    if options.optimizer == "lbfgs":
        # It compares losses along a line, which must be of the same points.
        options = replace(options, points=None)
    share = ONE_PASS_SHARE if options.init == ONE_PASS else 0.5
    sizes = scales(*content.shape[-2:])
    styles = [runtime.place(style) for style in styles]
    index, image, start = 1, None, None
    for (height, width), steps in zip(sizes, split_steps(options.steps, len(sizes), share), strict=True):
        target = runtime.place(resize_image(content, height, width))
        generator = torch.Generator().manual_seed(options.seed)
        loss = create_style_loss(extractor, styles, target, options, generator)
        begun = runtime.place(_start(target, styles[0], options, one_pass))
        if image is None or start is None:
            start = begun
        elif options.init == ONE_PASS:
            start = add_change(begun, start, image)
        else:
            start = resize_image(image, height, width)
        compare: Loss = partial(loss, target_images=target, targets=loss.target_features(target))
        space: Parametrization | None = None
        if find_style_loss(options.loss).in_frequencies:
            space, compare = Frequencies(height, width, device=runtime.device), penalize_range(compare, RANGE_WEIGHT)
        start = runtime.place(start)
        rates = [ONE_PASS_RATE] * steps if options.init == ONE_PASS and space is None else None
        for step in optimize_image(start, compare, steps, options.optimizer, index, parametrization=space, rates=rates):
            image, index = step.image, step.index + 1
            yield step


def add_change(begun: Tensor, start: Tensor, image: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with the change that an optimization made of a smaller `start`, which became `image`.

    The change is enlarged, not the image: so the fine strokes of `begun` stay.
    """
    change = F.interpolate(image - start, size=begun.shape[-2:], mode="bicubic", align_corners=False)
    return (begun + change).clamp(0, 1)


def _start(target: Tensor, style: Tensor, options: StyleOptions, one_pass: Tensor | None) -> Tensor:
    if options.init == ONE_PASS and one_pass is not None:
        return resize_image(one_pass, *target.shape[-2:])
    if options.init == "content":
        return target
    if options.init == "style":
        return resize_image(style, *target.shape[-2:])
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(options.seed))
    return (0.5 + 0.1 * noise).clamp(0, 1).to(target.device)
