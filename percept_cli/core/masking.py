"""Masks: which part of a photograph a command may change, white where it may and black where not a pixel moves."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from percept_cli.core.dataset import SUFFIXES
from percept_cli.core.decoding import load_image
from percept_cli.core.images import Photo
from percept_cli.errors import ImageError

HIDDEN = 0.5  # what stands where a mask hides the image


def hide(images: Tensor, masks: Tensor) -> Tensor:
    """Images (N, 3, H, W) with grey where masks (N, 1, H, W) are above 0, and those places behind them: (N, 4, H, W)."""
    holes = (masks > 0).to(images.dtype).expand(len(images), -1, -1, -1)
    return torch.cat([torch.where(holes > 0, HIDDEN, images), holes], dim=1)


def keep_outside(changed: Photo, photo: Photo, mask: Tensor) -> Photo:
    """The changed photograph where a mask (1, 1, H, W) is 1, the other to the bit where it is 0, mixed between."""
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
        found = sorted(path for path in given.glob("*") if path.stem == stem and path.suffix.lower() in SUFFIXES)
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
