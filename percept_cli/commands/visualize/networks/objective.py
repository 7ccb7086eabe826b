"""`percept visualize objective`: the image that maximizes a unit, a channel, a layer or a class."""

import re
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, SheetFile
from percept_cli.core.choices import PARAMETRIZATIONS
from percept_cli.parsing import choice_option

PANEL = "Optimization"


def objective(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="OBJECTIVE...",
            help='"relu4_3:12", a unit "relu4_3:12@9,4", a layer "relu4_3", a class "prob:281", channels "relu4_3:0-15", '
            'sums "0.2*relu3_1:5 + relu4_3:12".',
        ),
    ],
    output: SheetFile = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the image, pixels. Default: 160.")] = None,
    diversity: Annotated[
        int, typer.Option(min=1, max=16, help="Images of each objective, made different in their textures.")
    ] = 1,
    parametrization: Annotated[
        str,
        choice_option(
            "parametrization",
            PARAMETRIZATIONS,
            "What is optimized: frequencies or pixels.",
            rich_help_panel=PANEL,
        ),
    ] = "spectrum",
    steps: Annotated[int, typer.Option(min=1, help="Updates per image.", rich_help_panel=PANEL)] = 160,
    jitter: Annotated[
        float,
        typer.Option(min=0.0, help="Largest random shift in a step, pixels.", rich_help_panel=PANEL),
    ] = 8,
    scale: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, help="Largest random scaling in a step, a fraction.", rich_help_panel=PANEL),
    ] = 0.1,
    rotation: Annotated[
        float,
        typer.Option(min=0.0, max=180.0, help="Largest random rotation in a step, degrees.", rich_help_panel=PANEL),
    ] = 10.0,
    data: Numbers = None,
    quality: options.Quality = 95,
    *,
    source: options.ExtractorSource,
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.Compute,
    show: options.Show = False,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """The image that maximizes a unit, a channel, a layer, a class, or a weighted sum of these; several on a sheet.

    percept visualize objective relu4_3:12 -o objective.png

    percept visualize objective relu4_3:0-20 -o channels.png

    percept visualize objective relu2_2:5 relu3_1:5 relu4_3:5 -o by-depth.png

    percept visualize objective relu4_3:12 --diversity 4

    percept visualize objective "0.2*relu3_1:5 + relu4_3:12"
    """
    from percept_cli.commands.visualize.picture import follow, plan_picture
    from percept_cli.core.optimization.objectives import MOST, parse_objectives, resolve_layers, tapped_layers
    from percept_cli.errors import UsageError

    console = report.console()
    asked = [each for text in what for each in parse_objectives(text)]
    if len(asked) * diversity > MOST:
        raise UsageError(f"{len(asked) * diversity} images are more than the {MOST} of one sheet: ask for fewer.")
    # For the name of the file: letters, digits, `_` and `-`.
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", "_".join(what)).strip("-")[:80] or "image"
    named = chosen.describe("objective", "what")
    target = plan_picture(stem, named, output, data, existing, console, quality=quality, show=show)
    if target.is_done():
        return

    from percept_cli.core.drawing.canvas import format_number
    from percept_cli.core.extractors.geometry import choose_side
    from percept_cli.core.optimization.maximization import USUAL_SIDE, MaximizationOptions
    from percept_cli.core.runtime import BYTES_PER_PIXEL, size_advice
    from percept_cli.core.visualization.objective import maximize_all, objective_picture

    choice = source.choose()
    objectives = resolve_layers(asked, choice.architecture)
    layers = [layer for each in objectives for layer in each.layers]
    side = choose_side(choice.architecture, layers, size, USUAL_SIDE, console.say)
    settings = MaximizationOptions(steps, parametrization, jitter, scale, rotation, diversity, seed)
    runtime = compute.runtime(console.say)
    taps = [tap for each in objectives for tap in tapped_layers(each, choice.architecture).values()]
    extractor = choice.create(taps, seed, console.say)
    found, records = follow(
        maximize_all(objectives, side, extractor, runtime, settings), console, "step",
        f"{diversity} images of {side}x{side} pixels",
        size_advice(side, side, diversity * BYTES_PER_PIXEL, runtime.device, extractor.smallest_side),
    )  # fmt: skip
    results = [{"objective": each.objective, "image": each.number, "value": round(each.value, 4)} for each in found]
    if len(found) == 1:
        console.say(f"{found[0].objective} of {choice.name}: {format_number(round(found[0].value, 4))}")
    picture = objective_picture(found, f"What excites {choice.name}: {', '.join(what)}", side, settings)
    target.write(picture, records, extractor=choice.name, seed=seed, objectives=results)
