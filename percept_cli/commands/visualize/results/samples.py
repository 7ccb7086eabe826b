"""`percept visualize samples`: pictures drawn from a variational autoencoder."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers


def samples(
    model: Annotated[str, typer.Option("-m", "--model", help="A file of `percept train autoencoder --variational`.")],
    output: options.Output = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Pictures on the sheet.")] = 16,
    size: Annotated[int | None, typer.Option(min=1, help="Side of each, pixels. Default: as in training.")] = None,
    data: Numbers = None,
    *,
    show: options.Show = False,
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.Compute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """A sheet of pictures that a variational autoencoder decodes from normally distributed codes.

    percept visualize samples -m drawn.safetensors -o sheet.png
    """
    from percept_cli.commands.visualize.picture import follow, plan_picture
    from percept_cli.core.pretrained.manifest import check_model
    from percept_cli.errors import UsageError

    console = report.console()
    check_model(model, "autoencoder")
    named = chosen.describe("samples", "model")
    target = plan_picture(Path(model).stem, named, output, data, existing, console, show=show)
    if target.is_done():
        return

    from percept_cli.core.generators.autoencoder import Autoencoder
    from percept_cli.core.pretrained.generators import load_generator
    from percept_cli.core.runtime import BYTES_PER_PIXEL, size_advice
    from percept_cli.core.visualization.samples import sample_sheet

    loaded = load_generator(model, "autoencoder")
    assert isinstance(loaded.network, Autoencoder)
    if not loaded.network.variational:
        raise UsageError(
            f"{model} was trained without --variational: what its codes look like is not known, so none can be drawn. "
            "Train one: percept train autoencoder --variational"
        )
    runtime = compute.runtime(console.say)
    side = size or loaded.recipe.get("size", 64)
    steps = sample_sheet(runtime.place_network(loaded.network), count, side, seed, runtime)
    advice = size_advice(side, side, BYTES_PER_PIXEL, runtime.device, 1)
    sheet, records = follow(steps, console, "picture", f"{side}x{side} pixels", advice)
    target.write(sheet, records, model=loaded.name, count=count, size=side, seed=seed)
