"""`percept visualize gram`: what style losses see of styles, and how far styles are from each other in that."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, PlotFile

SIDE = 256  # pixels


def gram(
    styles: options.Inputs = None,
    layer: Annotated[
        str, typer.Option("--layer", metavar="L1,L2,...", help="Default: the extractor's style layers.")
    ] = "",
    output: PlotFile = None,
    size: Annotated[int, typer.Option(min=1, help="Short side of every picture, pixels.")] = SIDE,
    data: Numbers = None,
    quality: options.Quality = 95,
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
    """The Gram matrices of pictures, and the distances between them as a matrix and a tree, on average and by layer.

    percept visualize gram paintings/ -o styles.png

    percept visualize gram painting.jpg -o matrices.png

    percept visualize gram painting.jpg restyled-1.jpg restyled-2.jpg --layer relu3_1 --data distances.csv
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
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    items = expand_inputs(styles or [], recursive=recursive, from_file=from_file, null_separated=null)
    paths = photo_files(items)
    flags = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_picture("styles", "gram", output, sources=paths, plot=True, **flags)
    numbers = plan_numbers(data, paths, **flags)
    if report_skipped(job, console):
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.extractors.geometry import shallow_to_deep
    from percept_cli.core.images.photo import middle_square
    from percept_cli.core.pretrained.extractors import create_extractor
    from percept_cli.core.runtime import choose_runtime, memory_errors
    from percept_cli.core.visualization.gram import (
        CHANNELS,
        MATRICES,
        THUMBNAIL,
        distance_records,
        gram_distances,
        gram_plot,
        gram_records,
        style_grams,
    )

    check_matplotlib()
    architecture = create_architecture(extractor)
    asked = [part.strip() for part in layer.split(",") if part.strip()]
    layers = shallow_to_deep(architecture, asked or architecture.style_layers)
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    frozen = runtime.freeze(create_extractor(extractor, layers, extractor_weights, seed, console.say))
    for each in layers:
        if frozen.grid(each) is None:
            raise UsageError(f"{each} of {extractor} is a code of the whole picture and has no Gram matrix.")
    grams, thumbnails = [], []
    with console.progress(len(paths), "picture") as progress:
        for path in paths:
            pixels = load_subject(path, size, console).pixels
            with memory_errors(str(path)):
                grams += style_grams(frozen, [runtime.place(pixels)])
            thumbnails.append(middle_square(pixels, THUMBNAIL))
            progress.advance(1)
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    distances = gram_distances(grams)
    weights = f" ({Path(extractor_weights).name})" if extractor_weights else ""
    notes = [f"Pictures at a short side of {size} pixels."]
    if len(paths) > 1:
        notes.insert(
            0,
            "Distances: |A - B| / (|A| + |B|) of Gram matrices: 0 where they are equal, at most 1. All is in the tree's order.",
        )
    if len(paths) <= MATRICES:
        notes.append(
            f"Gram matrices: the {CHANNELS} strongest channels over all pictures, strongest first; colors by square roots."
        )
    else:
        notes.append(f"The Gram matrices themselves are drawn of {MATRICES} pictures at most.")
    what = "Distances between styles" if len(paths) > 1 else "Gram matrices"
    plot = gram_plot(names, thumbnails, grams, distances, f"{what} in {extractor}{weights}", notes)
    write_plot(plot, job, console, quality=quality, show=show, styles=len(names), layers=layers)
    drawn = gram_records(names, grams, CHANNELS) if len(paths) <= MATRICES else ()
    write_numbers([*distance_records(names, distances), *drawn], numbers)
