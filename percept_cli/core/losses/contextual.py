"""The contextual loss (Mechrez et al. 2018): compares which features two pictures contain, at any place.

The loss of N points x_i and M points y_j needs N·M distances. They are computed in blocks of rows i, of which only a sum
for each row and the greatest similarity of each column j are stored. Only the rows with these similarities contribute to
the gradient, and are computed again for it. So the loss is exact, and its memory that of the features and of one block.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from percept_cli.core.losses.point_distances import create_distances
from percept_cli.errors import UsageError, unknown_name

CONTEXTUAL_DISTANCES = ("cosine", "l1", "l2")
EPSILON = 1e-5  # as in the authors' code: keeps relative distances finite where two points are equal
SMALLEST_NORM = 1e-6
BLOCK = 1 << 20  # distances at a time: 4 MiB, which fit in the cache of a processor
FEWEST_ROWS = 16


def contextual_loss(
    x: Tensor,
    y: Tensor,
    bandwidth: float = 0.5,
    distance: str = "cosine",
    *,
    points: int | None = None,
    quadrants: bool = False,
    generator: torch.Generator | None = None,
    block_rows: int | None = None,
) -> Tensor:
    """−log CX(x, y) (Mechrez et al. 2018, section 3.2), mean over images: a scalar, at least 0.

    Arguments and errors are those of `contextual_similarity`.
    """
    return -_log_similarity(x, y, bandwidth, distance, points, quadrants, generator, block_rows).mean()


def contextual_similarity(
    x: Tensor,
    y: Tensor,
    bandwidth: float = 0.5,
    distance: str = "cosine",
    *,
    points: int | None = None,
    quadrants: bool = False,
    generator: torch.Generator | None = None,
    block_rows: int | None = None,
) -> Tensor:
    """CX(x, y) = 1/M Σ_j max_i CX_ij of each image (Mechrez et al. 2018, section 3.1), in (0, 1]: (N,), float32 or finer.

    x: features (N, C, H, W) of the result; y: features (N or 1, C, h, w) of the target. CX_ij is
    exp((1 − d_ij / min_k d_ik) / bandwidth), divided by its sum over all y_j; with a smaller bandwidth only the nearest
    y_j count. Both x and y get gradients.

    distance: `cosine`, (1 − cos) / 2 of features centered on y's mean; `l1`, the sum of absolute differences; `l2`, the
    sum of squared differences. bf16 features are multiplied in bf16; logarithms and sums are float32.

    points: the number of points that the generator draws from each larger map, at the same places in maps of equal size.
    quadrants: compares each quarter of x only with the same quarter of y. The authors save memory by these two.
    block_rows: rows of the distance matrix that are computed at a time; None chooses by its width.

    Raises UsageError for impossible shapes, bandwidths or numbers, and for an unknown distance.
    """
    return _log_similarity(x, y, bandwidth, distance, points, quadrants, generator, block_rows).exp()


def _log_similarity(
    x: Tensor,
    y: Tensor,
    bandwidth: float,
    distance: str,
    points: int | None,
    quadrants: bool,
    generator: torch.Generator | None,
    block_rows: int | None,
) -> Tensor:
    """log CX(x, y) of each image: (N,)."""
    _check(x, y, bandwidth, distance, points, quadrants, block_rows)
    in_bf16 = x.dtype == y.dtype == torch.bfloat16
    y = y.expand(len(x), *y.shape[1:])
    sum_type = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    product_type = torch.bfloat16 if in_bf16 else sum_type
    x, y = x.to(sum_type), y.to(sum_type)
    # Departs from the authors' code, which takes the mean of the whole batch: here the loss of an image does not depend on
    # the others. The mean does not change l1 and l2 distances, but makes them more exact.
    mean = y.mean(dim=(2, 3), keepdim=True)
    x, y = x - mean, y - mean
    if quadrants:
        x, y = _fold_quadrants(x), _fold_quadrants(y)
    x, y = x.flatten(2).transpose(1, 2), y.flatten(2).transpose(1, 2)
    if points is not None:
        x, y = _sample(x, y, points, generator)
    if distance == "cosine":
        # The squared distance of vectors of length ½ is (1 − cos) / 2.
        x, y = 0.5 * _normalize(x), 0.5 * _normalize(y)
    measure = "l1" if distance == "l1" else "l2"
    rows = block_rows or max(FEWEST_ROWS, BLOCK // y.shape[1])
    pairs = zip(x, y, strict=True)
    maxima = torch.stack([_ColumnMaxima.apply(*pair, bandwidth, measure, product_type, rows) for pair in pairs])
    return maxima.logsumexp(dim=1) - math.log(maxima.shape[1])


class _ColumnMaxima(torch.autograd.Function):
    """max_i log CX_ij of points x (N, C) and y (M, C) for every j: (M,).

    With m_i = min_j d_ij and a_i = 1 / (bandwidth · (m_i + ε)) it is the maximum of a log-softmax along the rows:

        log CX_ij = −a_i d_ij − log Σ_k exp(−a_i d_ik)
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, y: Tensor, bandwidth: float, measure: str, product_type: torch.dtype, block_rows: int
    ) -> Tensor:
        between = create_distances(measure, x, y, product_type)
        maxima = x.new_full((len(y),), -torch.inf)
        winners = torch.zeros(len(y), dtype=torch.long, device=x.device)
        log_sums = x.new_empty(len(x))
        for rows in _blocks(len(x), block_rows):
            shares = between.distances(rows)
            smallest = shares.amin(dim=1, keepdim=True)
            shares.sub_(smallest).mul_(_sharpness(smallest, bandwidth).neg_())
            log_sum = shares.exp().sum(dim=1, keepdim=True).log_()
            log_sums[rows] = log_sum.squeeze(1)
            shares.sub_(log_sum)
            # Indices of maxima along columns are slow, so they are computed only in columns with a new maximum.
            top = shares.amax(dim=0)
            better = (top > maxima).nonzero().squeeze(1)
            top = top[better]
            maxima[better] = top
            numbers = torch.arange(rows.start, rows.start + len(shares), device=x.device)[:, None]
            winners[better] = torch.where(shares.index_select(1, better) == top, numbers, -1).amax(dim=0)
        ctx.save_for_backward(x, y, winners, log_sums)
        ctx.arguments = bandwidth, measure, product_type, block_rows
        return maxima

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, y, winners, log_sums = ctx.saved_tensors
        bandwidth, measure, product_type, block_rows = ctx.arguments
        needs_x, needs_y = ctx.needs_input_grad[:2]
        winning, places = winners.unique(return_inverse=True)
        # The columns ordered by the row of their maximum, and where those of each row end.
        columns = places.argsort(stable=True)
        counts = places.bincount(minlength=len(winning))
        ends = counts.cumsum(0)
        x, log_sums = x[winning], log_sums[winning]
        between = create_distances(measure, x, y, product_type)
        of_x = torch.zeros_like(x) if needs_x else None
        of_y = torch.zeros_like(y) if needs_y else None
        for rows in _blocks(len(x), block_rows):
            distances = between.distances(rows)
            smallest, nearest = distances.min(dim=1, keepdim=True)
            sharpness = _sharpness(smallest, bandwidth)
            weights = (distances - smallest).mul_(-sharpness).sub_(log_sums[rows, None]).exp_()  # CX_ij
            first = ends[rows.start] - counts[rows.start]
            won = columns[first : ends[rows.start + len(distances) - 1]]
            at = places[won] - rows.start
            given = gradient[won]
            # The gradient of s_ij = −a_i d_ij is g_j where row i has the maximum of column j, minus their sum times CX_ij.
            total = _sum_by_row(given, at, len(distances))
            of_sharpness = total * torch.linalg.vecdot(weights, distances)
            of_sharpness -= _sum_by_row(given * distances[at, won], at, len(distances))
            # That of d_ij is −a_i times as large; the smallest distance has one more, through a_i.
            weights.mul_(sharpness * total[:, None])
            weights[at, won] -= sharpness.squeeze(1)[at] * given
            weights[torch.arange(len(weights), device=x.device), nearest.squeeze(1)] -= (
                bandwidth * sharpness.squeeze(1).square() * of_sharpness
            )
            if of_x is not None:
                of_x[rows] = between.gradient_of_x(rows, weights)
            if of_y is not None:
                of_y += between.gradient_of_y(rows, weights)
        if of_x is not None:
            of_x = torch.zeros_like(ctx.saved_tensors[0]).index_copy_(0, winning, of_x)
        return of_x, of_y, None, None, None, None


