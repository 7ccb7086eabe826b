"""`percept visualize compare`: pictures of one thing beside each other, enlarged where they differ most."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import HTML, Numbers, PageFile

if TYPE_CHECKING:
    from percept_cli.console import Console
    from percept_cli.core.extractors import FeatureExtractor
    from percept_cli.core.runtime import Runtime
    from percept_cli.core.visualization.comparison import Heat, Shown

HEAT_SIDE = 384  # pixels


def compare(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="A B [C ...]", help="Pictures of one thing; the first is the reference.")
    ],
    output: PageFile = None,
    labels: Annotated[
        str | None, typer.Option(metavar="L1,L2,...", help="Names on the sheet. Default: those of the files.")
    ] = None,
    crops: Annotated[
        int | None, typer.Option(min=0, max=7, help="Places to enlarge. Default: 3, or as many as fit in a row.")
    ] = None,
    crop_size: Annotated[
        int | None, typer.Option(min=4, help="Their side, pixels. Default: a sixth of the short side.")
    ] = None,
    heat: Annotated[bool, typer.Option("--heat", help="Maps of the perceptual distance to the first.")] = False,
    layers: Annotated[
        str | None,
        typer.Option(metavar="L1,L2,...", help="Of --heat. Default: the extractor's own.", rich_help_panel="Losses"),
    ] = None,
    data: Numbers = None,
    quality: options.Quality = 95,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
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
    """Pictures side by side with the places where they differ most, enlarged, as papers show them.

    percept visualize compare original.png bicubic.png upscaled.png

    percept visualize compare photo.jpg restyled.jpg --heat --layers relu3_3 -o differences.png

    percept visualize compare original.png bicubic.png upscaled.png -o swipe.html
    """
    from percept_cli.commands.visualize.picture import (
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_page,
        write_picture,
    )
    from percept_cli.console import Console
    from percept_cli.errors import UsageError, refuse_options

    console = Console(quiet, json)
    if len(pictures) < 2:
        raise UsageError(f"{pictures[0]} alone has nothing to be compared with: give two pictures or more.")
    names = [part.strip() for part in labels.split(",")] if labels is not None else _file_labels(pictures)
    if len(names) != len(pictures) or len(set(names)) < len(names) or "" in names:
        if labels is None:
            raise UsageError("A picture is given twice: tell them apart by --labels, as in --labels first,again.")
        raise UsageError(f"--labels {labels}: give {len(pictures)} different names, one for each picture.")
    if not heat:
        of_heat = {"--extractor": None if extractor == "compact" else extractor}
        refuse_options(
            of_heat | {"--layers": layers, "--extractor-weights": extractor_weights}, "There is no --heat map"
        )
    flags = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_picture(pictures[0].stem, "compared", output, sources=pictures, page=True, **flags)
    numbers = plan_numbers(data, pictures, **flags)
    if report_skipped(job, console):
        return

    from percept_cli.core.drawing import canvas
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.measures.comparison import perceptual_layers
    from percept_cli.core.pretrained.extractors import create_extractor
    from percept_cli.core.runtime import choose_runtime, memory_errors
    from percept_cli.core.visualization.comparison import (
        column_width,
        comparison_page,
        comparison_sheet,
        crops_beside_each_other,
        difference_records,
        differing_places,
    )

    # Without a network too: it has large pictures' memory reused.
    runtime = choose_runtime(device, precision, threads)
    if heat:
        taps = perceptual_layers(create_architecture(extractor), layers.split(",") if layers else None)
        console.say(runtime.reason)
        frozen = runtime.freeze(create_extractor(extractor, taps, extractor_weights, seed, console.say))
    shown, notes = _load(pictures, names, console)
    height, width = shown[0].pixels.shape[-2:]
    with memory_errors(f"{len(shown)} pictures of {width}x{height} pixels", "Make them smaller"):
        side = crop_size or max(4, min(height, width) // 6)
        count = min(3, crops_beside_each_other(column_width(len(shown)))) if crops is None else crops
        places = differing_places([each.pixels for each in shown], side, count)
        if count and not places:
            notes.append("the pictures are equal: there is no place where they differ")
        elif places:
            notes.append(f"enlarged: the {len(places)} squares of {places[0].region.height} pixels that differ most")
        maps = _heat(shown, frozen, runtime, notes) if heat else None
        title = f"Compared: {', '.join(names)}"
        fields = {"places": [{"top": p.region.top, "left": p.region.left, "side": p.region.height} for p in places]}
        if job.destination is not None and job.destination.suffix.lower() == HTML:
            write_page(comparison_page(shown, places, maps, title, notes, quality), job, console, **fields)
            if show:
                console.show(comparison_sheet(shown, places, maps))
        else:
            sheet = canvas.column([canvas.heading(title, notes), comparison_sheet(shown, places, maps)])
            write_picture(canvas.frame(sheet), job, console, show=show, quality=quality, **fields)
    write_numbers(difference_records(shown, places), numbers)


def _file_labels(pictures: list[Path]) -> list[str]:
    """The names of the files, as paths where two files have the same one."""
    stems = [path.stem for path in pictures]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in pictures]


def _load(pictures: list[Path], names: list[str], console: "Console") -> "tuple[list[Shown], list[str]]":
    """The pictures at the size of the first, and notes. Raises ImageError for one of another shape."""
    from percept_cli.core.images.decode import load_image
    from percept_cli.core.images.photo import resize_image
    from percept_cli.core.visualization.comparison import Shown
    from percept_cli.errors import ImageError

    shown: list[Shown] = []
    notes: list[str] = []
    for path, name in zip(pictures, names, strict=True):
        photo = load_image(path)
        for note in photo.notes:
            console.warn(f"{path}: {note}")
        pixels = photo.visible()
        if shown:
            height, width = shown[0].pixels.shape[-2:]
            if (photo.height, photo.width) != (height, width):
                # An enlargement's size is rounded by at most a pixel of the small picture.
                if abs(photo.width / photo.height - width / height) > 1.5 * width / height / min(
                    photo.height, photo.width
                ):
                    raise ImageError(
                        f"'{path}' is {photo.width}x{photo.height} pixels and '{pictures[0]}' {width}x{height}: pictures "
                        "of another shape cannot be laid over each other."
                    )
                notes.append(f"{name} was {photo.width}x{photo.height} pixels and is resized (bicubic)")
                pixels = resize_image(pixels, height, width)
        shown.append(Shown(name, pixels))
    return shown, notes


def _heat(shown: "list[Shown]", extractor: "FeatureExtractor", runtime: "Runtime", notes: list[str]) -> "Heat":
    """The perceptual distance of every picture to the first, at a short side of at most `HEAT_SIDE`."""
    import torch

    from percept_cli.core.images.photo import fit_short_side, resize_image
    from percept_cli.core.measures.features import distance_maps
    from percept_cli.core.measures.pixels import perceptual_map
    from percept_cli.core.visualization.comparison import Heat

    height, width = shown[0].pixels.shape[-2:]
    if min(height, width) > HEAT_SIDE:
        height, width = fit_short_side(height, width, HEAT_SIDE)
        notes.append(f"distances are those of the pictures scaled to {width}x{height} pixels")
    reference = resize_image(shown[0].pixels, height, width)
    maps = {}
    with torch.inference_mode():
        for each in shown[1:]:
            images = resize_image(each.pixels, height, width)
            distances = distance_maps(extractor, images, reference, place=runtime.place)
            maps[each.label] = perceptual_map(distances, height, width)
    return Heat(maps, f"distance to the first in {', '.join(extractor.layers)} of {extractor.architecture.name}")
