"""Lossy compression of images in training data: JPEG and WebP, once or twice, on shifted grids."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

# Of Pillow: colors at full size (4:4:4), and at half the width and height (4:2:0)
FULL_COLOR, HALF_COLOR = 0, 2
# Pixels a side of the blocks that 4:2:0 codes together; a cut may begin at any place of one.
BLOCK = 16


def compress_jpeg(image: Tensor, quality: int, subsampling: int = HALF_COLOR) -> Tensor:
    """One image (1, 3, H, W) in [0, 1], encoded as a JPEG of a quality from 1 to 98 and decoded again."""
    return _coded(image, "JPEG", quality=quality, subsampling=subsampling)


def compress_webp(image: Tensor, quality: int) -> Tensor:
    """One image (1, 3, H, W) in [0, 1], encoded as a lossy WebP of a quality from 0 to 100 and decoded again."""
    return _coded(image, "WEBP", quality=quality, method=2)


def _coded(image: Tensor, kind: str, **options: int) -> Tensor:
    levels = image[0].clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    with Image.open(buffer) as file:
        decoded = torch.from_numpy(np.array(file))
    return decoded.permute(2, 0, 1)[None].to(image).div(255)


def compress_at_random(image: Tensor, random: np.random.Generator) -> Tensor:
    """One image (1, 3, H, W) in [0, 1], coded as files of photographs are; its place on the grid of blocks is random.

    A JPEG (nine of ten) or WebP of a quality from 20 to 98, mostly above 60; a JPEG's colors are at half size (4:2:0) in
    two of three. One in six was coded before, with another quality and grid, as a cut or a screenshot of a photograph is.
    """
    for _ in range(2 if random.random() < 1 / 6 else 1):
        top, left = (int(shift) for shift in random.integers(BLOCK, size=2))
        # A mirrored edge, as a crop of a photograph does not begin at a sharp one.
        height, width = image.shape[-2:]
        top, left = min(top, height - 1), min(left, width - 1)
        moved = F.pad(image, (left, 0, top, 0), mode="reflect")
        quality = int(random.integers(60 if random.random() < 2 / 3 else 20, 99))
        if random.random() < 0.1:
            coded = compress_webp(moved, quality)
        else:
            coded = compress_jpeg(moved, quality, HALF_COLOR if random.random() < 2 / 3 else FULL_COLOR)
        image = coded[..., top:, left:]
    return image
