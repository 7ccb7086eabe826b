"""`percept stylize`: photographs in the style of a trained model, or of any picture."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from percept_cli import options, parsing
from percept_cli.conditions import EffectIf, refuse
from percept_cli.core import choices
from percept_cli.core.losses.style_losses import STYLE_LOSSES
from percept_cli.core.strokes import AUTO, SMALLEST_PAINTING, painting_side, parse_stroke_or_auto, stroke_for
from percept_cli.errors import ImageError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.files.outputs import Job
    from percept_cli.core.images.photo import Photo

PREVIEW_EVERY = 10
SMALLEST_SIZE = 16  # pixels
optimization = partial(typer.Option, rich_help_panel="Optimization")
optimization_choice = partial(parsing.choice_option, rich_help_panel="Optimization")

OPTIMIZES = EffectIf(lambda call: call.style or call.model is None, "A trained model is not optimized")
BLENDS = EffectIf(lambda call: len(call.style or ()) > 1, "One style is blended with nothing")
SHOWS = EffectIf(
    lambda call: call.steps >= PREVIEW_EVERY,
    lambda call: f"{call.steps} steps end before the first preview, which comes after {PREVIEW_EVERY}",
)
SAMPLES = EffectIf(lambda call: STYLE_LOSSES[call.loss].sampled, lambda call: f"--loss {call.loss} compares no points")


def stylize(
    photos: options.Inputs = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            help="A shipped style or a file; see `percept models list`.",
            autocompletion=parsing.complete_models("style"),
        ),
    ] = None,
    style: Annotated[
        list[Path] | None,
        typer.Option("--style", help="A picture whose style is taken, by optimization; several are blended."),
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
            "auto, for a model: as in a picture of 512 pixels.",
        ),
    ] = 1.0,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="A picture: only where it is white the photograph changes. Or a folder of one for each photograph."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=SMALLEST_SIZE, help="Short side of the result, pixels. Default: the photograph's.")
    ] = None,
    steps: Annotated[int, optimization(min=1, help="With --style: updates over all sizes."), OPTIMIZES] = 300,
    optimizer: Annotated[
        str, optimization_choice("optimizer", choices.STYLE_OPTIMIZERS, "With --style."), OPTIMIZES
    ] = "adam",
    init: Annotated[
        str, optimization_choice("init", choices.INITS, "With --style: what it starts from."), OPTIMIZES
    ] = "content",
    style_size: Annotated[
        int,
        optimization(
            min=SMALLEST_PAINTING, help="With --style: its short side in pixels; larger gives larger strokes."
        ),
        OPTIMIZES,
    ] = 256,
    blend: Annotated[
        str | None, optimization(metavar="W1,W2,...", help="With --style: weights of several."), OPTIMIZES, BLENDS
    ] = None,
    preview: Annotated[
        Path | None, optimization(help="With --style: a PNG that shows each tenth step."), OPTIMIZES, SHOWS
    ] = None,
    loss: Annotated[
        str,
        options.loss_choice(
            "loss",
            tuple(STYLE_LOSSES),
            "With --style: gram takes its texture everywhere, contextual from similar parts of it.",
        ),
        OPTIMIZES,
    ] = "gram",
    bandwidth: Annotated[
        float,
        options.loss_option(help="Of --loss contextual: smaller counts only the most similar features."),
        OPTIMIZES,
        SAMPLES,
    ] = 0.1,
    points: Annotated[
        int,
        options.loss_option(
            min=0, help="Of --loss contextual: how many places of a larger layer each step compares; 0: all."
        ),
        OPTIMIZES,
        SAMPLES,
        EffectIf(lambda call: call.optimizer != "lbfgs", "--optimizer lbfgs compares all points"),
    ] = 4225,
    *,
    losses: Annotated[options.StyleLosses, OPTIMIZES],
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            help="Work in tiles of N pixels to save memory: with --style, and with a model of `train translate`; "
            "auto: only large photographs.",
        ),
    ] = "auto",
    extractor_source: Annotated[options.ExtractorSource, OPTIMIZES],
    listing: options.Listing,
    show: options.Show = False,
    existing: options.Existing,
    quality: options.Quality = 95,
    seed: options.Seed = 0,
    compute: options.Compute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Restyle photographs: with a trained model in one pass, or after any picture by optimization.

    percept stylize photo.jpg -m starry-night

    percept stylize photo.jpg --style painting.jpg -o restyled.jpg

    percept stylize portrait.jpg --style other-portrait.jpg --loss contextual

    percept stylize holiday/ -r -m wave -o restyled/

    percept stylize photo.png -m wave --mask sky.png
    """
    from percept_cli.commands.planning import check_exists, check_jobs, refuse_missing
    from percept_cli.core.files.inputs import expand_inputs
    from percept_cli.core.files.outputs import check_picture_output, plan_outputs
    from percept_cli.core.images.tiles import parse_tile
    from percept_cli.core.losses.style_losses import parse_blend
    from percept_cli.core.pretrained.manifest import check_model, shipped_models

    console = report.console()
    if (model is None) == (not style):
        shipped = ", ".join(known.name for known in shipped_models().values() if known.role == "style")
        raise UsageError(f"Give one of -m MODEL or --style PICTURE. Shipped models: {shipped}.")
    if mask is not None and size is not None:
        raise UsageError("--mask leaves pixels as they are and --size resizes them all: give one of them.")
    if mask is not None and not os.path.exists(mask):
        raise UsageError(f"--mask {mask}: there is no such file or folder.")
    if style and stroke == AUTO:
        raise UsageError("--stroke auto is for -m MODEL: with --style give a number, such as 2.")
    parsed_tile = parse_tile(tile)
    if style:
        style_size = painting_side(style_size, stroke)
    for picture in style or []:
        check_exists(picture, "--style")
    weights, extractor = parse_blend(blend, len(style or [])), extractor_source.choose()
    parsing.check_layers(extractor.architecture, losses.content_layers, losses.style_layers)
    items = expand_inputs(photos, **vars(listing))
    label = Path(model).stem if model else "+".join(picture.stem for picture in style or [])
    op = chosen.describe(label, "model", "style")
    jobs = plan_outputs(items, output, name=name, op=op, model=label, **vars(existing))
    check_jobs(jobs, output)
    if preview is not None:
        check_picture_output("--preview", preview)
    if model is not None:
        check_model(model, "style", "translation")
    refuse_missing(jobs, console)

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.batch import process_images
    from percept_cli.core.files.formats import keeps_levels
    from percept_cli.core.images.masks import load_mask
    from percept_cli.core.runtime import BYTES_PER_PIXEL, memory_errors, seed_everything, size_advice

    if model is not None:
        from percept_cli.core.images.photo import fit_short_side
        from percept_cli.core.inference.restyle import restyle
        from percept_cli.core.pretrained.generators import load_generator

        runtime = compute.runtime()
        loaded = load_generator(model, "style")
        if loaded.network.fills_holes and mask is None:
            raise UsageError(f"{loaded.name} fills holes: give --mask PICTURE, white where they are.")
        if loaded.recipe.get("degrade"):
            refuse(f"{loaded.name} repairs pictures and paints no strokes", "stroke")
        if loaded.network.exact_halo is None:
            refuse(f"{loaded.name} sees the whole picture at once, and so runs without tiles", "tile")
        generator = runtime.place_network(loaded.network)
        console.say(runtime.reason)

        def change(photo: "Photo", allowed: "Tensor | None") -> "Photo":
            height, width = (
                (photo.height, photo.width) if size is None else fit_short_side(photo.height, photo.width, size)
            )
            advice = size_advice(height, width, BYTES_PER_PIXEL, runtime.device)
            if mask is not None:
                advice = "Shrink the photograph and its mask"
            with memory_errors(f"{width}x{height} pixels", advice):
                return restyle(
                    photo, generator, runtime, size=size, strength=strength, keep_colors=keep_colors,
                    stroke=stroke_for(stroke, height, width), mask=allowed, tile=parsed_tile,
                )  # fmt: skip

    else:
        from percept_cli.core.images.encode import save_image
        from percept_cli.core.images.photo import Photo
        from percept_cli.core.losses.style import load_styles, scales_left_out, style_taps
        from percept_cli.core.optimization import style_transfer

        if optimizer == "lbfgs" and compute.precision == "auto":
            # The differences of losses that its line search compares are smaller than the precision of bf16.
            compute = replace(compute, precision="fp32")
        runtime = compute.runtime(console.say)
        content, styling = style_taps(extractor.architecture, losses.content_layers, losses.style_layers, loss)
        if losses.content_layers or losses.style_layers or loss != "gram":
            console.say(f"content at {', '.join(content)}; style at {', '.join(styling)} of {extractor.name}")
        asked = style_transfer.StyleOptions(
            steps, optimizer, init, style_size, seed, blend=weights, loss=loss,
            bandwidth=bandwidth, points=points or None, content_weight=losses.content_weight, content_layers=content,
            style_weight=losses.style_weight, style_layers=styling, tv_weight=losses.tv_weight, scaling=losses.scaling,
            style_scales=losses.style_scales,
        )  # fmt: skip
        seed_everything(seed)
        frozen = runtime.freeze(extractor.create([*content, *styling], seed, console.say))
        styles = load_styles(style or [], style_size, console.warn)

        def change(photo: "Photo", allowed: "Tensor | None") -> "Photo":
            if size is None and min(photo.height, photo.width) < frozen.smallest_side:
                raise ImageError(
                    f"{photo.width}x{photo.height} pixels are too few for {extractor.name}: give --size "
                    f"{max(SMALLEST_SIZE, frozen.smallest_side)}."
                )
            sides = size or min(photo.height, photo.width), *(min(each.shape[-2:]) for each in styles)
            if losses.style_scales and (left_out := scales_left_out(losses.style_scales, frozen, sides)):
                console.warn(left_out)
            optimized = style_transfer.stylize(
                photo, styles, frozen, runtime, asked, size=size, strength=strength, keep_colors=keep_colors,
                mask=allowed, tile=parsed_tile,
            )  # fmt: skip
            with console.progress(steps, "step") as progress:
                for step in optimized:
                    progress.advance(1, {"loss": step.total, **step.parts})
                    if preview is not None and step.index % PREVIEW_EVERY == 0:
                        try:
                            save_image(Photo(step.image.cpu()), preview)
                        except ImageError as error:  # the work goes on without it
                            console.warn(str(error))
            return step.photo

    def operation(photo: "Photo", job: "Job") -> "Photo":
        if mask is None:
            return change(photo, None)
        allowed = load_mask(mask, job.source, photo.height, photo.width)
        if job.destination is not None and not keeps_levels(job.destination.suffix, quality):
            note = "changes pixels outside the mask a little, as its format does; PNG keeps them"
            console.warn(f"{job.destination} {note}")
        return change(photo, allowed)

    process_images(jobs, operation, console, quality=quality, show=show, fields={"model": label})
