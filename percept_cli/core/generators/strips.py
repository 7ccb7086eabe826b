"""Convolution and normalization of large feature maps in strips of rows: the same values in a fraction of the memory.

For a photograph of 12 megapixels there is no memory for a padded, enlarged or converted copy of a whole map. So strips
of some rows are copied, with the padding that they need, and only the result is as large as the picture. Statistics are
taken over the whole map, so the strips leave no seams.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIP_PIXELS = 1 << 18
# Smaller maps are computed as a whole: copies of them are small.
WHOLE_PIXELS = 1 << 21


def takes_strips(features: Tensor) -> bool:
    """Whether a map (N, C, H, W) is large enough for strips; with gradients, which need whole maps, never."""
    return not torch.is_grad_enabled() and features.shape[-2] * features.shape[-1] > WHOLE_PIXELS


def convolve(
    features: Tensor, convolution: nn.Conv2d, enlargement: int = 1, dtype: torch.dtype | None = None
) -> Tensor:
    """Nearest-neighbor enlargement, reflection padding of half the kernel, convolution; (N, C, H, W) features.

    dtype: what the features are converted to first. A large result is made strip by strip (see `takes_strips`).
    """
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    padding = kernel // 2
    height, width = features.shape[-2] * enlargement, features.shape[-1] * enlargement
    columns = (width + 2 * padding - kernel) // stride + 1
    rows = (height + 2 * padding - kernel) // stride + 1
    if torch.is_grad_enabled() or rows * columns <= WHOLE_PIXELS:
        if enlargement > 1:
            features = F.interpolate(features, scale_factor=float(enlargement), mode="nearest")
        if dtype is not None:
            features = features.to(dtype)
        return convolution(F.pad(features, [padding] * 4, mode="reflect") if padding else features)
    result: Tensor | None = None
    step = max(1, STRIP_PIXELS // columns)
    for top in range(0, rows, step):
        bottom = min(top + step, rows)
        wanted = torch.arange(top * stride - padding, (bottom - 1) * stride + kernel - padding)
        reflected = height - 1 - (height - 1 - wanted.abs()).abs()
        strip = features.index_select(2, (reflected // enlargement).to(features.device))
        if dtype is not None:
            strip = strip.to(dtype)
        if enlargement > 1:
            strip = F.interpolate(strip, scale_factor=(1.0, float(enlargement)), mode="nearest")
        part = convolution(F.pad(strip, [padding, padding, 0, 0], mode="reflect") if padding else strip)
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
    """Instance normalization and ReLU of large maps (N, C, H, W), in place, with the statistics of each whole map."""
    step = max(1, STRIP_PIXELS // features.shape[-1])
    for image in features.split(1):
        strips = image.split(step, dim=2)
        # What batch normalization saves for its gradient; `torch.var_mean` is 20 times as slow on channels-last maps.
        moments = [torch.native_batch_norm(strip, weight, bias, None, None, True, 0.0, eps)[1:] for strip in strips]
        means = torch.stack([mean.double() for mean, _ in moments])
        variances = torch.stack([deviation.double() for _, deviation in moments]).pow(-2) - eps
        shares = torch.tensor([strip.shape[2] for strip in strips], dtype=torch.float64, device=features.device)
        shares = (shares / shares.sum())[:, None]
        mean = (shares * means).sum(0)
        # The variance of the whole is that within the strips and that between their means.
        variance = (shares * (variances + (means - mean).square())).sum(0)
        for strip in strips:
            normalized = F.batch_norm(
                strip, mean.to(weight.dtype), variance.to(weight.dtype), weight, bias, training=False, eps=eps
            )
            strip.copy_(F.relu(normalized) if relu else normalized)
    return features
