"""Reconstructions of an image from its content and its style at each layer of a network, on a sheet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.optimization.inversion import InversionOptions, feature_error, invert
from percept_cli.core.optimization.textures import gram_matrices, style_error, synthesize_texture
from percept_cli.core.runtime import Runtime
from percept_cli.core.visualization.steps import Step

COLUMNS = 6


@dataclass(frozen=True)
class Reconstruction:
    """A picture (1, 3, side, side) in [0, 1] of the content or the style of layers. row: which. error: relative, there."""

    row: str
    layers: tuple[str, ...]
    image: Tensor
    error: float


Found = tuple[list[Reconstruction], list[dict[str, object]]]


def reconstruct_layers(
    original: Tensor,
    content: Sequence[str],
    style: Sequence[str],
    extractor: FeatureExtractor,
    runtime: Runtime,
    steps: int,
    seed: int = 0,
) -> Iterator[Step[Found]]:
    """Reconstruct an image (1, 3, side, side) in [0, 1] from its features at each layer, and from its Gram matrices.

    content, style: layers from shallow to deep, all tapped by the extractor; a picture of the style is found from the Gram
    matrices of a layer and all before it (Gatys et al. 2016, Figure 1). A step is an update of one picture. The result is
    the pictures and a record of every update. Raises UsageError for a fully connected layer of the style.
    """
    total = (len(content) + len(style)) * steps
    yield Step(total)
    side = original.shape[-1]
    placed = runtime.place(original)
    found: list[Reconstruction] = []
    records: list[dict[str, object]] = []
    with torch.no_grad():
        grams = gram_matrices(placed, style, extractor)
    for layer in content:
        for step in invert(original, layer, extractor, runtime, InversionOptions(steps, seed=seed)):
            error = step.parts["feature"] ** 0.5
            records.append({"row": "content", "layers": layer, "step": step.index, "error": error})
            yield Step(total, {f"content {layer}": error})
        error = feature_error(step.image, placed, layer, extractor)
        found.append(Reconstruction("content", (layer,), step.image.cpu(), error))
    for count, layer in enumerate(style, start=1):
        target = {each: grams[each] for each in style[:count]}
        for step in synthesize_texture(target, side, extractor, runtime, steps, seed):
            error = (sum(step.parts[name] for name in target) / count) ** 0.5
            by_layer = {name: step.parts[name] ** 0.5 for name in target}
            records.append({"row": "style", "layers": " ".join(target), "step": step.index, "error": error, **by_layer})
            yield Step(total, {f"style to {layer}": error})
        error = style_error(step.image, target, extractor)
        found.append(Reconstruction("style", tuple(target), step.image.cpu(), error))
    yield Step(total, result=(found, records))


def reconstruction_sheet(original: Tensor, found: Sequence[Reconstruction], title: str, steps: int) -> Tensor:
    """A sheet (1, 3, H, W): the image and the pictures of its content, below them those of its style, with their errors."""
    side = original.shape[-1]
    above = [Panel(original, ("original", f"{side}x{side} pixels"))]
    below: list[Panel] = []
    for each in found:
        added = f"+ {each.layers[-1]}" if len(each.layers) > 1 else each.layers[-1]
        panel = Panel(each.image, (added, f"error {each.error:.3f}"))
        (above if each.row == "content" else below).append(panel)
    notes = [
        "Above, content: a picture with the same features at that layer; error: how far they are, as a share of their length.",
        "Below, style: a picture with the same Gram matrices at that layer and all before it; error: the same of these, "
        "root mean square over the layers.",
        f"Both from noise, {steps} steps each.",
    ]
    rows = wrap(above, COLUMNS)
    # The style of a layer is below its content where each fits in one row.
    gap = [Panel(None)] if len(rows) == 1 and len(below) < COLUMNS else []
    sheet = contact_sheet([*rows, *wrap([*gap, *below], COLUMNS)])
    return canvas.frame(canvas.column([canvas.heading(title, notes), sheet]))
