"""`percept train invert`: train a network that computes the image from the features of a layer."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.train import deepsim
from percept_cli.core.choices import INVERTERS, TRAINING_OPTIMIZERS


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
    generator: Annotated[str, parsing.choice_option("generator", INVERTERS, "Network that is trained.")] = "lean",
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
    existing: options.ExistingRun,
    report: options.Report,
) -> None:
    """Train an inverter: a network that turns a layer's features back into the image (Dosovitskiy & Brox 2016).

    percept train-invert --layers conv5

    percept train invert --layers conv5 --loss image --data photos/ -o blurred.safetensors
    """
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.data.photos import training_photos
    from percept_cli.core.training.inversion import InverterTraining, train_inverter

    console = report.console()
    training = InverterTraining(
        loss=loss, **asdict(losses), layer=layer, extractor=source.choose(), generator=generator, width=width, steps=steps,
        batch=batch, size=size, learning_rate=learning_rate, optimizer=optimizer, start=start, seed=seed,
    )  # fmt: skip
    photos = training_photos(data, "inverter", console.say)
    layer = training.extractor.architecture.resolve(layer)
    run = open_run(output or Path(f"{training.extractor.name}-{layer}.safetensors"), compute, existing, console)
    follow(run, train_inverter(photos, run, training), console)
    report_model(run, console, f"percept invert PHOTO --layers {layer} --method generator -m {run.output}")
