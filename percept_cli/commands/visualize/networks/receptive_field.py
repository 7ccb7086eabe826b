"""`percept visualize receptive-field`: how much of an image a layer's unit can see, and how much it looks at."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, PlotFile

MOST = 6  # layers


def receptive_field(
    layer: Annotated[
        str, typer.Argument(metavar="L1,L2,...", help="Layers, six at most. Default: the extractor's style layers.")
    ] = "",
    output: PlotFile = None,
    data: Numbers = None,
    starts: Annotated[int, typer.Option(min=1, help="Images of noise to average over.")] = 8,
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
    """The effective receptive field of layers: by gradients, over what can reach a unit at all (Luo et al. 2016).

    percept visualize receptive-field relu2_2,relu3_3,relu4_2

    percept visualize receptive-field conv5 --extractor alexnet -o alexnet.svg
    """
    from percept_cli.commands.visualize.picture import (
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_plot,
    )
    from percept_cli.console import Console
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    asked = [part.strip() for part in layer.split(",") if part.strip()]
    if len(asked) > MOST:
        raise UsageError(f"{len(asked)} fields would be too small to read: give {MOST} layers at most.")
    job = plan_picture(
        extractor, "receptive-field", output, plot=True, overwrite=overwrite, skip_existing=skip_existing
    )
    numbers = plan_numbers(data, overwrite=overwrite, skip_existing=skip_existing)
    if report_skipped(job, console):
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.extractors.geometry import shallow_to_deep, theoretical_side
    from percept_cli.core.pretrained.extractors import create_extractor
    from percept_cli.core.runtime import choose_runtime, memory_errors
    from percept_cli.core.visualization.receptive_field import measure_receptive_field, receptive_field_plot

    check_matplotlib()
    architecture = create_architecture(extractor)
    layers = shallow_to_deep(architecture, asked or architecture.style_layers)
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    frozen = runtime.freeze(create_extractor(extractor, layers, extractor_weights, seed, console.say))
    for each in layers:
        theoretical_side(frozen, each)
    fields = []
    with console.progress(len(layers), "layer") as progress, memory_errors("these layers", "Give shallower ones"):
        for each in layers:
            fields.append(measure_receptive_field(frozen, each, seed, starts))
            progress.advance(1)
    weights = f" ({Path(extractor_weights).name})" if extractor_weights else ""
    notes = [
        f"Gradient of a unit to the pixels that can reach it, over {starts} images of noise. "
        "Outlines: the middle squares that hold 95 % of the squared gradient."
    ]
    sides = {field.layer: {"theoretical": field.side, "effective": field.effective} for field in fields}
    write_plot(
        receptive_field_plot(fields, f"Receptive fields of {extractor}{weights}", notes),
        job,
        console,
        show=show,
        pixels=sides,
    )
    rows = [
        {"layer": field.layer, "theoretical": field.side, "effective": field.effective, "square": inner, "held": share}
        for field in fields
        for inner, share in enumerate(field.held.tolist(), start=1)
    ]
    write_numbers(rows, numbers)
