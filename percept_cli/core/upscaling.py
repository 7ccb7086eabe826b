"""Pictures enlarged by a generator, tile by tile: of any size, in a memory that does not grow with the network's maps.

The picture stays in main memory; a tile at a time is on the device. Transparent pictures go premultiplied through the
network; their transparency is enlarged by bicubic interpolation.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from percept_cli.core.degradation import cubic_kernel
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.generators.reach import WIDEST_HALO, cut_errors, largest_map
from percept_cli.core.images import Photo, premultiply, quantise, unpremultiply
from percept_cli.core.runtime import Runtime, is_out_of_memory
from percept_cli.core.tiling import AUTO, OFF, Region, Tile, plan_tiles
from percept_cli.errors import DeviceError, ImageError

NARROWEST_HALO = 16
# Half a grey level: what a halo that is measured may leave of a cut
INVISIBLE = 0.5 / 255

SMALLEST_TILE = 32
LARGEST_TILE = 1024
# The least for which the halo is not most of the work
EFFICIENT_TILE = 96
# What a network holds at a time, in maps of its largest layer: 1.2 (RRDB in bf16) to 4.1 (swift in fp32) were measured
MAPS_HELD = 5
# For a tile's maps on a processor, `swift`'s at 240 pixels a side: tiles of 384 are 5 % faster, and the C library keeps
# up to half a gigabyte of their maps
PROCESSOR_BYTES = 96 << 20

VERIFIED_PLACES = 8
RESAMPLED_ROWS = 64


@dataclass(frozen=True)
class Verification:
    """How far tiles are from the whole: the largest difference in grey levels of 256, at so many places.

    A tile may be convolved by another algorithm than the whole, so that sums are rounded in another order. In float32
    this moves values of an exact generator (see `Upscaler.is_exact`) by less than 1e-5: no level of 8 bits, but where a
    value falls within that of the edge between two, and no level of 16 bits by more than one.
    """

    difference: float
    places: int
    whole: bool

    @property
    def passed(self) -> bool:
        return self.difference <= 1


@dataclass(frozen=True)
class TileStep:
    """How many tiles of how many are done, what the user must be told, and at the end the result.

    `photo` holds levels (see `Photo`), of as many bits as the picture given; `verification` is there if it was asked
    for and the picture took more than one tile.
    """

    done: int
    total: int
    note: str = ""
    photo: Photo | None = None
    verification: Verification | None = None


def upscale(
    photo: Photo,
    generator: nn.Module,
    runtime: Runtime,
    *,
    tile: int | str = AUTO,
    height: int | None = None,
    width: int | None = None,
) -> Photo:
    """The photograph enlarged `generator.scale` times, or to `height` x `width`; the result holds levels (see `Photo`)."""
    result = None
    for step in Upscaler(generator, runtime, tile).enlarge(photo, height, width):
        result = step.photo
    assert result is not None
    return result


class Upscaler:
    """A generator with the tiles in which it enlarges pictures.

    The generator has `scale`, `receptive_radius` (None: not known), `size_multiple` and `smallest`, takes (N, 3, h, w)
    RGB in [0, 1] and is prepared by `runtime`. tile: its side in pixels of the input, without the halo; `auto` goes by the
    memory at hand, `off` takes the picture as a whole.
    """

    def __init__(self, generator: nn.Module, runtime: Runtime, tile: int | str = AUTO):
        self.generator, self.runtime, self.tile = generator, runtime, tile
        self.scale = int(generator.scale)  # type: ignore[arg-type]
        self.multiple = int(generator.size_multiple)  # type: ignore[arg-type]
        self.smallest = int(generator.smallest)  # type: ignore[arg-type]
        self._alpha_base = BicubicBase(self.scale)
        self._largest_tile: int | None = None  # once the memory was not enough for more
        self._overflowed = False

    @property
    def is_exact(self) -> bool:
        """Whether tiles equal the whole (within 1e-5 in float32): if their halo covers all that the generator sees."""
        radius = self.generator.receptive_radius
        return radius is not None and int(radius) <= WIDEST_HALO  # type: ignore[arg-type]

    @cached_property
    def halo(self) -> int:
        """Pixels of the input around a tile; measured where the generator sees too far or does not say how far."""
        if self.is_exact:
            return int(self.generator.receptive_radius)  # type: ignore[arg-type]
        visible = (cut_errors(self.run, self.multiple) > INVISIBLE).nonzero()
        reach = int(visible.max()) + 1 if len(visible) else 0
        # Noise is one picture of many: a quarter more.
        return min(max(reach + reach // 4, NARROWEST_HALO), WIDEST_HALO)

    @cached_property
    def bytes_per_pixel(self) -> int:
        """Memory a pixel of the input that the network takes on its way, about."""
        side = -(-max(16, self.smallest) // self.multiple) * self.multiple
        return MAPS_HELD * 4 * largest_map(self.generator, self.run, side)

    def enlarge(
        self, photo: Photo, height: int | None = None, width: int | None = None, *, verify: bool = False
    ) -> Iterator[TileStep]:
        """Enlarges a photograph, yielding a step at the start, after every tile, and with the result at the end.

        height, width: the size of the result, resampled from `scale` times the photograph's; None: just that. verify:
        compute places of it another way and compare. Memory that is not enough makes the tiles smaller, with a note;
        DeviceError when there is not even enough for the smallest, or for a whole picture that was asked for.
        """
        exact_size = photo.height * self.scale, photo.width * self.scale
        size = (height or exact_size[0], width or exact_size[1])
        depth = np.uint16 if photo.bits > 8 else np.uint8
        resampled = size != exact_size
        # Resampled and only then rounded to 8 bits and divided by alpha.
        canvas = np.empty((*exact_size, 3 if photo.alpha is None else 4), np.uint16 if resampled else depth)

        side = self._tile_side(photo)
        tiles = self.plan(photo, side)
        done, total = 0, len(tiles)
        note = self._inexactness if total > 1 and not self.is_exact else ""
        yield TileStep(done, total, note)
        while tiles:
            overflowed, fits = self._overflowed, True
            try:
                self._paint(canvas, photo, tiles[0], keep_premultiplied=resampled)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                fits = False  # what follows waits until the error is gone, whose traceback holds the tile's maps
            if fits:
                tiles, done = tiles[1:], done + 1
                note = "half precision overflowed: such tiles are computed again in fp32"
                yield TileStep(done, total, note if self._overflowed > overflowed else "")
            else:
                side = self._smaller(side, photo)
                tiles = self.plan(photo, side, top=tiles[0].target.top)  # the rows above are done
                total = done + len(tiles)
                yield TileStep(done, total, f"not enough memory: going on with tiles of {side} pixels")

        verification = None
        if verify and len(self.plan(photo, side)) > 1:
            verification = self._verify(canvas, photo, side, keep_premultiplied=resampled)
        levels = resample(canvas, *size, depth) if resampled else canvas
        channels = torch.from_numpy(levels).permute(2, 0, 1)[None]
        alpha = None if photo.alpha is None else channels[:, 3:]
        result = replace(photo, pixels=channels[:, :3], alpha=alpha)
        yield TileStep(done, total, photo=result, verification=verification)

    def plan(self, photo: Photo, side: int, top: int = 0) -> list[Tile]:
        """The tiles of at most `side` pixels, or the fewest the generator takes, for a photograph's rows from `top`."""
        return plan_tiles(
            photo.height,
            photo.width,
            max(side, self.smallest, self.multiple),
            0 if side >= max(photo.height, photo.width) else self.halo,  # it may have to be measured
            multiple=self.multiple,
            top=top,
        )

    @torch.inference_mode()
    def run(self, pixels: Tensor) -> Tensor:
        """Pixels (1, 3, h, w) in main memory, enlarged on the device, float32; an overflow is computed again."""
        height, width = pixels.shape[-2:]
        missing = max(0, self.smallest - height), max(0, self.smallest - width)
        padded = F.pad(pixels, [0, missing[1], 0, missing[0]], mode="replicate") if any(missing) else pixels
        placed = self.runtime.place(padded)
        with self.runtime.autocast():
            result = self.generator(placed).float()
        if self.runtime.dtype != torch.float32 and not torch.isfinite(result).all():
            self._overflowed = True
            result = self.generator(placed).float()
        if not torch.isfinite(result).all():
            raise ImageError("The network makes values of it that are not finite numbers.")
        return result[..., : height * self.scale, : width * self.scale]

    @property
    def _inexactness(self) -> str:
        return (
            f"this network sees farther than the {self.halo} pixels around a tile: its tiles equal the whole within "
            "about a grey level, not to the bit (--verify-tiles measures it, --tile off avoids it)"
        )

    def _tile_side(self, photo: Photo) -> int:
        longest = max(photo.height, photo.width)
        if self.tile == OFF:
            return longest
        if isinstance(self.tile, int):
            side = self.tile
        elif photo.height * photo.width * self.bytes_per_pixel <= self._comfortable_bytes:
            side = longest
        else:
            side = self._side_for_memory()
        return side if self._largest_tile is None else min(side, self._largest_tile)

    @property
    def _comfortable_bytes(self) -> int:
        free = _free_memory(self.runtime.device)
        return free // 2 if self.runtime.device.type == "cuda" else min(PROCESSOR_BYTES, free // 4)

    def _side_for_memory(self) -> int:
        def side(memory: int) -> int:
            return math.isqrt(memory // self.bytes_per_pixel) - 2 * self.halo

        comfortable = min(side(self._comfortable_bytes), LARGEST_TILE)
        efficient = min(max(EFFICIENT_TILE, 2 * self.halo), side(_free_memory(self.runtime.device) // 2))
        return max(comfortable, efficient, SMALLEST_TILE)

    def _smaller(self, side: int, photo: Photo) -> int:
        what = f"{photo.width}x{photo.height} pixels"
        if self.tile == OFF:
            raise DeviceError(f"Not enough memory for {what} as a whole. Leave --tile at auto.")
        # A picture that was one tile may be much smaller than the side that was planned.
        smaller = min(side, max(photo.height, photo.width)) // 2
        if smaller < SMALLEST_TILE:
            advice = "Close other programs" if self.runtime.device.type == "cpu" else "Use --device cpu"
            raise DeviceError(f"Not enough memory for {what}, even in tiles of {side} pixels. {advice}.")
        self._largest_tile = smaller
        if self.runtime.device.type == "cuda":
            torch.cuda.empty_cache()
        return smaller

    def _paint(self, canvas: NDArray[Any], photo: Photo, tile: Tile, *, keep_premultiplied: bool) -> None:
        levels = self._window(photo, tile, canvas.dtype.type, keep_premultiplied)
        canvas[tile.target.scaled(self.scale).slices] = levels

    @torch.inference_mode()
    def _window(self, photo: Photo, tile: Tile, dtype: Any, keep_premultiplied: bool) -> NDArray[Any]:
        """The levels (s·h, s·w, 3 or 4) of a tile's target."""
        rows, columns = tile.source.slices
        pixels = photo.pixels[..., rows, columns]
        alpha = None if photo.alpha is None else photo.alpha[..., rows, columns]
        enlarged = self.run(pixels if alpha is None else premultiply(pixels, alpha)).clamp(0, 1).cpu()
        kept_rows, kept_columns = tile.target.within(tile.source).scaled(self.scale).slices
        enlarged = enlarged[..., kept_rows, kept_columns]
        if alpha is not None:
            opacity = self._alpha_base(alpha.expand(-1, 3, -1, -1))[:, :1, kept_rows, kept_columns].clamp(0, 1)
            if not keep_premultiplied:
                enlarged = unpremultiply(enlarged, opacity)
            enlarged = torch.cat((enlarged, opacity), dim=1)
        return quantise(enlarged, dtype)

    def _verify(self, canvas: NDArray[Any], photo: Photo, side: int, *, keep_premultiplied: bool) -> Verification:
        """Compares the canvas with the untiled picture if that fits, else with tiles that lie across its seams."""
        whole = Region(0, 0, photo.height, photo.width)
        fits = whole.area * self.bytes_per_pixel <= _free_memory(self.runtime.device) // 4
        places = [Tile(whole, whole)] if fits else self._places_across_seams(photo, side)
        difference = 0.0
        for place in places:
            again = self._window(photo, place, canvas.dtype.type, keep_premultiplied)
            written = canvas[place.target.scaled(self.scale).slices]
            apart = np.abs(again.astype(np.float32) - written)
            if photo.alpha is not None and not keep_premultiplied:
                # Divided by hardly any alpha, a rounding becomes many levels of a colour that nobody sees.
                apart[..., :3] *= written[..., 3:].astype(np.float32) / np.iinfo(canvas.dtype).max
            difference = max(difference, float(apart.max()) * 255 / np.iinfo(canvas.dtype).max)
        return Verification(difference, len(places), fits)

    def _places_across_seams(self, photo: Photo, side: int) -> list[Tile]:
        tiles = self.plan(photo, side)
        chosen = random.Random(0).sample(tiles, min(VERIFIED_PLACES, len(tiles)))
        return [self._place_around(photo, tile.target) for tile in chosen]

    def _place_around(self, photo: Photo, target: Region) -> Tile:
        """A tile as large as another, with the corner of that in its middle and twice the halo, within the picture."""
        multiple, margin = self.multiple, 2 * self.halo

        def span(edge: int, length: int, limit: int) -> tuple[int, int, int, int]:
            start = max(0, min((edge or length) - length // 2, limit - length)) // multiple * multiple
            stop = start + length
            first = max(0, start - margin) // multiple * multiple
            return start, stop, first, min(limit, -(-(stop + margin) // multiple) * multiple)

        top, bottom, first_row, last_row = span(target.top, target.height, photo.height)
        left, right, first_column, last_column = span(target.left, target.width, photo.width)
        return Tile(Region(first_row, first_column, last_row, last_column), Region(top, left, bottom, right))


def resample(canvas: NDArray[Any], height: int, width: int, depth: type[np.uint8] | type[np.uint16]) -> NDArray[Any]:
    """Premultiplied levels (H, W, 3 or 4) resized as `resize_image` does, divided by alpha, at the levels of `depth`.

    Some rows at a time, since a floating-point copy of all of them is several times as large as the canvas.
    """
    result = np.empty((height, width, canvas.shape[-1]), depth)
    for top in range(0, height, RESAMPLED_ROWS):
        bottom = min(top + RESAMPLED_ROWS, height)
        first, weights = _bicubic_rows(len(canvas), height, top, bottom)
        rows = torch.from_numpy(canvas[first : first + weights.shape[1]].astype(np.float32))
        channels = rows.div_(float(np.iinfo(canvas.dtype).max)).permute(2, 0, 1)[None]
        across = F.interpolate(channels, size=(len(rows), width), mode="bicubic", align_corners=False, antialias=True)
        resized = (weights @ across).clamp(0, 1)
        if resized.shape[1] == 4:
            resized = torch.cat((unpremultiply(resized[:, :3], resized[:, 3:]), resized[:, 3:]), dim=1)
        result[top:bottom] = quantise(resized, depth)
    return result


def _bicubic_rows(inputs: int, outputs: int, top: int, bottom: int) -> tuple[int, Tensor]:
    """For output rows `top` to `bottom`: the first input row, and the weights (rows, input rows) from there on."""
    stretch = min(outputs / inputs, 1.0)
    centres = (torch.arange(top, bottom, dtype=torch.float64) + 0.5) * inputs / outputs - 0.5
    reach = math.ceil(2 / stretch)
    first, last = max(0, int(centres[0]) - reach), min(inputs, int(centres[-1]) + reach + 2)
    weights = cubic_kernel((centres[:, None] - torch.arange(first, last)) * stretch)
    return first, (weights / weights.sum(1, keepdim=True)).float()


def _free_memory(device: torch.device) -> int:
    """Bytes that can be had at once: of a GPU, with those that torch keeps for reuse; else of main memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return psutil.virtual_memory().available
