"""`percept visualize filters`: the filters of a network's first layer."""

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, SheetFile


def filters(
    output: SheetFile = None,
    data: Numbers = None,
    *,
    source: options.ExtractorSource,
    quality: options.Quality = 95,
    show: options.Show = False,
    existing: options.Existing,
    seed: options.Seed = 0,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Every filter of a network's first layer, enlarged, in color.

    percept visualize filters --extractor alexnet -o filters.png
    """
    from percept_cli.commands.visualize.picture import extractor_title, plan_picture

    console, choice = report.console(), source.choose()
    named = chosen.describe("filters", "extractor")
    target = plan_picture(choice.name, named, output, data, existing, console, quality=quality, show=show)
    if target.is_done():
        return

    from percept_cli.core.visualization.filters import filter_sheet, first_layer, image_filters

    layer = first_layer(choice.architecture)
    weights = image_filters(choice.create([layer], seed, console.say), layer)
    sheet, records = filter_sheet(weights, f"Filters of {layer} of {extractor_title(choice)}")
    target.write(sheet, records, layer=layer, filters=len(weights))
