"""`percept visualize history`: the losses of trainings over their steps."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.picture import Numbers, PlotFile


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
) -> None:
    """Every part of the loss of one or several trainings, raw and smoothed, below their previews.

    percept visualize history starry.run

    percept visualize history first.run second.run --parts total,style -o both.svg
    """
    from percept_cli.commands.visualize.picture import SVG, plan_picture
    from percept_cli.core.files.inputs import readable
    from percept_cli.core.visualization import history as core

    console = report.console()
    files = [core.find_log(given) for given in logs]
    names = [readable(name) for name in core.training_names(files)]
    target = plan_picture(
        names[0], "history", output, data, existing, console, sources=files, others=(SVG,), quality=quality, show=show
    )
    if target.is_done():
        return

    from percept_cli.core.drawing.plots import check_matplotlib

    check_matplotlib()
    histories = [core.read_history(file, name) for file, name in zip(files, names, strict=True)]
    chosen = core.choose_parts(histories, parts or ())
    target.write(
        core.history_plot(histories, chosen, f"Training history: {', '.join(names)}", smooth, previews),
        core.history_records(histories, chosen, smooth),
        trainings=len(histories),
        steps=[int(each.steps[-1]) for each in histories],
    )
