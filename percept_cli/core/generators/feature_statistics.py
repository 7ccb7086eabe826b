"""The mean and covariance of features, put together of parts and of styles, and the map from one to another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 4096  # places of a map whose products are summed at a time
# Of the variance of features, added before a root: directions in which a photograph hardly varies are not amplified
SMALLEST_VARIANCE = 1e-3


@dataclass(frozen=True)
class Statistics:
    """The means (N, C) and covariances (N, C, C) of features over whole pictures, float64, from shallow to deep levels."""

    means: tuple[Tensor, ...]
    covariances: tuple[Tensor, ...]

    def select(self, number: int, count: int) -> "Statistics":
        """Those of one of `count` pictures; where there is one for all, that."""
        means, covariances = (
            tuple(each.expand(count, *each.shape[1:])[number : number + 1] for each in part)
            for part in (self.means, self.covariances)
        )
        return Statistics(means, covariances)

    @property
    def tensors(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The mean and the covariance of each level."""
        return zip(self.means, self.covariances, strict=True)


def measure_statistics(features: Sequence[Tensor]) -> Statistics:
    """The statistics of the features (N, C, h, w) of each level.

    Blocks of pixels are measured in float32 around their own means, in which nothing cancels, and merged in float64: so
    those of a picture and those that are merged of its parts are the same within 1e-6.
    """
    means, covariances = [], []
    for level in features:
        precise = precise_dtype(level.device)
        rows = level.float().permute(0, 2, 3, 1).flatten(1, 2)  # a view of channels-last memory
        blocks = rows.split(ROWS, dim=1)
        parts = []
        for block in blocks:
            around = block.mean(1, keepdim=True)
            centered = block - around
            rest = centered.mean(1).to(precise)  # the rounding of the mean
            products = torch.bmm(centered.transpose(1, 2), centered).to(precise) / block.shape[1]
            parts.append((around[:, 0].to(precise) + rest, products - rest[:, :, None] * rest[:, None]))
        mean, covariance = _merge(parts, [block.shape[1] for block in blocks])
        means.append(mean)
        covariances.append(covariance)
    return Statistics(tuple(means), tuple(covariances))


def scale_statistics(statistics: Statistics, scales: Sequence[tuple[Tensor, Tensor]]) -> Statistics:
    """The statistics of features of which, at each level, a mean (C,) is subtracted and which are divided by a deviation (C,)."""
    means, covariances = [], []
    for (mean, covariance), (middle, deviation) in zip(statistics.tensors, scales, strict=True):
        means.append((mean - middle) / deviation)
        covariances.append(covariance / (deviation[:, None] * deviation))
    return Statistics(tuple(means), tuple(covariances))


def precise_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on MPS, which has no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def blend_statistics(styles: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
    """The weighted mean of the statistics of several styles, that of a picture which is put together of them."""
    shares = [weight / sum(weights) for weight in weights]
    means, covariances = [], []
    for level in zip(*(style.tensors for style in styles), strict=True):
        mean = torch.stack([share * each for share, (each, _) in zip(shares, level, strict=True)]).sum(0)
        within = torch.stack([share * each for share, (_, each) in zip(shares, level, strict=True)]).sum(0)
        means.append(mean)
        covariances.append(within)
    return Statistics(tuple(means), tuple(covariances))


def merge_statistics(parts: Sequence[Statistics], counts: Sequence[float]) -> Statistics:
    """The statistics of a whole from those of its parts, which have the given numbers of pixels.

    The covariance of the whole is the mean of those within the parts, and the covariance of their means (Chan et al. 1983,
    "Algorithms for computing the sample variance", eq. 2.1, for many parts).
    """
    levels = [_merge(level, counts) for level in zip(*(part.tensors for part in parts), strict=True)]
    return Statistics(tuple(mean for mean, _ in levels), tuple(covariance for _, covariance in levels))


def _merge(parts: Sequence[tuple[Tensor, Tensor]], counts: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The mean (N, C) and the covariance (N, C, C) of one level of the whole."""
    means, covariances = (torch.stack(list(each)) for each in zip(*parts, strict=True))
    shares = torch.tensor(counts, dtype=means.dtype, device=means.device).div(sum(counts))
    mean = torch.einsum("p,pnc->nc", shares, means)
    offsets = means - mean
    within = torch.einsum("p,pncd->ncd", shares, covariances)
    return mean, within + torch.einsum("p,pnc,pnd->ncd", shares, offsets, offsets)


def transport(content: Tensor, style: Tensor) -> Tensor:
    """The linear map that gives features of one covariance another one and moves them least, all (N, C, C).

    It is A⁻¹ (A S A)^½ A⁻¹ with A the root of the content's covariance and S the style's: the optimal transport between
    normal distributions (Mroueh 2019, "Wasserstein Style Transfer", eq. 7). Give it float64: the root of the rounding error
    of float32, times A⁻² of a direction in which the content hardly varies, is as large as the result.
    """
    values, vectors = torch.linalg.eigh(content)
    smallest = SMALLEST_VARIANCE * content.diagonal(dim1=1, dim2=2).mean(1, keepdim=True).clamp_min(1e-6)
    roots = (values.clamp_min(0) + smallest).sqrt()
    root = (vectors * roots[:, None]) @ vectors.transpose(1, 2)
    inverse = (vectors / roots[:, None]) @ vectors.transpose(1, 2)
    values, vectors = torch.linalg.eigh(root @ style @ root)
    middle = (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.transpose(1, 2)
    return inverse @ middle @ inverse


def transfer(features: Tensor, content: tuple[Tensor, Tensor], style: tuple[Tensor, Tensor]) -> Tensor:
    """Features (N, C, h, w) of one mean and covariance, moved to another mean and covariance, in float32."""
    matrix, shift = (each.to(features.device, torch.float32) for each in linear_maps(content, style))
    rows = features.float().permute(0, 2, 3, 1)
    moved = torch.baddbmm(shift[:, None], rows.flatten(1, 2), matrix.transpose(1, 2))
    return moved.view(rows.shape).permute(0, 3, 1, 2)


def linear_maps(content: tuple[Tensor, Tensor], style: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The matrices (N, C, C) and shifts (N, C), float64, that give features of one mean and covariance those of another."""
    # MPS has no float64; the matrices are small.
    device = content[0].device
    place = device if device.type != "mps" else torch.device("cpu")
    mean, covariance, new_mean, new_covariance = (each.to(place, torch.float64) for each in (*content, *style))
    matrix = transport(covariance, new_covariance)
    return matrix, new_mean - (matrix @ mean[..., None])[..., 0]
