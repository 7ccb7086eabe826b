"""`percept train translate`: train a network that turns one kind of picture into another, or repairs damaged ones."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options


@dataclass(frozen=True)
class Schedule:
    """How long and on what is trained; what is not given is as what is learned from has it."""

    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer updates.")] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Crops a step.")] = None
    size: Annotated[int | None, typer.Option(min=32, help="Side of the training crops, pixels.")] = None
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Peak of the schedule.")] = None
    optimizer: Annotated[str | None, typer.Option(help="muon or adam.")] = None


@dataclass(frozen=True)
class Losses:
    """The losses; what is not given is as what is learned from has it."""

    pixel: Annotated[str | None, typer.Option(help="l1, mse or charbonnier.", rich_help_panel="Losses")] = None
    pixel_weight: options.Weight = None
    feature_weight: options.Weight = None
    feature_layers: options.Layers = None
    feature_distance: Annotated[str | None, typer.Option(help="l1, mse or cosine.", rich_help_panel="Losses")] = None
    contextual_weight: Annotated[
        float | None, typer.Option(min=0.0, help="The same features, wherever they are.", rich_help_panel="Losses")
    ] = None
    contextual_layers: options.Layers = None
    bandwidth: Annotated[
        float | None,
        typer.Option(help="Of the contextual loss: smaller counts only what is most alike.", rich_help_panel="Losses"),
    ] = None
    gram_weight: Annotated[
        float | None, typer.Option(min=0.0, help="The same texture all over.", rich_help_panel="Losses")
    ] = None
    gram_layers: options.Layers = None
    low_frequency_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Squared error of blurred images.", rich_help_panel="Losses")
    ] = None
    content_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Features of the source.", rich_help_panel="Losses")
    ] = None
    content_layers: options.Layers = None
    adversarial_weight: options.Weight = None
    adversarial: Annotated[str | None, typer.Option(help="least-squares or standard.", rich_help_panel="Losses")] = None
    matching_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Features of the discriminator.", rich_help_panel="Losses")
    ] = None
    discriminator_channels: Annotated[
        int | None, typer.Option(min=1, help="Width of the discriminators' first layers.", rich_help_panel="Losses")
    ] = None
    tv_weight: options.Weight = None


def train_translate(
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: translate.safetensors.")
    ] = None,
    source: Annotated[
        list[Path] | None, typer.Option("--source", help="Pictures to be translated. Default: sample photographs.")
    ] = None,
    target: Annotated[
        list[Path] | None, typer.Option("--target", help="What they shall become: pictures, or a single one.")
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Pictures of one name in --source and --target belong together.")
    ] = False,
    match: Annotated[
        str | None, typer.Option(help="source: kept near the source alone, no target to be compared with.")
    ] = None,
    degrade: Annotated[
        str | None,
        typer.Option(help="Learn to undo noise, blur, jpeg, mask, gray or downscale, on photographs of --data."),
    ] = None,
    amount: Annotated[
        str | None, typer.Option(metavar="N|LOW-HIGH", help="Of --degrade: gray levels, pixels, quality, %, times.")
    ] = None,
    data: options.Data = None,
    offset: Annotated[
        int, typer.Option(min=0, help="Of --pairs and --degrade: targets are shifted by up to so many pixels.")
    ] = 0,
    short_side: Annotated[
        int, typer.Option(min=16, help="Unpaired: pictures are shrunk to it before crops are cut.")
    ] = 256,
    schedule: Schedule,
    generator: Annotated[str, typer.Option(help="unet, johnson or johnson-2016.")] = "unet",
    width: Annotated[float | None, typer.Option(help="Channels as a share of the generator's own.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained translation of the same generator: fewer steps do.")
    ] = None,
    losses: Losses,
    choice: options.ExtractorSource,
    seed: options.Seed = 0,
    compute: options.Compute,
    existing: options.ExistingRun,
    report: options.Report,
) -> None:
    """Train a translation from pairs, unpaired pictures, a single target, or self-made damage; `percept stylize -m` runs it.

    percept train-translate --source photos/ --target paintings/

    percept train translate --source sketches/ --target photos/ --pairs

    percept train translate --degrade jpeg --data photos/ -o repair.safetensors
    """
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.training.translation import (
        TranslationData,
        TranslationTraining,
        train_translation,
        usual_recipe,
    )

    console = report.console()
    learned = TranslationData(source, target, pairs, match, degrade, amount, data, offset, short_side)
    extractor = choice.choose()
    recipe = replace(usual_recipe(learned, extractor.architecture), **options.given(schedule, losses))
    asked = TranslationTraining(learned, recipe, generator, width, start, extractor, seed)
    output = output or Path("translate.safetensors")
    run = open_run(output, compute, existing, console)
    follow(run, train_translation(run, asked, console.warn), console)
    mask = " --mask HOLES.png" if learned.inputs == 4 else ""
    report_model(run, console, f"percept stylize PHOTO -m {output}{mask}")
