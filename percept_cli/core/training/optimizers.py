"""Muon: momentum made orthogonal for the inner convolutions of a network, Adam for the rest (Jordan et al. 2024)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.training.loop import unwrap
from percept_cli.errors import UsageError, unknown_name

# The quintic that pulls singular values towards 1 in few steps, as published.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.99)
ADAM_EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for the weights of a network's inner convolutions, Adam for its ends, biases and norms.

    One learning rate serves both: Muon's update gets the size that Adam's usually has, 0.2 times the root of the
    matrix's longer side (Liu et al. 2025). It reached in 300 steps of an upscaler what took Adam some 500.
    """

    def __init__(self, network: nn.Module, ends: tuple[str, ...] = ("first", "last")):
        inner: list[nn.Parameter] = []
        other: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            is_end = any(part in ends for part in name.split(".")[:-1][:1])
            (inner if parameter.ndim == 4 and not is_end else other).append(parameter)
        groups = [{"params": inner, "orthogonal": True}, {"params": other, "orthogonal": False}]
        super().__init__([group for group in groups if group["params"]], {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update from the gradients at hand, at each group's `lr`."""
        for group in self.param_groups:
            update = self._muon if group["orthogonal"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, parameter.grad, group["lr"])

    def _muon(self, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov's look ahead
        size = 0.2 * max(matrix.shape) ** 0.5
        parameter.add_(orthogonalized(matrix).view(parameter.shape), alpha=-rate * size)

    def _adam(self, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=torch.zeros(()), mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - ADAM_BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - ADAM_BETAS[1])
        count = state["step"].item()
        mean = state["mean"] / (1 - ADAM_BETAS[0] ** count)
        square = state["square"] / (1 - ADAM_BETAS[1] ** count)
        parameter.addcdiv_(mean, square.sqrt_().add_(ADAM_EPSILON), value=-rate)


def create_optimizer(name: str, network: nn.Module) -> torch.optim.Optimizer:
    """`muon` or `adam` over all of a network's weights; the training loop sets the rate. UsageError for others."""
    network = unwrap(network)  # spread over processes, its weights have other names
    if name == "muon":
        return Muon(network)
    if name == "adam":
        return torch.optim.Adam(network.parameters(), betas=ADAM_BETAS)
    raise UsageError(unknown_name("optimizer", name, ["muon", "adam"]))


def orthogonalized(matrix: Tensor) -> Tensor:
    """About the nearest matrix (rows, columns) with singular values of 1, by Newton-Schulz steps."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
