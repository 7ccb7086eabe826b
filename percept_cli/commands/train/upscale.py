"""`percept train upscale`: train a network that enlarges photographs."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.train.recipes import weighs
from percept_cli.conditions import Call
from percept_cli.core import choices
from percept_cli.core.training.presets import RECIPES, Recipe, find_recipe
from percept_cli.errors import UsageError
from percept_cli.options import loss_choice, loss_option, paper_choice
from percept_cli.parsing import check_layers, choice_option


def _recipe(call: Call) -> Recipe:
    """The recipe of a call: that of the preset with the options that are given."""
    own = {field.name: getattr(call, field.name) for bundle in (Schedule, Losses) for field in fields(bundle)}
    return replace(find_recipe(call.preset), **{name: value for name, value in own.items() if value is not None})


ON_GRIDS = weighs(_recipe, "feature", "texture", "contextual", "adversarial")
OF_FEATURES, OF_TEXTURES, OF_CONTEXT, OF_PIXELS, AGAINST_DISCRIMINATOR = (
    weighs(_recipe, loss) for loss in ("feature", "texture", "contextual", "pixel", "adversarial")
)


@dataclass(frozen=True)
class Schedule:
    """The schedule; an option that is not given has the value of the preset."""

    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer updates.")] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Crops per step.")] = None
    patch: Annotated[int | None, typer.Option(min=8, help="Side of a crop before enlarging, pixels.")] = None
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Peak of the schedule.")] = None
    optimizer: Annotated[str | None, choice_option("optimizer", choices.TRAINING_OPTIMIZERS, None)] = None


@dataclass(frozen=True)
class Losses:
    """The degradation and the losses; an option that is not given has the value of the preset."""

    degradation: Annotated[
        str | None,
        choice_option(
            "degradation",
            choices.DEGRADATIONS,
            "How small images are made; photo: noisy and compressed, as cameras do.",
        ),
    ] = None
    pixel: Annotated[str | None, loss_choice("distance", choices.PIXEL_DISTANCES, None), OF_PIXELS] = None
    pixel_weight: options.Weight = None
    feature_weight: options.Weight = None
    feature_layers: Annotated[options.Layers, OF_FEATURES] = None
    feature_distance: Annotated[
        str | None, loss_choice("distance", choices.FEATURE_DISTANCES, "cosine: as LPIPS."), OF_FEATURES
    ] = None
    texture_weight: options.Weight = None
    texture_layers: Annotated[options.Layers, OF_TEXTURES] = None
    contextual_weight: Annotated[float | None, loss_option(min=0.0, help="The same features, at any places.")] = None
    contextual_layers: Annotated[options.Layers, OF_CONTEXT] = None
    low_frequency_weight: Annotated[float | None, loss_option(min=0.0, help="Squared error of blurred images.")] = None
    adversarial_weight: options.Weight = None
    adversarial: Annotated[
        str | None, loss_choice("adversarial loss", choices.UPSCALER_ADVERSARIAL, None), AGAINST_DISCRIMINATOR
    ] = None
    discriminator: Annotated[
        str | None,
        loss_choice("discriminator", choices.UPSCALER_DISCRIMINATORS, "unet judges every pixel."),
        AGAINST_DISCRIMINATOR,
    ] = None
    jitter: Annotated[
        int | None, loss_option(min=0, help="Features are compared at an offset of at most so many pixels."), ON_GRIDS
    ] = None
    consistency_weight: Annotated[
        float | None, loss_option(min=0.0, help="The result, shrunk again, equals the input.")
    ] = None
    fourier_weight: Annotated[float | None, loss_option(min=0.0, help="Absolute error of the spectrum.")] = None
    discriminator_channels: Annotated[
        int | None, loss_option(min=1, help="Width of the discriminator's first layer."), AGAINST_DISCRIMINATOR
    ] = None
    tv_weight: options.Weight = None
    scaling: Annotated[
        str | None,
        paper_choice("scaling", choices.SCALINGS, "See percept train style."),
        weighs(_recipe, "feature", "texture", "tv"),
    ] = None


def train_upscale(
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: PRESET-xSCALE.safetensors.")
    ] = None,
    data: options.Data = None,
    crops_per_photo: Annotated[
        int, typer.Option(min=1, help="In so many steps in a row, for photographs that take long to decode.")
    ] = 1,
    scale: Annotated[int, typer.Option(help="2, 3, 4 or 8 times larger.")] = 4,
    preset: Annotated[
        str,
        paper_choice("preset", tuple(RECIPES), "swift: percept's own; or a paper's. Other options change it."),
    ] = "swift",
    schedule: Schedule,
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained upscaler, also of another scale: needs fewer steps.")
    ] = None,
    losses: Losses,
    source: Annotated[options.ExtractorSource, weighs(_recipe, "feature", "texture", "contextual")],
    seed: options.Seed = 0,
    compute: options.Compute,
    run_options: options.RunOptions,
    report: options.Report,
) -> None:
    """Train an upscaler on any folder of photographs: by pixels, by features, by textures, against a discriminator.

    percept train-upscale --data photos/ --scale 4

    percept train-upscale --data photos/ --preset swift-natural --start swift-x4.safetensors -o natural.safetensors
    """
    from percept_cli.commands.planning import check_training

    console = report.console()
    recipe = replace(find_recipe(preset), **options.given(schedule, losses))
    if scale not in choices.SCALES:
        raise UsageError(f"--scale {scale}: give one of {', '.join(map(str, choices.SCALES))}.")
    choice, output = source.choose(), output or Path(f"{preset}-x{scale}.safetensors")
    check_layers(choice.architecture, losses.feature_layers, losses.texture_layers, losses.contextual_layers)
    check_training(output, data, start, "upscaler")

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.data.photos import training_photos
    from percept_cli.core.training.upscaling import UpscaleTraining, train_upscale

    training = UpscaleTraining(recipe, scale, start, choice, seed, crops_per_photo)
    photos = training_photos(data, "upscaler", console.say)
    run = open_run(output, compute, run_options, console)
    follow(run, train_upscale(photos, run, training), console)
    report_model(run, console, f"percept upscale PHOTO -m {output}")
