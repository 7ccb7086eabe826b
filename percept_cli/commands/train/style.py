"""`percept train style`: train a network that restyles any photograph in one pass."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options
from percept_cli.conditions import EffectIf
from percept_cli.core import choices
from percept_cli.core.losses.style_losses import STYLE_LOSSES
from percept_cli.core.strokes import SMALLEST_PAINTING, painting_side
from percept_cli.parsing import check_layers, choice_option, complete_models

if TYPE_CHECKING:
    from percept_cli.console import Console
    from percept_cli.core.training.style import StyleTraining


# Of a generator: steps, crops of a step, their side, the smallest as a share of a photograph, learning rate
JOHNSON_USUAL = (1200, 4, 224, 0.5, 5e-3)
USUAL = {"transport": (400, 2, 272, 0.9, 2e-3), "johnson": JOHNSON_USUAL, "johnson-2016": JOHNSON_USUAL}
USUAL_GENERATOR = "transport"
FAST_STEPS = 120  # of the usual generator, which begins from the network of any style

USUAL_WEIGHT = (
    1.5  # of the style, for the usual generator, loss and steps: in fewer steps 1 keeps as much of the photograph
)

TRAINS = EffectIf(lambda call: not call.preview, "--preview trains nothing")
NOT_FAST = EffectIf(lambda call: not call.fast, "--fast chooses it")
JOHNSON = EffectIf(
    lambda call: call.generator in choices.JOHNSON_GENERATORS or (not call.generator and (call.resume or call.start)),
    "It is of --generator johnson and johnson-2016",
)
TRANSPORT = EffectIf(lambda call: call.generator in (None, "transport"), "It is of --generator transport")
BLENDS = EffectIf(lambda call: len(call.style or ()) > 1, "One style is blended with nothing")


@dataclass(frozen=True)
class StyleRunOptions(options.RunOptions):
    """The same options; a preview averages and resumes nothing."""

    ema: Annotated[options.Ema, TRAINS] = 0.0
    resume: Annotated[options.Resume, TRAINS] = False


@dataclass(frozen=True)
class TrainedLosses(options.StyleLosses):
    """The same options; the usual weight of the style is that of the generator and the loss."""

    style_weight: Annotated[
        float | None,
        options.loss_option(
            min=0.0,
            help=f"More takes more of the style. Default {USUAL_WEIGHT}; --fast, johnson, --loss contextual, --scaling paper: 1.",
        ),
    ] = None  # type: ignore[assignment]


def train_style(
    *,
    style: Annotated[
        list[Path], typer.Option("--style", help="The style image; several are blended.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: STYLE.safetensors, here.")
    ] = None,
    data: options.Data = None,
    blend: Annotated[
        str | None, typer.Option(metavar="W1,W2,...", help="Weights of several styles; equal by default."), BLENDS
    ] = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help=f"In a third of the time: {FAST_STEPS} steps.",
        ),
        TRAINS,
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer updates. Default 400; johnson: 1200."), TRAINS, NOT_FAST
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Photographs per step. Default 2; johnson: 4."), TRAINS
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=64, help="Side of the training crops, pixels. Default 272; johnson: 224."), TRAINS
    ] = None,
    smallest_crop: Annotated[
        float | None,
        typer.Option(
            min=0.05,
            max=1.0,
            help="The smallest crop, as a share of a photograph's short side. Small crops are enlarged and so smooth: "
            "the network learns strokes for smooth places too. Default 0.9; johnson: 0.5.",
        ),
        TRAINS,
    ] = None,
    plain_strokes: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.5,
            help="How much plain places, as skies, are painted: 0 leaves them calm, from 0.25 on they are full of strokes.",
        ),
        TRAINS,
        TRANSPORT,
    ] = 0.0,
    style_size: Annotated[
        int,
        typer.Option(min=SMALLEST_PAINTING, help="Short side of the style image, pixels: larger gives larger strokes."),
    ] = 256,
    stroke: options.Stroke = 1.0,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak of the schedule. Default 2e-3; johnson: 5e-3."), TRAINS
    ] = None,
    optimizer: Annotated[str, choice_option("optimizer", choices.TRAINING_OPTIMIZERS, None), TRAINS] = "muon",
    generator: Annotated[
        str | None,
        options.paper_choice(
            "generator",
            choices.STYLE_GENERATORS,
            "Default: transport, from the network of any style, or that of --start. johnson: smaller; johnson-2016: as in the "
            "paper.",
        ),
        TRAINS,
        NOT_FAST,
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(help="Channels as a share of the paper's 32, 64, 128. Default 0.5; johnson-2016: 1."),
        TRAINS,
        NOT_FAST,
        JOHNSON,
    ] = None,
    norm: Annotated[
        str | None,
        options.paper_choice("norm", choices.STYLE_NORMS, "Default: the generator's own."),
        TRAINS,
        NOT_FAST,
        JOHNSON,
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Begin from a trained style (a shipped name or a file), or from a network of any style, as transport does "
            "by default.",
            autocompletion=complete_models("style", "any-style"),
        ),
        TRAINS,
    ] = None,
    loss: Annotated[
        str,
        options.loss_choice(
            "loss", tuple(STYLE_LOSSES), "gram: the texture of the whole style; contextual: that of similar features."
        ),
    ] = "gram",
    losses: TrainedLosses,
    source: options.ExtractorSource,
    seed: options.Seed = 0,
    compute: options.Compute,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Train nothing: write a sheet of results with several style weights and sizes, STYLE.preview.png.",
        ),
    ] = False,
    run_options: StyleRunOptions,
    report: options.Report,
) -> None:
    """Train a style: a small network that restyles any photograph in one pass (Johnson et al. 2016).

    percept train-style --style starry.jpg

    percept train-style --style starry.jpg --fast

    percept train-style --style starry.jpg --preview
    """
    from percept_cli.commands.planning import check_exists, check_training, default_model
    from percept_cli.core.losses.style_losses import parse_blend

    console = report.console()
    output = output or default_model(style[0].stem, "style")
    style_size = painting_side(style_size, stroke)
    choice = source.choose()
    weights = parse_blend(blend, len(style))
    for picture in style:
        check_exists(picture, "--style")
    check_layers(choice.architecture, losses.content_layers, losses.style_layers)
    check_training(output, data, start, "style", "any-style")

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.data.photos import training_photos
    from percept_cli.core.losses.style import load_styles
    from percept_cli.core.runtime import memory_errors
    from percept_cli.core.training.runs.checkpoints import generator_of
    from percept_cli.core.training.style import StyleTraining, train_style

    generator = generator or (generator_of(output) if run_options.resume else "") or usual_generator(start)
    usual_steps, usual_batch, usual_size, usual_crop, usual_rate = USUAL[generator]
    steps, batch, size = FAST_STEPS if fast else steps or usual_steps, batch or usual_batch, size or usual_size
    smallest_crop = smallest_crop or usual_crop
    learning_rate = usual_rate if learning_rate is None else learning_rate
    training = StyleTraining(
        steps, batch, size, smallest_crop, style_size, learning_rate, optimizer, generator, width, norm, start, choice, seed,
        plain_strokes=plain_strokes, blend=weights, loss=loss,
        **{"style_weight": usual_weight(generator, loss, losses.scaling, fast), **options.given(losses)},
    )  # fmt: skip
    setting_up = "setting up the training", "Use a smaller --size or --style-size"
    with memory_errors(*setting_up):
        load_styles(style, style_size, console.warn)  # raises before a run begins
    photos = training_photos(data, "style", console.say)
    if preview:
        preview_training(photos[0], style, output, training, compute, run_options, console)
        return
    run = open_run(output, compute, run_options, console)
    share = FAST_STEPS * usual_size**2 / (steps * size**2)
    told = generator == USUAL_GENERATOR and share < 0.8
    shorter = f"; --fast needs about {max(1, round(100 * share))} % of that" if told else ""
    with memory_errors(*setting_up):
        steps_of_run = train_style(style, photos, run, training)
    follow(run, steps_of_run, console, shorter)
    report_model(run, console, f"percept stylize PHOTO -m {output}")


def usual_weight(generator: str, loss: str, scaling: str, fast: bool) -> float:
    """The style weight where none is given."""
    return (
        USUAL_WEIGHT if generator == USUAL_GENERATOR and loss == "gram" and scaling == "typical" and not fast else 1.0
    )


def usual_generator(start: str | None) -> str:
    """The generator where none is given: that of the start; johnson where a file of others does not say it."""
    from percept_cli.core.pretrained.manifest import architecture_of

    if start is None:
        return USUAL_GENERATOR
    known = architecture_of(start)
    return known if known in USUAL else "johnson"


def preview_training(
    photo: Path,
    style: list[Path],
    output: Path,
    training: "StyleTraining",
    compute: options.Compute,
    run_options: options.RunOptions,
    console: "Console",
) -> None:
    """Writes a sheet of one photograph, optimized with style weights and sizes around those of a training."""
    from percept_cli.commands.visualize.results.sweep import STEPS, preview_style
    from percept_cli.core.losses.style import StyleLossOptions, style_taps
    from percept_cli.core.optimization.style_transfer import StyleOptions

    runtime = compute.runtime(console.say)
    content, styles = style_taps(
        training.extractor.architecture, training.content_layers, training.style_layers, training.loss
    )
    losses = {field.name: getattr(training, field.name) for field in fields(StyleLossOptions)}
    base = StyleOptions(
        STEPS, style_size=training.style_size, seed=training.seed,
        **{**losses, "content_layers": content, "style_layers": styles},
    )  # fmt: skip
    preview_style(photo, style, output, base, training.extractor, runtime, console, overwrite=run_options.overwrite)
