"""Images that maximize objectives of a network: one or several for each, on a sheet."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.core.drawing import canvas
from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.optimization.maximization import MaximizationOptions, maximize, measure, seen_side
from percept_cli.core.optimization.objectives import Objective, check_ranges
from percept_cli.core.runtime import Runtime
from percept_cli.core.visualization.steps import Step

COLUMNS = 7


@dataclass(frozen=True)
class Excited:
    """An image (1, 3, side, side) in [0, 1] that maximizes an objective, its number from 0, and the objective's value."""

    objective: str
    number: int
    image: Tensor
    value: float


Found = tuple[list[Excited], list[dict[str, object]]]


def maximize_all(
    objectives: Sequence[Objective],
    side: int,
    extractor: FeatureExtractor,
    runtime: Runtime,
    options: MaximizationOptions,
) -> Iterator[Step[Found]]:
    """Find `options.count` images of `side` pixels a side for each objective; a step is an update of the images of one.

    objectives: of `resolve_layers`. extractor: not frozen yet, with the taps of `tapped_layers` of all objectives. The
    result is the images, rounded to 8 bits, and a record of every image and update. Raises UsageError as `maximize` does,
    and before any work for a channel or a unit that does not exist.
    """
    check_ranges(objectives, extractor, seen_side(extractor, side))
    # Values are measured in float32, whatever the precision of the search.
    single = Runtime(runtime.device, torch.float32, "")
    exact = single.freeze(copy.deepcopy(extractor))
    frozen = runtime.freeze(extractor)
    total = len(objectives) * options.steps
    yield Step(total)
    found: list[Excited] = []
    records: list[dict[str, object]] = []
    for each in objectives:
        for step in maximize(each, side, frozen, runtime, options):
            for number, value in enumerate(step.values):
                parts = {name: part[number] for name, part in step.parts.items()} if len(step.parts) > 1 else {}
                record = {"objective": each.text, "image": number, "step": step.index, "value": value, **parts}
                records.append(record if step.similarity is None else {**record, "similarity": step.similarity})
            yield Step(total, {each.text: sum(step.values) / options.count})
        images = (step.images.cpu() * 255).round() / 255
        values = measure(each, images, exact, single)
        found += [Excited(each.text, number, images[number : number + 1], value) for number, value in enumerate(values)]
    yield Step(total, result=(found, records))


def objective_picture(found: Sequence[Excited], title: str, side: int, options: MaximizationOptions) -> Tensor:
    """A single image as it is, or a sheet (1, 3, H, W) of several, each with its objective and its value below it."""
    if len(found) == 1:
        return found[0].image
    note = (
        f"{side}x{side} pixels, {options.steps} steps on the {options.parametrization}, seed {options.seed}; below each what "
        "it is worth there: a channel's mean, a unit's activation, a layer's root mean square or a class's log-odds"
    )
    # The images of one objective share a row where they fit.
    columns = max(1, COLUMNS // options.count) * options.count
    panels = [Panel(each.image, (each.objective, f"= {canvas.format_number(each.value)}")) for each in found]
    heading = canvas.heading(title, [note])
    return canvas.frame(canvas.column([heading, contact_sheet(wrap(panels, columns))]))
