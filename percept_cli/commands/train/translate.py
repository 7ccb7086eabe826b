"""`percept train translate`: train a network that turns one kind of picture into another, or restores pictures."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.train.recipes import weighs
from percept_cli.conditions import Call, EffectIf
from percept_cli.core import choices
from percept_cli.core.data.amounts import CORRUPTIONS
from percept_cli.core.training.presets import Recipe
from percept_cli.core.training.translation_data import TranslationData, usual_recipe
from percept_cli.options import loss_choice, loss_option
from percept_cli.parsing import check_layers, choice_option
from percept_cli.precedence import OneOf


def _data(call: Call) -> TranslationData:
    return TranslationData(
        call.source, call.target, call.pairs, call.match, call.degrade, call.amount, call.data, call.offset,
        call.short_side,
    )  # fmt: skip


def _recipe(call: Call) -> Recipe:
    """The recipe of a call: that of its data with the options that are given."""
    own = {field.name: getattr(call, field.name) for bundle in (Schedule, Losses) for field in fields(bundle)}
    usual = usual_recipe(
        _data(call), options.ExtractorSource(call.extractor, call.extractor_weights).choose().architecture
    )
    return replace(usual, **{name: value for name, value in own.items() if value is not None})


OF_PIXELS, OF_FEATURES, OF_CONTEXT, OF_GRAM, OF_CONTENT, AGAINST_DISCRIMINATOR = (
    weighs(_recipe, loss) for loss in ("pixel", "feature", "contextual", "gram", "content", "adversarial")
)
GIVEN, PAIRS_OR_MATCH = OneOf("pictures", side="given"), OneOf("comparison")
DAMAGES = EffectIf(
    lambda call: call.degrade is not None,
    "--data and --amount go with --degrade, elsewhere there are --source and --target",
)
PAIRED = EffectIf(lambda call: _data(call).paired, "Unpaired targets have no place to be shifted from")
UNPAIRED = EffectIf(lambda call: not _data(call).paired, "Only unpaired pictures are shrunk")


@dataclass(frozen=True)
class Schedule:
    """The schedule; an option that is not given has the value of `usual_recipe`."""

    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer updates.")] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Crops per step.")] = None
    size: Annotated[int | None, typer.Option(min=32, help="Side of the training crops, pixels.")] = None
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Peak of the schedule.")] = None
    optimizer: Annotated[str | None, choice_option("optimizer", choices.TRAINING_OPTIMIZERS, None)] = None


@dataclass(frozen=True)
class Losses:
    """The losses; an option that is not given has the value of `usual_recipe`."""

    pixel: Annotated[str | None, loss_choice("distance", choices.PIXEL_DISTANCES, None), OF_PIXELS] = None
    pixel_weight: options.Weight = None
    feature_weight: options.Weight = None
    feature_layers: Annotated[options.Layers, OF_FEATURES] = None
    feature_distance: Annotated[str | None, loss_choice("distance", choices.FEATURE_DISTANCES, None), OF_FEATURES] = (
        None
    )
    contextual_weight: Annotated[float | None, loss_option(min=0.0, help="The same features, at any places.")] = None
    contextual_layers: Annotated[options.Layers, OF_CONTEXT] = None
    bandwidth: Annotated[
        float | None,
        loss_option(help="Of the contextual loss; with a smaller one only the nearest features count."),
        OF_CONTEXT,
    ] = None
    gram_weight: Annotated[float | None, loss_option(min=0.0, help="The texture of the whole image.")] = None
    gram_layers: Annotated[options.Layers, OF_GRAM] = None
    low_frequency_weight: Annotated[float | None, loss_option(min=0.0, help="Squared error of blurred images.")] = None
    content_weight: Annotated[float | None, loss_option(min=0.0, help="Features of the source.")] = None
    content_layers: Annotated[options.Layers, OF_CONTENT] = None
    adversarial_weight: options.Weight = None
    adversarial: Annotated[
        str | None, loss_choice("adversarial loss", choices.TRANSLATION_ADVERSARIAL, None), AGAINST_DISCRIMINATOR
    ] = None
    matching_weight: Annotated[float | None, loss_option(min=0.0, help="Features of the discriminator.")] = None
    discriminator_channels: Annotated[
        int | None, loss_option(min=1, help="Width of the discriminators' first layers."), AGAINST_DISCRIMINATOR
    ] = None
    tv_weight: options.Weight = None


def train_translate(
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: translate.safetensors.")
    ] = None,
    source: Annotated[
        list[Path] | None, typer.Option("--source", help="Pictures to translate. Default: sample photographs."), GIVEN
    ] = None,
    target: Annotated[
        list[Path] | None, typer.Option("--target", help="What they should become: pictures, or a single one."), GIVEN
    ] = None,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Pictures of one name in --source and --target belong together."),
        GIVEN,
        PAIRS_OR_MATCH,
    ] = False,
    match: Annotated[
        str | None,
        choice_option("--match", ("source",), "Compare results with the source alone, not with targets."),
        GIVEN,
        PAIRS_OR_MATCH,
    ] = None,
    degrade: Annotated[
        str | None,
        choice_option("degradation", tuple(CORRUPTIONS), "Learn to undo a damage, on photographs of --data."),
        OneOf("pictures"),
    ] = None,
    amount: Annotated[
        str | None,
        typer.Option(metavar="N|LOW-HIGH", help="Of --degrade: gray levels, pixels, quality, %, times."),
        DAMAGES,
    ] = None,
    data: Annotated[options.Data, DAMAGES] = None,
    offset: Annotated[
        int, typer.Option(min=0, help="With --pairs or --degrade: shift targets by up to so many pixels."), PAIRED
    ] = 0,
    short_side: Annotated[
        int, typer.Option(min=16, help="Unpaired: shrink pictures to it, in pixels, before crops are taken."), UNPAIRED
    ] = 256,
    schedule: Schedule,
    generator: Annotated[str, choice_option("generator", choices.TRANSLATION_GENERATORS, None)] = "unet",
    width: Annotated[float | None, typer.Option(help="Channels as a share of the generator's usual number.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained translation of the same generator: needs fewer steps.")
    ] = None,
    losses: Losses,
    choice: Annotated[options.ExtractorSource, weighs(_recipe, "feature", "contextual", "gram", "content")],
    seed: options.Seed = 0,
    compute: options.Compute,
    run_options: options.RunOptions,
    report: options.Report,
) -> None:
    """Train a translation from pairs, unpaired pictures, a single target, or self-made damage; `percept stylize -m` runs it.

    percept train-translate --source photos/ --target paintings/

    percept train translate --source sketches/ --target photos/ --pairs

    percept train translate --degrade jpeg --data photos/ -o repair.safetensors
    """
    from percept_cli.commands.planning import check_training

    console = report.console()
    training_data = TranslationData(source, target, pairs, match, degrade, amount, data, offset, short_side)
    extractor, output = choice.choose(), output or Path("translate.safetensors")
    recipe = replace(usual_recipe(training_data, extractor.architecture), **options.given(schedule, losses))
    for layers in (losses.feature_layers, losses.contextual_layers, losses.gram_layers, losses.content_layers):
        check_layers(extractor.architecture, layers)
    check_training(output, [*(source or ()), *(target or ()), *(data or ())], start, "translation")

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.training.translation import TranslationTraining, train_translation

    training = TranslationTraining(training_data, recipe, generator, width, start, extractor, seed)
    run = open_run(output, compute, run_options, console)
    follow(run, train_translation(run, training, console.warn), console)
    mask = " --mask HOLES.png" if training_data.inputs == 4 else ""
    report_model(run, console, f"percept stylize PHOTO -m {output}{mask}")
