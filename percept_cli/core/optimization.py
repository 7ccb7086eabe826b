"""The loop that optimises the pixels of an image. It yields steps; the caller prints, saves and stops."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.errors import UsageError, unknown_name

OPTIMIZERS = ("adam", "lbfgs")
# In units of the full range of a pixel; most of a restyling is done by steps of this size.
ADAM_RATE = 0.03

Loss = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class OptimizationStep:
    """What one update of the pixels did: its number from 1 over all sizes, the loss and its parts, and the image now."""

    index: int
    total: float
    parts: dict[str, float]
    image: Tensor


def optimize_image(
    image: Tensor, loss: Loss, steps: int, optimizer: str = "adam", first_index: int = 1
) -> Iterator[OptimizationStep]:
    """Changes a copy of the image (1, 3, H, W) in [0, 1] step by step so that the loss falls, and yields each step.

    adam: fast and good with bf16 features; lbfgs: the papers' choice, fp32 only, several evaluations a step. The image
    of a step is clamped to [0, 1]. Raises UsageError for an unknown optimizer.
    """
    if optimizer not in OPTIMIZERS:
        raise UsageError(unknown_name("optimizer", optimizer, OPTIMIZERS))
    # L-BFGS flattens gradients, which has to be a view.
    layout = torch.contiguous_format if optimizer == "lbfgs" else torch.preserve_format
    pixels = image.detach().clone(memory_format=layout).requires_grad_()
    updater: torch.optim.Optimizer
    if optimizer == "adam":
        updater = torch.optim.Adam([pixels], lr=ADAM_RATE, betas=(0.9, 0.99))
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(updater, steps, eta_min=ADAM_RATE / 10)
    else:
        # One direction a step; the evaluations beyond the first are its line search.
        updater = torch.optim.LBFGS(
            [pixels],
            max_iter=1,
            max_eval=25,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=20,
            line_search_fn="strong_wolfe",
        )
        rate = None
    evaluations: list[dict[str, Tensor]] = []

    def evaluate() -> Tensor:
        updater.zero_grad()
        total, parts = loss(pixels)
        total.backward()
        evaluations.append({name: part.detach() for name, part in parts.items()})
        return total

    for index in range(first_index, first_index + steps):
        total = updater.step(evaluate)  # type: ignore[arg-type]
        if rate is not None:
            rate.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
        # The loss a step reports is that of its start; a line search goes on from there.
        parts = {name: part.item() for name, part in evaluations[0].items()}
        evaluations.clear()
        yield OptimizationStep(index, total.item(), parts, pixels.detach().clamp(0, 1))
