"""The loop that trains a network's weights. It yields steps; the caller prints, saves and stops."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from percept_cli.core.losses.adversarial import Freezing
from percept_cli.core.runtime import Runtime, random_state, restore_random_state
from percept_cli.errors import UsageError

Parts = dict[str, Tensor]
# `compute_loss(network, images, step)` returns the scalar to minimize and its named, weighted parts.
ComputeLoss = Callable[[nn.Module, Tensor, int], tuple[Tensor, Parts]]


@dataclass(frozen=True)
class TrainingStep:
    """One update of the weights: its number from 1, the weighted loss and its parts, and how many images it was made on."""

    index: int
    total: float
    parts: dict[str, float]
    images: int
    learning_rate: float


@dataclass
class DiscriminatorTraining:
    """A discriminator that learns beside a generator.

    `compute_loss` is called after each update of the generator and returns as the generator's own does, its parts under
    names of their own. freezing: which of the two a step updates; both without it.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    compute_loss: ComputeLoss
    freezing: Freezing | None = None

    @classmethod
    def by_adam(
        cls,
        network: nn.Module,
        compute_loss: ComputeLoss,
        share: float,
        betas: tuple[float, float],
        freezing: Freezing | None = None,
    ) -> "DiscriminatorTraining":
        """One that learns by Adam, at `share` of the generator's learning rate."""
        group = {"params": network.parameters(), "share": share}
        return cls(network, torch.optim.Adam([group], betas=betas), compute_loss, freezing)


@dataclass
class Training:
    """A network in training: what changes from step to step, and so what a checkpoint must hold."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    steps: int
    step: int = 0
    discriminator: DiscriminatorTraining | None = None

    def state(self) -> dict[str, Any]:
        """Everything that continues the run to the same bits on the same machine: weights, optimizer, step, random sources."""
        state = {
            "network": unwrap(self.network).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "random": random_state(),
        }
        if self.discriminator:
            # These keys are in the checkpoints of earlier versions, which must still resume.
            state["rival"] = unwrap(self.discriminator.network).state_dict()
            state["rival_optimizer"] = self.discriminator.optimizer.state_dict()
            if self.discriminator.freezing:
                state["freezing"] = asdict(self.discriminator.freezing)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Puts back what `state` returned."""
        unwrap(self.network).load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.discriminator:
            unwrap(self.discriminator.network).load_state_dict(state["rival"])
            self.discriminator.optimizer.load_state_dict(state["rival_optimizer"])
            if self.discriminator.freezing:
                self.discriminator.freezing.restore(state["freezing"])
        self.step = state["step"]
        restore_random_state(state["random"])


def cosine_schedule(peak: float, steps: int, warmup: int) -> Callable[[int], float]:
    """The learning rate of a step: a linear rise over `warmup` steps, then half a cosine down to zero."""

    def learning_rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return learning_rate


def train(
    training: Training,
    batches: Iterable[Tensor],
    compute_loss: ComputeLoss,
    learning_rate: Callable[[int], float],
    runtime: Runtime,
    accelerator: Accelerator,
    clip_norm: float | None = None,
) -> Iterator[TrainingStep]:
    """Updates the network once per batch and yields a step after each; `training.step` counts the finished ones.

    `batches` must begin at batch number `training.step`. `compute_loss(network, images, step)` returns the scalar to
    minimize and its named, weighted parts. On several processes each gets its own batches and the gradients are
    averaged; the losses yielded are those of this process.
    """
    if runtime.dtype == torch.float16:
        raise UsageError("Training in fp16 loses small gradients. Use --precision bf16, fp32 or auto.")
    for images in batches:
        rate = learning_rate(training.step)
        images = runtime.place(images)
        discriminator = training.discriminator
        # Read before the step: what its losses decide holds from the next step on.
        learns = replace(discriminator.freezing) if discriminator and discriminator.freezing else Freezing()
        if discriminator:
            discriminator.network.requires_grad_(False)  # the generator's gradients go through it, not into it
        total, parts = _update(
            training.network, training.optimizer, rate, compute_loss, images, training.step, accelerator, clip_norm,
            learns.generator_learns,
        )  # fmt: skip
        if discriminator:
            discriminator.network.requires_grad_(True)
            _, others = _update(
                discriminator.network, discriminator.optimizer, rate, discriminator.compute_loss, images, training.step,
                accelerator, clip_norm, learns.discriminator_learns,
            )  # fmt: skip
            parts |= others
        training.step += 1
        yield TrainingStep(training.step, total, parts, len(images) * accelerator.num_processes, rate)


def _update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    rate: float,
    compute_loss: ComputeLoss,
    images: Tensor,
    step: int,
    accelerator: Accelerator,
    clip_norm: float | None,
    learns: bool,
) -> tuple[float, dict[str, float]]:
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
    with torch.set_grad_enabled(learns):
        total, parts = compute_loss(network, images, step)
    if learns:
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(total)
        if clip_norm is not None:
            accelerator.clip_grad_norm_(network.parameters(), clip_norm)
    loss = total.item()
    if not math.isfinite(loss):
        raise UsageError(
            f"The loss is not a finite number at step {step + 1}. Lower --learning-rate, or use --precision fp32."
        )
    if learns:
        optimizer.step()
    return loss, {name: part.item() for name, part in parts.items()}


def create_accelerator(runtime: Runtime) -> Accelerator:
    """The process group of `accelerate launch` or `torchrun`; a single process without one."""
    # Precision is the runtime's (autocast in the losses and generators), so accelerate must not change it.
    return Accelerator(cpu=runtime.device.type == "cpu", mixed_precision="no")


def unwrap(network: nn.Module) -> nn.Module:
    """The network itself, without the wrapper that spreads it over processes."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