def _sharpness(smallest: Tensor, bandwidth: float) -> Tensor:
    return 1 / (bandwidth * (smallest + EPSILON))


def _sum_by_row(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """The sum of the values of each row: (count,)."""
    sums = values.new_zeros(count)
    if values.device.type == "cuda":
        return sums.index_put_((rows,), values, accumulate=True)  # sorts; `index_add_` adds in a random order
    return sums.index_add_(0, rows, values)


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _normalize(points: Tensor) -> Tensor:
    """Points (N, P, C) scaled to length 1; points at 0, which have no direction, stay there."""
    norms = torch.linalg.vector_norm(points, dim=2, keepdim=True)
    return points / torch.where(norms > SMALLEST_NORM, norms, 1.0)


def _fold_quadrants(features: Tensor) -> Tensor:
    """The four quarters of maps (N, C, H, W), as images: (4N, C, H // 2, W // 2).

    Departs from the authors' code if a side is odd: the last row or column is left out, so that quarters have one size.
    """
    height, width = features.shape[2] // 2, features.shape[3] // 2
    halves = features[..., :height, :], features[..., height : 2 * height, :]
    return torch.cat([part for half in halves for part in (half[..., :width], half[..., width : 2 * width])])


def _sample(x: Tensor, y: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """At most `count` of the points of x and of y (N, P, C), at the same places if both have as many."""
    chosen = _choose(x, count, generator)
    return x[:, chosen], y[:, chosen if x.shape[1] == y.shape[1] else _choose(y, count, generator)]


def _choose(points: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    return torch.randperm(points.shape[1], generator=generator)[:count].to(points.device)


def _check(
    x: Tensor, y: Tensor, bandwidth: float, distance: str, points: int | None, quadrants: bool, block_rows: int | None
) -> None:
    if x.ndim != 4 or y.ndim != 4 or x.shape[1] != y.shape[1] or len(y) not in (1, len(x)):
        raise UsageError(
            f"The contextual loss compares features (N, C, H, W) with (N or 1, C, h, w), not {tuple(x.shape)} with "
            f"{tuple(y.shape)}."
        )
    smallest = 2 if quadrants else 1
    if min(*x.shape, *y.shape) < 1 or min(*x.shape[2:], *y.shape[2:]) < smallest:
        raise UsageError(f"There is nothing to compare in features of {tuple(x.shape)} and {tuple(y.shape)}.")
    if not 0 < bandwidth < float("inf"):
        raise UsageError(f"A bandwidth of {bandwidth}: give a number above 0, as 0.5 or 0.1.")
    if distance not in CONTEXTUAL_DISTANCES:
        raise UsageError(unknown_name("distance", distance, CONTEXTUAL_DISTANCES))
    if any(number is not None and number < 1 for number in (points, block_rows)):
        raise UsageError("points and block_rows: give 1 or more.")
