"""How large a tile may be for the memory at hand."""

import math

import psutil
import torch

SMALLEST_TILE = 32  # pixels of the input, as all here
LARGEST_TILE = 1024
# The least for which the halo is not most of the work
EFFICIENT_TILE = 96
# For a tile's maps on a processor, `swift`'s at 240 pixels a side: tiles of 384 are 5 % faster, and the C library keeps
# up to half a gigabyte of their maps
PROCESSOR_BYTES = 96 << 20


def free_memory(device: torch.device) -> int:
    """Bytes that can be had at once: of a GPU, with those that torch keeps for reuse; else of main memory."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return psutil.virtual_memory().available


def comfortable_memory(device: torch.device) -> int:
    """Bytes that one tile may take without crowding out what else is running."""
    free = free_memory(device)
    return free // 2 if device.type == "cuda" else min(PROCESSOR_BYTES, free // 4)


def largest_tile(device: torch.device, bytes_per_pixel: int, halo: int) -> int:
    """The side in pixels of tiles that fit the memory with a halo around them, each pixel taking so many bytes.

    Where comfortable memory is little, tiles may take half of what is free, up to a side at which they are efficient.
    """

    def side(memory: int) -> int:
        return math.isqrt(memory // bytes_per_pixel) - 2 * halo

    comfortable = min(side(comfortable_memory(device)), LARGEST_TILE)
    efficient = min(max(EFFICIENT_TILE, 2 * halo), side(free_memory(device) // 2))
    return max(comfortable, efficient, SMALLEST_TILE)
