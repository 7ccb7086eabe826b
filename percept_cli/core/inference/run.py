"""Forward passes of generators: padding, precision, checks of the result, cropping, tiles."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.generators.base import Generator
from percept_cli.core.images.tiles import AUTO, OFF, plan_tiles
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ImageError

USUAL_TILE = 1024  # pixels
LARGEST_WHOLE = 1 << 22  # pixels; larger pictures are run in tiles by `auto`


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
    generator: Generator, images: Tensor, runtime: Runtime, *, on_overflow: Callable[[], None] | None = None
) -> Tensor:
    """The result of a generator for images (N, C, h, w) in [0, 1]: (N, 3, s·h, s·w) on the processor, not clamped.

    generator: placed by `Runtime.place_network`. Images smaller than `Generator.smallest` are padded, and the result is
    cropped. Precision, `on_overflow` and errors as for `forward`.
    """
    height, width = images.shape[-2:]
    missing = max(0, generator.smallest - height), max(0, generator.smallest - width)
    # The edge is repeated: reflection needs more pixels than such images have.
    padded = F.pad(images, [0, missing[1], 0, missing[0]], mode="replicate") if any(missing) else images
    result = forward(generator, padded, runtime, on_overflow=on_overflow)
    return result[..., : height * generator.scale, : width * generator.scale]


def run_generator(generator: Generator, images: Tensor, runtime: Runtime, tile: int | str = AUTO) -> Tensor:
    """The result of a generator of scale 1 for images (N, C, H, W) in [0, 1]: (N, 3, H, W) in [0, 1] on the processor.

    generator: placed by `Runtime.place_network`. tile: side of tiles in pixels, `off`, or `auto`, which is 1024 for images
    of more than four megapixels. A generator whose tiles would not equal the whole (see `Generator.exact_halo`) always
    runs without tiles.
    """
    height, width = images.shape[-2:]
    halo = generator.exact_halo
    if halo is None or tile == OFF or (tile == AUTO and height * width <= LARGEST_WHOLE):
        return run_whole(generator, images, runtime).clamp(0, 1)
    result = images.new_empty((len(images), 3, height, width))
    side = USUAL_TILE if isinstance(tile, str) else tile
    for planned in plan_tiles(height, width, side, halo, multiple=generator.size_multiple):
        part = run_whole(generator, images[(..., *planned.source.slices)], runtime).clamp(0, 1)
        kept = planned.target.within(planned.source)
        result[(..., *planned.target.slices)] = part[(..., *kept.slices)]
    return result
