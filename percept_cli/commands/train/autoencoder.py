"""`percept train autoencoder`: train a network that keeps an image as a small code."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options


def train_autoencoder(
    output: Annotated[Path, typer.Option("-o", "--output", help="The model to write.")] = Path(
        "autoencoder.safetensors"
    ),
    data: options.Data = None,
    variational: Annotated[bool, typer.Option("--variational", help="Pictures can be drawn from it.")] = False,
    channels: Annotated[int, typer.Option(min=1, help="Of the code, which is 8 times smaller a side.")] = 8,
    loss: options.DeepsimLoss = "deepsim",
    pixel: Annotated[str, typer.Option(help="mse or l1, of the image loss.", rich_help_panel="Losses")] = "mse",
    kl_weight: Annotated[
        float, typer.Option(min=0.0, help="Of the code's distance from a normal one.", rich_help_panel="Losses")
    ] = 0.01,
    image_weight: options.ImageWeight = None,
    feature_weight: options.FeatureWeight = None,
    adversarial_weight: options.AdversarialWeight = None,
    scaling: options.UnrelatedScaling = "typical",
    comparator: options.Comparator = "compact",
    comparator_layers: options.ComparatorLayers = None,
    comparator_weights: options.ComparatorWeights = None,
    discriminator_channels: options.DiscriminatorChannels = 32,
    code_branch: options.CodeBranch = True,
    width: Annotated[float, typer.Option(min=0.05, help="Channels as a share of the network's own.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer updates.")] = 2000,
    batch: Annotated[int, typer.Option(min=1, help="Photographs a step.")] = 16,
    size: Annotated[int, typer.Option(min=16, help="Side of the training crops, pixels.")] = 64,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak of the schedule. Default: 1.5e-3 for muon, 2e-4 for adam.")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="muon or adam.")] = "muon",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train an autoencoder: 8 channels on an eighth of each side, by pixels or by DeePSiM (Dosovitskiy & Brox 2016).

    percept train autoencoder --data photos/

    percept train autoencoder --loss image --pixel l1 --data photos/ -o blurred.safetensors
    """
    from percept_cli.commands.train.session import follow, open_run, training_photos
    from percept_cli.console import Console
    from percept_cli.core.data.photos import Crops, fingerprint
    from percept_cli.core.generators.autoencoder import Autoencoder, divergence
    from percept_cli.core.runtime import seed_everything
    from percept_cli.core.training.inversion import ADAM_RATE, MUON_RATE, LossOptions
    from percept_cli.core.training.loop import Training, unwrap
    from percept_cli.core.training.optimizers import create_optimizer

    console = Console(quiet, json)
    losses = LossOptions.check(
        loss, (image_weight, feature_weight, adversarial_weight), scaling, comparator, comparator_layers,
        comparator_weights, discriminator_channels, code_branch, size, pixel,
    )  # fmt: skip
    photos = training_photos(data, "autoencoder", console)
    run = open_run(output, options.Compute(device, precision, threads), options.ExistingRun(resume, overwrite), console)
    runtime, (_, processes) = run.runtime, run.shard

    seed_everything(seed)
    created = Autoencoder(channels, variational, width)
    network = run.place(created)
    training = Training(network, create_optimizer(optimizer, network), steps)
    compare = losses.create(run, training, optimizer, channels, seed)
    rate = learning_rate if learning_rate is not None else MUON_RATE if optimizer == "muon" else ADAM_RATE
    settings = {
        "arguments": created.arguments, **losses.settings(compare), "kl_weight": kl_weight if variational else 0.0,
        "steps": steps, "batch": batch, "size": size, "learning_rate": rate, "optimizer": optimizer,
        "photos": len(photos), "photos_digest": fingerprint(photos), "seed": seed, "precision": runtime.precision,
        "processes": processes,
    }  # fmt: skip
    crops = Crops(photos, size, seed, steps * batch * processes)

    def compute_loss(network, images, step):  # type: ignore[no-untyped-def]
        with runtime.autocast():
            result, code, spread = network(images)
        # The discriminator is told the code; the code is not to be made for it.
        total, parts = compare.generator_part(result, images, code.detach())
        if spread is not None and kl_weight:
            parts["kl"] = kl_weight * divergence(code, spread)
            total = total + parts["kl"]
        return total, parts

    sample = crops[0][None]
    loop = run.train(
        training, crops, batch, compute_loss, rate, settings, clip_norm=losses.clip_norm, shown=(sample, sample)
    )  # fmt: skip
    follow(run, loop, console)
    if not run.is_main:
        return
    run.save(
        unwrap(network).state_dict(),
        {"role": "autoencoder", "architecture": "lean", "arguments": created.arguments, "recipe": settings},
    )
    console.result(str(output), output=str(output), steps=steps, preview=str(run.preview))
