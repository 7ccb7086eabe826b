"""`percept visualize history`: how trainings went, every part of their losses."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, PlotFile


def history(
    logs: Annotated[
        list[Path], typer.Argument(metavar="LOG...", help="log.jsonl files, .run folders, or the models beside them.")
    ],
    output: PlotFile = None,
    parts: Annotated[
        str | None, typer.Option(metavar="P1,P2,...", help="Only these: total, or style for all of its layers.")
    ] = None,
    smooth: Annotated[
        int | None, typer.Option(min=1, help="Steps to average. Default: a fiftieth of the training.")
    ] = None,
    previews: Annotated[bool, typer.Option("--previews/--no-previews", help="The preview strips above.")] = True,
    data: Numbers = None,
    quality: options.Quality = 95,
    show: options.Show = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Every part of the loss of one or several trainings, raw and smoothed, below what their previews became.

    percept visualize history starry.run

    percept visualize history first.run second.run --parts total,style -o both.svg
    """
    from percept_cli.commands.visualize.picture import (
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_plot,
    )
    from percept_cli.console import Console
    from percept_cli.core.visualization.history import choose_parts, find_log, history_records, read_history

    console = Console(quiet, json)
    files = [find_log(given) for given in logs]
    flags = {"overwrite": overwrite, "skip_existing": skip_existing}
    names = _names(files)
    job = plan_picture(names[0], "history", output, sources=files, plot=True, **flags)
    numbers = plan_numbers(data, files, **flags)
    if report_skipped(job, console):
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.visualization.history import history_plot

    check_matplotlib()
    histories = [read_history(file, name) for file, name in zip(files, names, strict=True)]
    chosen = choose_parts(histories, [part.strip() for part in (parts or "").split(",") if part.strip()])
    title = f"Training history: {', '.join(names)}"
    plot = history_plot(histories, chosen, title, smooth, previews)
    write_plot(
        plot, job, console, quality=quality, show=show, trainings=len(histories),
        steps=[int(each.steps[-1]) for each in histories],
    )  # fmt: skip
    write_numbers(history_records(histories, chosen, smooth), numbers)


def _names(files: list[Path]) -> list[str]:
    """What a reader calls the trainings: their run folders, else the files; whole paths where that would be ambiguous."""
    names = [file.parent.stem if file.parent.suffix == ".run" else file.stem for file in files]
    return names if len(set(names)) == len(names) else [str(file.parent) for file in files]
