"""How low-resolution images are made from high-resolution ones, by the field's protocols."""

import io
import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from percept_cli.errors import UsageError, unknown_name

DEGRADATIONS = ("bicubic", "johnson", "real")
JOHNSON_SIGMA = 1.0


def degrade(images: Tensor, scale: int, kind: str, random: np.random.Generator) -> Tensor:
    """Low-resolution versions (N, 3, H / scale, W / scale) of images (N, 3, H, W) in [0, 1], rounded to 8-bit levels.

    kind: `bicubic` as MATLAB's imresize shrinks, `johnson` with a Gaussian blur of sigma 1 before it (Johnson et al.
    2016, section 4.2), or `real`: blur, another way of shrinking, noise and JPEG, each image its own, drawn from
    `random`. Raises UsageError for another kind.
    """
    # In half precision the levels above 128 are two apart, and a network learns to darken what rounding brightened.
    with torch.autocast(images.device.type, enabled=False):
        return _degrade(images, scale, kind, random)


def _degrade(images: Tensor, scale: int, kind: str, random: np.random.Generator) -> Tensor:
    height, width = images.shape[-2] // scale, images.shape[-1] // scale
    if kind == "bicubic":
        return shrink_as_matlab(images, height, width)
    if kind == "johnson":
        return shrink_as_matlab(gaussian_blur(images, JOHNSON_SIGMA), height, width)
    if kind == "real":
        return to_levels(torch.cat([_photographed(image, height, width, random) for image in images.split(1)]))
    raise UsageError(unknown_name("degradation", kind, DEGRADATIONS))


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


@lru_cache(maxsize=64)
def bicubic_weights(inputs: int, outputs: int) -> Tensor:
    """The weight (outputs, inputs) of every input sample in every output one, float64 (Keys 1981, a = -1/2).

    The kernel grows with the pixels when shrinking; beyond an edge its pixel is repeated, as MATLAB did when the field's
    test images were made (it mirrors since).
    """
    scale = outputs / inputs
    stretch = min(scale, 1.0)
    centres = (torch.arange(outputs, dtype=torch.float64) + 0.5) / scale - 0.5
    reach = math.ceil(2 / stretch) + 1
    taps = centres.floor()[:, None] + torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = cubic_kernel((centres[:, None] - taps) * stretch)
    weights = weights / weights.sum(1, keepdim=True)
    return torch.zeros(outputs, inputs, dtype=torch.float64).scatter_add_(1, taps.long().clamp(0, inputs - 1), weights)


def cubic_kernel(x: Tensor) -> Tensor:
    """Keys's cubic convolution kernel (1981) with a = -1/2 at distances in pixels; zero beyond 2."""
    x = x.abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) blurred by a Gaussian of `sigma` pixels, cut at 3 sigma, with mirrored edges."""
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    padded = F.pad(images, [radius] * 4, mode="reflect")
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)


def _photographed(image: Tensor, height: int, width: int, random: np.random.Generator) -> Tensor:
    """One image (1, 3, H, W) as a cheap camera and a messenger leave it, in the order light meets them."""
    if random.random() < 0.7:
        image = gaussian_blur(image, float(random.uniform(0.3, 2.0)))
    mode = ("bicubic", "area", "bilinear")[int(random.integers(3))]
    if mode == "bicubic":
        small = resize_bicubic(image, height, width)
    elif mode == "area":
        small = F.interpolate(image, size=(height, width), mode="area")
    else:
        small = F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    if random.random() < 0.6:
        noise = random.standard_normal((1, 1 if random.random() < 0.3 else 3, height, width)) * random.uniform(0, 0.05)
        small = small + torch.from_numpy(noise).to(small)
    if random.random() < 0.7:
        small = compress_jpeg(small.clamp(0, 1), int(random.integers(40, 96)))
    return small


def compress_jpeg(image: Tensor, quality: int) -> Tensor:
    """One image (1, 3, H, W) in [0, 1] as a JPEG of a quality from 1 to 95 gives it back."""
    levels = image[0].mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as file:
        decoded = torch.from_numpy(np.array(file))
    return decoded.permute(2, 0, 1)[None].to(image).div(255)
