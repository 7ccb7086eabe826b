"""The shipped models, and the folders of models and downloads; imports no torch, for quick listings and completion."""

import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

import percept_cli
from percept_cli.core.files.inputs import refuse_address
from percept_cli.errors import ModelError, unknown_name

_REALESRGAN = "https://github.com/xinntao/Real-ESRGAN/releases/download"
_EXAMPLES = (
    "curl -L -o saved_models.zip 'https://www.dropbox.com/s/lrvwfehqdcxoza8/saved_models.zip?dl=1', which holds the styles of "
    "pytorch/examples"
)
PUBLISHED = {
    "RealESRGAN_x4plus.pth": f"curl -O -L {_REALESRGAN}/v0.1.0/RealESRGAN_x4plus.pth",
    "RealESRGAN_x2plus.pth": f"curl -O -L {_REALESRGAN}/v0.2.1/RealESRGAN_x2plus.pth",
    "RealESRGAN_x4plus_anime_6B.pth": f"curl -O -L {_REALESRGAN}/v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth",
    "realesr-general-x4v3.pth": f"curl -O -L {_REALESRGAN}/v0.2.5.0/realesr-general-x4v3.pth",
    **{f"{name}.pth": _EXAMPLES for name in ("candy", "mosaic", "rain_princess", "udnie")},
}
"""Weights by others that guides name, and how to fetch them."""

LOOKS = ("faithful", "natural")
"""What upscalers are trained for: the smallest error, or the appearance of photographs."""

INPUTS = ("clean", "photo")
"""What upscalers are trained on: pictures that lost nothing, or compressed and noisy ones."""


@dataclass(frozen=True)
class Model:
    """One entry of `models/manifest.toml`."""

    name: str
    file: str
    role: str  # extractor, style, any-style, upscaler, inverter
    architecture: str
    sha256: str
    licence: str
    trained_on: str
    command: str
    description: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    # Of an upscaler: its factor, one of LOOKS and one of INPUTS
    scale: int = 0
    look: str = ""
    input: str = "clean"
    # Of an inverter: the extractor, and the full name of the layer, of the features that it inverts
    extractor: str = ""
    layer: str = ""

    @property
    def path(self) -> Path:
        """The file of its weights."""
        return models_folder() / self.file


def models_folder() -> Path:
    """The folder of the shipped models, inside an installed package or beside it in a checkout."""
    package = Path(percept_cli.__file__).resolve().parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


@lru_cache
def shipped_models() -> dict[str, Model]:
    """The shipped models by name. Raises ModelError for a manifest that cannot be read."""
    path = models_folder() / "manifest.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Model(name=name, **entry) for name, entry in entries.items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Install percept again.") from error


def find_model(name: str, *roles: str) -> Model:
    """A shipped model by name, of one of the roles. Raises ModelError, with a suggestion, for an unknown one."""
    models = {known: model for known, model in shipped_models().items() if model.role in roles}
    if name not in models:
        raise ModelError(unknown_name(f"{roles[0]} model", name, models, hint="A file is given by its path."))
    return models[name]


def check_model(given: str, *roles: str) -> None:
    """Raises ModelError, without reading the weights, for a name that is not known and for a file that is not there.

    roles: that the model may have; none for any. UsageError for an address on the web.
    """
    refuse_address(given)
    path = Path(given)
    if not path.suffix and not path.is_file():
        if roles:
            find_model(given, *roles)
        elif given not in shipped_models():
            raise ModelError(unknown_name("model", given, shipped_models(), hint="A file is given by its path."))
    else:
        check_weights(path)


def check_weights(path: Path) -> None:
    """Raises ModelError for a weights file that does not exist, UsageError for an address on the web."""
    refuse_address(str(path))
    if not path.is_file():
        raise no_such_weights(path)


def no_such_weights(path: Path) -> ModelError:
    """The error for a weights file that does not exist; of a well-known one it says where it comes from."""
    known = PUBLISHED.get(path.name)
    hint = f" It is published by others; fetch it first: {known}." if known else ""
    return ModelError(f"{path}: there is no such weights file.{hint}")


