"""Resizing, blurring and rounding of images as papers on upscaling do it: bicubic as in MATLAB."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from percept_cli.core.images.photo import quantize, unpremultiply

RESAMPLED_ROWS = 64


def shrink_as_matlab(images: Tensor, height: int, width: int) -> Tensor:
    """8-bit images (N, 3, H, W) in [0, 1] shrunk as by MATLAB's imresize: bicubic, first in height, then in width.

    Both results are rounded to 8 bits. The published low-resolution test images are these to the bit.
    """
    rows = bicubic_weights(images.shape[-2], height).to(images)
    columns = bicubic_weights(images.shape[-1], width).to(images)
    # In levels of 0 to 255: for factors of 2 and 4 float32 then holds every sum exactly, so that the rounding of a value
    # half way between two levels does not depend on the processor.
    between = _nearest_levels(rows @ (images * 255))
    return _nearest_levels(between @ columns.T) / 255


def to_levels(images: Tensor) -> Tensor:
    """Images in [0, 1] rounded to 256 levels, halves up as in MATLAB."""
    return _nearest_levels(images * 255) / 255


def _nearest_levels(levels: Tensor) -> Tensor:
    return levels.add(0.5).floor().clamp(0, 255)


def resize_bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Images (N, C, H, W) resized to `height` x `width`: bicubic, antialiased, neither rounded nor clamped."""
    rows = _Resampling.apply(images, images.shape[-2], height, False)
    resized: Tensor = _Resampling.apply(rows.transpose(-2, -1), images.shape[-1], width, False).transpose(-2, -1)
    return resized


class _Resampling(torch.autograd.Function):
    """The product of `bicubic_weights`, or of its transpose, and images (N, C, H, W), (N, C, h, W).

    By the bands of the matrix, outside which it is 0: the cost grows with the pixels, where that of the whole product
    grows with a side more. The gradient is a product of the same kind.
    """

    @staticmethod
    def forward(ctx, images: Tensor, inputs: int, outputs: int, transposed: bool) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.given = inputs, outputs, transposed
        bands = _bands(inputs, outputs, transposed)
        return torch.cat([weights.to(images) @ images[..., first:last, :] for weights, first, last in bands], dim=-2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[no-untyped-def, override]
        inputs, outputs, transposed = ctx.given
        return _Resampling.apply(gradient, inputs, outputs, not transposed), None, None, None


@lru_cache(maxsize=64)
def _bands(inputs: int, outputs: int, transposed: bool) -> list[tuple[Tensor, int, int]]:
    """Some rows of `bicubic_weights` or its transpose at a time: their columns `first` to `last`, beyond which they are 0."""
    weights = bicubic_weights(inputs, outputs)
    bands = []
    for rows in (weights.T if transposed else weights).split(RESAMPLED_ROWS):
        used = rows.any(dim=0).nonzero()
        first, last = int(used[0]), int(used[-1]) + 1
        bands.append((rows[:, first:last].contiguous(), first, last))
    return bands


def resample_levels(
    canvas: NDArray[Any], height: int, width: int, depth: type[np.uint8] | type[np.uint16]
) -> NDArray[Any]:
    """Premultiplied levels (H, W, 3 or 4) resized as by `resize_image` and divided by alpha, as levels of `depth`.

    Some rows at a time: a floating-point copy of all would take several times the memory of the canvas.
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
    """The first input row that output rows `top` to `bottom` need, and the weights (rows, input rows) from it on."""
    stretch = min(outputs / inputs, 1.0)
    centers = (torch.arange(top, bottom, dtype=torch.float64) + 0.5) * inputs / outputs - 0.5
    reach = math.ceil(2 / stretch)
    first, last = max(0, int(centers[0]) - reach), min(inputs, int(centers[-1]) + reach + 2)
    weights = cubic_kernel((centers[:, None] - torch.arange(first, last)) * stretch)
    return first, (weights / weights.sum(1, keepdim=True)).float()


@lru_cache(maxsize=64)
def bicubic_weights(inputs: int, outputs: int) -> Tensor:
    """The weight (outputs, inputs) of each input sample in each output sample, float64 (Keys 1981, a = -1/2).

    For shrinking the kernel is wider, by the factor. Edges are repeated, as MATLAB did when the published test images
    were made; newer versions mirror them.
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

    Along rows, then along columns. torchvision's function convolves with a square, which at 20 pixels takes 13 times as
    long and sometimes differs by one gray level after rounding.
    """
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    padded = F.pad(images, [radius] * 4, mode="reflect")
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
