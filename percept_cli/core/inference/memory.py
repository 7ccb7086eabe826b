"""The size of tiles that the free memory allows."""

import math

import torch

from percept_cli.core.runtime import free_memory

SMALLEST_TILE, LARGEST_TILE = 32, 1024  # pixels of the input
EFFICIENT_TILE = 96  # pixels; for smaller tiles the halo is most of the work
# For the maps of a tile on a processor, which is `swift` at 240 pixels a side. Tiles of 384 are 5 % faster, but the C
# library keeps up to half a gigabyte of their maps.
PROCESSOR_BYTES = 96 << 20


def comfortable_memory(device: torch.device) -> int:
    """Bytes that a tile may take so that enough is left for other programs."""
    free = free_memory(device)
    return free // 2 if device.type == "cuda" else min(PROCESSOR_BYTES, free // 4)


def largest_tile(device: torch.device, bytes_per_pixel: int, halo: int) -> int:
    """The side in pixels of tiles that fit the memory together with their halo.

    Tiles too small to be efficient in `comfortable_memory` may take half of the free memory, up to an efficient side.
    """

    def side(memory: int) -> int:
        return math.isqrt(memory // bytes_per_pixel) - 2 * halo

    comfortable = min(side(comfortable_memory(device)), LARGEST_TILE)
    efficient = min(max(EFFICIENT_TILE, 2 * halo), side(free_memory(device) // 2))
    return max(comfortable, efficient, SMALLEST_TILE)
