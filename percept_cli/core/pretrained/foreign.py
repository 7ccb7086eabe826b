"""Weights trained by others: the table of their formats, each recognized by the keys of its tensors."""

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
    """A format of weights: the role of its networks and two functions.

    recognize: whether weights have this format, by their keys. build: the network of weights and the name of their file;
    raises ModelError, with the reason, for weights that do not fit.
    """

    role: str
    recognize: Callable[[Mapping[str, Tensor]], bool]
    build: "Callable[[Mapping[str, Tensor], str], ForeignNetwork]"


def _build_upscaler(state: Mapping[str, Tensor], source: str) -> "ForeignUpscaler":
    # Imported only for such files, as spandrel takes half a second.
    from percept_cli.core.pretrained.foreign_upscalers import create_foreign_upscaler

    return create_foreign_upscaler(state, source)


FORMATS = (
    *(
        ForeignFormat("style", known.recognizes, partial(create_foreign_style, known=known))
        for known in STYLE_FORMATS
    ),
    # The last, as it takes any keys: spandrel recognizes its architectures itself and refuses all others.
    ForeignFormat("upscaler", lambda state: True, _build_upscaler),
)  # fmt: skip

# Messages for a file that has no known format, by the role it should have
UNKNOWN = {
    "style": "is not a style model that percept knows: its keys are those of neither percept, pytorch/examples "
    "fast_neural_style nor rrmina/fast-neural-style-pytorch.",
    "any-style": "is not a model of any style: percept runs those that `percept train any-style` writes.",
    "inverter": "is not an inverter: percept runs those that `percept train invert` writes.",
    "autoencoder": "is not an autoencoder: percept runs those that `percept train autoencoder` writes.",
}


def build_foreign(state: Mapping[str, Tensor], source: str, role: str | None = None) -> "tuple[str, ForeignNetwork]":
    """The role and the network of weights trained by others, in float32 on the processor.

    state: the tensors by key. source: the file's name, for messages. role: the required one, None for any. Raises
    ModelError for weights of no known format of that role, damaged ones, and variants that would give other pixels.
    """
    for known in FORMATS:
        if role in (None, known.role) and known.recognize(state):
            return known.role, known.build(state, source)
    raise ModelError(f"{source} {UNKNOWN[role or 'style']}")
