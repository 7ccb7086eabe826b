"""`percept train style`: train a network that restyles any photograph in one pass."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options

CALIBRATION_CROPS = 32


def train_style(
    style: Annotated[
        list[Path], typer.Option("--style", help="The style image; several are blended.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The model to write. Default: STYLE.safetensors, here.")
    ] = None,
    data: options.Data = None,
    blend: Annotated[
        str | None, typer.Option(metavar="W1,W2,...", help="Weights of several styles; equal by default.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer updates.")] = 1200,
    batch: Annotated[int, typer.Option(min=1, help="Photographs a step.")] = 4,
    size: Annotated[int, typer.Option(min=64, help="Side of the training crops, pixels.")] = 224,
    smallest_crop: Annotated[
        float,
        typer.Option(
            min=0.05,
            max=1.0,
            help="Crops show this share of a photograph's short side or more; smaller ones, enlarged, are smooth, and "
            "teach that smooth places need strokes too.",
        ),
    ] = 0.5,
    style_size: Annotated[
        int, typer.Option(min=32, help="Short side of the style image, pixels: larger gives larger strokes.")
    ] = 256,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak of the schedule.")] = 5e-3,
    optimizer: Annotated[str, typer.Option(help="muon or adam.")] = "muon",
    generator: Annotated[str, typer.Option(help="johnson, or johnson-2016 as in the paper.")] = "johnson",
    width: Annotated[
        float | None, typer.Option(help="Channels as a share of the paper's 32, 64, 128. Default 0.5; johnson-2016: 1.")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="inner, instance or batch. Default: the generator's own.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Begin from a trained style (a shipped name or a file): fewer steps do.")
    ] = None,
    content_weight: options.ContentWeight = 1.0,
    style_weight: options.StyleWeight = 1.0,
    tv_weight: options.TotalVariationWeight = 1.0,
    scaling: options.Scaling = "typical",
    content_layers: options.ContentLayers = None,
    style_layers: options.StyleLayers = None,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Train nothing: a sheet of what style weights and sizes about these give, as STYLE.preview.png.",
        ),
    ] = False,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a style: a small network that restyles any photograph in one pass (Johnson et al. 2016).

    percept train-style --style starry.jpg

    percept train-style --style starry.jpg --preview
    """
    import torch

    from percept_cli.commands.train.session import follow, open_run, training_photos
    from percept_cli.commands.visualize.results.sweep import STEPS, preview_style
    from percept_cli.console import Console
    from percept_cli.core.data.photos import Crops, fingerprint
    from percept_cli.core.losses.style import create_style_loss, load_styles, parse_blend, style_taps
    from percept_cli.core.optimization.style_transfer import StyleOptions
    from percept_cli.core.pretrained.extractors import create_extractor, named_extractor
    from percept_cli.core.pretrained.files import sha256_of
    from percept_cli.core.pretrained.generators import start_style_generator
    from percept_cli.core.runtime import choose_runtime, seed_everything
    from percept_cli.core.training.loop import Training, unwrap
    from percept_cli.core.training.optimizers import create_optimizer
    from percept_cli.errors import refuse_options

    console = Console(quiet, json)
    output = output or Path(f"{style[0].stem}.safetensors")
    extractor, extractor_weights = named_extractor(extractor, extractor_weights)
    weights = parse_blend(blend, len(style))
    styles = load_styles(style, style_size)
    photos = training_photos(data, "style", console)
    if preview:
        refuse_options({"--resume": resume, "--start": start}, "--preview trains nothing")
        content_taps, style_layer_taps = style_taps(extractor, content_layers, style_layers)
        runtime = choose_runtime(device, precision, threads)
        console.say(runtime.reason)
        base = StyleOptions(
            STEPS, style_size=style_size, seed=seed, blend=weights, content_layers=content_taps,
            style_layers=style_layer_taps, content_weight=content_weight, style_weight=style_weight,
            total_variation_weight=tv_weight, scaling=scaling,
        )  # fmt: skip
        preview_style(
            photos[0], style, output, base, runtime, console, extractor=extractor, extractor_weights=extractor_weights,
            overwrite=overwrite,
        )  # fmt: skip
        return
    run = open_run(output, options.Compute(device, precision, threads), options.ExistingRun(resume, overwrite), console)
    runtime, (_, processes) = run.runtime, run.shard

    seed_everything(seed)
    content_taps, style_layer_taps = style_taps(extractor, content_layers, style_layers)
    if content_layers or style_layers:
        console.say(f"content at {', '.join(content_taps)}; style at {', '.join(style_layer_taps)} of {extractor}")
    frozen = runtime.freeze(
        create_extractor(extractor, [*content_taps, *style_layer_taps], extractor_weights, seed, console.say)
    )
    placed = [runtime.place(picture) for picture in styles]
    crops = Crops(photos, size, seed, steps * batch * processes, smallest_crop)
    photographs = torch.stack([crops[number] for number in range(min(CALIBRATION_CROPS, 4 * len(photos), len(crops)))])
    loss = create_style_loss(
        frozen,
        placed,
        runtime.place(photographs),
        style_weights=weights,
        content_layers=content_taps,
        style_layers=style_layer_taps,
        content_weight=content_weight,
        style_weight=style_weight,
        total_variation_weight=tv_weight,
        scaling=scaling,
    )
    created = start_style_generator(start, generator, width, norm, photographs)
    network = run.place(created)
    training = Training(network, create_optimizer(optimizer, network), steps)
    settings = {
        "style_sha256": [sha256_of(path) for path in style], "blend": weights, "photos": len(photos),
        "photos_digest": fingerprint(photos), "steps": steps,
        "batch": batch, "size": size, "smallest_crop": smallest_crop, "style_size": style_size, "optimizer": optimizer,
        "learning_rate": learning_rate, "generator": generator,
        "arguments": created.arguments, "start": Path(start).stem if start else "",
        "content_weight": content_weight, "style_weight": style_weight, "tv_weight": tv_weight,
        "scaling": scaling, "content_layers": list(content_taps), "style_layers": list(style_layer_taps),
        "extractor": extractor, "extractor_weights": Path(extractor_weights).name if extractor_weights else "", "seed": seed,
        "precision": runtime.precision, "processes": processes,
    }  # fmt: skip

    def compute_loss(network, images, step):  # type: ignore[no-untyped-def]
        with runtime.autocast():
            restyled = network(images)
        return loss(restyled, images)

    sample = photographs[:1]
    loop = run.train(training, crops, batch, compute_loss, learning_rate, settings, shown=(sample, sample))
    follow(run, loop, console)
    if not run.is_main:
        return
    run.save(
        unwrap(network).state_dict(),
        {"role": "style", "architecture": generator, "arguments": created.arguments,
         "styles": [path.name for path in style], "recipe": settings},
    )  # fmt: skip
    console.say(f"try it: percept stylize PHOTO -m {output}")
    console.result(str(output), output=str(output), steps=steps, preview=str(run.preview))
