"""Extractors: frozen networks that return `{layer name: features}`, on which perceptual losses compare images."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from percept_cli.core.extractors.alexnet import alexnet
from percept_cli.core.extractors.architecture import Architecture
from percept_cli.core.extractors.compact import compact
from percept_cli.core.extractors.squeezenet import squeezenet
from percept_cli.core.extractors.vgg import vgg
from percept_cli.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from percept_cli.core.extractors.graph import FeatureExtractor

ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    "compact": compact,
    "vgg16": lambda: vgg("vgg16"),
    "vgg19": lambda: vgg("vgg19"),
    "alexnet": alexnet,
    "squeezenet1_0": lambda: squeezenet("squeezenet1_0"),
    "squeezenet1_1": lambda: squeezenet("squeezenet1_1"),
}

__all__ = ["ARCHITECTURES", "Architecture", "FeatureExtractor", "create_architecture"]


def __getattr__(name: str) -> Any:
    """`FeatureExtractor`, imported when it is asked for: the tables of this package load without torch."""
    if name == "FeatureExtractor":
        from percept_cli.core.extractors.graph import FeatureExtractor

        return FeatureExtractor
    raise AttributeError(name)


def create_architecture(name: str) -> Architecture:
    """The layers and normalization of a network by name. Raises UsageError, with a suggestion, for an unknown one."""
    if name not in ARCHITECTURES:
        raise UsageError(unknown_name("extractor", name, ARCHITECTURES))
    return ARCHITECTURES[name]()
