"""Generators from weight files: percept's own, and those that others trained."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.generators.inversion import INVERTERS, Inverter, create_inverter
from percept_cli.core.generators.style import (
    GENERATORS,
    JohnsonGenerator,
    StyleGenerator,
    create_style_generator,
    fold_norms,
)
from percept_cli.core.generators.translation import TRANSLATORS, create_translator
from percept_cli.core.generators.upscale import UPSCALERS, create_upscaler
from percept_cli.core.pretrained.files import load_weights_and_metadata
from percept_cli.core.pretrained.foreign_styles import create_foreign_generator, recognize_foreign
from percept_cli.core.pretrained.manifest import find_model, find_upscaler
from percept_cli.errors import ModelError, UsageError

ARCHITECTURES_BY_ROLE: Mapping[str, Mapping[str, Callable[..., nn.Module]]] = {
    "style": GENERATORS,
    "translation": TRANSLATORS,
    "upscaler": UPSCALERS,
    "inverter": INVERTERS,
    "autoencoder": {"lean": Autoencoder},
}


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator ready to run, its name, and how its file was recognized."""

    network: nn.Module
    name: str
    architecture: str
    metadata: Mapping[str, str]
    note: str = ""  # what the user should know of a file that others made

    @property
    def scale(self) -> int:
        """How many times an upscaler enlarges."""
        return int(self.network.scale)  # type: ignore[arg-type]

    @property
    def recipe(self) -> dict[str, Any]:
        """How percept trained it; empty where its file does not tell."""
        known: dict[str, Any] = json.loads(self.metadata.get("recipe", "{}"))
        return known


def load_style_generator(given: str) -> LoadedGenerator:
    """A style generator by the name of a shipped model, or one, or a translator, from a file that says what it is.

    Raises ModelError when it is missing, damaged or of an unknown format.
    """
    # A name without folder or suffix is a shipped model unless such a file lies here.
    path = Path(given)
    if not path.suffix and not path.is_file():
        path = find_model(given, "style").path
    state, metadata = load_weights_and_metadata(path)
    if metadata.get("percept.format"):
        wanted = "translation" if metadata.get("role") == "translation" else "style"
        network, architecture = (
            create_own_generator(state, metadata, str(path), wanted),
            metadata.get("architecture", ""),
        )
    else:
        recognized = recognize_foreign(state)
        if recognized is None:
            raise ModelError(
                f"{path} is not a style model that percept knows: its keys are those of neither percept, pytorch/examples "
                "fast_neural_style nor rrmina/fast-neural-style-pytorch."
            )
        network, architecture = create_foreign_generator(state, str(path)), recognized
    return LoadedGenerator(network.eval().requires_grad_(False), path.stem, architecture, metadata)


def load_upscaler(given: str | None, scale: int | None = None, look: str | None = None) -> LoadedGenerator:
    """An upscaler by the name of a shipped model, from a file of percept's own, or from anyone's that spandrel knows.

    given: None takes what is shipped for `scale` and `look` (see `find_upscaler`). Raises ModelError when it is missing,
    damaged or of an unknown format, UsageError when it enlarges other than `scale` times.
    """
    if given is None:
        assert scale is not None
        path = find_upscaler(scale, look).path
    else:
        path = Path(given)
        if not path.suffix and not path.is_file():
            path = find_model(given, "upscaler").path
    state, metadata = load_weights_and_metadata(path)
    note = ""
    if metadata.get("percept.format"):
        network = create_own_generator(state, metadata, str(path), "upscaler")
        architecture = metadata.get("architecture", "")
    else:
        # Half a second of importing, for those who bring such files.
        from percept_cli.core.pretrained.foreign_upscalers import create_foreign_upscaler

        foreign = create_foreign_upscaler(state, str(path))
        network, architecture, note = foreign, foreign.architecture, foreign.description
    if scale is not None and network.scale != scale:
        raise UsageError(
            f"{path} enlarges {network.scale} times, not {scale}: give --x{network.scale}, or leave it out."
        )
    return LoadedGenerator(network.eval().requires_grad_(False), path.stem, architecture, metadata, note)


