"""Convolution and normalization of large feature maps in strips of rows: the same values in a fraction of the memory.

Memory does not suffice for a padded, enlarged or converted copy of a whole map of 12 megapixels, so only strips are
copied. Statistics are those of the whole map, so the strips leave no seams.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIP_PIXELS = 1 << 18
WHOLE_PIXELS = 1 << 21  # largest map that is computed as a whole
CACHED_PIXELS = 1 << 17  # of a strip of `in_strips` on a processor
# Rows around a strip of `in_strips`: an enlargement by 2, and seven convolutions of 3x3. Even, for maps of half the size.
HALO = 8


def takes_strips(features: Tensor) -> bool:
    """Whether a map (N, C, H, W) is large enough for strips; never with gradients, which need whole maps."""
    return not torch.is_grad_enabled() and features.shape[-2] * features.shape[-1] > WHOLE_PIXELS


def convolve(
    features: Tensor, convolution: nn.Conv2d, enlargement: int = 1, dtype: torch.dtype | None = None
) -> Tensor:
    """Nearest-neighbor enlargement, reflection padding of half the kernel, and convolution of features (N, C, H, W).

    dtype: type to which the features are converted first. Large results are computed in strips (see `takes_strips`).
    """
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    padding = kernel // 2
    height, width = features.shape[-2] * enlargement, features.shape[-1] * enlargement
    columns = (width + 2 * padding - kernel) // stride + 1
    rows = (height + 2 * padding - kernel) // stride + 1

    def convolved(strip: Tensor, vertical: int, margin: int) -> Tensor:
        if dtype is not None:
            strip = strip.to(dtype)
        if enlargement > 1:
            strip = F.interpolate(strip, scale_factor=(float(vertical), float(enlargement)), mode="nearest")
        return convolution(F.pad(strip, [padding, padding, margin, margin], mode="reflect") if padding else strip)

    if torch.is_grad_enabled() or rows * columns <= WHOLE_PIXELS:
        return convolved(features, enlargement, padding)
    result: Tensor | None = None
    step = max(1, STRIP_PIXELS // columns)
    for top in range(0, rows, step):
        bottom = min(top + step, rows)
        wanted = torch.arange(top * stride - padding, (bottom - 1) * stride + kernel - padding)
        reflected = height - 1 - (height - 1 - wanted.abs()).abs()
        part = convolved(features.index_select(2, (reflected // enlargement).to(features.device)), 1, 0)
        if result is None:
            result = torch.empty(
                (len(part), part.shape[1], rows, columns),
                dtype=part.dtype,
                device=part.device,
                memory_format=torch.channels_last,
            )
        result[:, :, top:bottom] = part
    assert result is not None
    return result


def normalize_in_strips(features: Tensor, weight: Tensor, bias: Tensor, *, relu: bool, eps: float = 1e-5) -> Tensor:
    """Instance normalization and, if `relu`, ReLU of large maps (N, C, H, W), in place."""
    step = max(1, STRIP_PIXELS // features.shape[-1])
    for image in features.split(1):
        strips = image.split(step, dim=2)
        # Mean and inverse deviation as saved for the gradient: `torch.var_mean` is 20 times as slow on channels last.
        moments = [torch.native_batch_norm(strip, weight, bias, None, None, True, 0.0, eps)[1:] for strip in strips]
        means = torch.stack([mean.double() for mean, _ in moments])
        variances = torch.stack([deviation.double() for _, deviation in moments]).pow(-2) - eps
        shares = torch.tensor([strip.shape[2] for strip in strips], dtype=torch.float64, device=features.device)
        shares = (shares / shares.sum())[:, None]
        mean = (shares * means).sum(0)
        # The variance of the whole is the mean variance within strips plus the variance of their means.
        variance = (shares * (variances + (means - mean).square())).sum(0)
        for strip in strips:
            normalized = F.batch_norm(
                strip, mean.to(weight.dtype), variance.to(weight.dtype), weight, bias, training=False, eps=eps
            )
            strip.copy_(F.relu(normalized) if relu else normalized)
    return features


def in_strips(compute: Callable[..., Tensor], *maps: Tensor) -> Tensor:
    """`compute(*maps)`, of maps (N, C, H, W) and others of half the height, whose result has the first one's height.

    Computed in strips of rows with `HALO` more at each side, farther than which `compute` must not see; it reflects the
    edges of what it gets, which are those of the whole where a strip ends there.
    """
    height, width = maps[0].shape[-2:]
    pixels = CACHED_PIXELS if maps[0].device.type == "cpu" else WHOLE_PIXELS  # a GPU is slow at small maps
    rows = max(2 * HALO, pixels // width // 2 * 2)
    if height <= rows:
        return compute(*maps)
    result: Tensor | None = None
    for top in range(0, height, rows):
        first, last = max(0, top - HALO), min(height, top + rows + HALO)
        steps = [height // each.shape[2] for each in maps]
        strips = [each[:, :, first // step : last // step] for each, step in zip(maps, steps, strict=True)]
        part = compute(*strips)[:, :, top - first : top - first + rows]
        if result is None:
            size, layout = (len(part), part.shape[1], height, width), torch.channels_last
            result = torch.empty(size, dtype=part.dtype, device=part.device, memory_format=layout)
        result[:, :, top : top + rows] = part
    assert result is not None
    return result
