"""`percept visualize features`: what the channels of a layer answer to in a photograph."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, Picture


def features(
    image: Annotated[
        Path | None, typer.Argument(metavar="IMAGE", help="A photograph. Default: one of scikit-image's.")
    ] = None,
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            metavar="L1,L2,...",
            help="conv3_3 is before the activation, relu3_3 after. Default: style layers.",
        ),
    ] = "",
    output: Picture = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=64, help="The strongest channels a layer.")] = 8,
    channel: Annotated[
        str | None, typer.Option(metavar="K1,K2,...", help="These channels instead, by number from 0.")
    ] = None,
    components: Annotated[
        bool, typer.Option("--components", help="The principal components as red, green, blue instead of channels.")
    ] = False,
    before_after: Annotated[
        bool, typer.Option("--before-after", help="Both sides of each layer's activation, on one scale.")
    ] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="Over the photograph.")] = False,
    size: Annotated[
        int | None, typer.Option(min=1, help="Short side that the network sees, pixels. Default: 384 at most.")
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
    """A layer's channels as labeled maps of a photograph: the strongest, some by number, or the main directions.

    percept visualize features photo.jpg --layer relu2_2,relu3_3

    percept visualize features photo.jpg --layer relu3_3 --before-after

    percept visualize features photo.jpg --layer relu3_4 --components --overlay
    """
    from percept_cli.commands.visualize.picture import (
        choose_photo,
        load_subject,
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_picture,
    )
    from percept_cli.console import Console
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    if components and channel is not None:
        raise UsageError("--components are of all channels: leave --channel or --components out.")
    chosen = _numbers(channel)
    photo = choose_photo(image, console)
    flags = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_picture(photo.stem, "features", output, sources=[photo], **flags)
    numbers = plan_numbers(data, [photo], **flags)
    if report_skipped(job, console):
        return

    import torch

    from percept_cli.core.drawing import canvas
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.extractors.geometry import activation_pair, shallow_to_deep
    from percept_cli.core.pretrained.extractors import create_extractor
    from percept_cli.core.runtime import choose_runtime, memory_errors
    from percept_cli.core.visualization.features import FeatureSheet, Taps

    architecture = create_architecture(extractor)
    asked = [part.strip() for part in layer.split(",") if part.strip()]
    layers = shallow_to_deep(architecture, asked or architecture.style_layers)
    pairs = {each: activation_pair(architecture, each) if before_after else (each,) for each in layers}
    if before_after:
        # Both names of one activation are one row.
        layers = [each for number, each in enumerate(layers) if pairs[each] not in [pairs[n] for n in layers[:number]]]
    rows = [Taps(each, pairs[each]) for each in layers]
    subject = load_subject(photo, size, console)
    if subject.scaled and size is None:
        console.say(f"{photo.name}: {subject.notes[0]}; --size N for another short side")
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    sides = [side for row in rows for side in row.sides]
    frozen = runtime.freeze(create_extractor(extractor, sides, extractor_weights, seed, console.say))
    with memory_errors(f"{subject.pixels.shape[-1]}x{subject.pixels.shape[-2]} pixels"), torch.inference_mode():
        sheet = FeatureSheet(frozen, subject.pixels, frozen(runtime.place(subject.pixels)), overlay=overlay)
        blocks = [sheet.components(row) if components else sheet.channels(row, count, chosen) for row in rows]
    what = "Principal components" if components else "Channels" if chosen else "Strongest channels"
    weights = f" ({Path(extractor_weights).name})" if extractor_weights else ""
    title = canvas.heading(f"{what} of {extractor}{weights}: {photo.name}", subject.notes)
    picture = canvas.frame(canvas.column([title, *blocks], gap=18))
    write_picture(picture, job, console, show=show, quality=quality, extractor=extractor, layers=sides)
    write_numbers(sheet.records, numbers)


def _numbers(channel: str | None) -> list[int]:
    from percept_cli.errors import UsageError

    if channel is None:
        return []
    try:
        return [int(part) for part in channel.split(",")]
    except ValueError as error:
        raise UsageError(f"--channel {channel}: give numbers from 0, as in 3,17.") from error
