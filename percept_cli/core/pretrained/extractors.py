"""Extractors with shipped, downloaded or random weights, or weights from a file; torch is imported to create one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from percept_cli.core.extractors import ARCHITECTURES, Architecture, create_architecture
from percept_cli.core.pretrained.manifest import check_weights, find_model, read_metadata
from percept_cli.errors import ModelError, UsageError

if TYPE_CHECKING:
    from percept_cli.core.extractors.graph import FeatureExtractor

RANDOM = "random"
WEIGHTS_SUFFIXES = frozenset({".safetensors", ".pth", ".pt"})


@dataclass(frozen=True)
class ExtractorChoice:
    """The architecture of an extractor by name, and the source of its weights.

    weights: None for the usual ones (shipped for `compact`, else torchvision's, downloaded once), a safetensors or
    PyTorch file, or `random` for untrained weights (the comparator of Dosovitskiy & Brox 2016, section 4).
    """

    name: str
    weights: str | None = None

    @property
    def architecture(self) -> Architecture:
        """The layers and input normalization."""
        return create_architecture(self.name)

    def create(
        self, layers: Iterable[str], seed: int = 0, announce: Callable[[str], None] | None = None
    ) -> "FeatureExtractor":
        """The frozen extractor with its weights, tapped at the layers; announce: called with messages for the user.

        Raises UsageError for an unknown layer and ModelError for weights that are missing, damaged or of another network.
        """
        from percept_cli.core.extractors.graph import FeatureExtractor, randomize
        from percept_cli.core.pretrained.files import TORCHVISION_FILES, load_weights, torchvision_weights
        from percept_cli.core.pretrained.oxford import convert_oxford_vgg, is_blue_first, is_oxford_vgg

        extractor = FeatureExtractor(self.architecture, layers)
        if self.weights == RANDOM:
            randomize(extractor, seed)
            return extractor
        if self.weights is not None:
            path = Path(self.weights)
        elif self.name in TORCHVISION_FILES:
            path = torchvision_weights(self.name, announce)
        else:
            path = find_model(self.name, "extractor").path
        state = load_weights(path)
        if is_oxford_vgg(state):
            if announce:
                order = "BGR" if is_blue_first(state) else "RGB"
                announce(f"{path.name} is a Caffe VGG ({order}, 0 to 255): converted to RGB in [0, 1]")
            state = convert_oxford_vgg(state)
        extractor.load_weights(state, str(path))
        return extractor


COMPACT = ExtractorChoice("compact")


def choose_extractor(given: str, weights: str | Path | None = None) -> ExtractorChoice:
    """The extractor of a name, or of a file written by percept; weights: as in `ExtractorChoice`, only for a name.

    Raises UsageError for an unknown name and for a file with other weights beside it, ModelError for a file that does not
    exist, without an extractor or without the name of its network.
    """
    if Path(given).suffix not in WEIGHTS_SUFFIXES:
        create_architecture(given)  # raises for an unknown name
        if weights is not None and str(weights) != RANDOM:
            check_weights(Path(weights))
        return ExtractorChoice(given, None if weights is None else str(weights))
    if weights is not None:
        raise UsageError(f"{given} is an extractor with its weights: leave out {weights}, or give a name beside it.")
    metadata = read_metadata(Path(given))
    if not metadata:
        from percept_cli.core.pretrained.files import load_weights

        load_weights(Path(given))  # raises for a damaged file
    role, architecture = metadata.get("role"), metadata.get("architecture", "")
    if role is not None and role != "extractor":
        raise ModelError(f"{given} is no extractor, its role is '{role}'. Give a file of `percept train extractor`.")
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{given} does not say of which network it is. Give that one's name as the extractor, and this file as its "
            f"weights. Known: {', '.join(ARCHITECTURES)}."
        )
    return ExtractorChoice(architecture, given)


def create_extractor(
    name: str,
    layers: Iterable[str],
    weights: str | Path | None = None,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> "FeatureExtractor":
    """The frozen extractor that `choose_extractor` chooses, created by `ExtractorChoice.create`."""
    return choose_extractor(name, weights).create(layers, seed, announce)


def parse_named_file(option: str, given: str) -> tuple[str, str | None]:
    """Splits `NAME` or `NAME=FILE` into (name, file). Raises UsageError if either is empty."""
    name, separator, file = given.partition("=")
    if not name or (separator and not file):
        raise UsageError(f"{option} {given}: give NAME, or NAME=FILE.")
    return name, file or None
