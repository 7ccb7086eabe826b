"""The loop that optimizes an image and yields every step."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from percept_cli.core.choices import IMAGE_OPTIMIZERS
from percept_cli.core.optimization.parametrization import Parametrization, Pixels
from percept_cli.errors import ImageError, UsageError, unknown_name

ADAM_RATE = 0.03  # in units of the range of a pixel
SGD_MOMENTUM = 0.9
RANGE_WEIGHT = 1.0  # of the squared excess of pixels outside [0, 1]; losses get the clamped image

Loss = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class OptimizationStep:
    """One update of the image.

    index: its number from 1, over all sizes. total, parts: the loss before it. image: (N, 3, H, W) in [0, 1], after it.
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

    optimizer: adam, fast and robust with bf16 features; lbfgs, as in the papers, with several evaluations per step; sgd
    with a momentum of 0.9 that is reset when the rate changes (Mahendran & Vedaldi 2015). parametrization: pixels if
    None; if its parameters cannot be clamped, the loss gets images that are not clamped. rates: the learning rate of each
    step; None for adam's default, required for sgd, unused by lbfgs. Raises UsageError for an unknown optimizer, ImageError
    for a loss or a gradient that is not finite.
    """
    if optimizer not in IMAGE_OPTIMIZERS:
        raise UsageError(unknown_name("optimizer", optimizer, IMAGE_OPTIMIZERS))
    space = parametrization or Pixels()
    # L-BFGS flattens gradients, which must be possible without a copy.
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
        total: Tensor = updater.step(evaluation)  # type: ignore[arg-type, assignment]
        if optimizer == "adam" and space.clamps:
            with torch.no_grad():
                parameters.clamp_(0, 1)
        if optimizer == "lbfgs" and evaluation.is_at(parameters, evaluation.start):
            # In low precision the loss may increase along its direction. L-BFGS would not move again, so it is reset.
            updater.state.clear()
        with torch.no_grad():
            now = space.decode(parameters).detach().clamp(0, 1)
            # A gradient that is not finite makes the parameters so. Both in one transfer, as each waits for a GPU.
            # The loss is that at the start of the step, not at the end of its line search.
            loss_value, checked = torch.stack((total, (parameters - parameters).sum().to(total))).tolist()
        if not (math.isfinite(loss_value) and math.isfinite(checked)):
            what = "gradient" if math.isfinite(loss_value) else "loss"
            raise ImageError(
                f"The {what} is not a finite number at step {first_index + index}. Lower the weights of the losses, or use "
                "--precision fp32."
            )
        yield OptimizationStep(first_index + index, loss_value, evaluation.take_parts(), now)


def penalize_range(loss: Loss, weight: float = RANGE_WEIGHT) -> Loss:
    """The loss of an image clamped to [0, 1], plus a penalty on the pixels outside, for parameters that cannot be clamped.

    The penalty, a part named `range`, is `weight` times the mean square of the excess. The gradient of the loss is as
    without clamping, so that pixels outside the range are still optimized.
    """

    def penalized(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        excess = image - image.clamp(0, 1)
        total, parts = loss(image - excess.detach())
        penalty = weight * excess.square().mean()
        return total + penalty, {**parts, "range": penalty}

    return penalized


@dataclass
class _Evaluation:
    """Evaluates the loss and its gradient; a repeated call at the same parameters returns the stored results.

    L-BFGS begins a step by evaluating the parameters at which its last line search ended.
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
        """The parts of the loss at the start of the step, which this call ends."""
        names, values = list(self._first_parts or {}), list((self._first_parts or {}).values())
        self._first_parts = None
        # In one transfer, as each waits for a GPU
        return dict(zip(names, torch.stack(values).tolist(), strict=True)) if names else {}

    @staticmethod
    def is_at(parameters: Tensor, place: Tensor | None) -> bool:
        """Whether the parameters equal those of a place."""
        return place is not None and torch.equal(parameters.detach(), place)


def _create_updater(optimizer: str, parameters: Tensor) -> torch.optim.Optimizer:
    if optimizer == "adam":
        return torch.optim.Adam([parameters], betas=(0.9, 0.99))
    if optimizer == "sgd":
        return torch.optim.SGD([parameters], lr=0.0, momentum=SGD_MOMENTUM)
    # One direction per step; further evaluations are its line search.
    return torch.optim.LBFGS(
        [parameters],
        max_iter=1,
        max_eval=25,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )
