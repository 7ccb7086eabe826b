"""`percept train invert`: train a network that computes the image from the features of a layer."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from percept_cli import options, parsing
from percept_cli.commands.train import deepsim
from percept_cli.core.choices import INVERTERS, TRAINING_OPTIMIZERS
from percept_cli.core.training.deepsim_options import DeepsimOptions


def train_invert(
    layer: Annotated[
        str,
        typer.Option(
            "--layers",
            metavar="LAYER",
            help="The layer to invert, one; conv5 is the last of its block.",
            autocompletion=parsing.complete_layers,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: EXTRACTOR-LAYER.safetensors.")
    ] = None,
    data: options.Data = None,
    *,
    source: options.ExtractorSource,
    loss: deepsim.Loss = "deepsim",
    losses: deepsim.Losses,
    generator: Annotated[str, options.paper_choice("generator", INVERTERS, "The network that is trained.")] = "lean",
    width: Annotated[float, typer.Option(min=0.05, help="Channels as a share of the generator's usual number.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer updates.")] = 1500,
    batch: Annotated[int, typer.Option(min=1, help="Photographs per step.")] = 8,
    size: Annotated[int, typer.Option(min=16, help="Side of the training crops, pixels.")] = 128,
    learning_rate: deepsim.LearningRate = None,
    optimizer: Annotated[str, parsing.choice_option("optimizer", TRAINING_OPTIMIZERS, None)] = "muon",
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained inverter of the same layer: needs fewer steps.")
    ] = None,
    seed: options.Seed = 0,
    compute: options.Compute,
    run_options: options.RunOptions,
    report: options.Report,
) -> None:
    """Train an inverter: a network that turns a layer's features back into the image (Dosovitskiy & Brox 2016).

    percept train-invert --layers conv5

    percept train invert --layers conv5 --loss image --data photos/ -o blurred.safetensors
    """
    from percept_cli.commands.planning import check_training, default_model

    console = report.console()
    shared: dict[str, Any] = {
        "loss": loss, **asdict(losses), "width": width, "steps": steps, "batch": batch, "size": size,
        "learning_rate": learning_rate, "optimizer": optimizer, "seed": seed,
    }  # fmt: skip
    DeepsimOptions(**shared)  # raises for options that contradict each other
    choice = source.choose()
    layer = choice.architecture.resolve(layer)
    output = output or default_model(f"{choice.name}-{layer}", "inverter")
    check_training(output, data, start, "inverter")

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.data.photos import training_photos
    from percept_cli.core.training.inversion import InverterTraining, train_inverter

    training = InverterTraining(layer=layer, extractor=choice, generator=generator, start=start, **shared)
    photos = training_photos(data, "inverter", console.say)
    run = open_run(output, compute, run_options, console)
    follow(run, train_inverter(photos, run, training), console)
    report_model(run, console, f"percept invert PHOTO --layers {layer} --method generator -m {run.output}")
