"""The distances between all points of two sets, some rows of their matrix at a time, and their gradients."""

from typing import Protocol

import torch
from torch import Tensor


class PointDistances(Protocol):
    """The distances d_ij of points x (N, C) and y (M, C) for some rows i at a time, and the gradients of weighted sums."""

    def distances(self, rows: slice) -> Tensor:
        """The distances of B rows, at least 0: (B, M)."""

    def gradient_of_x(self, rows: slice, weights: Tensor) -> Tensor:
        """The gradient of Σ_ij weights_ij d_ij, weights (B, M), for the x of these rows: (B, C)."""

    def gradient_of_y(self, rows: slice, weights: Tensor) -> Tensor:
        """The gradient of the same sum for y: (M, C)."""


class SquaredEuclidean:
    """|x − y|² as one matrix product: x and y with their squares as further channels.

    In bf16 only the complete sum is rounded, so the error is relative to the distance, not to the squares.
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
    """A value as the sum of two numbers of a type, which is more exact than one."""
    high = values.to(dtype)
    return high, (values - high.to(values.dtype)).to(dtype)


class CityBlock:
    """Σ|x − y|, which cannot be computed as a matrix product."""

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
    """The distances `l1` or `l2` (squared); product_type: of the matrix products of `l2`, all else has the type of x."""
    return CityBlock(x, y) if name == "l1" else SquaredEuclidean(x, y, product_type)
