"""`percept train translate`: train a network that turns one kind of picture into another, or mends spoilt ones."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from percept_cli import options
from percept_cli.commands.train.session import training_photos
from percept_cli.console import Console
from percept_cli.core.data.corruption import parse_amount
from percept_cli.core.data.paired_crops import CorruptedCrops, PairedCrops, UnpairedCrops
from percept_cli.core.data.photos import Examples, find_photos, fingerprint
from percept_cli.core.files.folders import match_by_name
from percept_cli.core.training.translation import DEGRADE, MATCH_SOURCE, PAIRS, UNPAIRED
from percept_cli.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Given:
    """The options that say what to learn from, as they were given."""

    source: list[Path] | None
    target: list[Path] | None
    pairs: bool
    match: str | None
    degrade: str | None
    amount: str | None
    data: list[Path] | None
    offset: int
    short_side: int


def find_mode(given: Given) -> str:
    """What is to be learned. Raises UsageError for options that do not go together."""
    if given.match is not None and given.match != "source":
        raise UsageError(unknown_name("--match", given.match, ["source"]))
    if given.degrade is not None:
        if given.source or given.target or given.pairs or given.match:
            raise UsageError(
                "--degrade makes its pairs from --data: leave --source, --target, --pairs and --match out."
            )
        parse_amount(given.degrade, given.amount)
        return DEGRADE
    if given.data or given.amount:
        raise UsageError("--data and --amount go with --degrade. Elsewhere give --source and --target.")
    if not given.target:
        raise UsageError(
            "Say what to learn: --target PICTURES (and --source PHOTOS/), with --pairs where they belong together, or "
            "--degrade noise, blur, jpeg, mask, gray or downscale."
        )
    if given.pairs and given.match:
        raise UsageError("--pairs has targets to compare with and --match source has none: give one of them.")
    if given.pairs and not given.source:
        raise UsageError("--pairs needs both --source and --target.")
    if given.offset and not given.pairs:
        raise UsageError(
            "--offset shifts the targets of --pairs or --degrade; unpaired ones have no place to be shifted from."
        )
    return PAIRS if given.pairs else MATCH_SOURCE if given.match else UNPAIRED


def create_examples(
    mode: str, given: Given, size: int, seed: int, count: int, console: Console
) -> tuple[Examples, dict[str, Any]]:
    """The crops of a mode, and what a run must have the same to be resumed. Raises UsageError where none can be had."""
    if mode == DEGRADE:
        assert given.degrade
        photos = training_photos(given.data, "translation", console)
        amount = parse_amount(given.degrade, given.amount)
        about = {"degrade": given.degrade, "amount": list(amount), "offset": given.offset, **_about("photos", photos)}
        return CorruptedCrops(photos, size, seed, count, given.degrade, amount, given.offset), about
    sources = training_photos(given.source, "translation", console)
    targets = find_photos(given.target or [])
    about = {**_about("sources", sources), **_about("targets", targets)}
    if mode != PAIRS:
        return UnpairedCrops(sources, targets, size, seed, count, given.short_side), {
            **about,
            "short_side": given.short_side,
        }
    pairs, unmatched = match_by_name(sources, targets)
    for path, reason in unmatched.items():
        console.warn(f"{path} was left out: {reason}")
    if not pairs:
        raise UsageError(
            "--pairs: no name of --source is found in --target; a01.jpg belongs to a01.png or a01_night.png."
        )
    return PairedCrops(pairs, size, seed, count, given.offset), {**about, "pairs": len(pairs), "offset": given.offset}


def _about(name: str, photos: list[Path]) -> dict[str, Any]:
    return {name: len(photos), f"{name}_digest": fingerprint(photos)}


# Muon's rates are some ten times Adam's, which the discriminator keeps.
DISCRIMINATOR_SHARE = {"muon": 0.2, "adam": 1.0}
LOSSES = "Losses"


def train_translate(
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
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer updates.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Crops a step.")] = None,
    size: Annotated[int | None, typer.Option(min=32, help="Side of the training crops, pixels.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Peak of the schedule.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="muon or adam.")] = None,
    generator: Annotated[str, typer.Option(help="unet, johnson or johnson-2016.")] = "unet",
    width: Annotated[float | None, typer.Option(help="Channels as a share of the generator's own.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained translation of the same generator: fewer steps do.")
    ] = None,
    pixel: Annotated[str | None, typer.Option(help="l1, mse or charbonnier.", rich_help_panel=LOSSES)] = None,
    pixel_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel=LOSSES)] = None,
    feature_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel=LOSSES)] = None,
    feature_layers: Annotated[str | None, typer.Option(metavar="L1,L2,...", rich_help_panel=LOSSES)] = None,
    feature_distance: Annotated[str | None, typer.Option(help="l1, mse or cosine.", rich_help_panel=LOSSES)] = None,
    contextual_weight: Annotated[
        float | None, typer.Option(min=0.0, help="The same features, wherever they are.", rich_help_panel=LOSSES)
    ] = None,
    contextual_layers: Annotated[str | None, typer.Option(metavar="L1,L2,...", rich_help_panel=LOSSES)] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="Of the contextual loss: smaller is choosier.", rich_help_panel=LOSSES)
    ] = None,
    gram_weight: Annotated[
        float | None, typer.Option(min=0.0, help="The same texture all over.", rich_help_panel=LOSSES)
    ] = None,
    gram_layers: Annotated[str | None, typer.Option(metavar="L1,L2,...", rich_help_panel=LOSSES)] = None,
    low_frequency_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Squared error of blurred images.", rich_help_panel=LOSSES)
    ] = None,
    content_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Features of the source.", rich_help_panel=LOSSES)
    ] = None,
    content_layers: Annotated[str | None, typer.Option(metavar="L1,L2,...", rich_help_panel=LOSSES)] = None,
    adversarial_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel=LOSSES)] = None,
    adversarial: Annotated[str | None, typer.Option(help="least-squares or standard.", rich_help_panel=LOSSES)] = None,
    matching_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Features of the discriminator.", rich_help_panel=LOSSES)
    ] = None,
    discriminator_channels: Annotated[
        int | None, typer.Option(min=1, help="Width of the discriminators' first layers.", rich_help_panel=LOSSES)
    ] = None,
    tv_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel=LOSSES)] = None,
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
    """Train a translation from pairs, unpaired pictures, a single target, or self-made damage; `percept stylize -m` runs it.

    percept train-translate --source photos/ --target paintings/

    percept train translate --source sketches/ --target photos/ --pairs

    percept train translate --degrade jpeg --data photos/ -o repair.safetensors
    """

    from percept_cli.commands.train.session import follow, open_run

    pass
    from percept_cli.console import Console
    from percept_cli.core.data.paired_crops import split_example
    from percept_cli.core.losses.adversarial import TranslationDuel
    from percept_cli.core.pretrained.extractors import create_extractor, named_extractor
    from percept_cli.core.pretrained.generators import start_generator
    from percept_cli.core.runtime import seed_everything
    from percept_cli.core.training.loop import DiscriminatorTraining, Training, unwrap
    from percept_cli.core.training.optimizers import create_optimizer
    from percept_cli.core.training.run import CLIP_NORM
    from percept_cli.core.training.translation import (
        TranslationLoss,
        check_recipe,
        fit_layers,
        total_of,
        translation_taps,
        usual_recipe,
    )
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    given = Given(source, target, pairs, match, degrade, amount, data, offset, short_side)
    mode = find_mode(given)
    extractor, extractor_weights = named_extractor(extractor, extractor_weights)
    chosen = {
        "steps": steps, "batch": batch, "size": size, "learning_rate": learning_rate, "optimizer": optimizer,
        "pixel": pixel, "pixel_weight": pixel_weight, "feature_weight": feature_weight,
        "feature_distance": feature_distance, "contextual_weight": contextual_weight, "bandwidth": bandwidth,
        "gram_weight": gram_weight, "low_frequency_weight": low_frequency_weight, "content_weight": content_weight,
        "adversarial_weight": adversarial_weight, "adversarial": adversarial, "matching_weight": matching_weight,
        "discriminator_channels": discriminator_channels, "tv_weight": tv_weight,
    }  # fmt: skip
    layers = {
        "feature_layers": feature_layers, "contextual_layers": contextual_layers, "gram_layers": gram_layers,
        "content_layers": content_layers,
    }  # fmt: skip
    usual = usual_recipe(mode, degrade)
    recipe = replace(
        usual,
        **{key: value for key, value in chosen.items() if value is not None},  # type: ignore[arg-type]
        **{  # type: ignore[arg-type]
            key: tuple(text.split(",")) if text else fit_layers(getattr(usual, key), extractor)
            for key, text in layers.items()
        },
    )
    check_recipe(recipe, mode)
    output = output or Path("translate.safetensors")
    run = open_run(output, options.Compute(device, precision, threads), options.ExistingRun(resume, overwrite), console)
    runtime, (_, processes) = run.runtime, run.shard
    examples, about_data = create_examples(
        mode, given, recipe.size, seed, recipe.steps * recipe.batch * processes, console
    )  # fmt: skip

    seed_everything(seed)
    taps = translation_taps(recipe)
    frozen = runtime.freeze(create_extractor(extractor, taps, extractor_weights, seed, console.say)) if taps else None
    if frozen is not None and recipe.size < frozen.smallest_side:
        raise UsageError(
            f"--size {recipe.size}: {', '.join(taps)} of {extractor} need {frozen.smallest_side} pixels or more."
        )
    compare = TranslationLoss(recipe, frozen)
    inputs = 4 if degrade == "mask" else 3
    created = start_generator("translation", generator, start, inputs=inputs, width=width)
    network = run.place(created)
    training = Training(network, create_optimizer(recipe.optimizer, network), recipe.steps)
    duel = None
    if recipe.adversarial_weight:
        duel = TranslationDuel.create(
            recipe.discriminator_channels, inputs, recipe.adversarial, (recipe.adversarial_weight, recipe.matching_weight),
            pairs or degrade is not None, runtime,
        )  # fmt: skip
        duel.discriminator = run.place(duel.discriminator)
        # Isola et al. 2017
        share = DISCRIMINATOR_SHARE[recipe.optimizer]
        training.discriminator = DiscriminatorTraining.by_adam(
            duel.discriminator, duel.discriminator_part, share, betas=(0.5, 0.999)
        )
    settings = {
        **{key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()},
        "mode": mode, **about_data, "generator": generator, "arguments": created.arguments,
        "start": Path(start).stem if start else "", "extractor": extractor if taps else "",
        "extractor_weights": Path(extractor_weights).name if extractor_weights else "", "seed": seed,
        "precision": runtime.precision, "processes": processes,
    }  # fmt: skip

    def compute_loss(network, images, step):  # type: ignore[no-untyped-def]
        before, wanted = split_example(images)
        with runtime.autocast():
            result = network(before)
        parts = compare(result, before[:, :3], wanted)
        if duel is not None:
            parts |= duel.generator_parts(result, before, wanted)
        return total_of(parts), parts

    before, _ = split_example(examples[0][None])
    loop = run.train(
        training, examples, recipe.batch, compute_loss, recipe.learning_rate, settings,
        clip_norm=CLIP_NORM, shown=(before[:, :3], before),
    )  # fmt: skip
    follow(run, loop, console)
    if not run.is_main:
        return
    run.save(
        unwrap(network).state_dict(),
        {"role": "translation", "architecture": generator, "arguments": created.arguments, "mode": mode,
         "recipe": settings},
    )  # fmt: skip
    mask = " --mask HOLES.png" if inputs == 4 else ""
    console.say(f"try it: percept stylize PHOTO -m {output}{mask}")
    console.result(str(output), output=str(output), steps=recipe.steps, preview=str(run.preview))
