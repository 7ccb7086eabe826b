"""Perceptual losses as pure functions of features and images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.errors import UsageError


def gram_matrix(features: Tensor) -> Tensor:
    """Channel correlations F Fᵀ / (C·H·W) (Johnson et al. 2016, eq. 3): (N, C, H, W) to (N, C, C), float32 or finer.

    The product is computed in the type of the features, which matrix units accumulate in float32.
    """
    count, channels, height, width = features.shape
    # One row for each pixel: a view, since the extractors return channels-last memory.
    rows = features.permute(0, 2, 3, 1).reshape(count, height * width, channels)
    if rows.dtype == torch.float16:
        rows = rows.float()  # sums over thousands of pixels exceed the range of fp16
    return at_least_float32(_RowProduct.apply(rows)) / (channels * height * width)


class _RowProduct(torch.autograd.Function):
    """RᵀR; its symmetric gradient needs one product, the two of autograd take 4 times as long on a processor."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(rows)
        return torch.bmm(rows.transpose(1, 2), rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        (rows,) = ctx.saved_tensors
        return torch.bmm(rows, (gradient + gradient.transpose(1, 2)).to(rows.dtype))


def feature_reconstruction_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference at one layer (Johnson et al. 2016, eq. 2, whose factor is 1/(C·H·W)); any equal shapes."""
    return F.mse_loss(at_least_float32(features), at_least_float32(target))


def feature_l1_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference at one layer (Wang et al. 2018, pix2pixHD); any equal shapes."""
    return F.l1_loss(at_least_float32(features), at_least_float32(target))


def feature_cosine_loss(features: Tensor, target: Tensor) -> Tensor:
    """Squared distance of features scaled to length 1 at each place, mean over places: (N, C, h, w) or (N, C), 0 to 4.

    It is 2 (1 − cos), and LPIPS (Zhang et al. 2018, eq. 1) with equal weights of all channels.
    """
    features, target = at_least_float32(features), at_least_float32(target)
    return (F.normalize(features, dim=1) - F.normalize(target, dim=1)).square().sum(dim=1).mean()


def style_reconstruction_loss(gram: Tensor, target: Tensor) -> Tensor:
    """Squared Frobenius distance of Gram matrices (Johnson et al. 2016, eq. 4), mean over images; (N, C, C) each."""
    return (gram - target).square().sum(dim=(1, 2)).mean()


def gram_mean_loss(gram: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of Gram matrices, that of `style_reconstruction_loss` over C²; (N, C, C) each."""
    return (gram - target).square().mean()


def patch_grams(features: Tensor, patch: int) -> Tensor:
    """Gram matrices of the n patches into which features (N, C, H, W) are divided: (N·n, C, C).

    patch: its side in feature pixels. Patches begin at the top left; rows and columns that do not fill a patch are left
    out. Raises UsageError if no patch fits.
    """
    count, channels, height, width = features.shape
    rows, columns = height // patch, width // patch
    if not rows or not columns:
        raise UsageError(f"A texture patch of {patch} feature pixels does not fit into {width}x{height} of them.")
    # Channels last, as the extractors return features and `gram_matrix` reads them.
    pixels = features[..., : rows * patch, : columns * patch].permute(0, 2, 3, 1)
    squares = pixels.reshape(count, rows, patch, columns, patch, channels).transpose(2, 3)
    return gram_matrix(squares.reshape(-1, patch, patch, channels).permute(0, 3, 1, 2))


def patch_gram_loss(features: Tensor, target: Tensor, patch: int = 4) -> Tensor:
    """Squared Frobenius distance of the Gram matrices of patches at the same place (Sajjadi et al. 2017, EnhanceNet).

    features, target: (N, C, H, W). patch: its side in feature pixels; the paper's 16 pixels of the image are 4 of
    relu3_1. The mean over patches and images, a scalar.
    """
    return style_reconstruction_loss(patch_grams(features, patch), patch_grams(target, patch))


def mean_one_gram_loss(features: Tensor, target: Tensor, patch: int = 16) -> Tensor:
    """Mean squared difference of the plain Gram matrices FFᵀ of patches (Sajjadi et al. 2017, section 4.2.3), a scalar.

    features, target: (N, C, H, W), both divided by the mean of the target, so that its activations have a mean of one
    (section 5.3). patch: its side in feature pixels, the whole map if that is smaller.
    """
    _, channels, height, width = features.shape
    side = min(patch, height, width)
    mean = at_least_float32(target).mean().clamp_min(1e-12)
    # `gram_matrix` divides by the number of values, and the paper does not.
    ours, theirs = (
        patch_grams(at_least_float32(values) / mean, side) * (channels * side**2) for values in (features, target)
    )
    return F.mse_loss(ours, theirs)


def typical_gram_distance(grams: Tensor) -> Tensor:
    """Mean squared Frobenius distance of two different Gram matrices among (N, C, C), a scalar; 0 if N is 1.

    It is twice their variance, and the usual distance of patches at different places.
    """
    count = len(grams)
    return 2 * (grams - grams.mean(0)).square().sum() / max(1, count - 1)


def total_variation(images: Tensor, exponent: float = 2.0) -> Tensor:
    """Mean over pixels and channels of (dx² + dy²)^(exponent / 2) (Mahendran & Vedaldi 2015, eq. 5); images (N, C, H, W).

    dx and dy are differences to the next pixel; the last row and column, which have none, are left out. With exponent 2
    it is the regularizer of Johnson et al. 2016, which is a sum instead of a mean. Departs from the paper: exponents below
    2 are of dx² + dy² + 1e-8, whose gradient at 0 is finite.
    """
    images = at_least_float32(images)
    across = images[..., :-1, 1:] - images[..., :-1, :-1]
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    squares = across.square() + down.square()
    if squares.numel() == 0:  # one pixel high or wide
        return images.sum() * 0
    if exponent == 2.0:
        return squares.mean()
    return (squares + 1e-8).pow(exponent / 2).mean()


def alpha_norm(images: Tensor, exponent: float = 6.0) -> Tensor:
    """Mean over pixels and channels of |x|^exponent (Mahendran & Vedaldi 2015, section 3.2); images (N, C, H, W).

    The mean color of the images is 0: a high exponent penalizes values beyond about 1 and hardly any others. Departs from
    the paper, which sums: a mean does not depend on the size of the image.
    """
    return at_least_float32(images).abs().pow(exponent).mean()


def relative_feature_loss(features: Tensor, target: Tensor) -> Tensor:
    """‖features − target‖² / ‖target‖² (Mahendran & Vedaldi 2015, eq. 2), a scalar; any equal shapes."""
    features, target = at_least_float32(features), at_least_float32(target)
    # A target of 0 would make it infinite.
    return (features - target).square().sum() / target.square().sum().clamp_min(1e-12)


def pixel_loss(images: Tensor, target: Tensor, distance: str = "mse") -> Tensor:
    """Mean difference of images: `mse` squared, `l1` absolute or `charbonnier` (see `charbonnier_loss`); equal shapes."""
    if distance == "charbonnier":
        return charbonnier_loss(images, target)
    return F.mse_loss(images, target) if distance == "mse" else F.l1_loss(images, target)


def charbonnier_loss(images: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of √(d² + ε²) over differences d (Lai et al. 2017, LapSRN): `l1`, smooth at 0; any equal shapes.

    It is ε for equal images. Departs from the paper, which sums over an image: a mean does not depend on its size.
    """
    difference = at_least_float32(images) - at_least_float32(target)
    return (difference.square() + epsilon**2).sqrt().mean()


def low_frequency_loss(images: Tensor, target: Tensor, sigma: float = 3.0) -> Tensor:
    """Mean squared difference of images (N, 3, H, W) blurred by a Gaussian (Mechrez et al. 2018b), a scalar.

    sigma: in pixels. The paper has 3 and a kernel of 21x21 pixels, as here. The blur is linear, so the difference is
    blurred instead of both images.
    """
    difference = at_least_float32(images) - at_least_float32(target)
    radius = math.ceil(10 / 3 * sigma)
    places = torch.arange(-radius, radius + 1, dtype=difference.dtype, device=difference.device)
    kernel = torch.exp(-0.5 * (places / sigma).square())
    kernel = (kernel / kernel.sum()).repeat(difference.shape[1], 1, 1, 1)
    # The difference beyond the edges is 0; with `replicate`, that of the edges would count many times.
    across = F.conv2d(difference, kernel, padding=(0, radius), groups=difference.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), padding=(radius, 0), groups=difference.shape[1]).square().mean()


def typical_square(target: Tensor) -> Tensor:
    """Twice the variance of features about their channel means, (N, C, H, W) to a scalar.

    It is the usual mean squared difference to the features of an unrelated picture. For fully connected features (N, C)
    it is the mean over pairs of the N; if N is 1, twice the variance over the channels.
    """
    target = at_least_float32(target)
    if target.ndim == 2:
        count = len(target)
        return 2 * count / max(1, count - 1) * (target - _channel_means(target)).square().mean()
    return 2 * (target - _channel_means(target)).square().mean()


def typical_deviation(target: Tensor) -> Tensor:
    """√2 times the mean absolute deviation of features (N, C, H, W) or (N, C) from their channel means, a scalar.

    It is the usual mean absolute difference to the features of an unrelated picture. For fully connected features (N, C)
    the means are those of `typical_square`.
    """
    target = at_least_float32(target)
    return 2**0.5 * (target - _channel_means(target)).abs().mean()


def _channel_means(features: Tensor) -> Tensor:
    """The mean of each channel over places, for fully connected features over images, or over channels if N is 1."""
    if features.ndim == 2:
        return features.mean(dim=0 if len(features) > 1 else 1, keepdim=True)
    return features.mean(dim=(2, 3), keepdim=True)


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32 if their type is coarser: sums of bf16 or fp16 values are inexact."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
