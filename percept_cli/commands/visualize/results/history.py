"""`percept visualize history`: the losses of trainings over their steps."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.picture import Numbers, PlotFile

Result = TypeVar("Result")


def history(
    logs: Annotated[
        list[Path], typer.Argument(metavar="LOG...", help="log.jsonl files, .run folders, or their models.")
    ],
    output: PlotFile = None,
    parts: Annotated[
        parsing.Names | None,
        parsing.names_option(
            "Parts of the loss; `style` includes all of its layers. Default: all.",
            metavar="P1,P2,...",
            autocompletion=None,
        ),
    ] = None,
    smooth: Annotated[
        int | None, typer.Option(min=1, help="Steps to average. Default: a fiftieth of the training.")
    ] = None,
    previews: Annotated[bool, typer.Option("--previews/--no-previews", help="Preview strips above the curves.")] = True,
    data: Numbers = None,
    quality: options.Quality = 95,
    *,
    show: options.Show = False,
    existing: options.Existing,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Every part of the loss of one or several trainings, raw and smoothed, below their previews.

    percept visualize history starry.run

    percept visualize history first.run second.run --parts total,style -o both.svg
    """
    from percept_cli.commands.visualize.picture import SVG, plan_picture
    from percept_cli.console import Failures
    from percept_cli.core.files.inputs import readable
    from percept_cli.core.visualization import history as core
    from percept_cli.errors import ExitCode, UsageError

    console = report.console()
    failures = Failures(console)

    def keep_good(given: Sequence[Path], read: Callable[[Path], Result]) -> list[tuple[Path, Result]]:
        kept = []
        for path in given:
            try:
                kept.append((path, read(path)))
            except UsageError as error:
                if len(logs) == 1:
                    raise
                failures.add(path, str(error))
        if not kept:
            raise typer.Exit(ExitCode.ALL_FAILED)
        return kept

    files = [file for _, file in keep_good(logs, core.find_log)]
    labels = dict(zip(files, map(readable, core.training_names(files)), strict=True))
    names = list(labels.values())
    named = chosen.describe("history")
    target = plan_picture(
        names[0], named, output, data, existing, console, sources=files, others=(SVG,), quality=quality, show=show
    )
    if target.is_done():
        return

    from percept_cli.core.drawing.plots import check_matplotlib

    check_matplotlib()
    histories = [history for _, history in keep_good(files, lambda file: core.read_history(file, labels[file]))]
    names = [each.name for each in histories]
    drawn = core.choose_parts(histories, parts or ())
    target.write(
        core.history_plot(histories, drawn, f"Training history: {', '.join(names)}", smooth, previews),
        core.history_records(histories, drawn, smooth),
        trainings=len(histories),
        steps=[int(each.steps[-1]) for each in histories],
    )
    if failures.inputs:
        raise typer.Exit(ExitCode.SOME_FAILED)
