"""Perceptual losses as pure functions of features and images."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gram_matrix(features: Tensor) -> Tensor:
    """Channel correlations F Fᵀ / (C·H·W) (Johnson et al. 2016, eq. 3): (N, C, H, W) to (N, C, C), float32 or finer.

    The product runs in the type of the features, with the accumulation in float32 that matrix units do anyway.
    """
    count, channels, height, width = features.shape
    # Rows of pixels: a view of channels-last memory, which is what the extractors return.
    rows = features.permute(0, 2, 3, 1).reshape(count, height * width, channels)
    if rows.dtype == torch.float16:
        rows = rows.float()  # sums over thousands of pixels pass the range of fp16
    return _at_least_float32(_RowProduct.apply(rows)) / (channels * height * width)


class _RowProduct(torch.autograd.Function):
    """RᵀR with the one product its symmetric gradient needs; autograd's own two are 4 times as slow on a processor."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(rows)
        return torch.bmm(rows.transpose(1, 2), rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        (rows,) = ctx.saved_tensors
        return torch.bmm(rows, (gradient + gradient.transpose(1, 2)).to(rows.dtype))


def feature_reconstruction_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference at one layer (Johnson et al. 2016, eq. 2: the mean is 1/(C·H·W)); any equal shapes."""
    return F.mse_loss(_at_least_float32(features), _at_least_float32(target))


def feature_l1_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference at one layer (Wang et al. 2018, pix2pixHD); any equal shapes."""
    return F.l1_loss(_at_least_float32(features), _at_least_float32(target))


def style_reconstruction_loss(gram: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance of Gram matrices (Johnson et al. 2016, eq. 4), mean over images; (N, C, C) each."""
    return (gram - target).square().sum(dim=(1, 2)).mean()


def total_variation(images: Tensor, exponent: float = 2.0) -> Tensor:
    """Mean over pixels and channels of (dx² + dy²)^(exponent / 2) (Mahendran & Vedaldi 2015, eq. 5); images (N, C, H, W).

    dx and dy are differences to the next pixel; the last row and column, which have none, are left out. With exponent
    2 this is the sum of squared differences, Johnson's regulariser up to its own sum instead of a mean.
    Departs from the paper: below exponent 2 the root is taken of dx² + dy² + 1e-8, whose gradient is finite at zero.
    """
    images = _at_least_float32(images)
    across = images[..., :-1, 1:] - images[..., :-1, :-1]
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    squares = across.square() + down.square()
    if squares.numel() == 0:  # one pixel high or wide: there are no differences
        return images.sum() * 0
    if exponent == 2.0:
        return squares.mean()
    return (squares + 1e-8).pow(exponent / 2).mean()


def pixel_loss(images: Tensor, target: Tensor, distance: str = "mse") -> Tensor:
    """Mean difference of images: `mse` squared, `l1` absolute; any equal shapes."""
    return F.mse_loss(images, target) if distance == "mse" else F.l1_loss(images, target)


def typical_square(target: Tensor) -> Tensor:
    """Twice the variance of features about their channel means, (N, C, H, W) to a scalar.

    This is what the mean squared difference to the features of an unrelated picture comes to.
    """
    target = _at_least_float32(target)
    return 2 * (target - target.mean(dim=(2, 3), keepdim=True)).square().mean()


def _at_least_float32(values: Tensor) -> Tensor:
    """Sums of bf16 or fp16 values are taken in float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
