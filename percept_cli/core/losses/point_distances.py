"""Distances of all points of one set from all of another, some rows of their matrix at a time, with their gradients."""

from typing import Protocol

import torch
from torch import Tensor


class PointDistances(Protocol):
    """Distances of points x (N, C) from y (M, C), some rows at a time, and the gradients of their weighted sums."""

    def distances(self, rows: slice) -> Tensor:
        """At least 0: (B, M)."""
        ...

    def gradient_of_x(self, rows: slice, weights: Tensor) -> Tensor:
        """Of Σ_ij weights_ij d_ij, weights (B, M), for the x of these rows: (B, C)."""
        ...

    def gradient_of_y(self, rows: slice, weights: Tensor) -> Tensor:
        """Of the same for y: (M, C)."""
        ...


class SquaredEuclidean:
    """|x − y|² as one matrix product, with the squares of both as further channels.

    So a product of bf16 is rounded in proportion to the distance, not to what cancels in it.
    """

    def __init__(self, x: Tensor, y: Tensor, product_type: torch.dtype):
        self.x, self.y = x.to(product_type), y.to(product_type)
        one = torch.ones_like
        squares = [
            _split(points.to(x.dtype).square().sum(dim=1, keepdim=True), product_type) for points in (self.x, self.y)
        ]
        (high, low), (other_high, other_low) = squares
        self.left = torch.cat([self.x, high, low, one(high), one(low)], dim=1)
        self.right = torch.cat([-2 * self.y, one(other_high), one(other_low), other_high, other_low], dim=1).T
        self.sum_type = x.dtype

    def distances(self, rows: slice) -> Tensor:
        return (self.left[rows] @ self.right).to(self.sum_type).clamp_(min=0)

    def gradient_of_x(self, rows: slice, weights: Tensor) -> Tensor:
        product = (weights.to(self.y.dtype) @ self.y).to(self.sum_type)
        return 2 * (self.x[rows] * weights.sum(dim=1, keepdim=True) - product)

    def gradient_of_y(self, rows: slice, weights: Tensor) -> Tensor:
        product = (weights.T.to(self.x.dtype) @ self.x[rows]).to(self.sum_type)
        return 2 * (self.y * weights.sum(dim=0)[:, None] - product)


def _split(values: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two numbers of a type whose sum is nearer to a value than one would be."""
    high = values.to(dtype)
    return high, (values - high.to(values.dtype)).to(dtype)


class CityBlock:
    """Σ|x − y|, which no matrix product gives."""

    def __init__(self, x: Tensor, y: Tensor):
        self.x, self.y = x, y

    def distances(self, rows: slice) -> Tensor:
        return torch.cdist(self.x[rows], self.y, p=1)

    def gradient_of_x(self, rows: slice, weights: Tensor) -> Tensor:
        return self._gradients(rows, weights)[0]

    def gradient_of_y(self, rows: slice, weights: Tensor) -> Tensor:
        return self._gradients(rows, weights)[1]

    def _gradients(self, rows: slice, weights: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            x, y = self.x[rows].detach().requires_grad_(), self.y.detach().requires_grad_()
            return torch.autograd.grad(torch.cdist(x, y, p=1), (x, y), weights)


def create_distances(name: str, x: Tensor, y: Tensor, product_type: torch.dtype) -> PointDistances:
    """`l1` or `l2` (squared); the products of the latter are of a type, everything else of that of the points."""
    return CityBlock(x, y) if name == "l1" else SquaredEuclidean(x, y, product_type)
