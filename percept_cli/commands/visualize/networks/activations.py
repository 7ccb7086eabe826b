"""`percept visualize activations`: features before and after each activation of a network, over photographs."""

from typing import Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.picture import Numbers, PlotFile

SIDE = 256  # pixels


def activations(
    photos: options.Inputs = None,
    layer: Annotated[
        parsing.Names | None,
        parsing.names_option("By the name before or after the activation. Default: all convolutions.", "--layers"),
    ] = None,
    output: PlotFile = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Short side of the photographs, pixels. Default: 256 at most.")
    ] = None,
    data: Numbers = None,
    *,
    source: options.ExtractorSource,
    listing: options.Listing,
    show: options.Show = False,
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.ExactCompute,
    report: options.Report,
) -> None:
    """Statistics of features over all layers, before and after ReLU: zeros, range, contrast, response to brightness.

    percept visualize activations photos/ -o activations.png

    percept visualize activations photos/ --extractor vgg19 -o activations.svg --data activations.csv
    """
    from percept_cli.commands.visualize.photographs import list_photos, load_subject
    from percept_cli.commands.visualize.picture import SVG, extractor_title, plan_picture
    from percept_cli.errors import ExitCode, ImageError

    console, choice = report.console(), source.choose()
    parsing.check_layers(choice.architecture, layer)
    if photos or listing.from_file is not None:
        paths = list_photos(photos, listing)
    else:
        from percept_cli.core.data.photos import sample_photos

        paths = sample_photos()
        console.say(f"no image was given: the {len(paths)} sample photographs of scikit-image")
    target = plan_picture(
        choice.name, "activations", output, data, existing, console, sources=paths, others=(SVG,), show=show
    )
    if target.is_done():
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.runtime import memory_errors
    from percept_cli.core.visualization import activations as core

    check_matplotlib()
    pairs = core.choose_pairs(choice.architecture, layer or ())
    runtime = compute.runtime()
    console.say(runtime.reason)
    extractor = runtime.freeze(choice.create([side for pair in pairs for side in pair], seed, console.say))
    measured: dict[str, list[core.LayerFigures]] = {}
    scaled, failed = 0, 0
    with console.progress(len(paths), "photograph") as progress:
        for path in paths:
            try:
                subject = load_subject(path, size, console, usual=SIDE)
                scaled += subject.scaled
                with memory_errors(str(path)):
                    measured.update(core.measure_activations(extractor, [(str(path), runtime.place(subject.pixels))]))
            except ImageError as error:
                failed += 1
                console.error(str(error))
            progress.advance(1)
    if not measured:
        raise typer.Exit(ExitCode.ALL_FAILED)
    title = f"{extractor_title(choice)}: features before and after the activation"
    note = f"{scaled} of them scaled to a short side of {size or SIDE} pixels" if scaled else ""
    target.write(
        core.activation_plot(measured, pairs, title, note), core.activation_records(measured), extractor=choice.name,
        photographs=len(measured),
    )  # fmt: skip
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)
