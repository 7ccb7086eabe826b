"""Photographs of any size enlarged by a generator tile by tile, so that device memory does not depend on their size.

The network gets premultiplied colors; transparency is enlarged by bicubic interpolation.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.generators.reach import WIDEST_HALO, cut_errors, largest_map
from percept_cli.core.images.photo import Photo, premultiply, quantize, unpremultiply
from percept_cli.core.images.resize import resample_levels
from percept_cli.core.images.tiles import AUTO, OFF, Region, Tile, plan_tiles
from percept_cli.core.inference import memory
from percept_cli.core.inference.colors import match_colors
from percept_cli.core.inference.enlargement import choose_enlargement
from percept_cli.core.inference.run import run_whole
from percept_cli.core.inference.verification import Verification, level_difference, places_across_seams
from percept_cli.core.runtime import Runtime, is_out_of_memory
from percept_cli.errors import MemoryShortage

NARROWEST_HALO = 16
INVISIBLE = 0.5 / 255  # half a gray level; the largest error at the edge of a tile with a measured halo
# Memory of a network at a time, in maps of its largest layer: 1.2 (RRDB in bf16) to 4.1 (swift in fp32) were measured
MAPS_HELD = 5


@dataclass(frozen=True)
class TileStep:
    """Progress of an enlargement: tiles done and in total, a note for the user, and in the last step the result.

    photo: holds levels (see `Photo`), with the bits of the input. verification: None if it was not requested or there is
    only one tile.
    """

    done: int
    total: int
    note: str = ""
    photo: Photo | None = None
    verification: Verification | None = None


def upscale(
    photo: Photo,
    generator: Generator,
    runtime: Runtime,
    *,
    scale: float | None = None,
    width: int | None = None,
    height: int | None = None,
    match_histogram: bool = False,
    tile: int | str = AUTO,
) -> Photo:
    """The photograph enlarged `generator.scale` times; the result holds levels (see `Photo`).

    generator: an upscaler placed by `Runtime.place_network`. scale, width, height: at most one; another factor above 1 or
    a side in pixels, to which the result is resampled. match_histogram: gives each color the photograph's distribution
    (Johnson et al. 2016). tile: as for `Upscaler`. Raises UsageError or ImageError for a size not larger than the
    photograph's or beyond the generator's scale, and the errors of `Upscaler.enlarge`.
    """
    size: tuple[int, int] | tuple[()] = ()
    if wanted := choose_enlargement([], scale, width, height):
        wanted.network_scale(wanted.factor_for(photo.height, photo.width), [generator.scale])
        size = wanted.size(photo.height, photo.width)
    result = None
    for step in Upscaler(generator, runtime, tile).enlarge(photo, *size):
        result = step.photo
    assert result is not None
    return match_colors(result, photo) if match_histogram else result


class Upscaler:
    """Enlarges pictures with a generator, in tiles.

    generator: placed by `Runtime.place_network`. tile: side of a tile in pixels of the input without its halo; `auto`
    chooses it by the free memory, `off` takes the picture as a whole.
    """

    def __init__(self, generator: Generator, runtime: Runtime, tile: int | str = AUTO):
        self.generator, self.runtime, self.tile = generator, runtime, tile
        self.scale, self.multiple = generator.scale, generator.size_multiple
        self._alpha_base = BicubicBase(self.scale)
        self._largest_tile: int | None = None  # set when memory did not suffice for larger tiles
        self._overflowed = False

    @property
    def is_exact(self) -> bool:
        """Whether tiles equal the whole within 1e-5 in float32, as their halo covers the generator's receptive field."""
        return self.generator.exact_halo is not None and self.generator.exact_halo <= WIDEST_HALO

    @cached_property
    def halo(self) -> int:
        """Pixels of the input around a tile; measured where the receptive radius is too large or unknown."""
        if self.is_exact:
            return self.generator.exact_halo or 0
        visible = (cut_errors(self.run, self.multiple) > INVISIBLE).nonzero()
        reach = int(visible.max()) + 1 if len(visible) else 0
        # A quarter more, as other pictures may differ from the noise that it was measured with.
        return min(max(reach + reach // 4, NARROWEST_HALO), WIDEST_HALO)

    @cached_property
    def bytes_per_pixel(self) -> int:
        """About how many bytes of memory the network takes per pixel of the input."""
        side = -(-max(16, self.generator.smallest) // self.multiple) * self.multiple
        return MAPS_HELD * 4 * largest_map(self.generator, self.run, side)

    def enlarge(
        self, photo: Photo, height: int | None = None, width: int | None = None, *, verify: bool = False
    ) -> Iterator[TileStep]:
        """Enlarges a photograph, yielding a step at the start, after every tile, and with the result at the end.

        height, width: size to which the result is resampled; `scale` times the photograph's if None. verify: compares
        parts of the result with other tiles. Where memory is not enough, tiles become smaller, with a note. Raises
        MemoryShortage if it is not enough for the smallest tiles, or for the whole picture without tiles.
        """
        exact_size = photo.height * self.scale, photo.width * self.scale
        size = (height or exact_size[0], width or exact_size[1])
        depth = np.uint16 if photo.bits > 8 else np.uint8
        resampled = size != exact_size
        # A resampled result is rounded to 8 bits and divided by alpha only afterwards.
        canvas = np.empty((*exact_size, 3 if photo.alpha is None else 4), np.uint16 if resampled else depth)

        side = self._tile_side(photo.height, photo.width)
        tiles = self.plan(photo.height, photo.width, side)
        done, total = 0, len(tiles)
        note = self._inexactness if total > 1 and not self.is_exact else ""
        yield TileStep(done, total, note)
        while tiles:
            overflowed, fits = self._overflowed, True
            try:
                levels = self._window(photo, tiles[0], canvas.dtype.type, keep_premultiplied=resampled)
                canvas[tiles[0].target.scaled(self.scale).slices] = levels
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                fits = False  # smaller tiles come after this block, when the traceback holds the tile's maps no more
            if fits:
                tiles, done = tiles[1:], done + 1
                note = "half precision overflowed: such tiles are computed again in fp32"
                yield TileStep(done, total, note if self._overflowed > overflowed else "")
            else:
                side = self._smaller(side, photo)
                tiles = self.plan(photo.height, photo.width, side, top=tiles[0].target.top)  # rows above are done
                total = done + len(tiles)
                yield TileStep(done, total, f"not enough memory: going on with tiles of {side} pixels")

        verification = None
        if verify and len(self.plan(photo.height, photo.width, side)) > 1:
            verification = self._verify(canvas, photo, side, keep_premultiplied=resampled)
        levels = resample_levels(canvas, *size, depth) if resampled else canvas
        channels = torch.from_numpy(levels).permute(2, 0, 1)[None]
        alpha = None if photo.alpha is None else channels[:, 3:]
        result = replace(photo, pixels=channels[:, :3], alpha=alpha)
        yield TileStep(done, total, photo=result, verification=verification)

    def count_tiles(self, height: int, width: int) -> int:
        """In how many tiles a photograph of this size will be enlarged, where the memory suffices for them."""
        return len(self.plan(height, width, self._tile_side(height, width)))

    def plan(self, height: int, width: int, side: int, top: int = 0) -> list[Tile]:
        """The tiles for a photograph's rows from `top`, of at most `side` pixels or the generator's smallest side."""
        return plan_tiles(
            height,
            width,
            max(side, self.generator.smallest, self.multiple),
            0 if side >= max(height, width) else self.halo,  # measured only if needed
            multiple=self.multiple,
            top=top,
        )

    def run(self, pixels: Tensor) -> Tensor:
        """Pixels (1, 3, h, w) in [0, 1] enlarged by `run_whole`, not clamped; records an overflow of half precision."""

        def record() -> None:
            self._overflowed = True

        return run_whole(self.generator, pixels, self.runtime, on_overflow=record)

    @property
    def _inexactness(self) -> str:
        return (
            f"this network sees farther than the {self.halo} pixels around a tile: its tiles equal the whole within "
            "about a gray level, not to the bit (--verify-tiles measures it, --tile off avoids it)"
        )

    def _tile_side(self, height: int, width: int) -> int:
        longest = max(height, width)
        if self.tile == OFF:
            return longest
        if isinstance(self.tile, int):
            side = self.tile
        elif height * width * self.bytes_per_pixel <= memory.comfortable_memory(self.runtime.device):
            side = longest
        else:
            side = memory.largest_tile(self.runtime.device, self.bytes_per_pixel, self.halo)
        return side if self._largest_tile is None else min(side, self._largest_tile)

    def _smaller(self, side: int, photo: Photo) -> int:
        what = f"{photo.width}x{photo.height} pixels"
        if self.tile == OFF:
            raise MemoryShortage(f"Not enough memory for {what} as a whole. Leave --tile at auto.")
        # The picture may be smaller than the planned side.
        smaller = min(side, max(photo.height, photo.width)) // 2
        if smaller < memory.SMALLEST_TILE:
            advice = "Close other programs" if self.runtime.device.type == "cpu" else "Use --device cpu"
            raise MemoryShortage(f"Not enough memory for {what}, even in tiles of {side} pixels. {advice}.")
        self._largest_tile = smaller
        if self.runtime.device.type == "cuda":
            torch.cuda.empty_cache()
        return smaller

    @torch.inference_mode()
    def _window(self, photo: Photo, tile: Tile, dtype: Any, *, keep_premultiplied: bool) -> NDArray[Any]:
        """The levels (s·h, s·w, 3 or 4) of a tile's target."""
        rows, columns = tile.source.slices
        pixels = photo.pixels[..., rows, columns]
        alpha = None if photo.alpha is None else photo.alpha[..., rows, columns]
        enlarged = self.run(pixels if alpha is None else premultiply(pixels, alpha)).clamp(0, 1)
        kept_rows, kept_columns = tile.target.within(tile.source).scaled(self.scale).slices
        enlarged = enlarged[..., kept_rows, kept_columns]
        if alpha is not None:
            opacity = self._alpha_base(alpha.expand(-1, 3, -1, -1))[:, :1, kept_rows, kept_columns].clamp(0, 1)
            if not keep_premultiplied:
                enlarged = unpremultiply(enlarged, opacity)
            enlarged = torch.cat((enlarged, opacity), dim=1)
        return quantize(enlarged, dtype)

    def _verify(self, canvas: NDArray[Any], photo: Photo, side: int, *, keep_premultiplied: bool) -> Verification:
        """Compares the canvas with the untiled picture if memory suffices, else with tiles across its seams."""
        height, width = photo.height, photo.width
        whole = Region(0, 0, height, width)
        fits = whole.area * self.bytes_per_pixel <= memory.free_memory(self.runtime.device) // 4
        places = [Tile(whole, whole)]
        if not fits:
            places = places_across_seams(
                self.plan(photo.height, photo.width, side), height, width, 2 * self.halo, self.multiple
            )
        by_opacity = photo.alpha is not None and not keep_premultiplied
        differences = [
            level_difference(
                canvas[place.target.scaled(self.scale).slices],
                self._window(photo, place, canvas.dtype.type, keep_premultiplied=keep_premultiplied),
                by_opacity=by_opacity,
            )
            for place in places
        ]
        return Verification(max(differences), len(places), fits)
