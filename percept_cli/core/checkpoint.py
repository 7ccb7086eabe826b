"""Everything that continues a run, in one file."""

import pickle
from pathlib import Path
from typing import Any

import torch

from percept_cli.core.files import atomic_path
from percept_cli.errors import ModelError, UsageError

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Writes the state of a run (`Training.state`) and the settings it must be resumed with, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "state": state, "settings": settings}, temporary)


def load_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The state of a run to resume. Raises ModelError for a damaged file, UsageError for a run with other settings."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state, saved = content["state"], content["settings"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not a checkpoint that can be read. Start again without --resume.") from error
    different = [name for name in settings if saved.get(name) != settings[name]]
    if different:
        changes = ", ".join(f"{name} was {saved.get(name)!r}, now {settings[name]!r}" for name in different)
        raise UsageError(
            f"{path} is of a run with other settings ({changes}). Give the same ones, or another --output."
        )
    return state
