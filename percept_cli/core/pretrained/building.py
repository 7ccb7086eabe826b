"""Networks built from what a file says of them, after that was compared with the tensors that it holds."""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from percept_cli.core.generators import Generator

# No number among the arguments of a generator is larger: channels, strides, sides; and no factor of an enlargement.
LARGEST_ARGUMENT, LARGEST_SCALE = 1 << 16, 16
# Of an inverter: no stride for a code of the whole picture, no side for a code with places; of one style: no noise
MAY_BE_ZERO = ("blocks", "stride", "side", "noise")

# The functions by which the layers of networks take memory
FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}


@dataclass(frozen=True)
class Allowance:
    """What a network may take while it is built, beyond what its tensors need: bytes, and the number of tensors made."""

    bytes: int
    tensors: int


OWN = Allowance(bytes=1 << 24, tensors=2000)
# Networks of others also make masks and tables of positions.
FOREIGN = Allowance(bytes=1 << 27, tensors=20_000)


def build_generator(build: Callable[..., Generator], arguments: object, state: Mapping[str, Tensor]) -> Generator:
    """The generator that `build` makes of the arguments in a file, with the weights of the file in float32.

    The arguments are compared with the tensors before anything is built, and building ends where it would take more than
    these need. Raises ValueError, with the reason, for arguments and tensors that do not belong together.
    """
    if not isinstance(arguments, dict):
        raise ValueError("its arguments are no JSON object")
    check_arguments(build, arguments, len(state))
    with Limit(state, OWN):
        network = build(**arguments)
    check_fit(network.state_dict(), state)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network


def check_arguments(build: Callable[..., Generator], arguments: Mapping[str, Any], tensors: int) -> None:
    """Raises ValueError for arguments that are unknown or missing, of another type than theirs, or out of all range.

    tensors: how many the file holds; a network has at least one for each of its blocks.
    """
    known = dict(inspect.signature(build).parameters)
    passes_on = [name for name, parameter in known.items() if parameter.kind is inspect.Parameter.VAR_KEYWORD]
    for name in passes_on:  # to the class that it is made from, whose annotations are not known here
        del known[name]
    most = {"blocks": tensors, "scale": LARGEST_SCALE}
    for name in arguments:
        if name not in known and not passes_on:
            raise ValueError(f"it has no argument '{name}'")
    for name, parameter in known.items():
        if name not in arguments:
            if parameter.default is inspect.Parameter.empty:
                raise ValueError(f"its argument '{name}' is missing")
            continue
        value, wanted = arguments[name], parameter.annotation
        if get_origin(wanted) is Sequence:
            if not isinstance(value, list) or len(value) > tensors:
                raise ValueError(f"its argument '{name}' is {value!r:.40}, and it holds {tensors} tensors")
            for each in value:
                _check_argument(name, each, get_args(wanted)[0], LARGEST_ARGUMENT, tensors)
        else:
            _check_argument(name, value, wanted, most.get(name, LARGEST_ARGUMENT), tensors)


def _check_argument(name: str, value: Any, wanted: Any, most: int, tensors: int) -> None:
    """Raises ValueError, as `check_arguments`, for a value that is not of the wanted type or larger than `most`."""
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        raise ValueError(f"its argument '{name}' is {value!r:.40}, not of type {wanted.__name__}")
    least = 0 if name in MAY_BE_ZERO else 1
    if wanted is int and not least <= value <= most:
        raise ValueError(f"its argument '{name}' is {value!r:.40}, and it holds {tensors} tensors")
    if wanted is float and not (math.isfinite(value) and abs(value) <= LARGEST_ARGUMENT):
        raise ValueError(f"its argument '{name}' is {value}")


def check_fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raises ValueError where tensors have other names, shapes or kinds of numbers than a network expects."""
    for name, tensor in expected.items():
        if name not in state:
            raise ValueError(f"{name} is missing")
        if state[name].shape != tensor.shape:
            raise ValueError(f"{name} has shape {tuple(state[name].shape)} where {tuple(tensor.shape)} belongs")
        if tensor.is_floating_point() and not state[name].is_floating_point():
            raise ValueError(f"{name} holds no floating-point numbers")
    if surplus := state.keys() - expected.keys():
        raise ValueError(f"{min(surplus)} has no place in it")


def check_numbers(state: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a key with a number, as of a block, that so few tensors cannot reach."""
    highest = 4 * len(state) + 64
    for key in state:
        for digits in re.findall(r"(?:^|\.)(\d+)(?=\.|$)", key):
            if len(digits) > 9 or int(digits) > highest:
                raise ValueError(f"it holds {len(state)} tensors, and one is named {key[:80]}")


class Limit(TorchFunctionMode):
    """A context in which a network is built from tensors and may make no more than these need, and the allowance.

    Counts the tensors that are made by their shape, before their memory is used. Raises ValueError beyond the most.
    """

    def __init__(self, state: Mapping[str, Tensor], allowance: Allowance):
        super().__init__()
        # Four bytes for each value in float32, and as many again for what the file calls by other names.
        self.bytes_left = 8 * sum(tensor.numel() for tensor in state.values()) + allowance.bytes
        self.tensors_left = 10 * len(state) + allowance.tensors

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FACTORIES:
            shape = kwargs.get("size", args)
            if len(shape) and isinstance(shape[0], list | tuple):
                shape = shape[0]
            self.bytes_left -= 4 * math.prod(side for side in shape if isinstance(side, int))
            self.tensors_left -= 1
            if self.bytes_left < 0 or self.tensors_left < 0:
                raise ValueError("it would become a network that is far larger than its tensors")
        return func(*args, **kwargs)
