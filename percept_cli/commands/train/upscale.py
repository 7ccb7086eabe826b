"""`percept train upscale`: train a network that enlarges photographs."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options

loss_option = partial(typer.Option, rich_help_panel="Losses")


@dataclass(frozen=True)
class Schedule:
    """The schedule; an option that is not given has the value of the preset."""

    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer updates.")] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Crops per step.")] = None
    patch: Annotated[int | None, typer.Option(min=8, help="Side of a crop before enlarging, pixels.")] = None
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Peak of the schedule.")] = None
    optimizer: Annotated[str | None, typer.Option(help="muon or adam.")] = None


@dataclass(frozen=True)
class Losses:
    """The degradation and the losses; an option that is not given has the value of the preset."""

    degradation: Annotated[
        str | None, typer.Option(help="How small images are made: bicubic, johnson (blurred before) or real.")
    ] = None
    pixel: Annotated[str | None, loss_option(help="l1, mse or charbonnier.")] = None
    pixel_weight: options.Weight = None
    feature_weight: options.Weight = None
    feature_layers: options.Layers = None
    feature_distance: Annotated[str | None, loss_option(help="mse, l1, or cosine, as LPIPS.")] = None
    texture_weight: options.Weight = None
    texture_layers: options.Layers = None
    contextual_weight: Annotated[float | None, loss_option(min=0.0, help="The same features, at any places.")] = None
    contextual_layers: options.Layers = None
    low_frequency_weight: Annotated[float | None, loss_option(min=0.0, help="Squared error of blurred images.")] = None
    adversarial_weight: options.Weight = None
    adversarial: Annotated[str | None, loss_option(help="standard or relativistic.")] = None
    discriminator_channels: Annotated[
        int | None, loss_option(min=1, help="Width of the discriminator's first layer.")
    ] = None
    tv_weight: options.Weight = None
    scaling: Annotated[str | None, loss_option(help="typical or paper; see percept train style.")] = None


def train_upscale(
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: PRESET-xSCALE.safetensors.")
    ] = None,
    data: options.Data = None,
    scale: Annotated[int, typer.Option(help="2, 3, 4 or 8 times larger.")] = 4,
    preset: Annotated[
        str,
        typer.Option(
            help="swift, swift-natural, or a paper's: srcnn, johnson-2016, srresnet, srgan, enhancenet, esrgan, "
            "natural-statistics. The other options change it."
        ),
    ] = "swift",
    schedule: Schedule,
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained upscaler, also of another scale: needs fewer steps.")
    ] = None,
    losses: Losses,
    source: options.ExtractorSource,
    seed: options.Seed = 0,
    compute: options.Compute,
    existing: options.ExistingRun,
    report: options.Report,
) -> None:
    """Train an upscaler on any folder of photographs: by pixels, by features, by textures, against a discriminator.

    percept train-upscale --data photos/ --scale 4

    percept train-upscale --data photos/ --preset swift-natural --start swift-x4.safetensors -o natural.safetensors
    """
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.data.photos import training_photos
    from percept_cli.core.training.presets import find_recipe
    from percept_cli.core.training.upscaling import UpscaleTraining, train_upscale

    console = report.console()
    recipe = replace(find_recipe(preset), **options.given(schedule, losses))
    training = UpscaleTraining(recipe, scale, start, source.choose(), seed)
    output = output or Path(f"{preset}-x{scale}.safetensors")
    photos = training_photos(data, "upscaler", console.say)
    run = open_run(output, compute, existing, console)
    follow(run, train_upscale(photos, run, training), console)
    report_model(run, console, f"percept upscale PHOTO -m {output}")
