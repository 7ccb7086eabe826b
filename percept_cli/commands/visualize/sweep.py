"""`percept visualize sweep`: one photograph restyled in a grid over two options, for choosing."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.sweeping import SIDE, STEPS
from percept_cli.commands.visualize.picture import Numbers, Picture


def sweep(
    image: Annotated[
        Path | None, typer.Argument(metavar="IMAGE", help="A photograph. Default: one of scikit-image's.")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=A,B,...",
            help="With --style: style-weight, content-weight, tv-weight, style-size, style-layers and content-layers (each "
            "joined by +), loss, init, steps, strength, style. Of trained ones: model, strength.",
        ),
    ] = None,
    columns: Annotated[str | None, typer.Option(metavar="NAME=A,B,...", help="Another of these.")] = None,
    style: Annotated[list[Path] | None, typer.Option("--style", help="The style; several are blended.")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="A trained style instead.")] = None,
    output: Picture = None,
    size: Annotated[
        int, typer.Option(min=16, help="Short side of each picture, pixels; strokes keep theirs, and so look larger.")
    ] = SIDE,
    steps: Annotated[
        int | None, typer.Option(min=1, help=f"With --style: updates a picture. Default: {STEPS}.")
    ] = None,
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
    """One photograph restyled in a grid over two options of percept stylize, with the values along its edges.

    percept visualize sweep photo.jpg --style painting.jpg --rows style-weight=0.3,1,3 --columns style-size=128,256

    percept visualize sweep photo.jpg --rows model=wave,udnie --columns strength=0.3,0.6,1

    percept visualize sweep photo.jpg --style painting.jpg --rows loss=gram,contextual --columns content-layers=relu2_2,relu3_3
    """
    from percept_cli.commands.visualize.picture import (
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_picture,
    )
    from percept_cli.commands.visualize.subjects import choose_photo, load_subject
    from percept_cli.console import Console
    from percept_cli.errors import refuse_options

    console = Console(quiet, json)

    from percept_cli.core.sweep import check_axes, parse_axis, settings

    down, across = parse_axis("--rows", rows), parse_axis("--columns", columns)
    trained = check_axes(down, across, style=bool(style), model=model is not None)
    if trained:
        refuse_options({"--steps": steps}, "A trained model is not optimised")
    if "steps" in (down.name, across.name):
        refuse_options({"--steps": steps}, "steps is an axis already")
    photo = choose_photo(image, console)
    sources = [photo, *(style or [])]
    existing = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_picture(photo.stem, "sweep", output, sources=sources, **existing)
    numbers = plan_numbers(data, sources, **existing)
    if report_skipped(job, console):
        return

    from percept_cli.commands.sweeping import sweep_models, sweep_optimised
    from percept_cli.core.extractors.loading import named_extractor
    from percept_cli.core.gatys import StyleOptions
    from percept_cli.core.inversion import image_error
    from percept_cli.core.runtime import choose_runtime
    from percept_cli.core.style import load_styles
    from percept_cli.core.sweep_sheet import GIVEN, sweep_sheet

    asked = settings(down, across)
    subject = load_subject(photo, size, console)
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    if trained:
        swept = sweep_models(subject.pixels, asked, model, runtime, console)
        how = f"model {model}; " if model else ""
    else:
        extractor, extractor_weights = named_extractor(extractor, extractor_weights)
        base = StyleOptions(steps=steps or STEPS, seed=seed)
        swept = sweep_optimised(
            subject.pixels, asked, style or [], base, runtime, console, extractor=extractor,
            extractor_weights=extractor_weights,
        )  # fmt: skip
        how = f"optimised on {extractor}" + (
            f", {base.steps} steps; " if "steps" not in (down.name, across.name) else "; "
        )
    given = [(photo.name, subject.pixels)]
    given += [(path.name, picture) for path, picture in zip(style or [], load_styles(style or [], GIVEN), strict=True)]
    notes = [f"{how}{'; '.join(subject.notes)}; what is not on an axis is as percept stylize has it"]
    picture = sweep_sheet(
        f"Sweep of {photo.name}", notes, given, down, across, [[each.image for each in row] for row in swept]
    )
    records = [
        {**setting, "difference": image_error(each.image, subject.pixels), **each.parts}
        for settings_row, row in zip(asked, swept, strict=True)
        for setting, each in zip(settings_row, row, strict=True)
    ]
    write_picture(
        picture, job, console, quality=quality, show=show, rows=down.name, columns=across.name, pictures=len(records)
    )
    write_numbers(records, numbers)
