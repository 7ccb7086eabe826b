"""`percept train upscale`: train a network that enlarges photographs."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options

# Muon's rates are some ten times Adam's, which the discriminator keeps; a tenth left it guessing after 500 steps.
DISCRIMINATOR_SHARE = {"muon": 0.5, "adam": 1.0}


def train_upscale(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: PRESET-xSCALE.safetensors.")
    ] = None,
    data: options.Data = None,
    scale: Annotated[int, typer.Option(help="2, 3, 4 or 8 times larger.")] = 4,
    preset: Annotated[
        str,
        typer.Option(
            help="swift, swift-natural, or a paper's: srcnn, johnson-2016, srresnet, srgan, enhancenet, esrgan, "
            "natural-statistics. "
            "The other options change it."
        ),
    ] = "swift",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer updates.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Crops a step.")] = None,
    patch: Annotated[int | None, typer.Option(min=8, help="Side of a crop before enlarging, pixels.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Peak of the schedule.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="muon or adam.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained upscaler, of another scale too: fewer steps do.")
    ] = None,
    degradation: Annotated[
        str | None, typer.Option(help="How small images are made: bicubic, johnson (blurred before) or real.")
    ] = None,
    pixel: Annotated[str | None, typer.Option(help="l1, mse or charbonnier.", rich_help_panel="Losses")] = None,
    pixel_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")] = None,
    feature_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")] = None,
    feature_layers: Annotated[str | None, typer.Option(metavar="L1,L2,...", rich_help_panel="Losses")] = None,
    feature_distance: Annotated[
        str | None, typer.Option(help="mse, l1, or cosine, as LPIPS.", rich_help_panel="Losses")
    ] = None,
    texture_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")] = None,
    texture_layers: Annotated[str | None, typer.Option(metavar="L1,L2,...", rich_help_panel="Losses")] = None,
    contextual_weight: Annotated[
        float | None,
        typer.Option(min=0.0, help="The same features, not in the same places.", rich_help_panel="Losses"),
    ] = None,
    contextual_layers: Annotated[str | None, typer.Option(metavar="L1,L2,...", rich_help_panel="Losses")] = None,
    low_frequency_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Squared error of blurred images.", rich_help_panel="Losses")
    ] = None,
    adversarial_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")] = None,
    adversarial: Annotated[str | None, typer.Option(help="standard or relativistic.", rich_help_panel="Losses")] = None,
    discriminator_channels: Annotated[
        int | None, typer.Option(min=1, help="Width of the discriminator's first layer.", rich_help_panel="Losses")
    ] = None,
    tv_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")] = None,
    scaling: Annotated[
        str | None, typer.Option(help="typical or paper; see percept train style.", rich_help_panel="Losses")
    ] = None,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train an upscaler on any folder of photographs: by pixels, by features, by textures, against a discriminator.

    percept train-upscale --data photos/ --scale 4

    percept train-upscale --data photos/ --preset swift-natural --start swift-x4.safetensors -o natural.safetensors
    """
    import numpy as np

    from percept_cli.commands.train.session import follow, open_run, training_photos
    from percept_cli.console import Console
    from percept_cli.core.data.degradation import DEGRADATIONS, degrade
    from percept_cli.core.data.photos import Crops, fingerprint
    from percept_cli.core.generators.upscale import SCALES
    from percept_cli.core.pretrained.extractors import create_extractor, named_extractor
    from percept_cli.core.pretrained.generators import start_generator
    from percept_cli.core.runtime import seed_everything
    from percept_cli.core.training.loop import DiscriminatorTraining, Training, unwrap
    from percept_cli.core.training.optimizers import create_optimizer
    from percept_cli.core.training.recipes import find_recipe
    from percept_cli.core.training.run import CLIP_NORM
    from percept_cli.core.training.upscaling import Duel, combine, create_upscale_loss, upscale_taps
    from percept_cli.errors import UsageError, unknown_name

    console = Console(quiet, json)
    given = {
        "steps": steps, "batch": batch, "patch": patch, "optimizer": optimizer,
        "learning_rate": learning_rate, "degradation": degradation,
        "pixel": pixel, "pixel_weight": pixel_weight, "feature_weight": feature_weight,
        "feature_layers": tuple(feature_layers.split(",")) if feature_layers else None,
        "feature_distance": feature_distance,
        "texture_weight": texture_weight, "texture_layers": tuple(texture_layers.split(",")) if texture_layers else None,
        "contextual_weight": contextual_weight,
        "contextual_layers": tuple(contextual_layers.split(",")) if contextual_layers else None,
        "low_frequency_weight": low_frequency_weight, "adversarial_weight": adversarial_weight, "adversarial": adversarial,
        "discriminator_channels": discriminator_channels, "tv_weight": tv_weight,
        "scaling": scaling,
    }  # fmt: skip
    recipe = replace(find_recipe(preset), **{key: value for key, value in given.items() if value is not None})  # type: ignore[arg-type]
    if scale not in SCALES:
        raise UsageError(f"--scale {scale}: give one of {', '.join(map(str, SCALES))}.")
    if recipe.degradation not in DEGRADATIONS:
        raise UsageError(unknown_name("degradation", recipe.degradation, DEGRADATIONS))
    extractor, extractor_weights = named_extractor(extractor, extractor_weights)
    output = output or Path(f"{preset}-x{scale}.safetensors")
    photos = training_photos(data, "upscaler", console)
    run = open_run(output, options.Compute(device, precision, threads), options.ExistingRun(resume, overwrite), console)
    runtime, (rank, world) = run.runtime, run.shard

    seed_everything(seed)
    taps = upscale_taps(recipe)
    frozen = runtime.freeze(create_extractor(extractor, taps, extractor_weights, seed, console.say)) if taps else None
    duel = Duel.create(recipe, runtime) if recipe.adversarial_weight else None
    compare = combine(create_upscale_loss(recipe, frozen), duel)
    created = start_generator("upscaler", recipe.architecture, start, scale=scale, announce=console.say)
    network = run.place(created)
    training = Training(network, create_optimizer(recipe.optimizer, network), recipe.steps)
    if duel is not None:
        duel.discriminator = run.place(duel.discriminator)
        share = DISCRIMINATOR_SHARE[recipe.optimizer]
        training.discriminator = DiscriminatorTraining.by_adam(
            duel.discriminator, duel.discriminator_part, share, betas=(0.9, 0.99)
        )
    settings = {
        **{key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()},
        "preset": preset, "scale": scale, "photos": len(photos), "photos_digest": fingerprint(photos),
        "start": Path(start).stem if start else "", "extractor": extractor if taps else "",
        "extractor_weights": Path(extractor_weights).name if extractor_weights else "", "seed": seed,
        "precision": runtime.precision, "processes": world,
    }  # fmt: skip

    side = recipe.patch * scale
    crops = Crops(photos, side, seed, recipe.steps * recipe.batch * world, native=True)

    def shrink(images, step):  # type: ignore[no-untyped-def]
        return degrade(images, scale, recipe.degradation, np.random.default_rng((seed, step, rank)))

    def compute_loss(network, images, step):  # type: ignore[no-untyped-def]
        small = runtime.place(shrink(images, step))
        with runtime.autocast():
            result = network(small)
        return compare(result, images)

    sample = crops[0][None]
    loop = run.train(
        training, crops, recipe.batch, compute_loss, recipe.learning_rate, settings,
        clip_norm=CLIP_NORM, shown=(sample, shrink(sample, 0)),
    )  # fmt: skip
    follow(run, loop, console)
    if not run.is_main:
        return
    look_of_it = "natural" if taps or duel else "faithful"
    run.save(
        unwrap(network).state_dict(),
        {"role": "upscaler", "architecture": recipe.architecture, "arguments": created.arguments,
         "look": look_of_it, "recipe": settings},
    )  # fmt: skip
    console.say(f"try it: percept upscale PHOTO -m {output}")
    console.result(str(output), output=str(output), steps=recipe.steps, preview=str(run.preview))
