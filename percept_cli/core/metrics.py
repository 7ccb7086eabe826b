"""How far two images are from each other, as pure functions of pixels or features."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.errors import ImageError

# Wang et al. 2004: a Gaussian window of 11x11 pixels, sigma 1.5
SSIM_SIGMA = 1.5
SSIM_SMALLEST_SIDE = 11
# The same window at the last of five scales, each half the size of the one before
MS_SSIM_SMALLEST_SIDE = SSIM_SMALLEST_SIDE * 2**4

_ROWS = 64


def levels(images: Tensor) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] as levels of 0 to 255, float64, not rounded: 16-bit files keep their precision."""
    return images.double() * 255


def luma(images: Tensor) -> Tensor:
    """ITU-R BT.601 luma in studio range, as MATLAB's rgb2ycbcr: RGB (N, 3, H, W) in [0, 1] to (N, 1, H, W) in 16 to 235.

    Departs from MATLAB on 8-bit input, as the field's PyTorch code does: it is not rounded.
    """
    weights = torch.tensor((65.481, 128.553, 24.966), dtype=torch.float64, device=images.device).view(1, 3, 1, 1)
    return 16 + (images.double() * weights).sum(dim=1, keepdim=True)


def crop_border(images: Tensor, border: int) -> Tensor:
    """(N, C, H, W) without `border` pixels at each side. Raises ImageError when nothing would be left."""
    height, width = images.shape[-2:]
    if 2 * border >= min(height, width):
        raise ImageError(f"A border of {border} pixels leaves nothing of {width}x{height} pixels.")
    return images[..., border : height - border, border : width - border]


def psnr(planes: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of (N, C, H, W) in levels of 0 to 255, over all channels: (N,), inf if equal."""
    squared_error = (planes - target).double().square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / squared_error)


def ssim(planes: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of (N, C, H, W) in levels of 0 to 255, mean over channels: (N,).

    Taken where the 11x11 Gaussian window lies within the image, so both sides must have at least 11 pixels.
    """
    from skimage.metrics import structural_similarity

    values = [
        structural_similarity(
            first, second, channel_axis=0, data_range=255, gaussian_weights=True, sigma=SSIM_SIGMA,
            use_sample_covariance=False,
        )
        for first, second in zip(_doubles(planes), _doubles(target), strict=True)
    ]  # fmt: skip
    return torch.tensor(values, dtype=torch.float64)


def ms_ssim(planes: Tensor, target: Tensor) -> Tensor:
    """Multi-scale SSIM (Wang et al. 2003) of (N, C, H, W) in levels of 0 to 255: (N,); sides of at least 176 pixels."""
    # 1.6 seconds to import
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    # float32, because convolutions of float64 unfold their input: 12 GB for a photograph of 12 megapixels.
    similarity = multiscale_structural_similarity_index_measure(
        planes.float(), target.float(), data_range=255.0, sigma=SSIM_SIGMA, reduction="none"
    )
    return similarity.reshape(-1)


def place_distances(features: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Squared distance, at every place, of features scaled to length 1 there (Zhang et al. 2018, eq. 1).

    (N, C, h, w) to (N, 1, h, w); (N, C) of a fully connected layer counts as one place. `weights` (1, C, 1, 1) are those
    of the channels' squares, equal when not given.
    """
    if features.ndim == 2:
        features, target = features[..., None, None], target[..., None, None]
    strips = []
    # The first layers of a large photograph take gigabytes: a few rows at a time need no second copy of them.
    for rows, target_rows in zip(features.split(_ROWS, dim=2), target.split(_ROWS, dim=2), strict=True):
        squares = (F.normalize(rows.float(), dim=1) - F.normalize(target_rows.float(), dim=1)).square()
        strips.append((squares if weights is None else weights * squares).sum(dim=1, keepdim=True))
    return torch.cat(strips, dim=2)


def perceptual_distance(features: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """Squared distance of channel-normalised features, mean over places and then over layers: (N,), from 0 to 4.

    LPIPS (Zhang et al. 2018, eq. 1) with all channels weighing the same, and the mean over layers for its sum.
    """
    distances = [place_distances(features[layer], target[layer]).mean(dim=(1, 2, 3)) for layer in features]
    return torch.stack(distances).mean(dim=0)


def perceptual_map(features: Mapping[str, Tensor], target: Mapping[str, Tensor], height: int, width: int) -> Tensor:
    """Where two images differ to the eye of an extractor: (N, 1, height, width).

    The root of the squared distances of `perceptual_distance` at each place, enlarged to the image.
    """
    maps = [
        F.interpolate(
            place_distances(features[layer], target[layer]), size=(height, width), mode="bilinear", align_corners=False
        )
        for layer in features
    ]
    return torch.stack(maps).mean(dim=0).sqrt()


def absolute_map(images: Tensor, target: Tensor) -> Tensor:
    """Absolute difference at each pixel, mean over channels: (N, C, H, W) to (N, 1, H, W)."""
    return (images - target).abs().mean(dim=1, keepdim=True)


def heat_colors(values: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1] as RGB from black over red and yellow to white, (N, 3, H, W)."""
    return torch.cat((3 * values, 3 * values - 1, 3 * values - 2), dim=1).clamp(0, 1)


def _doubles(planes: Tensor) -> np.ndarray:
    return planes.detach().cpu().double().numpy()
