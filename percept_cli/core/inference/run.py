"""Running a generator: its input is padded and placed on the device, its result checked, cropped and brought back."""

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
    """One forward pass in the runtime's precision: inputs of any shape, the result in float32 on the processor.

    further: handed to the network behind the inputs. A result that half precision makes infinite is computed again in
    float32, after `on_overflow` is called. Raises ImageError for one that is not finite in float32 either.
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
    """What a generator makes of images (N, C, h, w) in [0, 1]: (N, 3, s·h, s·w) on the processor, not clamped.

    generator: on the runtime's device by `Runtime.place_network`. Images smaller than it takes are padded, and the result is
    cropped. The rest as `forward`.
    """
    height, width = images.shape[-2:]
    missing = max(0, generator.smallest - height), max(0, generator.smallest - width)
    # Reflection needs more pixels than a thumbnail has: its edge is repeated.
    padded = F.pad(images, [0, missing[1], 0, missing[0]], mode="replicate") if any(missing) else images
    result = forward(generator, padded, runtime, on_overflow=on_overflow)
    return result[..., : height * generator.scale, : width * generator.scale]


def run_generator(generator: Generator, images: Tensor, runtime: Runtime, tile: int | str = AUTO) -> Tensor:
    """What a generator makes of images (N, C, H, W) in [0, 1]: images (N, 3, H, W) in [0, 1] on the processor.

    For a generator of scale 1, on the runtime's device. tile: the side in pixels of the tiles that it works in, `off`, or
    `auto`: of 1024 pixels for images of more than four megapixels. A generator whose tiles would not equal the whole (see
    `Generator.exact_halo`) always gets the whole.
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
