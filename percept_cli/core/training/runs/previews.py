"""The preview strip of a training: results for one photograph, side by side, with the step of each."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor, nn

from percept_cli.core.files.atomic import atomic_path
from percept_cli.core.runtime import Runtime

# Pixels between the pictures of the strip, and the field of its file that holds their steps
GAP = 4
STEPS = "percept.steps"


@torch.no_grad()
def render_preview(network: nn.Module, given: Tensor | tuple[Any, ...], runtime: Runtime) -> Tensor:
    """The result (1, 3, H, W) of a generator in training, in evaluation mode; given: its input, or a tuple of all inputs."""
    arguments = given if isinstance(given, tuple) else (given,)
    network.eval()
    with runtime.autocast():
        result = network(*(runtime.place(value) if isinstance(value, Tensor) else value for value in arguments))
    network.train()
    image: Tensor = result[0] if isinstance(result, tuple) else result  # an autoencoder also returns its code
    return image.float().clamp(0, 1).cpu()


def place_preview(path: Path, picture: Tensor, position: int, step: int | None = None) -> None:
    """Puts a picture (1, 3, H, W) in [0, 1] at a position, from 0, of the strip at `path`, which grows as needed.

    step: of the training when it was made, 0 for the photograph; the file stores it (see `preview_steps`).
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
    fields = PngImagePlugin.PngInfo()
    if step is not None and len(steps) == position:
        fields.add_text(STEPS, json.dumps([*steps, step]))
    with atomic_path(path, overwrite=True) as temporary:
        strip.save(temporary, format="PNG", pnginfo=fields)


def preview_steps(path: Path) -> list[int]:
    """The step of every picture in a strip from left to right, 0 for the photograph; empty for a strip without steps."""
    try:
        with Image.open(path) as file:
            return [int(step) for step in json.loads(file.info.get(STEPS, "[]"))]
    except (OSError, ValueError, TypeError):
        return []
