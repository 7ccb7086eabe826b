"""`percept visualize reconstructions`: an image reconstructed from its content and its style at each layer."""

from typing import Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.photographs import Photograph
from percept_cli.commands.visualize.picture import Numbers, SheetFile

STEPS = 100
SIDE = 176  # pixels


def reconstructions(
    image: Photograph = None,
    output: SheetFile = None,
    layers: Annotated[
        parsing.Names | None,
        parsing.names_option("For the content. Default: the extractor's style layers."),
    ] = None,
    style_layers: Annotated[
        parsing.Names | None,
        parsing.names_option("For the style: a picture for each, from it and all before. Default: as above."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help=f"Side of the image's middle square, pixels. Default: {SIDE}.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates per picture.")] = STEPS,
    data: Numbers = None,
    quality: options.Quality = 95,
    *,
    source: options.ExtractorSource,
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.ExactCompute,
    show: options.Show = False,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """An image reconstructed at each layer: its content (Johnson et al. 2016, Figure 3), its style (Gatys et al. 2016).

    percept visualize reconstructions photo.jpg -o reconstructions.png

    percept visualize reconstructions photo.jpg --layers relu2_2,relu3_3,relu4_3 --style-layers relu1_2,relu2_2
    """
    from percept_cli.commands.visualize.photographs import choose_photo, load_pixels
    from percept_cli.commands.visualize.picture import extractor_title, follow, plan_picture

    console = report.console()
    photo, choice = choose_photo(image, console), source.choose()
    parsing.check_layers(choice.architecture, layers, style_layers)
    named = chosen.describe("reconstructions")
    target = plan_picture(
        photo.stem, named, output, data, existing, console, sources=[photo], quality=quality, show=show
    )
    if target.is_done():
        return

    from percept_cli.core.extractors.geometry import choose_side, shallow_to_deep
    from percept_cli.core.images.photo import middle_square
    from percept_cli.core.runtime import BYTES_PER_PIXEL, size_advice
    from percept_cli.core.visualization.reconstructions import reconstruct_layers, reconstruction_sheet

    architecture = choice.architecture
    content = shallow_to_deep(architecture, layers or architecture.style_layers)
    style = shallow_to_deep(architecture, style_layers or layers or architecture.style_layers)
    side = choose_side(architecture, [*content, *style], size, SIDE, console.say)
    original = middle_square(load_pixels(photo, console), side)
    runtime = compute.runtime(console.say)
    extractor = runtime.freeze(choice.create([*content, *style], seed, console.say))
    found, records = follow(
        reconstruct_layers(original, content, style, extractor, runtime, steps, seed), console, "step",
        f"{side}x{side} pixels",
        size_advice(side, side, BYTES_PER_PIXEL, runtime.device, extractor.smallest_side),
    )  # fmt: skip
    results = [{"row": each.row, "layers": list(each.layers), "error": round(each.error, 5)} for each in found]
    sheet = reconstruction_sheet(original, found, f"What {extractor_title(choice)} keeps of {photo.name}", steps)
    target.write(sheet, records, extractor=choice.name, size=side, reconstructions=results)
