"""`percept visualize samples`: pictures that a variational autoencoder makes up."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers


def samples(
    model: Annotated[str, typer.Option("-m", "--model", help="A file of `percept train autoencoder --variational`.")],
    output: options.Output = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Pictures on the sheet.")] = 16,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of each in pixels. Default: that of the training.")
    ] = None,
    data: Numbers = None,
    show: options.Show = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """A sheet of pictures drawn from a variational autoencoder: codes of a normal distribution, decoded.

    percept visualize samples -m drawn.safetensors -o sheet.png
    """
    from percept_cli.commands.visualize.picture import (
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_picture,
    )
    from percept_cli.console import Console
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    job = plan_picture(Path(model).stem, "samples", output, overwrite=overwrite, skip_existing=skip_existing)
    numbers = plan_numbers(data, overwrite=overwrite, skip_existing=skip_existing)
    if report_skipped(job, console):
        return

    from percept_cli.core.drawing.sheets import Panel, contact_sheet, square_sheet
    from percept_cli.core.generators.autoencoder import Autoencoder
    from percept_cli.core.inference.invert import draw_images
    from percept_cli.core.pretrained.generators import load_generator
    from percept_cli.core.runtime import choose_runtime, memory_errors

    loaded = load_generator(model, "autoencoder")
    assert isinstance(loaded.network, Autoencoder)
    if not loaded.network.variational:
        raise UsageError(
            f"{model} was trained without --variational: what its codes look like is not known, so none can be drawn. "
            "Train one: percept train autoencoder --variational"
        )
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    side = size or loaded.recipe.get("size", 64)
    network = runtime.place_network(loaded.network)
    tiles: list[Panel] = []
    rows: list[dict[str, object]] = []
    with console.progress(count, "picture") as progress, memory_errors(f"{side}x{side} pixels"):
        for number, (image, code) in enumerate(draw_images(network, count, side, seed, runtime)):
            tiles.append(Panel(image))
            rows += [
                {"picture": number, "channel": channel, "row": row, "column": column, "code": value}
                for channel, plane in enumerate(code[0].tolist())
                for row, values in enumerate(plane)
                for column, value in enumerate(values)
            ]
            progress.advance(1)
    write_picture(
        contact_sheet(square_sheet(tiles)), job, console, show=show, model=loaded.name, count=count, size=side, seed=seed
    )  # fmt: skip
    write_numbers(rows, numbers)