def load_inverter(given: str) -> LoadedGenerator:
    """An inverter by the name of a shipped model, or from a file of percept's own; see `check_inverter` before running it.

    Raises ModelError when it is missing, damaged or of an unknown format.
    """
    path = Path(given)
    if not path.suffix and not path.is_file():
        path = find_model(given, "inverter").path
    state, metadata = load_weights_and_metadata(path)
    if not metadata.get("percept.format") or not {"extractor", "layer", "fingerprint"} <= metadata.keys():
        raise ModelError(f"{path} is not an inverter: percept runs those that `percept train invert` writes.")
    network = create_own_generator(state, metadata, str(path), "inverter")
    return LoadedGenerator(network.eval().requires_grad_(False), path.stem, metadata.get("architecture", ""), metadata)


def load_autoencoder(given: str) -> LoadedGenerator:
    """An autoencoder from a file that `percept train autoencoder` wrote, or by the name of a shipped model.

    Raises ModelError when it is missing, damaged or of an unknown format.
    """
    path = Path(given)
    if not path.suffix and not path.is_file():
        path = find_model(given, "autoencoder").path
    state, metadata = load_weights_and_metadata(path)
    if not metadata.get("percept.format"):
        raise ModelError(f"{path} is not an autoencoder: percept runs those that `percept train autoencoder` writes.")
    network = create_own_generator(state, metadata, str(path), "autoencoder")
    return LoadedGenerator(network.eval().requires_grad_(False), path.stem, metadata.get("architecture", ""), metadata)


def check_inverter(inverter: LoadedGenerator, extractor: FeatureExtractor, layer: str) -> None:
    """Refuses an inverter that was trained for another layer, extractor or weights than these, with a UsageError."""
    known = inverter.metadata["extractor"], inverter.metadata["layer"]
    asked = extractor.architecture.name, extractor.architecture.resolve(layer)
    if known != asked:
        raise UsageError(
            f"{inverter.name} inverts {known[1]} of {known[0]}, not {asked[1]} of {asked[0]}. Give --layer {known[1]} "
            f"--extractor {known[0]}, or another inverter."
        )
    if inverter.metadata["fingerprint"] != extractor.fingerprint(layer):
        raise UsageError(
            f"{inverter.name} inverts {asked[1]} of {asked[0]} with other weights than these. Give those that it was "
            "trained with by --extractor-weights, or another inverter."
        )


def recognize(state: Mapping[str, Tensor], source: str) -> tuple[str, str]:
    """The role and the architecture of weights that others trained, by their keys. ModelError if they are unknown."""
    style = recognize_foreign(state)
    if style is not None:
        create_foreign_generator(state, source)  # which refuses what is damaged
        return "style", style
    from percept_cli.core.pretrained.foreign_upscalers import create_foreign_upscaler

    return "upscaler", create_foreign_upscaler(state, source).description


def start_style_generator(
    start: str | None, name: str, width: float | None, norm: str | None, photographs: Tensor
) -> StyleGenerator | JohnsonGenerator:
    """A generator to train: untrained by name (`create_style_generator`), or with the weights of a trained style.

    A trained style of `instance` norms is made one of `inner` norms when that is asked for, as they act on photographs
    (N, 3, H, W) in [0, 1]. Raises UsageError when it is of another architecture than the one asked for.
    """
    if start is None:
        return create_style_generator(name, width, norm)
    trained = load_style_generator(start)
    if trained.architecture != name or not isinstance(trained.network, StyleGenerator | JohnsonGenerator):
        raise UsageError(
            f"--start {start} is a generator of '{trained.architecture}', not '{name}'. Give --generator so."
        )
    network = trained.network
    if isinstance(network, StyleGenerator) and (network.arguments["norm"], norm) == ("instance", "inner"):
        network = fold_norms(network, photographs)
    wanted = {"width": width, "norm": norm}
    other = [key for key, value in wanted.items() if value is not None and value != network.arguments[key]]
    if other:
        raise UsageError(f"--start {start} was trained with {network.arguments}: leave --{other[0]} out.")
    return network.requires_grad_(True).train()


