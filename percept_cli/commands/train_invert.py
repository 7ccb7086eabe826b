"""`percept train invert`: train a network that turns the features of a layer back into the image."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options

CALIBRATION_CROPS = 64
# As for upscalers: one batch with huge gradients must not rule the momentum for dozens of steps.
CLIP_NORM = 1.0
# Muon's rates are some ten times Adam's, which the discriminator keeps.
RIVAL_SHARE = {"muon": 0.1, "adam": 1.0}
# Dosovitskiy & Brox 2016, the released solver
ADAM_RATE, MUON_RATE = 2e-4, 1.5e-3


def train_invert(
    layer: Annotated[str, typer.Option("--layer", help="The layer to invert; conv5 is the last of its block.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: EXTRACTOR-LAYER.safetensors.")
    ] = None,
    data: options.Data = None,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    loss: Annotated[
        str, typer.Option(help="image, feature, or deepsim: both and a discriminator.", rich_help_panel="Losses")
    ] = "deepsim",
    image_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")] = None,
    feature_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")] = None,
    adversarial_weight: Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")] = None,
    scaling: Annotated[
        str,
        typer.Option(
            help="typical: 1.0 is what an unrelated photograph costs; paper: raw sums of squares.",
            rich_help_panel="Losses",
        ),
    ] = "typical",
    comparator: Annotated[
        str,
        typer.Option(
            help="Whose features are compared: an extractor, random (AlexNet untrained) or discriminator.",
            rich_help_panel="Losses",
        ),
    ] = "compact",
    comparator_layers: Annotated[
        str | None, typer.Option(metavar="L1,L2,...", help="Default: the comparator's own.", rich_help_panel="Losses")
    ] = None,
    comparator_weights: Annotated[
        str | None,
        typer.Option(metavar="FILE|random", help="Weights for --comparator.", rich_help_panel="Losses"),
    ] = None,
    discriminator_channels: Annotated[
        int, typer.Option(min=1, help="Width of the discriminator's first layer.", rich_help_panel="Losses")
    ] = 32,
    code_branch: Annotated[
        bool,
        typer.Option(
            "--code-branch/--no-code-branch",
            help="The discriminator sees the features beside the image.",
            rich_help_panel="Losses",
        ),
    ] = True,
    generator: Annotated[str, typer.Option(help="lean, deepsim-2016 or deepsim-2016-linear.")] = "lean",
    width: Annotated[float, typer.Option(min=0.05, help="Channels as a share of the generator's own.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser updates.")] = 1500,
    batch: Annotated[int, typer.Option(min=1, help="Photographs a step.")] = 8,
    size: Annotated[int, typer.Option(min=16, help="Side of the training crops, pixels.")] = 128,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak of the schedule. Default: 1.5e-3 for muon, 2e-4 for adam.")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="muon or adam.")] = "muon",
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained inverter of the same layer: fewer steps do.")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run to the same bits.")] = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train an inverter: a network that turns a layer's features back into the image (Dosovitskiy & Brox 2016).

    percept train-invert --layer conv5

    percept train invert --layer conv5 --loss image --data photos/ -o blurred.safetensors
    """
    import torch

    from percept_cli.commands.training_run import TrainingRun, training_photos
    from percept_cli.console import Console
    from percept_cli.core.dataset import Crops, fingerprint
    from percept_cli.core.deepsim import (
        DISCRIMINATOR,
        InversionLoss,
        create_comparator,
        discriminator_taps,
        find_weights,
    )
    from percept_cli.core.extractors.loading import create_extractor
    from percept_cli.core.generators.discriminator import DeepsimDiscriminator
    from percept_cli.core.generators.loading import start_inverter
    from percept_cli.core.optimizers import create_optimizer
    from percept_cli.core.runtime import seed_everything
    from percept_cli.core.training import Rival, Training, unwrap
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    weights = find_weights(loss, scaling, image_weight, feature_weight, adversarial_weight)
    taps = tuple(comparator_layers.split(",")) if comparator_layers else None
    compares_judge = bool(weights.feature) and comparator == DISCRIMINATOR
    judge_taps = discriminator_taps(taps) if compares_judge else ()
    if compares_judge and not weights.adversarial:
        raise UsageError(
            "--comparator discriminator needs a discriminator that learns: give an --adversarial-weight above 0."
        )
    if weights.adversarial and size < DeepsimDiscriminator.smallest:
        raise UsageError(f"--size {size}: the discriminator needs {DeepsimDiscriminator.smallest} pixels or more.")

    seed_everything(seed)
    whole = create_extractor(extractor, [layer], extractor_weights, seed, console.say)
    layer = whole.layers[0]
    fingerprint_of_weights = whole.fingerprint(layer)
    output = output or Path(f"{extractor}-{layer}.safetensors")
    photos = training_photos(data, "inverter", console)
    run = TrainingRun.open(output, overwrite, resume, device, precision, threads, console)
    runtime, (_, processes) = run.runtime, run.shard

    frozen = runtime.freeze(whole)
    crops = Crops(photos, size, seed, steps * batch * processes)
    photographs = torch.stack([crops[number] for number in range(min(CALIBRATION_CROPS, 4 * len(photos), len(crops)))])
    with torch.no_grad():
        features = torch.cat([frozen(runtime.place(few))[layer].float() for few in photographs.split(8)])
    grid = frozen.grid(layer)
    if grid is None and features[0, 0].numel() > 1:
        raise UsageError(
            f"{layer} of {extractor} has no fixed place in the image: invert the layer before or after it."
        )
    created = start_inverter(
        start, generator, extractor, layer, channels=features.shape[1], stride=grid.stride if grid else 0,
        offset=grid.offset if grid else 0.0, side=0 if grid else size, width=width,
    )  # fmt: skip
    if start is None:
        created.calibrate(features.cpu())
    network = run.place(created)
    training = Training(network, create_optimizer(optimizer, network), steps)

    compared = None
    if weights.feature and not compares_judge:
        compared = runtime.freeze(create_comparator(comparator, taps, comparator_weights, seed, console.say))
    judge = None
    if weights.adversarial:
        seen = features.shape[1] if code_branch else 0
        judge = run.place(DeepsimDiscriminator(discriminator_channels, seen))
    compare = InversionLoss(
        weights, compared, judge, runtime, size, scaling, judge_taps,
        average=lambda value: run.accelerator.reduce(value, "mean"),  # type: ignore[arg-type, return-value]
    )  # fmt: skip
    if judge is not None:
        group = {"params": judge.parameters(), "share": RIVAL_SHARE[optimizer]}
        rival_optimizer = torch.optim.Adam([group], betas=(0.9, 0.999))
        training.rival = Rival(judge, rival_optimizer, compare.discriminator_part, compare.freezing)
    rate = learning_rate if learning_rate is not None else MUON_RATE if optimizer == "muon" else ADAM_RATE
    settings = {
        "extractor": extractor, "layer": layer, "fingerprint": fingerprint_of_weights, "loss": loss,
        "image_weight": weights.image, "feature_weight": weights.feature, "adversarial_weight": weights.adversarial,
        "scaling": scaling, "comparator": comparator if weights.feature else "",
        "comparator_layers": list(judge_taps or (compared.layers if compared is not None else ())),
        "comparator_weights": Path(comparator_weights).name if comparator_weights else "",
        "discriminator_channels": discriminator_channels if judge is not None else 0,
        "code_branch": code_branch and judge is not None,
        "generator": generator, "arguments": created.arguments, "steps": steps, "batch": batch, "size": size,
        "learning_rate": rate, "optimizer": optimizer, "start": Path(start).stem if start else "",
        "photos": len(photos), "photos_digest": fingerprint(photos), "seed": seed, "precision": runtime.precision,
        "processes": processes,
    }  # fmt: skip

    def compute_loss(network, images, step):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            code = frozen(images)[layer]
        with runtime.autocast():
            result = network(code, (size, size))
        return compare.generator_part(result, images, created.normalise(code))

    run.train(
        training, crops, batch, compute_loss, rate, settings,
        clip_norm=CLIP_NORM if scaling == "typical" else None, shown=(photographs[:1], (features[:1], (size, size))),
    )  # fmt: skip
    if not run.is_main:
        return
    run.save(
        unwrap(network).state_dict(),
        {"role": "inverter", "architecture": generator, "arguments": created.arguments, "extractor": extractor,
         "layer": layer, "fingerprint": fingerprint_of_weights, "recipe": settings},
    )  # fmt: skip
    console.result(str(output), output=str(output), steps=steps, preview=str(run.preview))
