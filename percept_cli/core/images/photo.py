"""Photographs in memory: float32 RGB tensors with transparency, EXIF and color profile."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from percept_cli.errors import ImageError

# Half a gray level: with less opacity a color cannot be seen, and division by alpha does not recover it.
MIN_ALPHA = 0.5 / 255
# ITU-R BT.601, as in JPEG
LUMA = (0.299, 0.587, 0.114)
# Pixels of a photograph that are converted at a time, to save memory
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class Photo:
    """One upright picture: `pixels` (1, 3, H, W) float32 RGB in [0, 1], not multiplied by `alpha`.

    alpha: (1, 1, H, W) float32 in [0, 1], or None. exif, icc, xmp: as in a file, without an orientation; `icc` always
    describes RGB, and `pixels` are in its colors; `xmp` is without what it says of other parts of the file that was read.
    format: Pillow's name of the format that was read. notes: sentences for the user. lost: sentences on parts of the file
    that was read and that no result keeps, for the notes of `encode_image`. bits: 8 or 16, the depth of a channel in a file
    of this picture; `pixels` and `alpha` are not rounded to it. whole: the (height, width) of the picture in its file where
    `load_image` read it smaller, else None. compression: the quality, 1 to 100, of a JPEG that lost as much as the file that
    was read, by that file's own header; None where it tells nothing.

    A large result may hold levels instead, in a quarter or half of the memory: `pixels` and `alpha` of uint8 (0 to 255)
    or uint16 (0 to 65535). `encode_image` takes them; everything else takes what `floats` makes of them.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    format: str = ""
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    bits: int = 8
    whole: tuple[int, int] | None = None
    compression: int | None = None

    @property
    def height(self) -> int:
        return self.pixels.shape[-2]

    @property
    def width(self) -> int:
        return self.pixels.shape[-1]

    def visible(self, size: int | None = None) -> Tensor:
        """The input of a network: the pixels over black, (1, 3, H, W), resized to a short side of `size` pixels if given.

        They are premultiplied by `alpha` before they are resized, so that hidden colors do not spread at edges.
        """
        pixels = floats(self.pixels)
        if self.alpha is not None:
            pixels = premultiply(pixels, floats(self.alpha))
        return pixels if size is None else resize_image(pixels, *fit_short_side(self.height, self.width, size))

    def without_metadata(self) -> "Photo":
        """This picture without EXIF and XMP; the profile stays, as without it the colors would be others."""
        return replace(self, exif=None, xmp=None)

    def with_pixels(self, pixels: Tensor) -> "Photo":
        """This picture with other pixels (1, 3, H, W); `alpha` is resized to their size."""
        alpha = None if self.alpha is None else resize_image(self.alpha, pixels.shape[-2], pixels.shape[-1])
        return replace(self, pixels=pixels, alpha=alpha)

    def with_visible(self, pixels: Tensor) -> "Photo":
        """This picture with the pixels (1, 3, H, W) that a network made of `visible`, which are divided by alpha."""
        changed = self.with_pixels(pixels)
        return changed if changed.alpha is None else replace(changed, pixels=unpremultiply(pixels, changed.alpha))

    def levels(self, dtype: type[np.uint8] | type[np.uint16], *, over_white: bool = False) -> NDArray[Any]:
        """The levels of a file, (H, W, 3 or 4) in C order, computed strip by strip to save memory.

        over_white: the picture is laid over white and has no alpha. Raises ImageError where pixels are not finite.
        """
        alpha = None if over_white else self.alpha
        if alpha is None and not over_white and self.pixels.dtype == torch.from_numpy(np.empty(0, dtype)).dtype:
            return np.ascontiguousarray(self.pixels[0].permute(1, 2, 0).numpy())
        levels = np.empty((self.height, self.width, 3 if alpha is None else 4), dtype)
        step = max(1, _STRIP_PIXELS // self.width)
        for top in range(0, self.height, step):
            rows = slice(top, top + step)
            channels = floats(self.pixels[..., rows, :].detach().cpu())
            if not bool(torch.isfinite(channels).all()):
                raise ImageError("The picture holds values that are not finite numbers: try --precision fp32.")
            if self.alpha is not None:
                opacity = floats(self.alpha[..., rows, :].detach().cpu())
                channels = channels * opacity + (1 - opacity) if over_white else torch.cat((channels, opacity), dim=1)
            levels[rows] = quantize(channels, dtype)
        return levels


def floats(levels: Tensor) -> Tensor:
    """Levels, uint8 (0 to 255) or uint16 (0 to 65535), as float32 in [0, 1]; floating-point values only as float32."""
    if levels.is_floating_point():
        return levels.float()
    return levels.to(torch.float32).div_(torch.iinfo(levels.dtype).max)


def quantize(channels: Tensor, dtype: type[np.uint8] | type[np.uint16]) -> NDArray[Any]:
    """The nearest levels (H, W, C) of a type for channels (1, C, H, W) on the processor, clamped to [0, 1]."""
    levels = channels[0].permute(1, 2, 0).clamp(0, 1).mul_(float(np.iinfo(dtype).max)).round_()
    return levels.numpy().astype(dtype)


def premultiply(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Pixels (N, 3, H, W) times alpha (N, 1, H, W), without hidden colors."""
    return pixels * alpha


def unpremultiply(pixels: Tensor, alpha: Tensor) -> Tensor:
    """The inverse of `premultiply`, clamped to [0, 1]; black where alpha (N, 1, H, W) is under half a gray level."""
    return torch.where(alpha > MIN_ALPHA, pixels / alpha.clamp(min=MIN_ALPHA), 0).clamp(0, 1)


def resize_image(pixels: Tensor, height: int, width: int) -> Tensor:
    """Images (N, C, H, W) in [0, 1] resized to `height` x `width`: bicubic, antialiased, clamped to [0, 1]."""
    if tuple(pixels.shape[-2:]) == (height, width):
        return pixels
    resized = F.interpolate(pixels, size=(height, width), mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 1)


def fit_short_side(height: int, width: int, short_side: int) -> tuple[int, int]:
    """The (height, width) of the same shape whose shorter side is `short_side` pixels."""
    return _scaled(height, width, short_side / min(height, width))


def fit_long_side(height: int, width: int, long_side: int) -> tuple[int, int]:
    """The (height, width) of the same shape whose longer side is `long_side` pixels."""
    return _scaled(height, width, long_side / max(height, width))


def middle_square(pixels: Tensor, side: int) -> Tensor:
    """The middle square of images (N, C, H, W) in [0, 1], of their whole short side, resized to (N, C, side, side)."""
    height, width = pixels.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize_image(pixels[..., top : top + short, left : left + short], side, side)


def _scaled(height: int, width: int, factor: float) -> tuple[int, int]:
    return max(1, round(height * factor)), max(1, round(width * factor))
