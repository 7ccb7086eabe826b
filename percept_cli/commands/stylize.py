"""`percept stylize`: photographs in the style of a trained model, or of any picture."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from percept_cli import options, parsing
from percept_cli.commands.batch_options import Batch, Telling
from percept_cli.conditions import EffectIf, is_given
from percept_cli.core import choices
from percept_cli.core.losses.style_losses import STYLE_LOSSES
from percept_cli.core.pretrained.manifest import role_of
from percept_cli.core.strokes import AUTO, SMALLEST_PAINTING, painting_side, parse_stroke_or_auto
from percept_cli.errors import UsageError
from percept_cli.precedence import OneOf

PREVIEW_EVERY = 10
SMALLEST_SIZE = 16  # pixels
USUAL_STEPS = 300
optimization = partial(typer.Option, rich_help_panel="Optimization")
optimization_choice = partial(parsing.choice_option, rich_help_panel="Optimization")

STYLES = EffectIf(lambda call: call.style or call.model is None, "A trained model is not optimized")
# An option of the optimization alone: where one is given, that is what is done (see `choose_steps`).
OPTIMIZES = EffectIf(
    lambda call: call.steps != 0, "--steps 0 is one pass, and optimizes nothing", asked=lambda call: call.steps
)
BLENDS = EffectIf(lambda call: len(call.style or ()) > 1, "One style is blended with nothing")
SHOWS = EffectIf(
    lambda call: call.steps is None or call.steps >= PREVIEW_EVERY,
    lambda call: f"{call.steps} steps end before the first preview, which comes after {PREVIEW_EVERY}",
)
PASSES = EffectIf(
    lambda call: not call.style or choose_init(call.init, call.loss) == choices.ONE_PASS,
    lambda call: f"An optimization from --init {choose_init(call.init, call.loss)} begins without a network",
)
SAMPLES = EffectIf(lambda call: STYLE_LOSSES[call.loss].sampled, lambda call: f"--loss {call.loss} compares no points")
STYLE = OneOf("style", when=lambda call: call.model is not None and role_of(call.model) != "any-style")
PIXELS = OneOf("mask or size")
PASS = OneOf("one pass", when=lambda call: call.stroke == AUTO and call.steps)


def choose_init(init: str | None, loss: str) -> str:
    """What an optimization begins with: as given, or what is best for the loss."""
    return init or (choices.ONE_PASS if loss == "gram" else "content")


def stylize(
    photos: options.Inputs = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            help="A shipped style or a file; see `percept models list`. With --style: one of any style.",
            autocompletion=parsing.complete_models("style", "any-style"),
        ),
        PASSES,
        STYLE,
    ] = None,
    style: Annotated[
        list[Path] | None,
        typer.Option("--style", help="A picture whose style is taken, in one pass; several are blended."),
        STYLE,
    ] = None,
    output: options.Output = None,
    name: options.Name = "{stem}_{op}{ext}",
    strength: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 is the photograph, 1 the style.")] = 1.0,
    keep_colors: Annotated[bool, typer.Option("--keep-colors", help="Keep the photograph's colors.")] = False,
    stroke: Annotated[
        Any,
        typer.Option(
            parser=parse_stroke_or_auto,
            metavar="FACTOR|auto",
            help="How large strokes are: 2 is twice as large as in training, or as the painting's at --style-size; "
            "auto, for one pass: as in a picture of 512 pixels.",
        ),
        PASS,
    ] = 1.0,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="A picture: only where it is white the photograph changes. Or a folder of one for each photograph."
        ),
        PIXELS,
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=SMALLEST_SIZE, help="Short side of the result, pixels. Default: the photograph's."),
        PIXELS,
    ] = None,
    steps: Annotated[
        int | None,
        optimization(
            min=0,
            help="With --style: updates that go on from one pass. Default: 0, or 300 with any other option of the "
            "optimization.",
        ),
        STYLES,
        PASS,
    ] = None,
    optimizer: Annotated[
        str, optimization_choice("optimizer", choices.STYLE_OPTIMIZERS, "With --style."), STYLES, OPTIMIZES
    ] = "adam",
    init: Annotated[
        str | None,
        optimization_choice(
            "init",
            (choices.ONE_PASS, *choices.INITS),
            "With --style: what it starts from. Default: one-pass; content for --loss contextual.",
        ),
        STYLES,
        OPTIMIZES,
    ] = None,
    style_size: Annotated[
        int,
        optimization(
            min=SMALLEST_PAINTING, help="With --style: its short side in pixels; larger gives larger strokes."
        ),
        STYLES,
    ] = 256,
    blend: Annotated[
        str | None, optimization(metavar="W1,W2,...", help="With --style: weights of several."), STYLES, BLENDS
    ] = None,
    preview: Annotated[
        Path | None, optimization(help="With --style: a PNG that shows each tenth step."), STYLES, OPTIMIZES, SHOWS
    ] = None,
    loss: Annotated[
        str,
        options.loss_choice(
            "loss",
            tuple(STYLE_LOSSES),
            "With --style: gram takes its texture everywhere, contextual from similar parts of it.",
        ),
        STYLES,
        OPTIMIZES,
    ] = "gram",
    bandwidth: Annotated[
        float,
        options.loss_option(help="Of --loss contextual: smaller counts only the most similar features."),
        STYLES,
        OPTIMIZES,
        SAMPLES,
    ] = 0.1,
    points: Annotated[
        int,
        options.loss_option(
            min=0, help="Of --loss contextual: how many places of a larger layer each step compares; 0: all."
        ),
        STYLES,
        OPTIMIZES,
        SAMPLES,
        EffectIf(lambda call: call.optimizer != "lbfgs", "--optimizer lbfgs compares all points"),
    ] = 4225,
    *,
    losses: Annotated[options.StyleLosses, STYLES, OPTIMIZES],
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            help="Work in tiles of N pixels to save memory; auto: only large photographs. Networks with instance norms, such as "
            "those of --generator johnson, see the whole.",
        ),
    ] = "auto",
    extractor_source: Annotated[options.ExtractorSource, STYLES, OPTIMIZES],
    listing: options.Listing,
    frames: options.Frames = None,
    batch: Batch,
    show: options.Show = False,
    existing: options.Existing,
    telling: Telling,
    quality: options.Quality = 95,
    seed: options.Seed = 0,
    compute: options.Compute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Restyle photographs in one pass: with a model of one style, or after any picture, which --steps improves.

    percept stylize photo.jpg -m starry-night

    percept stylize photo.jpg --style painting.jpg -o restyled.jpg

    percept stylize photo.jpg --style painting.jpg --steps 60

    percept stylize portrait.jpg --style other-portrait.jpg --loss contextual

    percept stylize holiday/ -r -m wave -o restyled/

    percept stylize photo.png -m wave --mask sky.png
    """
    from percept_cli.commands.batch_plan import find_items, plan_batch
    from percept_cli.commands.planning import check_exists, check_style_model
    from percept_cli.core.files.outputs import check_picture_output
    from percept_cli.core.images.tiles import parse_tile
    from percept_cli.core.losses.style_losses import parse_blend
    from percept_cli.core.pretrained.manifest import find_any_style, shipped_models

    console = report.console()
    if model is None and not style:
        shipped = ", ".join(known.name for known in shipped_models().values() if known.role == "style")
        raise UsageError(f"Give -m MODEL or --style PICTURE. Shipped models: {shipped}.")
    steps = USUAL_STEPS if steps is None and is_given(OPTIMIZES) else steps or 0
    init = choose_init(init, loss)
    if mask is not None and size is not None:
        raise UsageError("--mask leaves pixels as they are and --size resizes them all: give one of them.")
    if mask is not None and not os.path.exists(mask):
        raise UsageError(f"--mask {mask}: there is no such file or folder.")
    if steps and stroke == AUTO:
        raise UsageError("--stroke auto is for one pass: with --steps give a number, such as 2.")
    parsed_tile = parse_tile(tile)
    painted_size = painting_side(style_size, 1.0 if stroke == AUTO else stroke) if style else 0
    for picture in style or []:
        check_exists(picture, "--style")
    weights, extractor = parse_blend(blend, len(style or [])), extractor_source.choose()
    parsing.check_layers(extractor.architecture, losses.content_layers, losses.style_layers)
    items = find_items(photos, listing, batch)
    label = "_".join(filter(None, ("+".join(picture.stem for picture in style or []), model and Path(model).stem)))
    network = model
    if network is None and init == choices.ONE_PASS:
        network = find_any_style().name
    if model is not None:
        check_style_model(model, bool(style))
    plan = plan_batch(
        items, output, name=name, op=chosen.describe(label, "model", "style"), model=label,
        networks=[*filter(None, [network]), *([extractor.name] if steps and extractor.name in shipped_models() else [])],
        existing=existing, batch=batch, console=console, frames=frames,
    )  # fmt: skip
    if preview is not None:
        check_picture_output("--preview", preview)

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.batch import run_batch
    from percept_cli.commands.stylize_work import Restyling

    optimized = None
    if steps:
        from percept_cli.core.losses.style import style_taps
        from percept_cli.core.optimization.style_transfer import StyleOptions

        content, styling = style_taps(extractor.architecture, losses.content_layers, losses.style_layers, loss)
        if losses.content_layers or losses.style_layers or loss != "gram":
            console.say(f"content at {', '.join(content)}; style at {', '.join(styling)} of {extractor.name}")
        optimized = StyleOptions(
            steps, optimizer, init, painted_size, seed, blend=weights, loss=loss,
            bandwidth=bandwidth, points=points or None, content_weight=losses.content_weight, content_layers=content,
            style_weight=losses.style_weight, style_layers=styling, tv_weight=losses.tv_weight, scaling=losses.scaling,
            style_scales=losses.style_scales,
        )  # fmt: skip
        if optimizer == "lbfgs" and compute.precision == "auto":
            # The differences of losses that its line search compares are smaller than the precision of bf16.
            compute = replace(compute, precision="fp32")
    work = Restyling(
        network, tuple(style or ()), style_size, weights, size, strength, keep_colors, stroke, mask, parsed_tile, label,
        quality, optimized, extractor_source, preview, compute,
    )  # fmt: skip
    run_batch(plan, work.start, console, compute=compute, quality=quality, show=show, telling=telling)
