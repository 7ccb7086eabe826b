"""Everything that continues a run, in one file."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor, nn

from percept_cli.core.files.atomic import atomic_path
from percept_cli.core.runtime import Runtime
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


GAP = 4
STEPS = "percept.steps"


@torch.no_grad()
def render_preview(network: nn.Module, given: Tensor | tuple[Any, ...], runtime: Runtime) -> Tensor:
    """What a generator in training makes of a photograph (1, 3, H, W), in evaluation mode for just that long.

    given: the photograph, or all that the network is called with.
    """
    arguments = given if isinstance(given, tuple) else (given,)
    network.eval()
    with runtime.autocast():
        result = network(*(runtime.place(value) if isinstance(value, Tensor) else value for value in arguments))
    network.train()
    if isinstance(result, tuple):  # an autoencoder's, whose image is the first
        result = result[0]
    return result.float().clamp(0, 1).cpu()


def place_preview(path: Path, picture: Tensor, position: int, step: int | None = None) -> None:
    """Puts a picture (1, 3, H, W) in [0, 1] at its place, from 0, in the strip at `path`, which grows as needed.

    step: that of the training at which it was made, 0 for the photograph; the strip keeps it (see `preview_steps`).
    """
    tile = Image.fromarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    left = position * (tile.width + GAP)
    strip = Image.new("RGB", (left + tile.width, tile.height), "white")
    steps: list[int] = []
    if path.exists():
        steps = preview_steps(path)[:position]
        with Image.open(path) as file:
            strip.paste(file.convert("RGB").crop((0, 0, min(file.width, left), file.height)), (0, 0))
    strip.paste(tile, (left, 0))
    notes = PngImagePlugin.PngInfo()
    if step is not None and len(steps) == position:
        notes.add_text(STEPS, json.dumps([*steps, step]))
    with atomic_path(path) as temporary:
        strip.save(temporary, format="PNG", pnginfo=notes)


def preview_steps(path: Path) -> list[int]:
    """The step of every picture in a strip from left to right, 0 being the photograph; empty where it does not say."""
    try:
        with Image.open(path) as file:
            return [int(step) for step in json.loads(file.info.get(STEPS, "[]"))]
    except (OSError, ValueError, TypeError):
        return []
