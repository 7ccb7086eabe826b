"""`percept visualize activations`: what the activations of a network do to its features, over many photographs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, PlotFile

if TYPE_CHECKING:
    from percept_cli.core.extractors import Architecture

SIDE = 256  # pixels


def activations(
    photos: options.Inputs = None,
    layer: Annotated[
        str, typer.Option("--layer", metavar="L1,L2,...", help="By either name of each. Default: all with places.")
    ] = "",
    output: PlotFile = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Short side that the network sees, pixels. Default: 256 at most.")
    ] = None,
    data: Numbers = None,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    recursive: options.Recursive = False,
    from_file: options.FromFile = None,
    null: options.NullSeparated = False,
    show: options.Show = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """One figure over all layers, before and after their ReLUs: zeros, range, contrast, answer to brightness.

    percept visualize activations photos/ -o activations.png

    percept visualize activations photos/ --extractor vgg19 -o activations.svg --data activations.csv
    """
    from percept_cli.commands.visualize.picture import (
        load_subject,
        photo_files,
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_plot,
    )
    from percept_cli.console import Console
    from percept_cli.core.files.inputs import expand_inputs
    from percept_cli.errors import ExitCode, ImageError

    console = Console(quiet, json)
    if photos or from_file is not None:
        items = expand_inputs(photos or [], recursive=recursive, from_file=from_file, null_separated=null)
        paths = photo_files(items)
    else:
        from percept_cli.core.data.photos import sample_photos

        paths = sample_photos()
        console.say(f"no image was given: the {len(paths)} sample photographs of scikit-image")
    flags = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_picture(extractor, "activations", output, sources=paths, plot=True, **flags)
    numbers = plan_numbers(data, paths, **flags)
    if report_skipped(job, console):
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.pretrained.extractors import create_extractor
    from percept_cli.core.runtime import choose_runtime, memory_errors
    from percept_cli.core.visualization.activations import (
        LayerFigures,
        activation_plot,
        activation_records,
        measure_activations,
    )

    check_matplotlib()
    pairs = _pairs(create_architecture(extractor), layer)
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    taps = [side for pair in pairs for side in pair]
    frozen = runtime.freeze(create_extractor(extractor, taps, extractor_weights, seed, console.say))
    measured: dict[str, list[LayerFigures]] = {}
    scaled, failed = 0, 0
    with console.progress(len(paths), "photograph") as progress:
        for path in paths:
            try:
                subject = load_subject(path, size, console, usual=SIDE)
                height, width = subject.pixels.shape[-2:]
                if min(height, width) < frozen.smallest_side:
                    raise ImageError(
                        f"'{path}' is {width}x{height} pixels, but {taps[-1]} of {extractor} needs "
                        f"{frozen.smallest_side} a side: give --size or shallower layers."
                    )
                scaled += subject.scaled
                with memory_errors(str(path)):
                    measured.update(measure_activations(frozen, [(str(path), runtime.place(subject.pixels))]))
            except ImageError as error:
                failed += 1
                console.error(str(error))
            progress.advance(1)
    if not measured:
        raise typer.Exit(ExitCode.ALL_FAILED)
    weights = f" ({Path(extractor_weights).name})" if extractor_weights else ""
    count = (
        "one photograph" if len(measured) == 1 else f"{len(measured)} photographs: medians, bands from least to most"
    )
    notes = [f"{count}; {scaled} of them scaled to a short side of {size or SIDE} pixels" if scaled else count]
    title = f"{extractor}{weights}: features before and after the activation"
    write_plot(
        activation_plot(measured, pairs, title, notes),
        job,
        console,
        show=show,
        extractor=extractor,
        photographs=len(measured),
    )
    write_numbers(activation_records(measured), numbers)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _pairs(architecture: "Architecture", layer: str) -> list[tuple[str, str]]:
    """The layers asked for, or all that have places: (before, after), from shallow to deep.

    Raises UsageError for a layer without an activation, and for a code of the whole picture.
    """
    from percept_cli.core.extractors.geometry import activation_pair, activation_pairs
    from percept_cli.errors import UsageError

    with_places = [pair for pair in activation_pairs(architecture) if not pair[0].startswith("fc")]
    asked = {activation_pair(architecture, part.strip()) for part in layer.split(",") if part.strip()}
    for pair in asked - set(with_places):
        raise UsageError(f"{pair[1]} of {architecture.name} is a code of the whole picture, without places to compare.")
    return [pair for pair in with_places if not asked or pair in asked]
