"""Generators from weight files of percept and of others, to run or to train further."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.generators import ARCHITECTURES, Generator, create_generator
from percept_cli.core.generators.style import StyleGenerator, fold_norms
from percept_cli.core.pretrained.building import build_generator
from percept_cli.core.pretrained.files import load_weights_and_metadata
from percept_cli.core.pretrained.foreign import build_foreign
from percept_cli.core.pretrained.manifest import find_model
from percept_cli.errors import ModelError, UsageError

# A translation runs wherever a style does, and training of a translation may start from a style.
INTERCHANGEABLE = ("style", "translation")
# Metadata of inverters, beside that of all generators
INVERTER_KEYS = frozenset({"extractor", "layer", "fingerprint"})


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator, its name, and what its file says of it."""

    network: Generator
    name: str
    architecture: str
    metadata: Mapping[str, str]
    note: str = ""  # a message about a file by others

    @property
    def scale(self) -> int:
        """The factor of an upscaler."""
        return self.network.scale

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe of its training by percept; empty where its file has none that can be read."""
        return read_recipe(self.metadata)


def read_recipe(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The recipe in the metadata of a file; empty where there is none that can be read."""
    try:
        known = json.loads(metadata.get("recipe", "{}"))
    except (ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def load_generator(given: str, role: str, scale: int | None = None, *, also: str = "") -> LoadedGenerator:
    """A generator of a role by the name of a shipped model, or from a file of percept's own or of a known foreign format.

    given: the path of a file; one without suffix that does not exist is the name of a shipped model. role: a key of
    `ARCHITECTURES`; styles and translations are interchangeable. scale: the required factor. also: a second role that the
    model may have. Raises ModelError for a
    model that is missing, damaged or of an unknown format, UsageError for another scale.
    """
    roles = INTERCHANGEABLE if role in INTERCHANGEABLE else (role,)
    roles = (*roles, also) if also else roles
    path = Path(given)
    if not path.suffix and not path.is_file():
        path = find_model(given, *roles).path
    state, metadata = load_weights_and_metadata(path)
    network: Generator
    if metadata.get("percept.format") and (role != "inverter" or metadata.keys() >= INVERTER_KEYS):
        wanted = next((known for known in roles if known == metadata.get("role")), roles[0])
        network = build_own(state, metadata, str(path), wanted)
        architecture, note = metadata.get("architecture", ""), ""
    else:
        _, foreign = build_foreign(state, str(path), roles[0])
        network, architecture, note = foreign, foreign.architecture, foreign.description
    if scale is not None and network.scale != scale:
        raise UsageError(
            f"{path} enlarges {network.scale} times, not {scale}: give --x{network.scale}, or leave it out."
        )
    return LoadedGenerator(network.eval().requires_grad_(False), path.stem, architecture, metadata, note)


def check_inverter(inverter: LoadedGenerator, extractor: FeatureExtractor, layer: str) -> None:
    """Raises UsageError for an inverter that was trained for another layer, extractor or weights."""
    known = inverter.metadata["extractor"], inverter.metadata["layer"]
    asked = extractor.architecture.name, extractor.architecture.resolve(layer)
    if known != asked:
        raise UsageError(
            f"{inverter.name} inverts {known[1]} of {known[0]}, not {asked[1]} of {asked[0]}. Give --layers {known[1]} "
            f"--extractor {known[0]}, or another inverter."
        )
    if inverter.metadata["fingerprint"] != extractor.fingerprint(layer):
        raise UsageError(
            f"{inverter.name} inverts {asked[1]} of {asked[0]} with other weights than these. Give those that it was "
            "trained with by --extractor-weights, or another inverter."
        )


def recognize(state: Mapping[str, Tensor], source: str) -> tuple[str, str]:
    """The role and the architecture of weights trained by others. Raises ModelError for unknown ones."""
    role, network = build_foreign(state, source)
    return role, network.description or network.architecture


def start_generator(
    role: str,
    name: str,
    start: str | None,
    *,
    photographs: Tensor | None = None,
    layer: str = "",
    extractor: str = "",
    announce: Callable[[str], None] | None = None,
    **arguments: Any,
) -> Generator:
    """A generator to train: untrained by name (see `create_generator`), or with the weights of a trained one of its kind.

    start: None, a shipped model or a file. arguments: of the architecture; None is the default or, with `start`, that of
    the trained one; others must agree with it. A style of `instance` norms is converted to `inner` norms if they are
    requested (see `fold_norms`; photographs: (N, 3, H, W) in [0, 1]). Of an upscaler of another `scale`, the layers whose
    weights have the same shapes are taken; announce: called with a message on those that begin untrained. layer,
    extractor: full names, of an inverter's features. Raises UsageError where the trained one does not agree.
    """
    if start is None:
        return create_generator(role, name, **arguments)
    trained = load_generator(start, role)
    network = trained.network
    if role == "inverter":
        known = trained.metadata["layer"], trained.metadata["extractor"], trained.architecture
        if known != (layer, extractor, name):
            raise UsageError(
                f"--start {start} is a '{known[2]}' of {known[0]} of {known[1]}, not a '{name}' of {layer} of {extractor}."
            )
    elif role == "upscaler":
        return _start_upscaler(trained, name, start, arguments["scale"], announce)
    elif trained.architecture != name or name not in ARCHITECTURES[role]:
        raise UsageError(
            f"--start {start} is a generator of '{trained.architecture}', not '{name}'. Give --generator so."
        )
    norms = network.arguments.get("norm"), arguments.get("norm")
    if isinstance(network, StyleGenerator) and norms == ("instance", "inner"):
        assert photographs is not None
        network = fold_norms(network, photographs)
    known_arguments = {"inputs": network.inputs, **network.arguments}
    for key, value in arguments.items():
        if value is not None and value != known_arguments[key]:
            raise UsageError(f"--start {start} {_other_argument(role, network, key, value)}")
    return network.requires_grad_(True).train()


def _start_upscaler(
    trained: LoadedGenerator, name: str, start: str, scale: int, announce: Callable[[str], None] | None
) -> Generator:
    kind = ARCHITECTURES["upscaler"][name]
    # A subclass too: `swift-even` can start from a `swift`.
    if not (isinstance(kind, type) and issubclass(kind, type(trained.network))):
        raise UsageError(f"--start {start} is an upscaler of '{trained.architecture}', not '{name}'. Give --preset so.")
    created = create_generator("upscaler", name, **{**trained.network.arguments, "scale": scale})
    own, known = created.state_dict(), trained.network.state_dict()
    taken = {key: known[key] for key in own if key in known and known[key].shape == own[key].shape}
    created.load_state_dict(own | taken)
    fresh = sorted({key.rpartition(".")[0] for key in own.keys() - taken.keys()})
    if fresh and announce:
        announce(f"{start} enlarges {trained.scale} times: {', '.join(fresh)} begin untrained")
    return created


def _other_argument(role: str, network: Generator, key: str, asked: object) -> str:
    """The message for a trained generator with another value of an argument than the one given, `asked`."""
    if key == "inputs":
        return f"{'fills holes' if network.fills_holes else 'does not see a mask'}: begin from another, or from none."
    if role == "style":
        return f"was trained with {network.arguments}: leave --{key} out."
    if role == "translation":
        return f"was trained with a width of {network.arguments['width']}: leave --width out."
    return f"was trained with a {key} of {network.arguments[key]}, not {asked}."


def build_own(state: Mapping[str, Tensor], metadata: Mapping[str, str], source: str, wanted: str) -> Generator:
    """The generator of a file of percept's own, with its weights in float32; wanted: the required role.

    Raises ModelError for another role, an unknown architecture, and weights that do not fit it.
    """
    role, architecture = metadata.get("role"), metadata.get("architecture", "")
    known = ARCHITECTURES[wanted]
    if role != wanted or architecture not in known:
        raise ModelError(
            f"{source} holds a model of role '{role}' and architecture '{architecture}'; a model of role '{wanted}' and "
            f"architecture {' or '.join(known)} is needed here."
        )
    try:
        return build_generator(known[architecture], json.loads(metadata["arguments"]), state)
    except KeyError as error:
        raise ModelError(f"{source} does not fit its architecture '{architecture}': {error} is missing.") from error
    except (ArithmeticError, TypeError, ValueError, RuntimeError, RecursionError, UsageError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ModelError(
            f"{source} does not fit its architecture '{architecture}': {reason}. It is damaged; get it again."
        ) from error
