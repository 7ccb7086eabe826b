"""Weights that others trained: the one table of their formats, each told by the keys of its tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from percept_cli.core.pretrained.foreign_styles import STYLE_FORMATS, ForeignStyle, create_foreign_style
from percept_cli.errors import ModelError

if TYPE_CHECKING:
    from percept_cli.core.pretrained.foreign_upscalers import ForeignUpscaler

    ForeignNetwork = ForeignStyle | ForeignUpscaler


@dataclass(frozen=True)
class ForeignFormat:
    """A format of weights: the role of its networks, whether weights are of it, and how their network is built.

    `recognize` goes by the keys alone. `build` takes the weights and the name of their file, and raises ModelError, which
    says why, for those that do not fit.
    """

    role: str
    recognize: Callable[[Mapping[str, Tensor]], bool]
    build: "Callable[[Mapping[str, Tensor], str], ForeignNetwork]"


def _build_upscaler(state: Mapping[str, Tensor], source: str) -> "ForeignUpscaler":
    # Importing spandrel takes half a second: only those who bring such files wait for it.
    from percept_cli.core.pretrained.foreign_upscalers import create_foreign_upscaler

    return create_foreign_upscaler(state, source)


FORMATS = (
    *(
        ForeignFormat("style", known.recognizes, partial(create_foreign_style, known=known))
        for known in STYLE_FORMATS
    ),
    # The last one asked: spandrel tells its many architectures apart itself, and refuses what is none of them.
    ForeignFormat("upscaler", lambda state: True, _build_upscaler),
)  # fmt: skip

# What is said of a file that is of no format for its role
UNKNOWN = {
    "style": "is not a style model that percept knows: its keys are those of neither percept, pytorch/examples "
    "fast_neural_style nor rrmina/fast-neural-style-pytorch.",
    "inverter": "is not an inverter: percept runs those that `percept train invert` writes.",
    "autoencoder": "is not an autoencoder: percept runs those that `percept train autoencoder` writes.",
}


def build_foreign(state: Mapping[str, Tensor], source: str, role: str | None = None) -> "tuple[str, ForeignNetwork]":
    """The role and the network of weights by others, in float32 on the processor; role: the one that it must have.

    state: the tensors by their keys; source: the file's name, for messages. Raises ModelError for what is of no format
    of that role, damaged, or a variant that would give other pixels.
    """
    for known in FORMATS:
        if role in (None, known.role) and known.recognize(state):
            return known.role, known.build(state, source)
    raise ModelError(f"{source} {UNKNOWN[role or 'style']}")
