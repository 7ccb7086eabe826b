"""Forward passes of generators: padding, precision, checks of the result, cropping, tiles."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.encoder import ENCODER_RADIUS
from percept_cli.core.generators.feature_statistics import Statistics, merge_statistics
from percept_cli.core.generators.one_style import OneStyleGenerator
from percept_cli.core.generators.styled import StyledGenerator
from percept_cli.core.images.tiles import AUTO, OFF, plan_tiles
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ImageError

USUAL_TILE = 1024  # pixels
LARGEST_WHOLE = 1 << 22  # pixels; larger pictures are run in tiles by `auto`
# Whose tiles need the statistics of the whole picture
STYLED = (StyledGenerator, OneStyleGenerator)
STYLED_TILE = 2048  # pixels: each needs 144 more at its sides, and its levels are computed in strips


@torch.inference_mode()
def forward(
    network: Callable[..., Tensor],
    inputs: Tensor,
    runtime: Runtime,
    *further: object,
    on_overflow: Callable[[], None] | None = None,
) -> Tensor:
    """The result of a forward pass in the runtime's precision, in float32 on the processor; inputs of any shape.

    further: further arguments of the network. A result that is not finite in half precision is computed again in float32,
    after a call of `on_overflow`. Raises ImageError for one that is not finite in float32 either.
    """
    placed = runtime.place(inputs)
    with runtime.autocast():
        result = network(placed, *further).float()
    if runtime.dtype != torch.float32 and not torch.isfinite(result).all():
        if on_overflow:
            on_overflow()
        result = network(placed, *further).float()
    if not torch.isfinite(result).all():
        raise ImageError("The network makes values of it that are not finite numbers.")
    return result.cpu()


def run_whole(
    generator: Generator,
    images: Tensor,
    runtime: Runtime,
    *further: object,
    on_overflow: Callable[[], None] | None = None,
) -> Tensor:
    """The result of a generator for images (N, C, h, w) in [0, 1]: (N, 3, s·h, s·w) on the processor, not clamped.

    generator: placed by `Runtime.place_network`. Images smaller than `Generator.smallest` are padded, and the result is
    cropped. Precision, `further`, `on_overflow` and errors as for `forward`.
    """
    height, width = images.shape[-2:]
    result = forward(generator, pad_to_smallest(images, generator), runtime, *further, on_overflow=on_overflow)
    return result[..., : height * generator.scale, : width * generator.scale]


def pad_to_smallest(images: Tensor, generator: Generator) -> Tensor:
    """Images (N, C, h, w) whose edges at the right and bottom are repeated up to the generator's smallest side."""
    missing = [max(0, generator.smallest - side) for side in images.shape[-2:]]
    # The edge is repeated: reflection needs more pixels than such images have.
    return F.pad(images, [0, missing[1], 0, missing[0]], mode="replicate") if any(missing) else images


def run_generator(
    generator: Generator, images: Tensor, runtime: Runtime, tile: int | str = AUTO, content: Statistics | None = None
) -> Tensor:
    """The result of a generator of scale 1 for images (N, C, H, W) in [0, 1]: (N, 3, H, W) in [0, 1] on the processor.

    generator: placed by `Runtime.place_network`. tile: side of tiles in pixels, `off`, or `auto`: for images of more than
    four megapixels 1024, or 2048 where tiles need the statistics of the whole. A generator whose tiles would not equal the
    whole (see `Generator.exact_halo`) always runs without tiles. content: the statistics that a generator of
    `STYLED` takes in place of the images' own (see `measure_frames`).
    """
    height, width = images.shape[-2:]
    halo = generator.exact_halo
    side = _tile_side(generator, height, width, tile)
    if halo is None or side is None:
        return run_whole(generator, images, runtime, *(() if content is None else (content,))).clamp(0, 1)
    result = images.new_empty((len(images), 3, height, width))
    if content is None and isinstance(generator, STYLED):
        content = measure_content(generator, images, runtime, side)
    for planned in plan_tiles(height, width, side, halo, multiple=generator.size_multiple):
        further = () if content is None else (content, (planned.source.top, planned.source.left))
        part = run_whole(generator, images[(..., *planned.source.slices)], runtime, *further).clamp(0, 1)
        kept = planned.target.within(planned.source)
        result[(..., *planned.target.slices)] = part[(..., *kept.slices)]
    return result


def count_tiles(generator: Generator, height: int, width: int, tile: int | str = AUTO) -> int:
    """In how many tiles `run_generator` computes images of this size."""
    halo, side = generator.exact_halo, _tile_side(generator, height, width, tile)
    if halo is None or side is None:
        return 1
    return len(plan_tiles(height, width, side, halo, multiple=generator.size_multiple))


def _tile_side(generator: Generator, height: int, width: int, tile: int | str) -> int | None:
    """The side of the tiles in which images of this size are computed; None for those that are computed as a whole."""
    if generator.exact_halo is None or tile == OFF or (tile == AUTO and height * width <= LARGEST_WHOLE):
        return None
    usual = STYLED_TILE if isinstance(generator, STYLED) else USUAL_TILE
    return usual if isinstance(tile, str) else tile


@torch.inference_mode()
def measure_content(
    generator: StyledGenerator | OneStyleGenerator, images: Tensor, runtime: Runtime, tile: int
) -> Statistics:
    """The statistics of images (1, 3, H, W) in [0, 1], measured in tiles of `tile` pixels: those of the whole."""
    padded = pad_to_smallest(images, generator)
    height, width = padded.shape[-2:]
    parts, counts = [], []
    for planned in plan_tiles(height, width, tile, ENCODER_RADIUS, multiple=generator.size_multiple):
        with runtime.autocast():
            placed = runtime.place(padded[(..., *planned.source.slices)])
            part, count = generator.measure_part(placed, planned, (height, width))
        parts.append(part)
        counts.append(count)
    return merge_statistics(parts, counts)


def measure_frames(
    generator: StyledGenerator | OneStyleGenerator, frames: Iterable[Tensor], runtime: Runtime
) -> Statistics:
    """The statistics of the frames of an animation, (1, 3, H, W) in [0, 1], taken together.

    With its own, each frame is painted a little differently everywhere when something in it moves. With those of all, as
    parts of one picture, what stands still stays the same.
    """
    parts = [measure_content(generator, frame, runtime, USUAL_TILE) for frame in frames]
    return merge_statistics(parts, [1.0] * len(parts))
