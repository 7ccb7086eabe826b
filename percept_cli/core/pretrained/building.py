"""Networks built from what a file says of them, after that was compared with the tensors that it holds."""

import contextlib
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from percept_cli.core.generators import Generator
from percept_cli.errors import ModelError

# No number among the arguments of a generator is larger: channels, strides, sides.
LARGEST_ARGUMENT = 1 << 16
# The argument that says how often a part of a network is repeated
REPEATED = "blocks"
# What a network of others may take while it is built, beyond four times its tensors in float32: masks and tables of
# positions, in bytes; and tensors that are made, beyond a hundred for each tensor of the file.
SPARE_BYTES = 1 << 27
SPARE_TENSORS = 20_000


def build_generator(build: Callable[..., Generator], arguments: object, state: Mapping[str, Tensor]) -> Generator:
    """The generator that `build` makes of the arguments in a file, with the weights of the file in float32.

    Nothing of it is built before the arguments were compared with the tensors, so a file cannot claim a network that is
    larger than its own tensors. Raises ValueError, with the reason, for arguments or tensors that do not belong together.
    """
    if not isinstance(arguments, dict):
        raise ValueError("its arguments are no JSON object")
    check_arguments(build, arguments)
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):  # shapes alone, without memory
        if REPEATED in arguments:
            one, two = (len(build(**{**arguments, REPEATED: count}).state_dict()) for count in (1, 2))
            if one + (arguments[REPEATED] - 1) * (two - one) != len(state):
                raise ValueError(
                    f"it holds {len(state)} tensors, which are not those of {arguments[REPEATED]} {REPEATED}"
                )
        expected = build(**arguments).state_dict()
    check_fit(expected, state)
    network = build(**arguments)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network


def check_arguments(build: Callable[..., Generator], arguments: Mapping[str, Any]) -> None:
    """Raises ValueError for arguments that are unknown or missing, of another type than theirs, or out of all range."""
    known = inspect.signature(build).parameters
    for name in arguments:
        if name not in known:
            raise ValueError(f"it has no argument '{name}'")
    for name, parameter in known.items():
        if name not in arguments:
            if parameter.default is inspect.Parameter.empty:
                raise ValueError(f"its argument '{name}' is missing")
            continue
        value, wanted = arguments[name], parameter.annotation
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(f"its argument '{name}' is {value!r:.40}, not of type {wanted.__name__}")
        if type(value) is int and not 0 <= value <= LARGEST_ARGUMENT and wanted is int:
            raise ValueError(f"its argument '{name}' is {value}")
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


@contextlib.contextmanager
def limited_to(state: Mapping[str, Tensor], source: str) -> Iterator[None]:
    """A context in which code of others builds a network from tensors: it may make no more than these need.

    Raises ModelError for keys with numbers that so few tensors cannot reach, and as soon as too much is made.
    """
    highest = 4 * len(state) + 64
    for key in state:
        for digits in re.findall(r"(?:^|\.)(\d+)(?=\.|$)", key):
            if len(digits) > 9 or int(digits) > highest:
                raise ModelError(f"{source} holds {len(state)} tensors and one named {key[:80]}: it is damaged.")
    size = sum(tensor.numel() for tensor in state.values())
    with _Limit(16 * size + SPARE_BYTES, 100 * len(state) + SPARE_TENSORS, source):
        yield


class _Limit(TorchDispatchMode):
    """Counts the bytes and the number of the tensors that are made from nothing, and raises ModelError beyond the most."""

    def __init__(self, most_bytes: int, most_tensors: int, source: str):
        super().__init__()
        self.bytes_left, self.tensors_left, self.source = most_bytes, most_tensors, source

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Such as aten.empty, whose first argument is a shape; its memory is touched only when it is initialized.
        if args and isinstance(args[0], list | tuple) and all(isinstance(side, int) for side in args[0]):
            self._count(4 * math.prod(args[0]))
        return func(*args, **(kwargs or {}))

    def _count(self, size: int) -> None:
        self.bytes_left -= size
        self.tensors_left -= 1
        if self.bytes_left < 0 or self.tensors_left < 0:
            raise ModelError(
                f"{self.source} would become a network that is far larger than its tensors; it is damaged or made up."
            )