def role_of(given: str) -> str:
    """The role of a shipped model or of a file written by percept; empty for any other name or file.

    Raises ModelError for the path of a file that does not exist.
    """
    return _entry_of(given, "role")


def layer_of(given: str) -> str:
    """The full name of the layer that an inverter, shipped or in a file, inverts; empty for anything else.

    Raises ModelError for the path of a file that does not exist.
    """
    return _entry_of(given, "layer")


def architecture_of(given: str) -> str:
    """The architecture of a shipped model or of a file written by percept; empty for any other name or file.

    Raises ModelError for the path of a file that does not exist.
    """
    return _entry_of(given, "architecture")


def _entry_of(given: str, key: str) -> str:
    path = Path(given)
    if not path.suffix and not path.is_file():
        return str(getattr(shipped_models().get(given), key, ""))
    return read_metadata(path).get(key, "")


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors; empty for another or a damaged file.

    Raises ModelError for a file that does not exist.
    """
    check_weights(path)
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def find_upscaler(scale: int, look: str | None = None, input: str = "clean") -> Model:
    """The first shipped upscaler of a scale, a look and an input; look: None for natural if there is one, else faithful.

    input: one of INPUTS; where there is none for `photo`, the one for clean pictures is taken. Raises ModelError, with a
    list of the shipped ones, if there is none.
    """
    upscalers = [model for model in shipped_models().values() if model.role == "upscaler"]
    known = {(model.scale, model.look, model.input): model for model in reversed(upscalers)}
    for wanted in [look] if look else reversed(LOOKS):
        # For clean pictures there is one of every look that is shipped.
        if clean := known.get((scale, wanted, "clean")):
            return known.get((scale, wanted, input), clean)
    there = ", ".join(model.name for model in upscalers) or "none"
    what = f"--x{scale} --look {look}" if look else f"--x{scale}"
    raise ModelError(f"No upscaler for {what} is shipped. Shipped: {there}. A file is given with -m FILE.")


def find_any_style() -> Model:
    """The first shipped model of any style. Raises ModelError if there is none."""
    for model in shipped_models().values():
        if model.role == "any-style":
            return model
    raise ModelError(
        "No model of any style is shipped. Train one with `percept train any-style` and give it with -m FILE, or optimize from "
        "the photograph: --init content."
    )


def find_inverter(extractor: str, layer: str) -> Model:
    """The first shipped inverter of a layer, by its full name (`conv5_2`), of an extractor.

    Raises ModelError, with a list of the shipped ones, if there is none.
    """
    inverters = [model for model in shipped_models().values() if model.role == "inverter"]
    for model in inverters:
        if (model.extractor, model.layer) == (extractor, layer):
            return model
    there = ", ".join(f"{model.layer} of {model.extractor}" for model in inverters) or "none"
    raise ModelError(
        f"No inverter of {layer} of {extractor} is shipped. Shipped: {there}. "
        f"Train one: percept train invert --layers {layer} --extractor {extractor}"
    )


def upscaler_scales(looks: Iterable[str] = ()) -> list[int]:
    """The factors for which upscalers of all the `looks` are shipped, in ascending order."""
    found: dict[int, set[str]] = {}
    for model in shipped_models().values():
        if (model.role, model.input) == ("upscaler", "clean"):
            found.setdefault(model.scale, set()).add(model.look)
    return sorted(scale for scale, known in found.items() if known >= set(looks))


def cache_folder() -> Path:
    """The folder of downloads: $PERCEPT_HOME, else $XDG_CACHE_HOME/percept, else ~/.cache/percept."""
    if home := os.environ.get("PERCEPT_HOME"):
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "percept"


def is_offline() -> bool:
    """Whether the user forbids downloads (PERCEPT_OFFLINE=1)."""
    return os.environ.get("PERCEPT_OFFLINE", "") not in ("", "0")
