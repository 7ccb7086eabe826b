"""One photograph restyled in a grid over two options: the axes parsed from text, the pictures, and their sheet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.images.photo import fit_short_side, resize_image
from percept_cli.core.inference.restyle import finish
from percept_cli.core.inference.stroke import restyle_at_stroke
from percept_cli.core.losses.style import load_styles, style_taps
from percept_cli.core.losses.style_losses import parse_scales
from percept_cli.core.measures.pixels import image_error
from percept_cli.core.optimization.style_transfer import StyleOptions, optimize_style
from percept_cli.core.pretrained.extractors import ExtractorChoice
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime
from percept_cli.core.strokes import painting_side
from percept_cli.core.visualization.axes import Axis, Setting, Value
from percept_cli.core.visualization.steps import Step
from percept_cli.errors import UsageError

# A preview of a training varies its style weight and style size by these factors.
WEIGHTS, SIZES = (0.3, 1.0, 3.0), (0.5, 1.0, 1.5)
LABEL = 118  # pixels, the width of the column of labels
GIVEN = 96  # pixels, the short side of the photograph and the styles on the sheet
NARROWEST = 90  # pixels, the least width of a column


def label(name: str, value: Value) -> str:
    """The text for a value of an axis on the sheet; for a file its name without folders."""
    if name in ("style", "model"):
        return str(value).replace("\\", "/").rsplit("/", 1)[-1]
    if name == "style-size":
        return f"{value} pixels"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("+", " + ")


@dataclass(frozen=True)
class Swept:
    """One picture (1, 3, H, W) in [0, 1] of a sweep, and its final weighted parts of the loss by name."""

    image: Tensor
    parts: Mapping[str, float]


SweptRows = list[list[Swept]]
# Axes that are fields of StyleOptions as they are.
FIELDS = ("style-weight", "content-weight", "tv-weight", "style-size", "loss", "init", "steps")


def sweep_optimized(
    pixels: Tensor,
    settings: Sequence[Sequence[Setting]],
    styles: Sequence[Path],
    base: StyleOptions,
    extractor: ExtractorChoice,
    runtime: Runtime,
    announce: Callable[[str], None] | None = None,
) -> Iterator[Step[SweptRows]]:
    """Restyle a photograph (1, 3, H, W) in [0, 1] by optimization with every setting; other options are those of `base`.

    Settings that differ only in `strength` are optimized once. A step is an update of one picture. Raises UsageError for an
    unknown layer, an unreadable style, or one that a stroke makes too small, before any work.
    """
    different = {_without_strength(setting): setting for row in settings for setting in row}
    options = {key: _style_options(setting, base, extractor) for key, setting in different.items()}
    pictures = {
        key: load_styles([Path(str(setting["style"]))] if "style" in setting else styles, options[key].style_size)
        for key, setting in different.items()
    }
    taps = [layer for each in options.values() for layer in (*each.content_layers, *each.style_layers)]
    frozen = runtime.freeze(extractor.create(taps, base.seed, announce))
    total = sum(each.steps for each in options.values())
    yield Step(total)
    found: dict[tuple[tuple[str, Value], ...], Swept] = {}
    for key in different:
        for step in optimize_style(pixels, pictures[key], frozen, runtime, options[key]):
            yield Step(total, {"loss": step.total})
        found[key] = Swept(step.image.cpu(), step.parts)
    grid = [[_with_strength(found[_without_strength(setting)], pixels, setting) for setting in row] for row in settings]
    yield Step(total, result=grid)


@torch.inference_mode()
def sweep_models(
    pixels: Tensor, settings: Sequence[Sequence[Setting]], model: str | None, runtime: Runtime
) -> Iterator[Step[SweptRows]]:
    """Restyle a photograph (1, 3, H, W) in [0, 1] by every model once at each stroke.

    model: that of settings that name none. A step is a picture. Raises as `load_generator` does, and UsageError for strokes
    of a model that repairs pictures, before any work.
    """

    def key(setting: Setting) -> tuple[str, float]:
        return str(setting.get("model", model)), float(setting.get("stroke", 1))

    different = dict.fromkeys(key(setting) for row in settings for setting in row)
    loaded = {name: load_generator(name, "style") for name in dict.fromkeys(name for name, _ in different)}
    for name, stroke in different:
        if stroke != 1 and loaded[name].recipe.get("degrade"):
            raise UsageError(f"{name} repairs pictures and paints no strokes: leave the axis stroke out.")
    generators = {name: runtime.place_network(each.network) for name, each in loaded.items()}
    total = len(different)
    yield Step(total)
    found = {}
    for name, stroke in different:
        found[name, stroke] = Swept(restyle_at_stroke(generators[name], pixels, runtime, stroke), {})
        yield Step(total)
    grid = [[_with_strength(found[key(setting)], pixels, setting) for setting in row] for row in settings]
    yield Step(total, result=grid)


def preview_axes(base: StyleOptions) -> tuple[Axis, Axis]:
    """Style weights (rows) and style sizes (columns) around those of `base`, for a preview of a training."""
    weights = dict.fromkeys(float(f"{base.style_weight * factor:.3g}") for factor in WEIGHTS)
    sizes = dict.fromkeys(max(32, round(base.style_size * factor)) for factor in SIZES)
    return Axis("style-weight", tuple(weights)), Axis("style-size", tuple(sizes))


def _without_strength(setting: Setting) -> tuple[tuple[str, Value], ...]:
    return tuple((name, value) for name, value in setting.items() if name != "strength")


def _with_strength(swept: Swept, pixels: Tensor, setting: Setting) -> Swept:
    strength = float(setting.get("strength", 1))
    return replace(swept, image=finish(swept.image, pixels, strength=strength, keep_colors=False))


def _style_options(setting: Setting, base: StyleOptions, extractor: ExtractorChoice) -> StyleOptions:
    values = {name.replace("-", "_"): value for name, value in setting.items() if name in FIELDS}
    options = replace(base, **values)  # type: ignore[arg-type]
    if "style-scales" in setting:
        options = replace(options, style_scales=parse_scales(str(setting["style-scales"]).replace("+", ",")))
    if "stroke" in setting:
        options = replace(options, style_size=painting_side(options.style_size, float(setting["stroke"])))
    content, style = (
        [layer for layer in str(setting.get(name, "")).split("+") if layer]
        for name in ("content-layers", "style-layers")
    )
    content_layers, style_layers = style_taps(
        extractor.architecture, content or base.content_layers, style or base.style_layers, options.loss
    )
    return replace(options, content_layers=content_layers, style_layers=style_layers)


def sweep_records(settings: Sequence[Sequence[Setting]], swept: SweptRows, pixels: Tensor) -> list[dict[str, object]]:
    """A row for every picture: its setting, its root mean squared difference to the photograph, the parts of its loss."""
    return [
        {**setting, "difference": image_error(each.image, pixels), **each.parts}
        for settings_row, row in zip(settings, swept, strict=True)
        for setting, each in zip(settings_row, row, strict=True)
    ]


def given_pictures(name: str, pixels: Tensor, styles: Sequence[Path]) -> list[tuple[str, Tensor]]:
    """The photograph and the styles of a sweep, each with its name, to be shown above the grid."""
    loaded = load_styles(styles, GIVEN)
    return [(name, pixels), *((path.name, style) for path, style in zip(styles, loaded, strict=True))]


def sweep_sheet(
    title: str,
    notes: Sequence[str],
    given: Sequence[tuple[str, Tensor]],
    rows: Axis,
    columns: Axis,
    pictures: Sequence[Sequence[Swept]],
) -> Tensor:
    """A sheet (1, 3, H, W) of pictures of one size, row by row, with the values of the axes at its edges.

    given: of `given_pictures`.
    """
    width, blank = max(NARROWEST, pictures[0][0].image.shape[-1]), torch.ones(1, 3, 1, LABEL)
    parts = [canvas.heading(title, notes)]
    if given:
        parts.append(canvas.row([_captioned(name, image) for name, image in given]))
    if columns.name:
        heads = [canvas.text([columns.name, label(columns.name, value)], width) for value in columns.values]
        parts.append(canvas.row([blank, *heads]))
    for value, row in zip(rows.values, pictures, strict=True):
        side = canvas.text([rows.name, label(rows.name, value)], LABEL) if rows.name else blank
        wide = [F.pad(each.image, (0, width - each.image.shape[-1]), value=1.0) for each in row]
        parts.append(canvas.row([side, *wide]))
    return canvas.frame(canvas.column(parts))


def _captioned(name: str, image: Tensor) -> Tensor:
    small = resize_image(image, *fit_short_side(image.shape[-2], image.shape[-1], GIVEN))
    return canvas.column([small, canvas.text([name], max(NARROWEST, small.shape[-1]), size=canvas.SMALL)], gap=2)
