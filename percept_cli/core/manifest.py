"""The shipped models and where things lie: read without torch, so that listings and completion are quick."""

import os
import tomllib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from percept_cli.errors import ModelError, unknown_name


@dataclass(frozen=True)
class Model:
    """One entry of `models/manifest.toml`."""

    name: str
    file: str
    role: str  # extractor, style
    architecture: str
    sha256: str
    licence: str
    trained_on: str
    command: str
    description: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where its weights lie."""
        return models_folder() / self.file


def models_folder() -> Path:
    """The folder of the shipped models: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


@lru_cache
def shipped_models() -> dict[str, Model]:
    """The models that came with percept, by name. Raises ModelError for a manifest that cannot be read."""
    path = models_folder() / "manifest.toml"
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Model(name=name, **entry) for name, entry in entries.items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Install percept again.") from error


def find_model(name: str, role: str) -> Model:
    """A shipped model by name and role. Raises ModelError, with a suggestion, for one that is not there."""
    models = {known: model for known, model in shipped_models().items() if model.role == role}
    if name not in models:
        raise ModelError(unknown_name(f"{role} model", name, models, hint="A file is given by its path."))
    return models[name]


def cache_folder() -> Path:
    """Where downloads are kept: $PERCEPT_HOME, else $XDG_CACHE_HOME/percept, else ~/.cache/percept."""
    if home := os.environ.get("PERCEPT_HOME"):
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "percept"


def is_offline() -> bool:
    """Whether the user forbids downloads (PERCEPT_OFFLINE=1)."""
    return os.environ.get("PERCEPT_OFFLINE", "") not in ("", "0")
