"""`percept visualize receptive-field`: the theoretical and the effective receptive fields of layers."""

from typing import Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.picture import Numbers, PlotFile

MOST = 6  # layers


def receptive_field(
    layer: Annotated[
        str, typer.Argument(metavar="L1,L2,...", help="Layers, six at most. Default: the extractor's style layers.")
    ] = "",
    output: PlotFile = None,
    data: Numbers = None,
    starts: Annotated[int, typer.Option(min=1, help="Images of noise to average over.")] = 8,
    *,
    source: options.ExtractorSource,
    show: options.Show = False,
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.ExactCompute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """The effective receptive fields of layers, by gradients, within the theoretical ones (Luo et al. 2016).

    percept visualize receptive-field relu2_2,relu3_3,relu4_2

    percept visualize receptive-field conv5 --extractor alexnet -o alexnet.svg
    """
    from percept_cli.commands.visualize.picture import SVG, extractor_title, follow, plan_picture
    from percept_cli.errors import UsageError

    console, asked = report.console(), parsing.parse_names(layer)
    if len(asked) > MOST:
        raise UsageError(f"{len(asked)} fields would be too small to read: give {MOST} layers at most.")
    choice = source.choose()
    parsing.check_layers(choice.architecture, asked)
    named = chosen.describe("receptive-field", "extractor")
    target = plan_picture(choice.name, named, output, data, existing, console, others=(SVG,), show=show)
    if target.is_done():
        return

    from percept_cli.core.drawing.plots import check_matplotlib
    from percept_cli.core.extractors.geometry import shallow_to_deep
    from percept_cli.core.visualization.receptive_field import (
        measure_receptive_fields,
        receptive_field_plot,
        receptive_field_records,
    )

    check_matplotlib()
    layers = shallow_to_deep(choice.architecture, asked or choice.architecture.style_layers)
    runtime = compute.runtime(console.say)
    extractor = runtime.freeze(choice.create(layers, seed, console.say))
    steps = measure_receptive_fields(extractor, layers, seed, starts)
    fields = follow(steps, console, "layer", "these layers", "Give shallower ones")
    target.write(
        receptive_field_plot(fields, f"Receptive fields of {extractor_title(choice)}", starts),
        receptive_field_records(fields),
        pixels={field.layer: {"theoretical": field.side, "effective": field.effective} for field in fields},
    )
