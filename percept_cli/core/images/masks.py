"""Masks: a photograph may change where its mask is white, and stays the same to the bit where it is black."""

import os
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.files.formats import READABLE_EXTENSIONS
from percept_cli.core.files.inputs import is_special
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import Photo
from percept_cli.errors import ImageError

NOTHING_SEEN = 0.5  # the value of a hole that covers the whole image


def hide(images: Tensor, masks: Tensor) -> Tensor:
    """Images (N, 3, H, W) with holes where masks (N, 1, H, W) are above 0, filled from the pixels around: (N, 4, H, W).

    The fourth channel is 1 in the holes. The result does not depend on the pixels that were there.
    """
    holes = (masks > 0).to(images.dtype).expand(len(images), -1, -1, -1)
    return torch.cat([_fill(images, 1 - holes), holes], dim=1)


def _fill(images: Tensor, seen: Tensor) -> Tensor:
    """Fills holes from the image at half the size, which is filled in the same way (Gortler et al. 1996, pull-push)."""
    if bool(seen.all()):
        return images
    if max(images.shape[-2:]) == 1:
        return torch.where(seen > 0, images, NOTHING_SEEN)

    def halve(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)

    share = halve(seen)
    # The means of the pixels outside the holes; where there are none, the next smaller size fills them.
    coarse = _fill(halve(torch.where(seen > 0, images, 0.0)) / share.clamp_min(1e-3), (share > 0).to(images.dtype))
    smooth = F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(seen > 0, images, smooth)


def keep_outside(changed: Photo, photo: Photo, mask: Tensor) -> Photo:
    """`changed` where a mask (1, 1, H, W) is 1, `photo` to the bit where it is 0, and a mixture between."""
    pixels = torch.where(mask > 0, torch.lerp(photo.pixels, changed.pixels, mask), photo.pixels)
    return replace(changed, pixels=pixels)


def load_mask(path: Path, source: Path | None, height: int, width: int) -> Tensor:
    """The mask of a photograph, (1, 1, height, width) in [0, 1]: the mean of red, green and blue of a picture.

    path: the picture, or a folder with a picture that has the name of `source`, with any extension. Transparent pixels
    are black. Raises ImageError where there is no picture, and where it has another size or is all black.
    """
    if os.path.isdir(path):
        stem = source.stem if source is not None else "-"
        try:
            entries = [path / name for name in os.listdir(path)]
        except OSError as error:
            raise ImageError(f"--mask {path}: the folder cannot be read: {error.strerror or error}.") from error
        named = (each for each in entries if each.stem == stem and each.suffix.lower() in READABLE_EXTENSIONS)
        found = min((each for each in named if not is_special(each)), default=None)
        if found is None:
            raise ImageError(f"--mask {path}: no picture called '{stem}' lies there.")
        path = found
    picture = load_image(path)
    if (picture.height, picture.width) != (height, width):
        raise ImageError(
            f"--mask {path} has {picture.width}x{picture.height} pixels and the photograph {width}x{height}: give one of "
            "its size."
        )
    mask = picture.pixels.mean(dim=1, keepdim=True)
    if picture.alpha is not None:
        mask = mask * picture.alpha
    if not mask.any():
        raise ImageError(f"--mask {path} is black all over: white marks what to change.")
    return mask
