"""The training loop: it updates the weights of a network and yields steps; the caller reports, saves and stops."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from percept_cli.core.losses.adversarial import AdversarialLoss, Freezing, LossAndParts
from percept_cli.core.pretrained.checks import first_not_finite
from percept_cli.core.processes import mean_over_processes, normalize_over_processes
from percept_cli.core.runtime import Runtime, random_state, restore_random_state
from percept_cli.errors import DivergenceError, UsageError

# `compute_loss(network, images, step)` returns the scalar to minimize and its named, weighted parts.
ComputeLoss = Callable[[nn.Module, Tensor, int], LossAndParts]


@dataclass(frozen=True)
class TrainingStep:
    """One update of the weights: its number from 1, the loss, its weighted parts, and the number of images."""

    index: int
    total: float
    parts: dict[str, float]
    images: int
    learning_rate: float


@dataclass
class DiscriminatorTraining:
    """A discriminator that is trained beside a generator.

    compute_loss: its own loss, called after each update of the generator, with other names of parts than the generator's.
    freezing: decides which of the two networks a step updates; None updates both.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    compute_loss: ComputeLoss
    freezing: Freezing | None = None

    @classmethod
    def by_adam(cls, adversarial: AdversarialLoss, share: float, betas: tuple[float, float]) -> "DiscriminatorTraining":
        """The training of the discriminator of a loss by Adam, at `share` times the generator's learning rate."""
        network = adversarial.discriminator
        optimizer = torch.optim.Adam([{"params": network.parameters(), "share": share}], betas=betas)
        return cls(network, optimizer, adversarial.discriminator_loss, adversarial.freezing)


@dataclass
class Training:
    """A network in training: everything that a step changes and a checkpoint holds.

    average: the moving average of its weights (see `create_average`), or None.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    steps: int
    step: int = 0
    discriminator: DiscriminatorTraining | None = None
    average: AveragedModel | None = None

    @property
    def result(self) -> nn.Module:
        """The network that the training makes: that of the averaged weights, if there is an average."""
        return self.average.module if self.average else unwrap(self.network)

    @property
    def networks(self) -> list[nn.Module]:
        """The networks whose weights change."""
        return [self.network, *([self.discriminator.network] if self.discriminator else [])]

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimizers of `networks`."""
        return [self.optimizer, *([self.discriminator.optimizer] if self.discriminator else [])]

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: weights, optimizers, step and random states.

        A resumed run gives the same bits as an uninterrupted one on the same machine.
        """
        state = {
            "network": unwrap(self.network).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "random": random_state(),
        }
        if self.average:
            state["average"] = self.average.state_dict()
        if self.discriminator:
            # The names of these keys are those of earlier versions, whose checkpoints can be resumed.
            state["rival"] = unwrap(self.discriminator.network).state_dict()
            state["rival_optimizer"] = self.discriminator.optimizer.state_dict()
            if self.discriminator.freezing:
                state["freezing"] = asdict(self.discriminator.freezing)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned."""
        unwrap(self.network).load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])
        if self.discriminator:
            unwrap(self.discriminator.network).load_state_dict(state["rival"])
            self.discriminator.optimizer.load_state_dict(state["rival_optimizer"])
            if self.discriminator.freezing:
                self.discriminator.freezing.restore(state["freezing"])
        self.step = state["step"]
        restore_random_state(state["random"])


