"""Resizing, blurring and rounding of images by the field's protocols: bicubic as MATLAB has it."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from percept_cli.core.images.photo import quantize, unpremultiply

# Of a result, resampled at a time
RESAMPLED_ROWS = 64


def shrink_as_matlab(images: Tensor, height: int, width: int) -> Tensor:
    """What MATLAB's imresize makes of 8-bit images (N, 3, H, W) in [0, 1]: bicubic, rounded after each direction.

    The field's low-resolution test images are these to the bit: rows first, levels between as well as at the end.
    """
    rows = bicubic_weights(images.shape[-2], height).to(images)
    columns = bicubic_weights(images.shape[-1], width).to(images)
    # Of levels from 0 to 255, not of shares of 1: for factors of 2 and 4 float32 then holds every sum exactly, and what is
    # half way between two levels is not moved to either side by how a processor rounds.
    between = _nearest_levels(rows @ (images * 255))
    return _nearest_levels(between @ columns.T) / 255


def to_levels(images: Tensor) -> Tensor:
    """Images in [0, 1] at the nearest of 256 levels, halves up as MATLAB rounds."""
    return _nearest_levels(images * 255) / 255


def _nearest_levels(levels: Tensor) -> Tensor:
    return levels.add(0.5).floor().clamp(0, 255)


def resize_bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic resize of (N, C, H, W) to `height` x `width` without rounding or clamping."""
    rows = bicubic_weights(images.shape[-2], height).to(images)
    columns = bicubic_weights(images.shape[-1], width).to(images)
    return rows @ images @ columns.T


def resample_levels(
    canvas: NDArray[Any], height: int, width: int, depth: type[np.uint8] | type[np.uint16]
) -> NDArray[Any]:
    """Premultiplied levels (H, W, 3 or 4) resized as `resize_image` does and divided by alpha, as levels of `depth`.

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
        result[top:bottom] = quantize(resized, depth)
    return result


def _bicubic_rows(inputs: int, outputs: int, top: int, bottom: int) -> tuple[int, Tensor]:
    """For output rows `top` to `bottom`: the first input row, and the weights (rows, input rows) from there on."""
    stretch = min(outputs / inputs, 1.0)
    centers = (torch.arange(top, bottom, dtype=torch.float64) + 0.5) * inputs / outputs - 0.5
    reach = math.ceil(2 / stretch)
    first, last = max(0, int(centers[0]) - reach), min(inputs, int(centers[-1]) + reach + 2)
    weights = cubic_kernel((centers[:, None] - torch.arange(first, last)) * stretch)
    return first, (weights / weights.sum(1, keepdim=True)).float()


@lru_cache(maxsize=64)
def bicubic_weights(inputs: int, outputs: int) -> Tensor:
    """The weight (outputs, inputs) of every input sample in every output one, float64 (Keys 1981, a = -1/2).

    The kernel grows with the pixels when shrinking; beyond an edge its pixel is repeated, as MATLAB did when the field's
    test images were made (it mirrors since).
    """
    scale = outputs / inputs
    stretch = min(scale, 1.0)
    centers = (torch.arange(outputs, dtype=torch.float64) + 0.5) / scale - 0.5
    reach = math.ceil(2 / stretch) + 1
    taps = centers.floor()[:, None] + torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = cubic_kernel((centers[:, None] - taps) * stretch)
    weights = weights / weights.sum(1, keepdim=True)
    return torch.zeros(outputs, inputs, dtype=torch.float64).scatter_add_(1, taps.long().clamp(0, inputs - 1), weights)


def cubic_kernel(x: Tensor) -> Tensor:
    """Keys's cubic convolution kernel (1981) with a = -1/2 at distances in pixels; zero beyond 2."""
    x = x.abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) blurred by a Gaussian of `sigma` pixels, cut at 3 sigma, with mirrored edges.

    Rows first, then columns: torchvision's convolves with the whole square, which at 20 pixels takes 13 times as long,
    and now and then ends one gray level away once the result is rounded.
    """
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    padded = F.pad(images, [radius] * 4, mode="reflect")
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
