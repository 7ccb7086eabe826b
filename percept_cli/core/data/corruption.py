"""Degradations of photographs, for networks that learn to restore them."""

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.data.amounts import CORRUPTIONS
from percept_cli.core.data.compression import compress_jpeg
from percept_cli.core.images.masks import hide
from percept_cli.core.images.photo import LUMA
from percept_cli.core.images.resize import gaussian_blur, resize_bicubic, to_levels
from percept_cli.errors import UsageError, unknown_name


def corrupt(image: Tensor, kind: str, amount: float, random: np.random.Generator) -> Tensor:
    """A degraded image (3, H, W) of an image (3, H, W) in [0, 1], rounded to 8-bit levels.

    kind: `noise`, Gaussian and independent for each value; `blur`, Gaussian; `jpeg`; `gray`, the luma in all channels;
    `downscale`, shrunk and enlarged again, bicubic; `mask`, holes, with the mask as a fourth channel, (4, H, W), 1 in a
    hole. amount: in the unit of `CORRUPTIONS`. Raises UsageError for another kind.
    """
    if kind == "mask":
        height, width = image.shape[-2:]
        return hide(image[None], draw_holes(height, width, amount / 100, random)[None, None])[0]
    return to_levels(_degraded(image[None], kind, amount, random))[0]


def draw_holes(height: int, width: int, share: float, random: np.random.Generator) -> Tensor:
    """A mask (H, W), 1 in holes that cover at least `share` of it: rectangles and strokes of a round brush, half each."""
    mask = np.zeros((height, width), dtype=bool)
    rows, columns = np.mgrid[:height, :width]
    side = min(height, width)
    while mask.mean() < share:
        if random.random() < 0.5:
            tall, wide = (int(side * random.uniform(0.08, 0.3)) + 1 for _ in range(2))
            top, left = int(random.integers(height - tall + 1)), int(random.integers(width - wide + 1))
            mask[top : top + tall, left : left + wide] = True
        else:
            y, x, angle = random.uniform(0, height), random.uniform(0, width), random.uniform(0, 2 * np.pi)
            radius = side * random.uniform(0.015, 0.05)
            for _ in range(int(random.integers(4, 16))):
                mask |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
                angle += random.uniform(-0.7, 0.7)
                y, x = y + radius * np.sin(angle), x + radius * np.cos(angle)
    return torch.from_numpy(mask).float()


def _degraded(images: Tensor, kind: str, amount: float, random: np.random.Generator) -> Tensor:
    if kind == "noise":
        return images + torch.from_numpy(random.standard_normal(images.shape)).to(images) * (amount / 255)
    if kind == "blur":
        return gaussian_blur(images, amount)
    if kind == "jpeg":
        return compress_jpeg(images, round(amount))
    if kind == "gray":
        return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True).expand_as(images)
    if kind == "downscale":
        height, width = images.shape[-2:]
        small = to_levels(resize_bicubic(images, max(1, round(height / amount)), max(1, round(width / amount))))
        return resize_bicubic(small, height, width)
    raise UsageError(unknown_name("degradation", kind, CORRUPTIONS))