def create_average(network: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a network's weights, d · average + (1 − d) · weights after each step.

    d is the smaller of decay and (1 + n) / (10 + n) with n the number of steps in the average, so that it soon forgets the
    weights of the start, the first of which it takes over. Buffers, such as statistics of batches, are those of the network.
    """

    @torch.no_grad()
    def update(averages: Any, weights: Any, count: Any) -> None:
        steps = int(count)
        share = min(decay, (1 + steps) / (10 + steps))
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - share)

    return AveragedModel(unwrap(network), multi_avg_fn=update)


def cosine_schedule(peak: float, steps: int, warmup: int) -> Callable[[int], float]:
    """The learning rate as a function of the step: linear up to `peak` over `warmup` steps, then half a cosine to 0."""

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
    """Updates the network once per batch and yields a step after each; `training.step` counts the finished steps.

    batches: images (N, C, H, W), from batch number `training.step` on. clip_norm: the largest norm of the gradients.
    With several processes each has its own batches; gradients are averaged, and so are the losses that are yielded. Raises
    UsageError for fp16, DivergenceError for a loss or a gradient that is not finite, before it changes a weight.
    """
    if runtime.dtype == torch.float16:
        raise UsageError("Training in fp16 loses small gradients. Use --precision bf16, fp32 or auto.")

    def update(
        network: nn.Module, optimizer: torch.optim.Optimizer, compute_loss: ComputeLoss, images: Tensor, learns: bool
    ) -> tuple[float, dict[str, float]]:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training.step) * group.get("share", 1.0)
        with torch.set_grad_enabled(learns):
            total, parts = compute_loss(network, images, training.step)
        if learns:
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(total)
            if clip_norm is None:
                gradients = [each.grad for group in optimizer.param_groups for each in group["params"]]
                norm = nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
            else:
                norm = accelerator.clip_grad_norm_(network.parameters(), clip_norm)
        else:
            norm = torch.zeros(())
        # Together, as each transfer of a number from a GPU waits for all of its work. A process alone that found no finite
        # number would leave the others waiting.
        numbers = torch.stack([each.detach().to(total) for each in (total, norm, *parts.values())])
        loss, length, *amounts = mean_over_processes(numbers).tolist()
        if not (math.isfinite(loss) and math.isfinite(length)):
            raise not_finite("gradient" if math.isfinite(loss) else "loss", training.step + 1)
        if learns:
            optimizer.step()
        return loss, dict(zip(parts, amounts, strict=True))

    discriminator = training.discriminator
    for images in batches:
        rate = learning_rate(training.step)
        images = runtime.place(images)
        # A copy: the losses of this step decide about the next one.
        learns = replace(discriminator.freezing) if discriminator and discriminator.freezing else Freezing()
        if discriminator:
            discriminator.network.requires_grad_(False)  # gradients pass through it to the generator
        total, parts = update(training.network, training.optimizer, compute_loss, images, learns.generator_learns)
        if training.average:
            training.average.update_parameters(unwrap(training.network))
        if discriminator:
            discriminator.network.requires_grad_(True)
            _, others = update(
                discriminator.network, discriminator.optimizer, discriminator.compute_loss, images,
                learns.discriminator_learns,
            )  # fmt: skip
            parts |= others
        training.step += 1
        yield TrainingStep(training.step, total, parts, len(images) * accelerator.num_processes, rate)


def not_finite(what: str, step: int) -> DivergenceError:
    """The error for a loss, a gradient or weights that hold a value that is no finite number."""
    return DivergenceError(
        f"The {what} is not a finite number at step {step}. Lower --learning-rate, or use --precision fp32."
    )


def check_weights(training: Training) -> None:
    """Raises DivergenceError where a weight is no finite number."""
    if any(first_not_finite(network.state_dict()) for network in training.networks):
        raise not_finite("largest weight", training.step)


def seed_each(batches: Iterable[Tensor], seed: int, shard: tuple[int, int], first: int) -> Iterator[Tensor]:
    """The batches from number `first` on; of several processes, before each torch's random numbers begin anew.

    They depend on (seed, number, process): processes draw different ones, and the same in a resumed run, whose checkpoint
    holds the state of one process alone. shard: the number of the process, and how many there are.
    """
    rank, world = shard
    for number, images in enumerate(batches, first):
        if world > 1:
            torch.manual_seed(int(np.random.SeedSequence((seed, number, rank)).generate_state(1, np.uint64)[0]))
        yield images


def create_accelerator(runtime: Runtime) -> Accelerator:
    """The process group of `accelerate launch` or `torchrun`; without one, a single process.

    Raises UsageError for a GPU by its number that is not the one of this process.
    """
    # The losses choose the precision by the runtime's `autocast`; accelerate must not change it.
    accelerator = Accelerator(cpu=runtime.device.type == "cpu", mixed_precision="no")
    own = (None, accelerator.local_process_index)
    if accelerator.num_processes > 1 and runtime.device.type == "cuda" and runtime.device.index not in own:
        raise UsageError(
            f"--device {runtime.device}: each of several processes has a GPU of its own; give --device cuda."
        )
    return accelerator


def spread(network: nn.Module, accelerator: Accelerator) -> nn.Module:
    """A network that is on its device already, spread over the processes."""
    if accelerator.num_processes > 1:
        for buffer in network.buffers():
            # Of a buffer with one channel both layouts are true, and broadcasting copies one onto the other in place,
            # which torch refuses.
            buffer.data = buffer.clone(memory_format=torch.contiguous_format)
        normalize_over_processes(network)
    # By itself, accelerate would move it to the first GPU.
    spread: nn.Module = accelerator.prepare_model(network, device_placement=False)
    return spread


def unwrap(network: nn.Module) -> nn.Module:
    """The network without the wrapper that spreads it over processes."""
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
