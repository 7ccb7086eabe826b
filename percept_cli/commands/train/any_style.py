"""`percept train any-style`: train a network that restyles photographs after any painting, in one pass."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.core import choices
from percept_cli.parsing import check_layers, choice_option, complete_models


@dataclass(frozen=True)
class Losses:
    """The weights, layers and sizes of the losses."""

    content_weight: options.ContentWeight = 1.0
    style_weight: options.StyleWeight = 1.0
    tv_weight: options.TotalVariationWeight = 1.0
    content_layers: options.LossLayers = None
    style_layers: options.LossLayers = None
    style_scales: options.StyleScales = None


def train_any_style(
    *,
    paintings: Annotated[
        list[Path],
        typer.Option(
            "--paintings", help="A folder of paintings, with all folders in it; may be repeated.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model to write.")] = Path("any-style.safetensors"),
    data: options.Data = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer updates.")] = 3000,
    batch: Annotated[int, typer.Option(min=1, help="Photographs, each with a painting, per step.")] = 4,
    size: Annotated[int, typer.Option(min=64, help="Side of the training crops, pixels.")] = 192,
    smallest_crop: Annotated[
        float, typer.Option(min=0.05, max=1.0, help="The smallest crop, as a share of a photograph's short side.")
    ] = 0.5,
    smallest_painting: Annotated[
        float,
        typer.Option(min=0.05, max=1.0, help="The same of a painting: small crops have large strokes."),
    ] = 0.6,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak of the schedule.")] = 2e-3,
    optimizer: Annotated[str, choice_option("optimizer", choices.TRAINING_OPTIMIZERS, None)] = "muon",
    start: Annotated[
        str | None,
        typer.Option(
            help="Begin from a trained one (a shipped name or a file): needs fewer steps.",
            autocompletion=complete_models("any-style"),
        ),
    ] = None,
    losses: Losses,
    source: options.ExtractorSource,
    seed: options.Seed = 0,
    compute: options.Compute,
    run_options: options.RunOptions,
    report: options.Report,
) -> None:
    """Train a network that restyles photographs after any painting in one pass, also after those it has not seen.

    percept train any-style --paintings paintings/ --data photos/
    """
    from percept_cli.commands.planning import check_training

    console = report.console()
    choice = source.choose()
    check_layers(choice.architecture, losses.content_layers, losses.style_layers)
    check_training(output, [*(data or ()), *paintings], start, "any-style")

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.data.photos import find_photos, training_photos
    from percept_cli.core.runtime import memory_errors
    from percept_cli.core.training.any_style import AnyStyleTraining, train_any_style

    training = AnyStyleTraining(
        steps, batch, size, smallest_crop, smallest_painting, learning_rate=learning_rate, optimizer=optimizer, start=start,
        extractor=choice, seed=seed, **options.given(losses),
    )  # fmt: skip
    found = find_photos(paintings)
    photos = training_photos(data, "style", console.say)
    run = open_run(output, compute, run_options, console)
    with memory_errors("setting up the training", "Use a smaller --size or --batch"):
        steps_of_run = train_any_style(found, photos, run, training)
    follow(run, steps_of_run, console)
    report_model(run, console, f"percept stylize PHOTO --style PAINTING -m {output}")
