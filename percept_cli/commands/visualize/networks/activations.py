"""`percept visualize activations`: features before and after each activation of a network, over photographs."""

from pathlib import Path
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
    chosen: options.Chosen,
) -> None:
    """Statistics of features over all layers, before and after ReLU: zeros, range, contrast, response to brightness.

    percept visualize activations photos/ -o activations.png

    percept visualize activations photos/ --extractor vgg19 -o activations.svg --data activations.csv
    """
    from percept_cli.commands.visualize.photographs import each_good, exit_if_failed, list_photos, load_subject
    from percept_cli.commands.visualize.picture import SVG, extractor_title, plan_picture

    console, choice = report.console(), source.choose()
    parsing.check_layers(choice.architecture, layer)
    if photos or listing.from_file is not None:
        paths = list_photos(photos, listing)
    else:
        from percept_cli.core.data.photos import sample_photos

        paths = sample_photos()
        console.say(f"no image was given: the {len(paths)} sample photographs of scikit-image")
    named = chosen.describe("activations", "extractor")
    target = plan_picture(choice.name, named, output, data, existing, console, sources=paths, others=(SVG,), show=show)
    if target.is_done():
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.runtime import BYTES_PER_PIXEL, memory_errors, size_advice
    from percept_cli.core.visualization import activations as core

    check_matplotlib()
    pairs = core.choose_pairs(choice.architecture, layer or ())
    runtime = compute.runtime(console.say)
    extractor = runtime.freeze(choice.create([side for pair in pairs for side in pair], seed, console.say))

    def measure(path: Path) -> tuple[bool, dict[str, list[core.LayerFigures]]]:
        subject = load_subject(path, size, console, usual=SIDE)
        height, width = subject.pixels.shape[-2:]
        advice = size_advice(height, width, BYTES_PER_PIXEL, runtime.device, extractor.smallest_side)
        with memory_errors(str(path), advice):
            figures = dict(core.measure_activations(extractor, [(str(path), runtime.place(subject.pixels))]))
        return subject.scaled, figures

    done, failed = each_good(paths, measure, console, "photograph")
    measured = {name: layers for _, (_, figures) in done for name, layers in figures.items()}
    scaled = sum(was_scaled for _, (was_scaled, _) in done)
    title = f"{extractor_title(choice)}: features before and after the activation"
    note = f"{scaled} of them scaled to a short side of {size or SIDE} pixels" if scaled else ""
    target.write(
        core.activation_plot(measured, pairs, title, note), core.activation_records(measured), extractor=choice.name,
        photographs=len(measured),
    )  # fmt: skip
    exit_if_failed(failed)
