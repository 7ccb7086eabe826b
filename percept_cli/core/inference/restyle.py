"""A trained generator on a photograph: any size, transparency, strength, original colors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.images.masks import hide
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.tiles import AUTO, OFF, plan_tiles
from percept_cli.core.inference.colors import keep_original_colors
from percept_cli.core.runtime import Runtime

USUAL_TILE = 1024  # pixels
LARGEST_WHOLE = 1 << 22  # pixels; beyond, `auto` takes tiles


@torch.inference_mode()
def restyle(
    photo: Photo,
    generator: nn.Module,
    runtime: Runtime,
    *,
    size: int | None = None,
    strength: float = 1.0,
    keep_colors: bool = False,
    mask: Tensor | None = None,
    tile: int | str = AUTO,
) -> Photo:
    """The photograph in a generator's style, of exactly its own size or with a short side of `size` pixels.

    strength: 0 is the photograph, 1 the style, between them a mixture of the pixels. keep_colors: only brightness is
    restyled. Transparency is kept; colors are premultiplied through the network, so that hidden ones do not bleed.
    mask: (1, 1, H, W), for a generator that fills holes (see `fills_holes`): it does not see what is masked. tile: see
    `run_generator`.
    """
    pixels = photo.visible(size)
    restyled = run_generator(generator, pixels if mask is None else hide(pixels, mask), runtime, tile)
    return photo.with_visible(finish(restyled, pixels, strength=strength, keep_colors=keep_colors))


def fills_holes(generator: nn.Module) -> bool:
    """Whether a generator sees a mask beside the image, and so cannot do without one."""
    return getattr(generator, "inputs", 3) == 4


def run_generator(generator: nn.Module, pixels: Tensor, runtime: Runtime, tile: int | str = AUTO) -> Tensor:
    """One forward pass: pixels (1, 3, H, W) in [0, 1] on the processor, and a mask where one goes with them; pixels back.

    tile: of a generator without norms, the side in pixels of the tiles that it works in, with a halo as wide as it sees;
    `auto` takes them beyond four megapixels. Others see the whole picture, whose statistics they need. What half precision
    makes infinite is computed again in float32.
    """
    height, width = pixels.shape[-2:]
    if (
        not getattr(generator, "tiles_exactly", False)
        or tile == OFF
        or (tile == AUTO and height * width <= LARGEST_WHOLE)
    ):
        return _run_whole(generator, pixels, runtime)
    result = pixels.new_empty((len(pixels), 3, height, width))
    side = USUAL_TILE if isinstance(tile, str) else tile
    radius, multiple = int(generator.receptive_radius), int(generator.size_multiple)  # type: ignore[arg-type]
    for planned in plan_tiles(height, width, side, radius, multiple=multiple):
        rows, columns = planned.source.slices
        part = _run_whole(generator, pixels[..., rows, columns], runtime)
        kept, place = planned.target.within(planned.source).slices, planned.target.slices
        result[..., place[0], place[1]] = part[..., kept[0], kept[1]]
    return result


def _run_whole(generator: nn.Module, pixels: Tensor, runtime: Runtime) -> Tensor:
    height, width = pixels.shape[-2:]
    smallest = int(generator.smallest)  # type: ignore[arg-type]
    missing = (max(0, smallest - height), max(0, smallest - width))
    # Reflection needs more pixels than a thumbnail has: its edge is repeated, and cut off again.
    padded = F.pad(pixels, [0, missing[1], 0, missing[0]], mode="replicate") if any(missing) else pixels
    placed = runtime.place(padded)
    with runtime.autocast():
        result = generator(placed).float()
    if not torch.isfinite(result).all():
        result = generator(placed).float()
    return result[..., :height, :width].clamp(0, 1).cpu()


def finish(restyled: Tensor, pixels: Tensor, *, strength: float, keep_colors: bool) -> Tensor:
    """Strength and original colors, on images of one size in [0, 1]."""
    if keep_colors:
        restyled = keep_original_colors(restyled, pixels)
    return restyled if strength == 1.0 else torch.lerp(pixels, restyled, strength)
