"""What the processes of one training know of each other: means over all of them, and batch norms of the whole batch."""

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def count_processes() -> int:
    """The number of processes that train together; 1 without `torchrun` or `accelerate launch`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor, of one shape, over all processes, with its gradient; the tensor itself where there is one.

    Every process must call it, as often and in the same order as the others. Gradients of a loss are to be averaged over
    the processes afterwards, as `DistributedDataParallel` does: they are then those of the mean loss.
    """
    if count_processes() == 1:
        return value
    mean: Tensor = _Mean.apply(value)  # type: ignore[no-untyped-call]
    return mean


def gather_over_processes(value: Tensor) -> Tensor:
    """Tensors (N, ...) of one shape of all processes as one (processes · N, ...), in their order, with the gradient."""
    processes = count_processes()
    if processes == 1:
        return value
    # Only the part of this process is not 0, so that the mean is the whole over the number of processes.
    parts = [torch.zeros_like(value)] * processes
    parts[distributed.get_rank()] = value
    return processes * mean_over_processes(torch.cat(parts))


def roll_over_processes(value: Tensor) -> Tensor:
    """A tensor (N, ...) rolled by one along its first dimension, as a part of that of all processes in their order."""
    if count_processes() == 1:
        return value.roll(1, 0)
    first = distributed.get_rank() * len(value)
    return gather_over_processes(value).roll(1, 0)[first : first + len(value)]


def is_true_anywhere(flag: bool, device: torch.device) -> bool:
    """Whether a flag is set in any process; device: that of the training."""
    return flag if count_processes() == 1 else mean_over_processes(torch.tensor(float(flag), device=device)).item() > 0


class _Mean(torch.autograd.Function):
    """The mean over all processes; the gradient of a mean of losses is the mean of their gradients."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return _mean(value)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _mean(gradient)


def _mean(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total / count_processes()


def normalize_over_processes(network: nn.Module) -> nn.Module:
    """The network, whose batch norms from now on take the statistics of the batches of all processes, while it trains.

    torch's `SyncBatchNorm` does so on GPUs alone. Names and values of weights stay.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = _Synchronized(module)  # type: ignore[method-assign, assignment]
    return network


class _Synchronized:
    """The forward pass of a batch norm over all processes, (N, C, ...) to the same shape."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm, self.own = norm, norm.forward

    def __call__(self, features: Tensor) -> Tensor:
        norm = self.norm
        if not norm.training:
            return self.own(features)
        values = features.float()
        others = [dimension for dimension in range(values.ndim) if dimension != 1]
        shape = [1, -1, *[1] * (values.ndim - 2)]
        mean = mean_over_processes(values.mean(others))
        centered = values - mean.view(shape)
        variance = mean_over_processes(centered.square().mean(others))
        if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
            count = count_processes() * values.numel() // values.shape[1]
            momentum = norm.momentum
            with torch.no_grad():
                if norm.num_batches_tracked is not None:
                    norm.num_batches_tracked.add_(1)
                    momentum = 1 / norm.num_batches_tracked.item() if momentum is None else momentum
                assert momentum is not None
                norm.running_mean.lerp_(mean, momentum)
                norm.running_var.lerp_(variance * count / max(1, count - 1), momentum)
        normalized = centered * (variance + norm.eps).rsqrt().view(shape)
        if norm.affine:
            normalized = normalized * norm.weight.view(shape) + norm.bias.view(shape)
        return normalized.to(features.dtype)
