"""`percept train extractor`: distil the small extractor `compact` from real networks, or train one without any."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options


@dataclass(frozen=True)
class Usual:
    """What a method does unless told otherwise."""

    steps: int
    batch: int
    size: int
    learning_rate: float


METHODS = {
    "distil": Usual(8000, 8, 128, 2e-3),
    "exemplar": Usual(10_000, 64, 32, 1.5e-4),
    "video": Usual(10_000, 32, 64, 1.5e-4),
}
# Options that only some methods have
OWN = {
    "--teacher": ("distil",),
    "--start": ("distil",),
    "--held-out": ("distil", "video"),
    "--classes": ("exemplar",),
    "--margin": ("video",),
    "--gap": ("video",),
}
EXEMPLAR, VIDEO = "Exemplar-CNN (--method exemplar)", "VideoNet (--method video)"


def train_extractor(
    output: Annotated[Path, typer.Option("-o", "--output", help="The weights file to write.")] = Path(
        "compact.safetensors"
    ),
    method: Annotated[
        str, typer.Option(help="distil: from real networks; exemplar or video: from images alone.")
    ] = "distil",
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME=FILE of a real network: vgg19, squeezenet1_0.", metavar="NAME[=FILE]"),
    ] = None,
    data: options.Data = None,
    held_out: Annotated[
        list[Path] | None, typer.Option("--held-out", help="Photographs to measure on, never trained on.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Patches to tell apart. Default: 2000.", rich_help_panel=EXEMPLAR)
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=0.0, help="By which others must be farther. Default: 0.5.", rich_help_panel=VIDEO),
    ] = None,
    gap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Frames from a patch to its later one; 0: every image is a photograph. Default: 8.",
            rich_help_panel=VIDEO,
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer updates. Default: 8000; others 10000.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Crops a step. Default: 8; exemplar 64, video 32 pairs.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=32, help="Side of a crop in pixels, a multiple of 16. Default: 128; exemplar 32, video 64."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak of the schedule. Default: 2e-3; others 1.5e-4.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="A `compact` trained before, to go on from with a new schedule.")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a small extractor with VGG's layer names: from real networks, or from photographs or clips alone.

    percept train extractor --teacher vgg19 --teacher squeezenet1_0 --data photos/ --held-out others/

    percept train extractor --method exemplar --data photos/ -o mine.safetensors

    percept train extractor --method video --data clips/ -o mine.safetensors
    """
    from percept_cli.commands.train.session import open_run, training_photos
    from percept_cli.console import Console
    from percept_cli.errors import UsageError, unknown_name

    console = Console(quiet, json)
    if method not in METHODS:
        raise UsageError(unknown_name("method", method, METHODS))
    _refuse_others(
        method,
        {"--teacher": teacher, "--start": start, "--held-out": held_out, "--classes": classes, "--margin": margin,
         "--gap": gap},
    )  # fmt: skip
    usual = METHODS[method]
    steps, batch, size = steps or usual.steps, batch or usual.batch, size or usual.size
    rate = usual.learning_rate if learning_rate is None else learning_rate
    if size % 16:
        raise UsageError(f"--size {size}: give a multiple of 16.")
    if method == "video" and batch < 2:
        raise UsageError("--batch 1: patches are ranked against others of their batch. Give 2 or more.")
    photos = training_photos(data, "extractor", console)
    run = open_run(output, options.Compute(device, precision, threads), options.ExistingRun(resume, overwrite), console)

    from percept_cli.core.training.extractors.methods import Plan, distil, learn_exemplars, rank_frames

    plan = Plan(photos, steps, batch, size, rate, seed)
    if method == "distil":
        distil(run, console, plan, teacher, held_out, start)
    elif method == "exemplar":
        learn_exemplars(run, console, plan, 2000 if classes is None else classes)
    else:
        rank_frames(run, console, plan, 0.5 if margin is None else margin, 8 if gap is None else gap, held_out)


def _refuse_others(method: str, given: Mapping[str, object]) -> None:
    """Raises UsageError for an option that belongs to another method."""
    from percept_cli.errors import UsageError

    for option, value in given.items():
        if value is not None and method not in OWN[option]:
            raise UsageError(f"{option} is for --method {' and '.join(OWN[option])}, not for {method}: leave it out.")
