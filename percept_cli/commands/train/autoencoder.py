"""`percept train autoencoder`: train a network that encodes an image as a small code and decodes it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from percept_cli import options
from percept_cli.commands.train import deepsim
from percept_cli.conditions import EffectIf
from percept_cli.core.choices import TRAINING_OPTIMIZERS
from percept_cli.core.training.deepsim_options import UNRELATED, DeepsimOptions
from percept_cli.parsing import choice_option


def train_autoencoder(
    output: Annotated[Path, typer.Option("-o", "--output", help="The model to write.")] = Path(
        "autoencoder.safetensors"
    ),
    data: options.Data = None,
    variational: Annotated[
        bool, typer.Option("--variational", help="Make new pictures from random codes possible.")
    ] = False,
    channels: Annotated[int, typer.Option(min=1, help="Of the code; its sides are an eighth of the image's.")] = 8,
    loss: deepsim.Loss = "deepsim",
    pixel: Annotated[
        str, options.loss_choice("pixel distance", tuple(UNRELATED), "Of the image loss."), deepsim.OF_IMAGES
    ] = "mse",
    kl_weight: Annotated[
        float,
        options.loss_option(min=0.0, help="With --variational: weight of the divergence."),
        EffectIf(lambda call: call.variational, "Only a code of --variational has a divergence"),
    ] = 0.01,
    *,
    losses: deepsim.Losses,
    width: Annotated[float, typer.Option(min=0.05, help="Channels as a share of the network's usual number.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer updates.")] = 2000,
    batch: Annotated[int, typer.Option(min=1, help="Photographs per step.")] = 16,
    size: Annotated[int, typer.Option(min=16, help="Side of the training crops, pixels.")] = 64,
    learning_rate: deepsim.LearningRate = None,
    optimizer: Annotated[str, choice_option("optimizer", TRAINING_OPTIMIZERS, None)] = "muon",
    seed: options.Seed = 0,
    compute: options.Compute,
    run_options: options.RunOptions,
    report: options.Report,
) -> None:
    """Train an autoencoder: 8 channels on an eighth of each side, by pixels or by DeePSiM (Dosovitskiy & Brox 2016).

    percept train autoencoder --data photos/

    percept train autoencoder --loss image --pixel l1 --data photos/ -o blurred.safetensors
    """
    from percept_cli.commands.planning import check_training

    console = report.console()
    shared: dict[str, Any] = {
        "loss": loss, **asdict(losses), "pixel": pixel, "width": width, "steps": steps, "batch": batch, "size": size,
        "learning_rate": learning_rate, "optimizer": optimizer, "seed": seed,
    }  # fmt: skip
    DeepsimOptions(**shared)  # raises for options that contradict each other
    check_training(output, data)

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.data.photos import training_photos
    from percept_cli.core.training.autoencoding import AutoencoderTraining, train_autoencoder

    training = AutoencoderTraining(variational=variational, channels=channels, kl_weight=kl_weight, **shared)
    photos = training_photos(data, "autoencoder", console.say)
    run = open_run(output, compute, run_options, console)
    follow(run, train_autoencoder(photos, run, training), console)
    report_model(run, console)
