"""Style transfer without training: the pixels themselves are optimized (Gatys et al. 2016), coarse to fine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from percept_cli.core.extractors.tiled import AnyExtractor
from percept_cli.core.images.photo import resize_image
from percept_cli.core.losses.style import StyleLossOptions, create_style_loss, find_style_loss
from percept_cli.core.optimization.loop import Loss, OptimizationStep, fence, optimize_image
from percept_cli.core.optimization.parametrization import Frequencies, Parametrization
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError, unknown_name

INITS = ("content", "noise", "style")
COARSEST = 192  # short side in pixels where the large strokes are laid
GROWTH = 2.0
RANGE_WEIGHT = 10.0  # a style loss weighs several times what a feature error does


@dataclass(frozen=True)
class StyleOptions(StyleLossOptions):
    """What is asked of an optimization; names and meanings as in `percept stylize --style`."""

    steps: int = 200
    optimizer: str = "adam"
    init: str = "content"
    style_size: int = 256
    seed: int = 0


def scales(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes an optimization goes through, doubling from `COARSEST` up to (height, width)."""
    sizes = [(height, width)]
    while min(sizes[0]) > COARSEST * GROWTH**0.5:
        factor = max(1 / GROWTH, COARSEST / min(sizes[0]))
        sizes.insert(0, (round(sizes[0][0] * factor), round(sizes[0][1] * factor)))
    return sizes


def split_steps(steps: int, count: int) -> list[int]:
    """Steps for each of `count` sizes, coarse first: each finer one has half as many, for it costs four times as much."""
    shares = [0.5**position for position in range(count)]
    split = [max(1, round(steps * share / sum(shares))) for share in shares]
    split[0] = max(1, steps - sum(split[1:]))
    # With hardly a step a size, the second gives up what rounding gave too much.
    if count > 1 and split[1] > 1:
        split[1] -= max(0, sum(split) - steps)
    return split


def optimize_style(
    content: Tensor, styles: Sequence[Tensor], extractor: AnyExtractor, runtime: Runtime, options: StyleOptions
) -> Iterator[OptimizationStep]:
    """Restyles one photograph (1, 3, H, W) in [0, 1] after style images, each (1, 3, h, w), yielding every step.

    The image of a step has the size that the optimization has reached; the last one has the photograph's. The short
    side of the style images is `style_size` pixels throughout, so that strokes keep their size in pixels.
    """
    if options.init not in INITS:
        raise UsageError(unknown_name("init", options.init, INITS))
    sizes = scales(*content.shape[-2:])
    styles = [runtime.place(style) for style in styles]
    index, image = 1, None
    for (height, width), steps in zip(sizes, split_steps(options.steps, len(sizes)), strict=True):
        target = runtime.place(resize_image(content, height, width))
        loss = create_style_loss(
            extractor, styles, target, options, torch.Generator().manual_seed(options.seed)
        )  # fmt: skip
        start = _start(target, styles[0], options) if image is None else resize_image(image, height, width)
        compare: Loss = partial(loss, target_images=target, targets=loss.target_features(target))
        space: Parametrization | None = None
        if find_style_loss(options.loss).in_frequencies:
            space, compare = Frequencies(height, width, device=runtime.device), fence(compare, RANGE_WEIGHT)
        start = runtime.place(start)
        for step in optimize_image(start, compare, steps, options.optimizer, index, parametrization=space):
            image, index = step.image, step.index + 1
            yield step


def _start(target: Tensor, style: Tensor, options: StyleOptions) -> Tensor:
    if options.init == "content":
        return target
    if options.init == "style":
        return resize_image(style, *target.shape[-2:])
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(options.seed))
    return (0.5 + 0.1 * noise).clamp(0, 1).to(target.device)
