"""The loop that optimizes an image. It yields steps; the caller prints, saves and stops."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from percept_cli.core.optimization.parametrization import Parametrization, Pixels
from percept_cli.errors import UsageError, unknown_name

OPTIMIZERS = ("adam", "lbfgs", "sgd")
# In units of the full range of a pixel; most of a restyling is done by steps of this size.
ADAM_RATE = 0.03
SGD_MOMENTUM = 0.9
# Of the squared excess of pixels outside [0, 1]: losses see the clamped image, so it only has to bring them back.
RANGE_WEIGHT = 1.0

Loss = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class OptimizationStep:
    """One update of the image.

    index: its number, from 1 over all sizes. total, parts: the loss before it. image: (N, 3, H, W) in [0, 1], after it.
    """

    index: int
    total: float
    parts: dict[str, float]
    image: Tensor


def optimize_image(
    image: Tensor,
    loss: Loss,
    steps: int,
    optimizer: str = "adam",
    first_index: int = 1,
    *,
    parametrization: Parametrization | None = None,
    rates: Sequence[float] | None = None,
) -> Iterator[OptimizationStep]:
    """Minimizes a loss over a copy of the image (N, 3, H, W) in [0, 1], yielding every step.

    optimizer: adam is fast and good with bf16 features; lbfgs is the papers' choice, with a few evaluations a step; sgd
    has a momentum of 0.9, zeroed where the rate changes, as Mahendran & Vedaldi 2015 do. parametrization: what is
    optimized, the pixels if None; where its parameters cannot be clamped, the loss gets an image that is not clamped.
    rates: the learning rate of each step; adam has its own if None, sgd needs them, lbfgs has none. Raises UsageError
    for an unknown optimizer.
    """
    if optimizer not in OPTIMIZERS:
        raise UsageError(unknown_name("optimizer", optimizer, OPTIMIZERS))
    space = parametrization or Pixels()
    # L-BFGS flattens gradients, which has to be a view.
    layout = torch.contiguous_format if optimizer == "lbfgs" else torch.preserve_format
    parameters = space.encode(image.detach()).clone(memory_format=layout).requires_grad_()
    evaluation = _Evaluation(parameters, space, loss)
    updater = _create_updater(optimizer, parameters)
    if rates is None and optimizer == "adam":
        rates = [ADAM_RATE * (0.55 + 0.45 * math.cos(math.pi * step / steps)) for step in range(steps)]
    if rates is None and optimizer == "sgd":
        raise UsageError("The optimizer sgd needs a rate for each step.")

    for index in range(steps):
        if optimizer != "lbfgs":
            assert rates is not None
            if optimizer == "sgd" and index and rates[index] != rates[index - 1]:
                updater.state.clear()
            updater.param_groups[0]["lr"] = rates[index]
        total = updater.step(evaluation)  # type: ignore[arg-type]
        if optimizer == "adam" and space.clamps:
            with torch.no_grad():
                parameters.clamp_(0, 1)
        if optimizer == "lbfgs" and evaluation.is_at(parameters, evaluation.start):
            # In low precision a direction may lead uphill. L-BFGS would not move again, so it starts afresh.
            updater.state.clear()
        with torch.no_grad():
            now = space.decode(parameters).detach().clamp(0, 1)
        # The loss a step reports is that of its start; a line search goes on from there.
        yield OptimizationStep(first_index + index, float(total), evaluation.take_parts(), now)


def penalize_range(loss: Loss, weight: float = RANGE_WEIGHT) -> Loss:
    """The loss of an image clamped to [0, 1], plus a penalty on the pixels outside, for parameters that cannot be clamped.

    The penalty is `weight` times the mean square of what was cut off: a part named `range`. The gradient of the loss
    passes as if nothing had been clamped, so that pixels outside the range go on learning.
    """

    def penalized(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        excess = image - image.clamp(0, 1)
        total, parts = loss(image - excess.detach())
        penalty = weight * excess.square().mean()
        return total + penalty, {**parts, "range": penalty}

    return penalized


@dataclass
class _Evaluation:
    """The loss and its gradient at the parameters; what is asked for twice at the same parameters is computed once.

    L-BFGS asks at the start of a step for what its last line search computed at its end.
    """

    parameters: Tensor
    space: Parametrization
    loss: Loss
    start: Tensor | None = None
    _place: Tensor | None = None
    _gradient: Tensor | None = None
    _total: Tensor = field(default_factory=lambda: torch.zeros(()))
    _parts: dict[str, Tensor] = field(default_factory=dict)
    _first_parts: dict[str, Tensor] | None = None

    @torch.enable_grad()
    def __call__(self) -> Tensor:
        if self._place is not None and self.is_at(self.parameters, self._place):
            self.parameters.grad = None if self._gradient is None else self._gradient.clone()
        else:
            self.parameters.grad = None
            total, parts = self.loss(self.space.decode(self.parameters))
            total.backward()
            self._place = self.parameters.detach().clone()
            self._gradient = None if self.parameters.grad is None else self.parameters.grad.clone()
            self._total = total.detach()
            self._parts = {name: part.detach() for name, part in parts.items()}
        if self._first_parts is None:
            self.start, self._first_parts = self._place, self._parts
        return self._total

    def take_parts(self) -> dict[str, float]:
        """The parts of the loss where the step began; the next evaluation begins the next step."""
        parts = {name: part.item() for name, part in (self._first_parts or {}).items()}
        self._first_parts = None
        return parts

    @staticmethod
    def is_at(parameters: Tensor, place: Tensor | None) -> bool:
        """Whether the parameters are bit for bit those of a place."""
        return place is not None and torch.equal(parameters.detach(), place)


def _create_updater(optimizer: str, parameters: Tensor) -> torch.optim.Optimizer:
    if optimizer == "adam":
        return torch.optim.Adam([parameters], betas=(0.9, 0.99))
    if optimizer == "sgd":
        return torch.optim.SGD([parameters], lr=0.0, momentum=SGD_MOMENTUM)
    # One direction a step; the evaluations beyond the first are its line search.
    return torch.optim.LBFGS(
        [parameters],
        max_iter=1,
        max_eval=25,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )
