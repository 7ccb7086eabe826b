"""Random patches of a picture, drawn where it has detail."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Energy = NDArray[np.float64]


def gradient_energy(photo: Image.Image) -> Energy:
    """The squared gradient of the luma, in [0, 1], at every pixel, (H, W), by central differences."""
    luma = np.asarray(photo.convert("L"), dtype=np.float64) / 255
    padded = np.pad(luma, 1, mode="edge")
    across, down = padded[1:-1, 2:] - padded[1:-1, :-2], padded[2:, 1:-1] - padded[:-2, 1:-1]
    return (np.square(across) + np.square(down)) / 4


def patch_energies(energy: Energy, side: int) -> Energy:
    """The mean energy of every patch of side x side pixels within (H, W), by its top and left pixel."""
    # As integers, since rounding of running sums of floats gives flat patches an energy above 0.
    levels = np.round(energy * 2**32).astype(np.int64)
    sums = np.pad(levels, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    totals = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return totals / (2**32 * side**2)


def draw_place(energy: Energy, side: int, random: np.random.Generator) -> tuple[int, int]:
    """The top and left pixel of a patch, drawn in proportion to its mean energy (Dosovitskiy et al. 2014, section 2).

    If all energies are 0, all patches are equally likely.
    """
    weights = patch_energies(energy, side)
    cumulative = weights.ravel().cumsum()
    if cumulative[-1] > 0:
        # The first sum above the drawn number, which is never that of a patch with energy 0.
        chosen = int(np.searchsorted(cumulative, random.random() * cumulative[-1], side="right"))
    else:
        chosen = int(random.integers(weights.size))
    top, left = divmod(chosen, weights.shape[1])
    return top, left


def draw_side(size: int, short_side: int, random: np.random.Generator) -> int:
    """The side in pixels of a patch: log-uniform from `size` to 2 · size, and at most `short_side`."""
    return min(round(size * 2 ** random.random()), short_side)
