"""Generators from weight files: percept's own, and those that others trained."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from percept_cli.core.generators.foreign import create_foreign_generator, recognise_foreign
from percept_cli.core.generators.style import (
    GENERATORS,
    JohnsonGenerator,
    StyleGenerator,
    create_style_generator,
)
from percept_cli.core.manifest import find_model
from percept_cli.core.weights import load_weights_and_metadata
from percept_cli.errors import ModelError, UsageError


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator ready to run, its name, and how its file was recognised."""

    network: nn.Module
    name: str
    architecture: str
    metadata: Mapping[str, str]


def load_style_generator(given: str) -> LoadedGenerator:
    """A style generator by the name of a shipped model, or from a file that its keys or metadata identify.

    Raises ModelError when it is missing, damaged or of an unknown format.
    """
    # A name without folder or suffix is a shipped model unless such a file lies here.
    path = Path(given)
    if not path.suffix and not path.is_file():
        path = find_model(given, "style").path
    state, metadata = load_weights_and_metadata(path)
    if metadata.get("percept.format"):
        network, architecture = create_own_generator(state, metadata, str(path)), metadata.get("architecture", "")
    else:
        recognised = recognise_foreign(state)
        if recognised is None:
            raise ModelError(
                f"{path} is not a style model that percept knows: its keys are those of neither percept, pytorch/examples "
                "fast_neural_style nor rrmina/fast-neural-style-pytorch."
            )
        network, architecture = create_foreign_generator(state, str(path)), recognised
    return LoadedGenerator(network.eval().requires_grad_(False), path.stem, architecture, metadata)


def start_style_generator(
    start: str | None, name: str, width: float | None, norm: str | None
) -> StyleGenerator | JohnsonGenerator:
    """A generator to train: untrained by name (`create_style_generator`), or with the weights of a trained style.

    Raises UsageError when the trained style is of another architecture than the one asked for.
    """
    if start is None:
        return create_style_generator(name, width, norm)
    trained = load_style_generator(start)
    if trained.architecture != name or not isinstance(trained.network, StyleGenerator | JohnsonGenerator):
        raise UsageError(
            f"--start {start} is a generator of '{trained.architecture}', not '{name}'. Give --generator so."
        )
    wanted = {"width": width, "norm": norm}
    other = [key for key, value in wanted.items() if value is not None and value != trained.network.arguments[key]]
    if other:
        raise UsageError(f"--start {start} was trained with {trained.network.arguments}: leave --{other[0]} out.")
    return trained.network.requires_grad_(True).train()


def create_own_generator(state: Mapping[str, Tensor], metadata: Mapping[str, str], source: str) -> nn.Module:
    """The generator that a file of percept's own describes, with its weights in float32."""
    role, architecture = metadata.get("role"), metadata.get("architecture", "")
    if role != "style" or architecture not in GENERATORS:
        raise ModelError(
            f"{source} holds a model of role '{role}' and architecture '{architecture}'; a style model of "
            f"{' or '.join(GENERATORS)} is needed here."
        )
    try:
        network = GENERATORS[architecture](**json.loads(metadata["arguments"]))
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{source} does not fit its architecture '{architecture}'; it is damaged.") from error
    return network
