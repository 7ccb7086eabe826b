"""`percept visualize gram`: Gram matrices of styles, and the distances between them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.picture import Numbers, PlotFile

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 256  # pixels


def gram(
    styles: options.Inputs = None,
    layer: Annotated[
        parsing.Names | None, parsing.names_option("Default: the extractor's style layers.", "--layers")
    ] = None,
    output: PlotFile = None,
    size: Annotated[int, typer.Option(min=1, help="Short side of every picture, pixels.")] = SIDE,
    data: Numbers = None,
    quality: options.Quality = 95,
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
    """Gram matrices of pictures, and the distances between them as a matrix and a tree, on average and by layer.

    percept visualize gram paintings/ -o styles.png

    percept visualize gram painting.jpg -o matrices.png

    percept visualize gram painting.jpg restyled-1.jpg restyled-2.jpg --layers relu3_1 --data distances.csv
    """
    from percept_cli.commands.visualize.photographs import (
        each_good,
        exit_if_failed,
        list_photos,
        load_subject,
        unique_names,
    )
    from percept_cli.commands.visualize.picture import SVG, extractor_title, plan_picture

    console = report.console()
    paths, choice = list_photos(styles, listing), source.choose()
    parsing.check_layers(choice.architecture, layer)
    named = chosen.describe("gram", "styles")
    target = plan_picture(
        "styles", named, output, data, existing, console, sources=paths, others=(SVG,), quality=quality, show=show
    )
    if target.is_done():
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.extractors.geometry import shallow_to_deep
    from percept_cli.core.images.photo import middle_square
    from percept_cli.core.runtime import BYTES_PER_PIXEL, memory_errors, size_advice
    from percept_cli.core.visualization import gram as core
    from percept_cli.errors import ImageError

    check_matplotlib()
    layers = shallow_to_deep(choice.architecture, layer or choice.architecture.style_layers)
    runtime = compute.runtime(console.say)
    extractor = runtime.freeze(choice.create(layers, seed, console.say))

    def measure(path: Path) -> "tuple[dict[str, Tensor], Tensor]":
        pixels = load_subject(path, size, console).pixels
        height, width = pixels.shape[-2:]
        advice = size_advice(height, width, BYTES_PER_PIXEL, runtime.device, extractor.smallest_side)
        with memory_errors(str(path), advice):
            (found,) = core.style_grams(extractor, [runtime.place(pixels)])
        return found, middle_square(pixels, core.THUMBNAIL)

    measured, failed = each_good(paths, measure, console, "picture")
    if failed and len(measured) == 1:
        raise ImageError("Only one picture is left: there is nothing to compare it with.")
    grams, thumbnails = [each[0] for _, each in measured], [each[1] for _, each in measured]
    names, distances = unique_names([path for path, _ in measured]), core.gram_distances(grams)
    drawn = core.gram_records(names, grams) if len(grams) <= core.MATRICES else ()
    target.write(
        core.gram_plot(names, thumbnails, grams, distances, extractor_title(choice), size),
        [*core.distance_records(names, distances), *drawn], styles=len(names), layers=layers,
    )  # fmt: skip
    exit_if_failed(failed)
