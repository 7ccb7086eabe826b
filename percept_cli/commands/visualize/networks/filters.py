"""`percept visualize filters`: what the first layer of a network answers to."""

from pathlib import Path

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, Picture

TILE = 66  # pixels
COLUMNS = 16


def filters(
    output: Picture = None,
    data: Numbers = None,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    quality: options.Quality = 95,
    show: options.Show = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Every filter of a network's first layer, enlarged, in the colors that it answers to.

    percept visualize filters --extractor alexnet -o filters.png
    """
    from percept_cli.commands.visualize.picture import (
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_picture,
    )
    from percept_cli.console import Console

    console = Console(quiet, json)
    job = plan_picture(extractor, "filters", output, overwrite=overwrite, skip_existing=skip_existing)
    numbers = plan_numbers(data, overwrite=overwrite, skip_existing=skip_existing)
    if report_skipped(job, console):
        return

    import torch.nn.functional as F

    from percept_cli.core.drawing import canvas
    from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.pretrained.extractors import create_extractor
    from percept_cli.core.visualization.filters import first_layer, image_filters

    layer = first_layer(create_architecture(extractor))
    weights = image_filters(create_extractor(extractor, [layer], extractor_weights, seed, console.say), layer)
    tiles = []
    for number, weight in enumerate(weights):
        most = weight.abs().max().clamp_min(1e-30)
        enlarged = F.interpolate(0.5 + 0.5 * weight[None] / most, size=(TILE, TILE), mode="nearest-exact")
        tiles.append(Panel(enlarged, (f"{number}: {canvas.format_number(most.item())}",)))
    file = f" ({Path(extractor_weights).name})" if extractor_weights else ""
    notes = [
        f"{len(weights)} filters of {weights.shape[-1]}x{weights.shape[-1]} pixels, each by its own strongest weight, which "
        "stands behind its number; gray is 0, a color what the filter is for, its complement what it is against"
    ]
    sheet = canvas.column(
        [canvas.heading(f"Filters of {layer} of {extractor}{file}", notes), contact_sheet(wrap(tiles, COLUMNS))]
    )
    write_picture(canvas.frame(sheet), job, console, show=show, quality=quality, layer=layer, filters=len(weights))
    colors = ("red", "green", "blue")
    rows = [
        {"filter": number, "color": color, "row": row, "column": column, "weight": value}
        for number, weight in enumerate(weights.tolist())
        for color, plane in zip(colors, weight, strict=True)
        for row, values in enumerate(plane)
        for column, value in enumerate(values)
    ]
    write_numbers(rows, numbers)
