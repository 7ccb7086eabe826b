"""Instance norms with the statistics of several images, so that one does not change with what else is in it."""

import copy
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import InstanceNorm


@torch.inference_mode()
def hold_norms(
    network: Generator, images: Iterable[Tensor], run: Callable[[Generator, Tensor], object]
) -> Generator | None:
    """A copy of a network with a batch norm in place of each instance norm; None where it has no instance norm.

    The statistics of each are the mean of those that it has for the images, each of which `run` passes through the network.
    In deeper layers they are not quite those of the images taken together, as the norms before were each image's own. Norms
    that are computed in strips (see `strips`) stay as they are.
    """
    held = copy.deepcopy(network)
    norms = {name: module for name, module in held.named_modules() if isinstance(module, InstanceNorm)}
    if not norms:
        return None
    moments: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in norms}

    def measure(name: str, norm: nn.Module, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
        moments[name].append((mean, variance))

    handles = [norm.register_forward_pre_hook(partial(measure, name)) for name, norm in norms.items()]
    for image in images:
        run(held, image)
    for handle in handles:
        handle.remove()
    for name, norm in norms.items():
        if moments[name]:
            parent, _, own = name.rpartition(".")
            setattr(held.get_submodule(parent), own, _fixed(norm, moments[name]))
    return held


def _fixed(norm: InstanceNorm, moments: list[tuple[Tensor, Tensor]]) -> nn.BatchNorm2d:
    """A batch norm with the scale and shift of an instance norm, and the mean of the moments of several images."""
    means, variances = (torch.stack(each) for each in zip(*moments, strict=True))
    fixed = nn.BatchNorm2d(len(norm.weight), eps=1e-5, device=norm.weight.device)
    mean = means.mean(0)
    state = {"running_mean": mean, "running_var": (variances + (means - mean).square()).mean(0)}
    fixed.load_state_dict({**norm.state_dict(), **state}, strict=False)
    return fixed.eval().requires_grad_(False)
