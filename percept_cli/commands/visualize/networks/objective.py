"""`percept visualize objective`: the image that excites a unit, a channel, a layer or a class."""

from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, Picture

COLUMNS = 7
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
    output: Picture = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the image, pixels. Default: 160.")] = None,
    diversity: Annotated[
        int, typer.Option(min=1, max=16, help="So many images of each, kept from being alike in their textures.")
    ] = 1,
    parametrization: Annotated[
        str,
        typer.Option(metavar="spectrum|pixels", help="What is moved: frequencies or pixels.", rich_help_panel=PANEL),
    ] = "spectrum",
    steps: Annotated[int, typer.Option(min=1, help="Updates an image.", rich_help_panel=PANEL)] = 160,
    jitter: Annotated[
        float, typer.Option(min=0.0, help="Each step sees it moved by up to so many pixels,", rich_help_panel=PANEL)
    ] = 8,
    scale: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="scaled by up to this share,", rich_help_panel=PANEL)
    ] = 0.1,
    rotation: Annotated[
        float, typer.Option(min=0.0, max=180.0, help="and turned by up to so many degrees.", rich_help_panel=PANEL)
    ] = 10.0,
    data: Numbers = None,
    quality: options.Quality = 95,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    show: options.Show = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """The image that excites a unit, a channel, a layer or a class most, or a weighted sum of them; several on a sheet.

    percept visualize objective relu4_3:12 -o objective.png

    percept visualize objective relu4_3:0-20 -o channels.png

    percept visualize objective relu2_2:5 relu3_1:5 relu4_3:5 -o by-depth.png

    percept visualize objective relu4_3:12 --diversity 4

    percept visualize objective "0.2*relu3_1:5 + relu4_3:12"
    """
    from percept_cli.commands.visualize.picture import (
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_picture,
    )
    from percept_cli.console import Console
    from percept_cli.errors import UsageError

    console = Console(quiet, json)

    from percept_cli.core.optimization.objectives import (
        MOST,
        check_ranges,
        parse_objectives,
        resolve_layers,
        tapped_layers,
    )

    asked = [objective for text in what for objective in parse_objectives(text)]
    if len(asked) * diversity > MOST:
        raise UsageError(f"{len(asked) * diversity} images are more than the {MOST} of one sheet: ask for fewer.")
    job = plan_picture(
        _file_stem("_".join(what)), "objective", output, overwrite=overwrite, skip_existing=skip_existing
    )
    numbers = plan_numbers(data, overwrite=overwrite, skip_existing=skip_existing)
    if report_skipped(job, console):
        return

    import copy

    import torch

    from percept_cli.core.drawing import canvas
    from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.extractors.geometry import choose_side
    from percept_cli.core.optimization.maximization import USUAL_SIDE, MaximizationOptions, maximize, measure, seen_side
    from percept_cli.core.pretrained.extractors import create_extractor, named_extractor
    from percept_cli.core.runtime import Runtime, choose_runtime, memory_errors

    extractor, extractor_weights = named_extractor(extractor, extractor_weights)
    architecture = create_architecture(extractor)
    objectives = resolve_layers(asked, architecture)
    layers = [layer for each in objectives for layer in each.layers]
    side = choose_side(architecture, layers, size, USUAL_SIDE, console.say)
    settings = MaximizationOptions(steps, parametrization, jitter, scale, rotation, diversity, seed)
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    taps = [tap for each in objectives for tap in tapped_layers(each, architecture).values()]
    created = create_extractor(extractor, taps, extractor_weights, seed, console.say)
    check_ranges(objectives, created, seen_side(created, side))
    # What is reported is measured in float32, whatever the search ran in.
    single = Runtime(runtime.device, torch.float32, "")
    exact = single.freeze(copy.deepcopy(created))
    frozen = runtime.freeze(created)

    rows: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    tiles: list[Panel] = []
    total = len(objectives) * steps
    with console.progress(total, "step") as progress, memory_errors(f"{diversity} images of {side}x{side} pixels"):
        for each in objectives:
            for step in maximize(each, side, frozen, runtime, settings):
                progress.advance(1, {each.text: sum(step.values) / diversity})
                rows += [
                    {"objective": each.text, "image": number, "step": step.index, "value": value,
                     **{name: part[number] for name, part in step.parts.items() if len(step.parts) > 1},
                     **({} if step.similarity is None else {"similarity": step.similarity})}
                    for number, value in enumerate(step.values)
                ]  # fmt: skip
            # As an 8-bit file holds them.
            found = (step.images.cpu() * 255).round() / 255
            for number, value in enumerate(measure(each, found, exact, single)):
                tiles.append(Panel(found[number : number + 1], (each.text, f"= {canvas.format_number(value)}")))
                results.append({"objective": each.text, "image": number, "value": round(value, 4)})
    if len(tiles) == 1:
        console.say(f"{objectives[0].text} of {extractor}: {canvas.format_number(float(str(results[0]['value'])))}")
        picture = tiles[0].image
        assert picture is not None
    else:
        notes = [
            f"{side}x{side} pixels, {steps} steps on the {parametrization}, seed {seed}; below each what it is worth there: a "
            "channel's mean, a unit's activation, a layer's root mean square or a class's log-odds"
        ]
        width = max(1, COLUMNS // diversity) * diversity if diversity > 1 else COLUMNS
        sheet = contact_sheet(wrap(tiles, width))
        picture = canvas.frame(
            canvas.column([canvas.heading(f"What excites {extractor}: {', '.join(what)}", notes), sheet])
        )
    write_picture(picture, job, console, quality=quality, show=show, extractor=extractor, seed=seed, objectives=results)
    write_numbers(rows, numbers)


def _file_stem(what: str) -> str:
    """The objective as a part of a file's name: letters, digits and `_`, `-`."""
    import re

    return re.sub(r"[^A-Za-z0-9_]+", "-", what).strip("-")[:80] or "image"
