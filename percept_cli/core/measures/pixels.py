"""Distances and similarities of two images, as pure functions of pixels or features."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.errors import ImageError

# Wang et al. 2004: a Gaussian window of 11x11 pixels, sigma 1.5
SSIM_SIGMA = 1.5
SSIM_SMALLEST_SIDE = 11
# So that the last of five scales, each half the size of the one before, has 11 pixels
MS_SSIM_SMALLEST_SIDE = SSIM_SMALLEST_SIDE * 2**4
# Wang et al. 2003, from the full size to a sixteenth
MS_SSIM_POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_ROWS = 64
_BAND_PIXELS = 1 << 20


def levels(images: Tensor) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] as levels of 0 to 255, not rounded, so that 16-bit files keep their precision."""
    return images * 255


def luma(images: Tensor) -> Tensor:
    """ITU-R BT.601 luma in studio range, as MATLAB's rgb2ycbcr: RGB (N, 3, H, W) in [0, 1] to (N, 1, H, W) in 16 to 235.

    Departs from MATLAB on 8-bit input, as other PyTorch code does: it is not rounded.
    """
    weights = torch.tensor((65.481, 128.553, 24.966), dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return 16 + (images * weights).sum(dim=1, keepdim=True)


def crop_border(images: Tensor, border: int) -> Tensor:
    """Images (N, C, H, W) without `border` pixels at each side. Raises ImageError where no pixel is left."""
    height, width = images.shape[-2:]
    if 2 * border >= min(height, width):
        raise ImageError(f"A border of {border} pixels leaves nothing of {width}x{height} pixels.")
    return images[..., border : height - border, border : width - border]


def psnr(images: Tensor, target: Tensor, planes: Callable[[Tensor], Tensor] = levels) -> Tensor:
    """Peak signal-to-noise ratio (N,) in dB of images (N, 3, H, W) in [0, 1], with peak 255; inf where they are equal.

    planes, here and below: what is compared, `levels` (RGB) or `luma`.
    """
    squares = [
        (first - second).square().mean(dim=1).sum(dim=(1, 2)) for first, second in _bands(images, target, planes)
    ]
    return 10 * torch.log10(255**2 * math.prod(images.shape[-2:]) / torch.stack(squares).sum(dim=0))


def ssim(
    images: Tensor, target: Tensor, planes: Callable[[Tensor], Tensor] = levels, *, contrast_only: bool = False
) -> Tensor:
    """Structural similarity (N,) of images (N, 3, H, W) in [0, 1], mean over the planes (Wang et al. 2004).

    Measured where the 11x11 Gaussian window lies within the image, so both sides must have at least 11 pixels.
    contrast_only: without the term of luminance.
    """
    from skimage.metrics import structural_similarity

    # With so large a constant the term of luminance is 1.
    constants = {"K1": 1e8} if contrast_only else {}
    total = torch.zeros(len(images), dtype=torch.float64)
    overlap = SSIM_SMALLEST_SIDE - 1
    for first, second in _bands(images, target, planes, overlap):
        means = [
            structural_similarity(
                plane, other, channel_axis=0, data_range=255, gaussian_weights=True, sigma=SSIM_SIGMA,
                use_sample_covariance=False, **constants,
            )
            for plane, other in zip(first.numpy(), second.numpy(), strict=True)
        ]  # fmt: skip
        total += torch.tensor(means) * (first.shape[-2] - overlap)
    return total / (images.shape[-2] - overlap)


def ms_ssim(images: Tensor, target: Tensor, planes: Callable[[Tensor], Tensor] = luma) -> Tensor:
    """Multi-scale SSIM (N,) of images (N, 3, H, W) in [0, 1] with sides of at least 176 pixels (Wang et al. 2003).

    Negative similarities count as 0.
    """
    product = torch.ones(len(images), dtype=torch.float64)
    for scale, power in enumerate(MS_SSIM_POWERS, start=1):
        last = scale == len(MS_SSIM_POWERS)
        similarity = ssim(images, target, planes, contrast_only=not last)
        product *= similarity.clamp(min=0) ** power
        if not last:
            images, target = F.avg_pool2d(images, 2), F.avg_pool2d(target, 2)
    return product


def place_distances(features: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared distance at each place of features scaled to length 1 there (Zhang et al. 2018, eq. 1).

    (N, C, h, w) to (N, 1, h, w); (N, C) of a fully connected layer is one place. weights: (1, C, 1, 1), of the channels'
    squares; None is 1 for each.
    """
    if features.ndim == 2:
        features, target = features[..., None, None], target[..., None, None]
    strips = []
    # Some rows at a time: the first layers of a large photograph take gigabytes, and a copy as much again.
    for rows, target_rows in zip(features.split(_ROWS, dim=2), target.split(_ROWS, dim=2), strict=True):
        squares = (F.normalize(rows.float(), dim=1) - F.normalize(target_rows.float(), dim=1)).square()
        strips.append((squares if weights is None else weights * squares).sum(dim=1, keepdim=True))
    return torch.cat(strips, dim=2)


def perceptual_distance(distances: Mapping[str, Tensor]) -> Tensor:
    """Squared distance (N,) of channel-normalized features, mean over places and then over layers, from 0 to 4.

    distances: the `place_distances` of each layer. Departs from LPIPS (Zhang et al. 2018, eq. 1): all channels have the
    same weight, and the mean over layers replaces the sum.
    """
    return torch.stack([places.mean(dim=(1, 2, 3)) for places in distances.values()]).mean(dim=0)


def perceptual_map(distances: Mapping[str, Tensor], height: int, width: int) -> Tensor:
    """A map (N, 1, height, width) of the root of `perceptual_distance` at each place, enlarged to the image."""
    total = sum(
        F.interpolate(places, size=(height, width), mode="bilinear", align_corners=False)
        for places in distances.values()
    )
    assert isinstance(total, Tensor)
    return (total / len(distances)).sqrt()


def absolute_map(images: Tensor, target: Tensor) -> Tensor:
    """A map (N, 1, H, W) of the absolute difference of images (N, C, H, W), mean over channels."""
    return (images - target).abs().mean(dim=1, keepdim=True)


def heat_colors(values: Tensor) -> Tensor:
    """Values (N, 1, H, W) in [0, 1] as RGB (N, 3, H, W), from black through red and yellow to white."""
    return (3 * values - values.new_tensor((0, 1, 2)).view(1, 3, 1, 1)).clamp_(0, 1)


@dataclass(frozen=True)
class HeatMap:
    """A picture of where two images differ: (1, 3, H, W) in [0, 1], black for no difference, white for one of `white`.

    kind: `perceptual` or `absolute`.
    """

    image: Tensor
    kind: str
    white: float


@torch.inference_mode()
def heat_map(images: Tensor, target: Tensor, distances: Mapping[str, Tensor]) -> HeatMap:
    """The heat map of two images (1, 3, H, W): of the `distances` of their measurement, or if empty of their pixels."""
    height, width = images.shape[-2:]
    if distances:
        kind, differences = "perceptual", perceptual_map(distances, height, width)
    else:
        kind, differences = "absolute", absolute_map(images, target)
    white = differences.max().item()
    if white > 0:
        differences /= white
    return HeatMap(heat_colors(differences), kind, white)


def _bands(
    images: Tensor, target: Tensor, planes: Callable[[Tensor], Tensor], overlap: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The planes of both images in float64 on the processor, some rows at a time.

    overlap: rows that adjacent bands share, so that each window of one more row lies in exactly one band.
    """
    height, width = images.shape[-2:]
    step = max(_ROWS, _BAND_PIXELS // width)
    for top in range(0, height - overlap, step):
        rows = slice(top, top + step + overlap)
        first, second = (planes(pixels[..., rows, :].cpu().double()) for pixels in (images, target))
        yield first, second


def image_error(image: Tensor, original: Tensor) -> float:
    """The root mean squared difference of two images in [0, 1], in gray levels (0 to 255)."""
    return 255 * (image - original).square().mean().sqrt().item()
