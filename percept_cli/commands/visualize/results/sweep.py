"""`percept visualize sweep`: one photograph restyled in a grid over two options; also the preview of a style training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.photographs import Photograph
from percept_cli.commands.visualize.picture import Numbers, SheetFile
from percept_cli.conditions import Call, EffectIf
from percept_cli.console import Console
from percept_cli.core.pretrained.manifest import check_model
from percept_cli.parsing import check_layers
from percept_cli.precedence import OneOf

if TYPE_CHECKING:
    from percept_cli.core.optimization.style_transfer import StyleOptions
    from percept_cli.core.pretrained.extractors import ExtractorChoice
    from percept_cli.core.runtime import Runtime

SIDE = 192  # pixels, the short side of each picture
STEPS = 60


def _is_trained(call: Call) -> bool:
    """Whether the pictures are made by trained models, as far as the command line says so."""
    return call.model is not None or any(
        (axis or "").partition("=")[0].strip() == "model" for axis in (call.rows, call.columns)
    )


OPTIMIZES = EffectIf(lambda call: call.style or not _is_trained(call), "A trained model is not optimized")
NO_AXIS = EffectIf(
    lambda call: not any((axis or "").partition("=")[0].strip() == "steps" for axis in (call.rows, call.columns)),
    "steps is an axis already",
)
STYLE = OneOf("style")


def sweep(
    image: Photograph = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=A,B,...",
            help="With --style: style-weight, content-weight, tv-weight, style-size, style-scales, style-layers and "
            "content-layers (each joined by +), loss, init, steps, strength, stroke, style. Of trained ones: model, strength, "
            "stroke.",
        ),
    ] = None,
    columns: Annotated[str | None, typer.Option(metavar="NAME=A,B,...", help="Another of these.")] = None,
    style: Annotated[list[Path] | None, typer.Option("--style", help="The style; several are blended."), STYLE] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="A trained style instead."), STYLE] = None,
    output: SheetFile = None,
    size: Annotated[
        int, typer.Option(min=16, help="Short side of each picture, pixels. Smaller pictures have coarser strokes.")
    ] = SIDE,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help=f"With --style: updates per picture. Default: {STEPS}."),
        OPTIMIZES,
        NO_AXIS,
    ] = None,
    data: Numbers = None,
    quality: options.Quality = 95,
    *,
    source: Annotated[options.ExtractorSource, OPTIMIZES],
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.Compute,
    show: options.Show = False,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """One photograph restyled in a grid over two options of percept stylize, with the values along its edges.

    percept visualize sweep photo.jpg --style painting.jpg --rows style-weight=0.3,1,3 --columns style-size=128,256

    percept visualize sweep photo.jpg --rows model=wave,udnie --columns stroke=0.5,1,2

    percept visualize sweep photo.jpg --style painting.jpg --rows loss=gram,contextual --columns content-layers=relu2_2,relu3_3
    """
    from percept_cli.commands.planning import check_exists
    from percept_cli.commands.visualize.photographs import choose_photo, load_subject
    from percept_cli.commands.visualize.picture import follow, plan_picture
    from percept_cli.core.visualization import axes

    console = report.console()
    down, across = axes.parse_axis("--rows", rows), axes.parse_axis("--columns", columns)
    trained = axes.check_axes(down, across, style=bool(style), model=model is not None)
    choice = source.choose()
    for axis in (down, across):
        if axis.name in ("style-layers", "content-layers"):
            for value in axis.values:
                check_layers(choice.architecture, str(value).split("+"))
        for value in axis.values if axis.name == "model" else ():
            check_model(str(value), "style", "translation")
        for value in axis.values if axis.name == "style" else ():
            check_exists(Path(str(value)), "--style")
    if model is not None:
        check_model(model, "style", "translation")
    for picture in style or []:
        check_exists(picture, "--style")
    photo, styles = choose_photo(image, console), style or []
    named = chosen.describe("sweep")
    target = plan_picture(
        photo.stem, named, output, data, existing, console, sources=[photo, *styles], quality=quality, show=show
    )
    if target.is_done():
        return

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.core.optimization.style_transfer import StyleOptions
    from percept_cli.core.runtime import BYTES_PER_PIXEL, size_advice
    from percept_cli.core.visualization import sweep as core

    asked = axes.settings(down, across)
    subject = load_subject(photo, size, console)
    runtime = compute.runtime(console.say)
    height, width = subject.pixels.shape[-2:]
    advice = size_advice(height, width, BYTES_PER_PIXEL, runtime.device)
    if trained:
        swept = follow(core.sweep_models(subject.pixels, asked, model, runtime), console, "model", subject.size, advice)
        how = f"model {model}; " if model else ""
    else:
        base = StyleOptions(steps=steps or STEPS, seed=seed)
        optimized = core.sweep_optimized(subject.pixels, asked, styles, base, choice, runtime, console.say)
        swept = follow(optimized, console, "step", subject.size, advice)
        updates = "" if "steps" in (down.name, across.name) else f", {base.steps} steps"
        how = f"optimized on {choice.name}{updates}; "
    note = f"{how}{subject.note}; what is not on an axis is as percept stylize has it"
    given = core.given_pictures(photo.name, subject.pixels, styles)
    sheet = core.sweep_sheet(f"Sweep of {photo.name}", [note], given, down, across, swept)
    records = core.sweep_records(asked, swept, subject.pixels)
    target.write(sheet, records, rows=down.name, columns=across.name, pictures=len(records))


def preview_style(
    photo: Path,
    styles: Sequence[Path],
    output: Path,
    base: "StyleOptions",
    extractor: "ExtractorChoice",
    runtime: "Runtime",
    console: Console,
    *,
    overwrite: bool,
) -> None:
    """Write `OUTPUT.preview.png`: a photograph optimized with style weights and style sizes around those of `base`.

    Raises UsageError where the file exists, unless `overwrite`, and ImageError for an unreadable photograph.
    """
    from percept_cli.commands.visualize.photographs import load_subject
    from percept_cli.commands.visualize.picture import follow, plan_picture
    from percept_cli.core.visualization import sweep as core
    from percept_cli.core.visualization.axes import settings

    place = str(output.with_name(f"{output.stem}.preview.png"))
    existing = options.Existing(overwrite)
    target = plan_picture(photo.stem, "preview", place, None, existing, console, sources=[photo, *styles])
    rows, columns = core.preview_axes(base)
    subject = load_subject(photo, SIDE, console)
    asked = settings(rows, columns)
    optimized = core.sweep_optimized(subject.pixels, asked, styles, base, extractor, runtime, console.say)
    swept = follow(optimized, console, "step", subject.size, "Use a smaller --style-size")
    note = (
        f"optimized on {extractor.name}, {base.steps} steps; {subject.note}. A training lowers the same loss; "
        "strokes keep their size in pixels, so on larger photographs they look smaller."
    )
    title = f"Before training {output.name}: which style weight and size?"
    given = core.given_pictures(photo.name, subject.pixels, styles)
    target.write(core.sweep_sheet(title, [note], given, rows, columns, swept), (), preview=place)
    named = " ".join(f"--style {path}" for path in styles)
    console.say(
        f"nothing was trained; with what you choose: percept train style {named} --style-weight W --style-size N"
    )
