"""Low-resolution images from high-resolution images, by the usual protocols and as photographs are."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.choices import DEGRADATIONS
from percept_cli.core.data.compression import compress_at_random
from percept_cli.core.images.resize import gaussian_blur, resize_bicubic, shrink_as_matlab, to_levels
from percept_cli.errors import UsageError, unknown_name

JOHNSON_SIGMA = 1.0
# Of `photo`: the widest blur in small pixels, and the largest noise in gray levels
WIDEST_BLUR = 0.6
LARGEST_NOISE = 15.0


def degrade(images: Tensor, scale: int, kind: str, random: np.random.Generator) -> Tensor:
    """Low-resolution versions (N, 3, H / scale, W / scale) of images (N, 3, H, W) in [0, 1], rounded to 8-bit levels.

    kind: `bicubic`, as MATLAB's imresize; `johnson`, the same after a Gaussian blur of sigma 1 (Johnson et al. 2016,
    section 4.2); `photo`, as people have photographs: each image with a random blur, way of shrinking, noise and lossy
    compression. Raises UsageError for another kind.
    """
    # Levels above 128 have no halves in bf16: rounding would brighten images, and networks would learn to darken them.
    with torch.autocast(images.device.type, enabled=False):
        return _degrade(images, scale, kind, random)


def _degrade(images: Tensor, scale: int, kind: str, random: np.random.Generator) -> Tensor:
    height, width = images.shape[-2] // scale, images.shape[-1] // scale
    if kind == "bicubic":
        return shrink_as_matlab(images, height, width)
    if kind == "johnson":
        return shrink_as_matlab(gaussian_blur(images, JOHNSON_SIGMA), height, width)
    if kind == "photo":
        return to_levels(torch.cat([_photographed(image, height, width, random) for image in images.split(1)]))
    raise UsageError(unknown_name("degradation", kind, DEGRADATIONS))


def _photographed(image: Tensor, height: int, width: int, random: np.random.Generator) -> Tensor:
    """One image (1, 3, H, W) at random blurred, shrunk, noisy and compressed: (1, 3, height, width)."""
    if random.random() < 0.4:
        widest = WIDEST_BLUR * image.shape[-1] / width
        along, across = random.uniform(0.1, widest), random.uniform(0.1, widest)
        image = blur_along(image, along, across, random.uniform(0, math.pi))
    small = _shrunk(image, height, width, random)
    if random.random() < 0.4:
        small = add_sensor_noise(small, random)
    # A share stays as it is, since a network for photographs must not spoil clean ones.
    return compress_at_random(small, random) if random.random() < 0.85 else small


def _shrunk(image: Tensor, height: int, width: int, random: np.random.Generator) -> Tensor:
    draw = random.random()
    if draw < 0.5:
        return resize_bicubic(image, height, width)
    if draw < 0.75:
        return F.interpolate(image, size=(height, width), mode="area")
    return F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False, antialias=True)


def blur_along(images: Tensor, along: float, across: float, angle: float) -> Tensor:
    """Images (N, C, H, W) blurred by a Gaussian that is wider in one direction, with mirrored edges.

    along, across: its standard deviations in pixels, in the direction `angle` (radians from the rows, counterclockwise)
    and at right angles to it.
    """
    radius = min(max(1, math.ceil(3 * max(along, across))), images.shape[-1] - 1, images.shape[-2] - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    rows, columns = -offsets[:, None], offsets
    first = columns * math.cos(angle) + rows * math.sin(angle)
    second = rows * math.cos(angle) - columns * math.sin(angle)
    kernel = torch.exp(-0.5 * ((first / along) ** 2 + (second / across) ** 2))
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(images, [radius] * 4, mode="reflect"), kernel, groups=images.shape[1])


def add_sensor_noise(images: Tensor, random: np.random.Generator) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with the noise of a camera: stronger in light, in color or in gray, often smooth.

    Its variance is a constant plus a share of the light (Foi et al. 2008); its amount in mid gray is at most
    `LARGEST_NOISE`, mostly much less.
    """
    count, channels, height, width = images.shape
    amount, gray = LARGEST_NOISE / 255 * random.random() ** 2, random.random() < 0.3
    noise = torch.from_numpy(random.standard_normal((count, 1 if gray else channels, height, width))).to(images)
    if random.random() < 0.4:  # a camera's own enlargement of its color grid, and its noise reduction
        before = noise.std()
        noise = gaussian_blur(noise, random.uniform(0.4, 1.0))
        noise = noise * (before / noise.std().clamp_min(1e-6))
    shot = random.random()
    return images + noise * amount * (1 - shot + shot * 2 * images.clamp(0, 1)).sqrt()
