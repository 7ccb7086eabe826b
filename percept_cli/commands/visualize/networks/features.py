"""`percept visualize features`: the features of a photograph at layers, as maps."""

from typing import Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.photographs import Photograph
from percept_cli.commands.visualize.picture import Numbers, SheetFile
from percept_cli.conditions import EffectIf
from percept_cli.precedence import OneOf

CHANNELS = OneOf("channels")


def features(
    image: Photograph = None,
    layer: Annotated[
        parsing.Names | None,
        parsing.names_option("conv3_3 is before the activation, relu3_3 after. Default: style layers.", "--layers"),
    ] = None,
    output: SheetFile = None,
    count: Annotated[
        int,
        typer.Option("-n", "--count", min=1, max=64, help="Number of channels per layer, strongest first."),
        EffectIf(lambda call: not call.components, "--components are of all channels"),
        EffectIf(lambda call: call.channel is None, "--channel names the channels"),
    ] = 8,
    channel: Annotated[
        str | None, typer.Option(metavar="K1,K2,...", help="These channels instead, by number from 0."), CHANNELS
    ] = None,
    components: Annotated[
        bool,
        typer.Option("--components", help="The principal components as red, green, blue instead of channels."),
        CHANNELS,
    ] = False,
    before_after: Annotated[
        bool, typer.Option("--before-after", help="Both sides of each layer's activation, on one scale.")
    ] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="Blend the maps with the photograph.")] = False,
    size: Annotated[
        int | None, typer.Option(min=1, help="Short side of the photograph, pixels. Default: 384 at most.")
    ] = None,
    data: Numbers = None,
    quality: options.Quality = 95,
    *,
    source: options.ExtractorSource,
    show: options.Show = False,
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.ExactCompute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Features of a photograph as labeled maps: a layer's strongest channels, some by number, or principal components.

    percept visualize features photo.jpg --layers relu2_2,relu3_3

    percept visualize features photo.jpg --layers relu3_3 --before-after

    percept visualize features photo.jpg --layers relu3_4 --components --overlay
    """
    from percept_cli.commands.visualize.photographs import choose_photo, load_subject
    from percept_cli.commands.visualize.picture import extractor_title, plan_picture
    from percept_cli.errors import UsageError

    console = report.console()
    if components and channel is not None:
        raise UsageError("--components are of all channels: leave --channel or --components out.")
    channels = _numbers(channel)
    photo = choose_photo(image, console)
    choice = source.choose()
    parsing.check_layers(choice.architecture, layer)
    named = chosen.describe("features")
    target = plan_picture(
        photo.stem, named, output, data, existing, console, sources=[photo], quality=quality, show=show
    )
    if target.is_done():
        return

    from percept_cli.core.runtime import BYTES_PER_PIXEL, memory_errors, size_advice
    from percept_cli.core.visualization.features import choose_taps, feature_sheet

    rows = choose_taps(choice.architecture, layer or (), before_after=before_after)
    taps = [side for row in rows for side in row.sides]
    subject = load_subject(photo, size, console)
    if subject.scaled and size is None:
        console.say(f"{photo.name}: {subject.note}; --size N for another short side")
    runtime = compute.runtime(console.say)
    extractor = runtime.freeze(choice.create(taps, seed, console.say))
    height, width = subject.pixels.shape[-2:]
    with memory_errors(
        subject.size, size_advice(height, width, BYTES_PER_PIXEL, runtime.device, extractor.smallest_side)
    ):
        sheet, records = feature_sheet(
            extractor, subject.pixels, rows, runtime, title=f"{extractor_title(choice)}: {photo.name}",
            notes=[subject.note], count=count, channels=channels, components=components, overlay=overlay,
        )  # fmt: skip
    target.write(sheet, records, extractor=choice.name, layers=taps)


def _numbers(channel: str | None) -> list[int]:
    from percept_cli.errors import UsageError

    if channel is None:
        return []
    try:
        return [int(part) for part in channel.split(",")]
    except ValueError as error:
        raise UsageError(f"--channel {channel}: give numbers from 0, as in 3,17.") from error
