"""Low-resolution images from high-resolution images, by the usual protocols."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from percept_cli.core.choices import DEGRADATIONS
from percept_cli.core.images.resize import gaussian_blur, resize_bicubic, shrink_as_matlab, to_levels
from percept_cli.errors import UsageError, unknown_name

JOHNSON_SIGMA = 1.0


def degrade(images: Tensor, scale: int, kind: str, random: np.random.Generator) -> Tensor:
    """Low-resolution versions (N, 3, H / scale, W / scale) of images (N, 3, H, W) in [0, 1], rounded to 8-bit levels.

    kind: `bicubic`, as MATLAB's imresize; `johnson`, the same after a Gaussian blur of sigma 1 (Johnson et al. 2016,
    section 4.2); `real`, a random blur, way of shrinking, noise and JPEG quality for each image. Raises UsageError for
    another kind.
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
    if kind == "real":
        return to_levels(torch.cat([_photographed(image, height, width, random) for image in images.split(1)]))
    raise UsageError(unknown_name("degradation", kind, DEGRADATIONS))


def _photographed(image: Tensor, height: int, width: int, random: np.random.Generator) -> Tensor:
    """One image (1, 3, H, W) at random blurred, shrunk, noisy and compressed as JPEG: (1, 3, height, width)."""
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
    """One image (1, 3, H, W) in [0, 1], encoded as a JPEG of a quality from 1 to 95 and decoded again."""
    levels = image[0].mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as file:
        decoded = torch.from_numpy(np.array(file))
    return decoded.permute(2, 0, 1)[None].to(image).div(255)
