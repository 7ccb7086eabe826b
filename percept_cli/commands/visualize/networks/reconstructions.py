"""`percept visualize reconstructions`: what content and what style is at each layer of a network."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, Picture

STEPS = 100
SIDE = 176  # pixels
COLUMNS = 6


def reconstructions(
    image: Annotated[
        Path | None, typer.Argument(metavar="IMAGE", help="A photograph. Default: one of scikit-image's.")
    ] = None,
    output: Picture = None,
    layers: Annotated[
        str | None,
        typer.Option(metavar="L1,L2,...", help="Of the content's row. Default: the extractor's style layers."),
    ] = None,
    style_layers: Annotated[
        str | None,
        typer.Option(
            metavar="L1,L2,...", help="Of the style's row: each picture has all up to one. Default: as above."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help=f"Side of the image's middle square, pixels. Default: {SIDE}.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates a picture.")] = STEPS,
    data: Numbers = None,
    quality: options.Quality = 95,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    threads: options.Threads = None,
    show: options.Show = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """What each layer keeps of an image: its content (Johnson et al. 2016, Figure 3) above its style (Gatys et al. 2016).

    percept visualize reconstructions photo.jpg -o reconstructions.png

    percept visualize reconstructions photo.jpg --layers relu2_2,relu3_3,relu4_3 --style-layers relu1_2,relu2_2
    """
    from percept_cli.commands.visualize.picture import (
        choose_photo,
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_picture,
    )
    from percept_cli.console import Console

    console = Console(quiet, json)
    photo = choose_photo(image, console)
    existing = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_picture(photo.stem, "reconstructions", output, sources=[photo], **existing)
    numbers = plan_numbers(data, [photo], **existing)
    if report_skipped(job, console):
        return

    import torch

    from percept_cli.core.drawing import canvas
    from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.extractors.geometry import choose_side, shallow_to_deep
    from percept_cli.core.images.decode import load_image
    from percept_cli.core.images.photo import middle_square
    from percept_cli.core.optimization.inversion import InversionOptions, feature_error, invert
    from percept_cli.core.optimization.textures import gram_matrices, style_error, synthesize_texture
    from percept_cli.core.pretrained.extractors import create_extractor, named_extractor
    from percept_cli.core.runtime import choose_runtime, memory_errors

    extractor, extractor_weights = named_extractor(extractor, extractor_weights)
    architecture = create_architecture(extractor)
    usual = ",".join(architecture.style_layers)
    content = shallow_to_deep(architecture, (layers or usual).split(","))
    style = shallow_to_deep(architecture, (style_layers or layers or usual).split(","))
    side = choose_side(architecture, [*content, *style], size, SIDE, console.say)
    loaded = load_image(photo)
    for note in loaded.notes:
        console.warn(f"{photo}: {note}")
    original = middle_square(loaded.visible(), side)
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    frozen = runtime.freeze(create_extractor(extractor, [*content, *style], extractor_weights, seed, console.say))

    records: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    placed = runtime.place(original)
    above, below = [Panel(original, ("original", f"{side}x{side} pixels"))], []
    total = (len(content) + len(style)) * steps
    with console.progress(total, "step") as progress, memory_errors(f"{side}x{side} pixels"):
        with torch.no_grad():
            grams = gram_matrices(placed, style, frozen)
        for layer in content:
            for step in invert(original, layer, frozen, runtime, InversionOptions(steps, seed=seed)):
                error = step.parts["feature"] ** 0.5
                records.append({"row": "content", "layers": layer, "step": step.index, "error": error})
                progress.advance(1, {f"content {layer}": error})
            error = feature_error(step.image, placed, layer, frozen)
            above.append(Panel(step.image.cpu(), (layer, f"error {error:.3f}")))
            results.append({"row": "content", "layers": [layer], "error": round(error, 5)})
        for count, layer in enumerate(style, start=1):
            wanted = {each: grams[each] for each in style[:count]}
            for step in synthesize_texture(wanted, side, frozen, runtime, steps, seed):
                squares = {name: step.parts[name] for name in wanted}
                error = (sum(squares.values()) / count) ** 0.5
                records.append(
                    {"row": "style", "layers": " ".join(wanted), "step": step.index, "error": error,
                     **{name: part**0.5 for name, part in squares.items()}}
                )  # fmt: skip
                progress.advance(1, {f"style to {layer}": error})
            error = style_error(step.image, wanted, frozen)
            below.append(Panel(step.image.cpu(), (layer if count == 1 else f"+ {layer}", f"error {error:.3f}")))
            results.append({"row": "style", "layers": list(wanted), "error": round(error, 5)})

    weights = f" ({Path(extractor_weights).name})" if extractor_weights else ""
    notes = [
        "Above, content: a picture with the same features at that layer; error: how far they are, as a share of their length.",
        "Below, style: a picture with the same Gram matrices at that layer and all before it; error: the same of these, "
        "root mean square over the layers.",
        f"Both from noise, {steps} steps each.",
    ]
    rows = wrap(above, COLUMNS)
    # Below its layer of the content where there is one.
    gap = [Panel(None)] if len(rows) == 1 and len(below) < COLUMNS else []
    sheet = contact_sheet([*rows, *wrap([*gap, *below], COLUMNS)])
    picture = canvas.frame(
        canvas.column([canvas.heading(f"What {extractor}{weights} keeps of {photo.name}", notes), sheet])
    )
    write_picture(
        picture, job, console, quality=quality, show=show, extractor=extractor, size=side, reconstructions=results
    )
    write_numbers(records, numbers)
