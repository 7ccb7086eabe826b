"""Networks as tables of named layers, which are read without torch: it is imported where a layer is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from percept_cli.core.deferred import Deferred
from percept_cli.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from torch import nn

IMAGE = "image"  # the source of the first layer

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The operations of the networks
Conv2d, Linear, MaxPool2d, AdaptiveAvgPool2d, ReLU, Softmax, Flatten = (
    Deferred("torch.nn", name)
    for name in ("Conv2d", "Linear", "MaxPool2d", "AdaptiveAvgPool2d", "ReLU", "Softmax", "Flatten")
)
Concatenate = Deferred("percept_cli.core.extractors.graph", "Concatenate")


@dataclass(frozen=True)
class Layer:
    """One operation of a network.

    build: creates its module. sources: the layers whose outputs are its inputs. key: prefix of its parameters in a weights
    file (`features.0`), None without parameters. tappable: False for parts without a name in the papers.
    """

    name: str
    build: "Callable[[], nn.Module]"
    sources: tuple[str, ...]
    key: str | None = None
    tappable: bool = True


@dataclass(frozen=True)
class Architecture:
    """The layers of a network from shallow to deep, its input normalization and default layers."""

    name: str
    layers: tuple[Layer, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    blocks: bool = False  # names of layers have block and depth as in VGG, `conv3_2`
    content_layer: str = ""
    style_layers: tuple[str, ...] = ()
    comparator_layers: tuple[str, ...] = ()  # as comparator (Dosovitskiy & Brox 2016, AlexNet's relu5)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names a user may tap, from shallow to deep."""
        return tuple(layer.name for layer in self.layers if layer.tappable)

    def resolve(self, name: str) -> str:
        """The full name of a layer. Raises UsageError, with a suggestion and the list, for an unknown one.

        With `blocks`, a bare `conv5` or `relu5` is the last convolution or activation of that block, as in the papers.
        """
        if name in self.layer_names:
            return name
        if name in self.aliases:
            return self.aliases[name]
        if self.blocks:
            in_block = [known for known in self.layer_names if known.startswith(f"{name}_")]
            if in_block:
                return in_block[-1]
        raise UsageError(unknown_name(f"layer of {self.name}", name, self.layer_names))

    def choose_layers(
        self, given: Sequence[str] | None, paper: Sequence[str] = (), own: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """The full names of the layers for a loss or a measure: `given`, else `paper`, else `own`.

        given: the user's, None or empty for no choice. paper: used if the network has all of them. own: if None, the
        deepest of `style_layers`, as many as in `paper`. Raises UsageError for a given layer that is unknown.
        """
        if given:
            return tuple(self.resolve(name) for name in given)
        if paper and set(paper) <= set(self.layer_names):
            return tuple(paper)
        return self.style_layers[-len(paper) :] if own is None else tuple(own)
