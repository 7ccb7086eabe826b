"""Photographs in memory: float32 RGB tensors with transparency, EXIF and color profile."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from percept_cli.errors import ImageError

# Below half a gray level of opacity the color is unknown and invisible.
MIN_ALPHA = 0.5 / 255
# ITU-R BT.601, as JPEG has it
LUMA = (0.299, 0.587, 0.114)
# Floating-point copies of a photograph are made of so many pixels at a time.
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class Photo:
    """One picture, upright: `pixels` (1, 3, H, W) float32 RGB in [0, 1], not multiplied by `alpha`.

    `alpha` is (1, 1, H, W) float32 in [0, 1] or None; `exif`, `icc` and `xmp` are as files embed them, without an
    orientation; `format` is Pillow's name; `notes` are sentences that the user must be told. `bits`, 8 or 16, is the
    depth of a channel that a file of it should have; `pixels` and `alpha` are not rounded to it.
    `whole` is the (height, width) of the picture in its file where it was read smaller (see `load_image`), else None.
    `icc` always describes RGB, and `pixels` are in its colors, not converted.

    A large result that only awaits its file may hold levels instead, a quarter or half of the memory: `pixels` and
    `alpha` uint8 of 255 or uint16 of 65535. `encode_image` takes them; `floats` makes them what everything else takes.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    format: str = ""
    notes: tuple[str, ...] = ()
    bits: int = 8
    whole: tuple[int, int] | None = None

    @property
    def height(self) -> int:
        return self.pixels.shape[-2]

    @property
    def width(self) -> int:
        return self.pixels.shape[-1]

    def visible(self, size: int | None = None) -> Tensor:
        """The pixels over black, (1, 3, H, W), which is what a network sees; with a short side of `size` pixels if given.

        Premultiplied by `alpha` first and resized then, so that colors nobody sees do not bleed at the edges.
        """
        pixels = floats(self.pixels)
        if self.alpha is not None:
            pixels = premultiply(pixels, floats(self.alpha))
        return pixels if size is None else resize_image(pixels, *fit_short_side(self.height, self.width, size))

    def with_pixels(self, pixels: Tensor) -> "Photo":
        """The same picture with other pixels (1, 3, H, W); `alpha` is resized to theirs if the size differs."""
        alpha = None if self.alpha is None else resize_image(self.alpha, pixels.shape[-2], pixels.shape[-1])
        return replace(self, pixels=pixels, alpha=alpha)

    def with_visible(self, pixels: Tensor) -> "Photo":
        """The same picture with what a network made of `visible`, (1, 3, H, W): divided by alpha again."""
        changed = self.with_pixels(pixels)
        return changed if changed.alpha is None else replace(changed, pixels=unpremultiply(pixels, changed.alpha))

    def levels(self, dtype: type[np.uint8] | type[np.uint16], *, over_white: bool = False) -> NDArray[Any]:
        """The levels that a file holds, (H, W, 3 or 4) in C order, computed strip by strip to save memory.

        over_white: alpha is laid over white instead of kept. Raises ImageError where pixels are not finite.
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
    """Levels, uint8 of 255 or uint16 of 65535, as float32 in [0, 1]; what is float32 already as it is."""
    if levels.is_floating_point():
        return levels.float()
    return levels.to(torch.float32).div_(torch.iinfo(levels.dtype).max)


def quantize(channels: Tensor, dtype: type[np.uint8] | type[np.uint16]) -> NDArray[Any]:
    """Channels (1, C, H, W) on the processor in [0, 1], clamped, at the nearest levels (H, W, C) of a type."""
    levels = channels[0].permute(1, 2, 0).clamp(0, 1).mul_(float(np.iinfo(dtype).max)).round_()
    return levels.numpy().astype(dtype)


def premultiply(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Pixels (N, 3, H, W) times alpha (N, 1, H, W): what a network should see, so that hidden colors cannot bleed."""
    return pixels * alpha


def unpremultiply(pixels: Tensor, alpha: Tensor) -> Tensor:
    """Undo `premultiply`, in [0, 1]; black where alpha (N, 1, H, W) is under half a gray level."""
    return torch.where(alpha > MIN_ALPHA, pixels / alpha.clamp(min=MIN_ALPHA), 0).clamp(0, 1)


def resize_image(pixels: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic resize of (N, C, H, W) in [0, 1] to `height` x `width`, clamped; no change at that size."""
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
    """The middle of (N, C, H, W) in [0, 1] as (N, C, side, side): its whole short side, resized."""
    height, width = pixels.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize_image(pixels[..., top : top + short, left : left + short], side, side)


def _scaled(height: int, width: int, factor: float) -> tuple[int, int]:
    return max(1, round(height * factor)), max(1, round(width * factor))
