"""`percept visualize compare`: pictures of one subject side by side, enlarged where they differ most."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.picture import Numbers, SheetOrPageFile
from percept_cli.conditions import EffectIf

HEATS = EffectIf(lambda call: call.heat, "There is no --heat map")


def compare(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="A B [C ...]", help="Pictures of one subject; the first is the reference.")
    ],
    output: SheetOrPageFile = None,
    labels: Annotated[
        str | None, typer.Option(metavar="L1,L2,...", help="Names on the sheet. Default: those of the files.")
    ] = None,
    crops: Annotated[
        int | None, typer.Option(min=0, max=7, help="Places to enlarge. Default: 3, or as many as fit in a row.")
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option(min=4, help="Side of these places, pixels. Default: a sixth of the short side."),
        EffectIf(lambda call: call.crops != 0, "--crops 0 enlarges no place"),
    ] = None,
    heat: Annotated[bool, typer.Option("--heat", help="Add maps of the perceptual distance to the first.")] = False,
    layers: Annotated[
        parsing.Names | None,
        parsing.names_option("For --heat. Default: the extractor's own.", rich_help_panel="Losses"),
        HEATS,
    ] = None,
    data: Numbers = None,
    quality: options.Quality = 95,
    *,
    source: Annotated[options.ExtractorSource, HEATS],
    show: options.Show = False,
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.ExactCompute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Pictures side by side, with the places where they differ most enlarged, as in papers.

    percept visualize compare original.png bicubic.png upscaled.png

    percept visualize compare photo.jpg restyled.jpg --heat --layers relu3_3 -o differences.png

    percept visualize compare original.png bicubic.png upscaled.png -o swipe.html
    """
    from percept_cli.commands.planning import check_sources
    from percept_cli.commands.visualize.photographs import each_good, exit_if_failed, load_pixels, unique_names
    from percept_cli.commands.visualize.picture import HTML, plan_picture
    from percept_cli.errors import ImageError, UsageError

    console = report.console()
    if len(pictures) < 2:
        raise UsageError(f"{pictures[0]} alone has nothing to be compared with: give two pictures or more.")
    names = [part.strip() for part in labels.split(",")] if labels is not None else unique_names(pictures)
    if len(names) != len(pictures) or len(set(names)) < len(names) or "" in names:
        if labels is None:
            raise UsageError("A picture is given twice: tell them apart by --labels, as in --labels first,again.")
        raise UsageError(f"--labels {labels}: give {len(pictures)} different names, one for each picture.")
    choice = source.choose()
    parsing.check_layers(choice.architecture, layers)
    check_sources(pictures)
    named = chosen.describe("compared")
    target = plan_picture(
        pictures[0].stem, named, output, data, existing, console, sources=pictures, others=(HTML,),
        quality=quality, show=show,
    )  # fmt: skip
    if target.is_done():
        return

    from percept_cli.core.measures.comparison import perceptual_layers
    from percept_cli.core.runtime import memory_errors
    from percept_cli.core.visualization.comparison import comparison_page, comparison_sheet, find_places, titled_sheet
    from percept_cli.core.visualization.differences import align_pictures, difference_records, distance_heat

    # Also without --heat: choosing a runtime makes PyTorch reuse the memory of large pictures.
    runtime = compute.runtime()
    if heat:
        taps = perceptual_layers(choice.architecture, layers)
        console.say(runtime.reason)
        extractor = runtime.freeze(choice.create(taps, seed, console.say))
    loaded, failed = each_good(pictures, lambda path: load_pixels(path, console), console, "picture")
    if len(loaded) < 2 or loaded[0][0] != pictures[0]:
        what = "The reference cannot be used" if len(loaded) > 1 else "Only one picture is left"
        raise ImageError(f"{what}: there is nothing to compare.")
    names = [name for path, name in zip(pictures, names, strict=True) if path not in failed]
    shown, notes = align_pictures([each for _, each in loaded], names, [str(path) for path, _ in loaded])
    height, width = shown[0].pixels.shape[-2:]
    with memory_errors(f"{len(shown)} pictures of {width}x{height} pixels", "Make them smaller"):
        places, found = find_places(shown, crops, crop_size)
        maps, scaled = distance_heat(shown, extractor, runtime) if heat else (None, [])
        notes += [*found, *scaled]
        title, records = f"Compared: {', '.join(names)}", difference_records(shown, places)
        fields = {"places": [{"top": p.region.top, "left": p.region.left, "side": p.region.height} for p in places]}
        if target.is_page:
            target.write(comparison_page(shown, places, maps, title, notes, quality), records, **fields)
            if show:
                console.show(comparison_sheet(shown, places, maps))
        else:
            target.write(titled_sheet(shown, places, maps, title, notes), records, **fields)
    exit_if_failed(failed)