def start_translator(start: str | None, name: str, width: float | None, inputs: int) -> nn.Module:
    """A translator to train: untrained by name (`create_translator`), or with the weights of a trained one.

    Raises UsageError when it is of another architecture, width or number of inputs than the one asked for.
    """
    if start is None:
        return create_translator(name, width, inputs)
    trained = load_style_generator(start)
    network = trained.network
    if trained.architecture != name:
        raise UsageError(
            f"--start {start} is a generator of '{trained.architecture}', not '{name}'. Give --generator so."
        )
    known: dict[str, Any] = network.arguments  # type: ignore[assignment]
    if known.get("inputs", 3) != inputs:
        raise UsageError(
            f"--start {start} {'fills holes' if inputs == 3 else 'does not see a mask'}: begin from another, or from none."
        )
    if width is not None and width != known["width"]:
        raise UsageError(f"--start {start} was trained with a width of {known['width']}: leave --width out.")
    return network.requires_grad_(True).train()


def start_upscaler(
    start: str | None, name: str, scale: int, announce: Callable[[str], None] | None = None
) -> nn.Module:
    """An upscaler to train: untrained by name, or with the weights of a trained one, of another scale too.

    Of another scale only the layers whose weights have the same shape are taken over; `announce` is told which are not.
    Raises UsageError when the trained one is of another architecture.
    """
    if start is None:
        return create_upscaler(name, scale=scale)
    trained = load_upscaler(start)
    if not issubclass(UPSCALERS[name], type(trained.network)):  # `swift-even` begins from a `swift` too
        raise UsageError(f"--start {start} is an upscaler of '{trained.architecture}', not '{name}'. Give --preset so.")
    arguments: dict[str, Any] = trained.network.arguments | {"scale": scale}  # type: ignore[operator, assignment]
    created = create_upscaler(name, **arguments)
    own, known = created.state_dict(), trained.network.state_dict()
    taken = {key: known[key] for key in own if key in known and known[key].shape == own[key].shape}
    created.load_state_dict(own | taken)
    fresh = sorted({key.rpartition(".")[0] for key in own.keys() - taken.keys()})
    if fresh and announce:
        announce(f"{start} enlarges {trained.network.scale} times: {', '.join(fresh)} begin untrained")
    return created


def start_inverter(start: str | None, name: str, extractor: str, layer: str, **arguments: Any) -> Inverter:
    """An inverter to train: untrained by name with its arguments, or with the weights of one of the same layer.

    extractor, layer: by their full names. Raises UsageError when the trained one is of another layer or architecture.
    """
    if start is None:
        return create_inverter(name, **arguments)
    trained = load_inverter(start)
    network = trained.network
    assert isinstance(network, Inverter)
    known = trained.metadata["layer"], trained.metadata["extractor"], trained.architecture
    if known != (layer, extractor, name):
        raise UsageError(
            f"--start {start} is a '{known[2]}' of {known[0]} of {known[1]}, not a '{name}' of {layer} of {extractor}."
        )
    other = [key for key, value in arguments.items() if network.arguments[key] != value]
    if other:
        raise UsageError(
            f"--start {start} was trained with a {other[0]} of {network.arguments[other[0]]}, not {arguments[other[0]]}."
        )
    return network.requires_grad_(True).train()


def create_own_generator(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], source: str, wanted: str = "style"
) -> nn.Module:
    """The generator that a file of percept's own describes, with its weights in float32; wanted: the role it must have.

    Raises ModelError for another role, an unknown architecture, and weights that do not fit it.
    """
    role, architecture = metadata.get("role"), metadata.get("architecture", "")
    known = ARCHITECTURES_BY_ROLE[wanted]
    if role != wanted or architecture not in known:
        raise ModelError(
            f"{source} holds a model of role '{role}' and architecture '{architecture}'; a model of role '{wanted}' and "
            f"architecture {' or '.join(known)} is needed here."
        )
    try:
        network = known[architecture](**json.loads(metadata["arguments"]))
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (KeyError, TypeError, ValueError, RuntimeError, UsageError) as error:
        raise ModelError(f"{source} does not fit its architecture '{architecture}'; it is damaged.") from error
    return network
