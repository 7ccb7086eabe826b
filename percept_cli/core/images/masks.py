"""Masks say which part of a photograph may change: white may, black stays to the bit."""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.files.formats import READABLE_EXTENSIONS
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import Photo
from percept_cli.errors import ImageError

NOTHING_SEEN = 0.5  # fills a hole that has nothing around it


def hide(images: Tensor, masks: Tensor) -> Tensor:
    """Images (N, 3, H, W), filled from around the holes where masks (N, 1, H, W) are above 0, and the holes: (N, 4, H, W).

    The fourth channel is 1 in the holes. Nothing of what was in them is left in the result.
    """
    holes = (masks > 0).to(images.dtype).expand(len(images), -1, -1, -1)
    return torch.cat([_fill(images, 1 - holes), holes], dim=1)


def _fill(images: Tensor, seen: Tensor) -> Tensor:
    """Images whose holes are filled from the image at half the size, filled in the same way (Gortler et al. 1996, pull-push)."""
    if bool(seen.all()):
        return images
    if max(images.shape[-2:]) == 1:
        return torch.where(seen > 0, images, NOTHING_SEEN)

    def halve(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)

    share = halve(seen)
    # Means of what is seen; where that is nothing, it is filled in turn.
    coarse = _fill(halve(torch.where(seen > 0, images, 0.0)) / share.clamp_min(1e-3), (share > 0).to(images.dtype))
    smooth = F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(seen > 0, images, smooth)


def keep_outside(changed: Photo, photo: Photo, mask: Tensor) -> Photo:
    """The changed photograph where a mask (1, 1, H, W) is 1, `photo` to the bit where it is 0, a mixture between."""
    pixels = torch.where(mask > 0, torch.lerp(photo.pixels, changed.pixels, mask), photo.pixels)
    return replace(changed, pixels=pixels)


def load_mask(given: Path, source: Path | None, height: int, width: int) -> Tensor:
    """The mask of a photograph of that size, (1, 1, height, width) in [0, 1]: a picture's mean of red, green and blue.

    given: the picture for all photographs, or a folder that holds one of the `source`'s name, with any suffix. What is
    transparent is black. Raises ImageError where there is none, for one of another size, and for one that is all black.
    """
    path = given
    if given.is_dir():
        stem = source.stem if source is not None else "-"
        found = sorted(
            path for path in given.glob("*") if path.stem == stem and path.suffix.lower() in READABLE_EXTENSIONS
        )
        if not found:
            raise ImageError(f"--mask {given}: no picture called '{stem}' lies there.")
        path = found[0]
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
