"""The optimizers of the trainings: Adam, and Muon (Jordan et al. 2024), which orthogonalizes the momentum of matrices."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.training.loop import unwrap
from percept_cli.errors import UsageError, unknown_name

# The published polynomial of degree 5, which brings singular values near 1 in few steps
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.99)
ADAM_EPSILON = 1e-8
# What they remember of each weight: torch's Adam, then `Muon` of matrices and of all others
STATES = ({"step", "exp_avg", "exp_avg_sq"}, {"momentum"}, {"step", "mean", "square"})


class Muon(torch.optim.Optimizer):
    """Muon for the weights of the inner convolutions of a network, Adam for its ends, biases and norms.

    Both have one learning rate: an update by Muon is scaled to the usual size of one by Adam, 0.2 times the root of the
    longer side of the matrix (Liu et al. 2025). Training an upscaler to the same loss took 300 steps, and 500 with Adam.
    ends: the first parts of the names of the layers that Adam updates.
    """

    def __init__(self, network: nn.Module, ends: tuple[str, ...] = ("first", "last")):
        inner: list[nn.Parameter] = []
        other: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            is_end = "." in name and name.split(".")[0] in ends
            (inner if parameter.ndim == 4 and not is_end else other).append(parameter)
        groups = [{"params": inner, "orthogonal": True}, {"params": other, "orthogonal": False}]
        super().__init__([group for group in groups if group["params"]], {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Updates the weights by their gradients, at the `lr` of each group."""
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
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov momentum
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
    """`muon` or `adam` for all weights of a network; the training loop sets the rate. UsageError for other names."""
    network = unwrap(network)  # Muon goes by the names of the weights, which the wrapper changes
    if name == "muon":
        return Muon(network)
    if name == "adam":
        return torch.optim.Adam(network.parameters(), betas=ADAM_BETAS)
    raise UsageError(unknown_name("optimizer", name, ["muon", "adam"]))


def orthogonalized(matrix: Tensor) -> Tensor:
    """Approximately the nearest matrix (rows, columns) with singular values of 1, by Newton-Schulz steps."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
