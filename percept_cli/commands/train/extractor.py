"""`percept train extractor`: train a small extractor to predict real networks, or without them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from percept_cli import options
from percept_cli.conditions import EffectIf
from percept_cli.core.choices import EXTRACTOR_METHODS
from percept_cli.parsing import choice_option

EXEMPLAR, VIDEO = "Exemplar-CNN (--method exemplar)", "VideoNet (--method video)"


def _by(*methods: str) -> EffectIf:
    """The condition that the extractor is trained by one of the methods."""
    text = " and ".join(methods)
    return EffectIf(
        lambda call: call.method in methods, lambda call: f"{{option}} is for --method {text}, not for {call.method}"
    )


def train_extractor(
    output: Annotated[Path, typer.Option("-o", "--output", help="The weights file to write.")] = Path(
        "extractor.safetensors"
    ),
    method: Annotated[
        str,
        choice_option("method", EXTRACTOR_METHODS, "distil: from real networks; exemplar or video: from images alone."),
    ] = "distil",
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=FILE of a real network: vgg19, squeezenet1_0.", metavar="NAME[=FILE]"),
        _by("distil"),
    ] = None,
    data: options.Data = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option("--held-out", help="Photographs for the measurement, not for training."),
        _by("distil", "video"),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=2, help="Patches, each a class. Default: 2000.", rich_help_panel=EXEMPLAR),
        _by("exemplar"),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=0.0, help="Of the distances in the ranking loss. Default: 0.5.", rich_help_panel=VIDEO),
        _by("video"),
    ] = None,
    gap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Frames between the patches of a pair; 0: every image is a photograph. Default: 8.",
            rich_help_panel=VIDEO,
        ),
        _by("video"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer updates. Default: 8000; others 10000.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Crops per step. Default: 8; exemplar 64, video 32 pairs.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=32, help="Side of a crop in pixels, a multiple of 16. Default: 128; exemplar 32, video 64."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak of the schedule. Default: 2e-3; others 1.5e-4.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Begin from a trained `compact`, with a new schedule."), _by("distil")
    ] = None,
    seed: options.Seed = 0,
    *,
    compute: options.Compute,
    run_options: options.RunOptions,
    report: options.Report,
) -> None:
    """Train a small extractor with VGG's layer names: from real networks, or from photographs or clips alone.

    percept train extractor --teacher vgg19 --teacher squeezenet1_0 --data photos/ --held-out others/

    percept train extractor --method exemplar --data photos/ -o mine.safetensors

    percept train extractor --method video --data clips/ -o mine.safetensors
    """
    from percept_cli.commands.planning import check_training
    from percept_cli.core.pretrained.manifest import check_weights

    check_training(output, [*(data or ()), *(held_out or ())])
    if start is not None:
        check_weights(start)

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.train.session import follow, open_run, report_model
    from percept_cli.core.data.photos import training_photos
    from percept_cli.core.training.extractors import METHODS

    console = report.console()
    given: dict[str, Any] = {
        "teacher": teacher, "start": start, "held_out": held_out, "classes": classes, "margin": margin, "gap": gap,
        "steps": steps, "batch": batch, "size": size, "learning_rate": learning_rate, "seed": seed,
    }  # fmt: skip
    options_type, train = METHODS[method]
    given = {name: value for name, value in given.items() if value is not None}
    training = options_type(**given)
    photos = training_photos(data, "extractor", console.say)
    run = open_run(output, compute, run_options, console)
    follow(run, train(photos, run, training), console)
    if not run.is_main:
        return
    if method == "distil":
        for layer, share in run.figures.items():
            console.figures(f"{layer}  unexplained variance {share:.4f}", layer=layer, unexplained_variance=share)
        console.result(str(output), output=str(output), steps=training.steps)
        return
    if method == "exemplar":
        accuracy, classes = run.figures["surrogate_accuracy"], training.classes
        text = f"surrogate accuracy {accuracy:.4f} of {classes} classes under held-out transformations"
        console.figures(text, **run.figures, classes=classes)
    else:
        where = "clips never trained on" if held_out else "other places of the same clips"
        loss, errors = run.figures["ranking_loss"], run.figures["ranking_errors"]
        text = f"ranking loss {loss:.4f}, {errors:.2%} ranked wrongly, in {where}"
        console.figures(text, **run.figures, held_out=bool(held_out))
    report_model(run, console, f"percept compare A B --extractor {output}")
