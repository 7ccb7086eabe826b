"""`percept invert`: pictures of what a layer of a network keeps of a photograph."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.batch_options import Batch, Telling
from percept_cli.commands.invert_options import METHOD, OF_LAYERS, ONE_LAYER, OPTIMIZES, Search
from percept_cli.core import choices
from percept_cli.core.pretrained.manifest import check_model, role_of
from percept_cli.errors import UsageError

if TYPE_CHECKING:
    from percept_cli.commands.batch_plan import Plan


def invert(
    photos: options.Inputs = None,
    layer: Annotated[
        parsing.Names | None,
        parsing.names_option("conv5 is the last convolution of block 5.", "--layers"),
        OF_LAYERS,
        ONE_LAYER,
    ] = None,
    method: Annotated[
        str | None,
        parsing.choice_option(
            "method",
            choices.INVERSION_METHODS,
            "Optimize the picture, or compute it by a network. Default: optimize; with -m generator.",
        ),
        METHOD,
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            help="A shipped inverter or a file of one, or of an autoencoder; these need no --layers.",
            autocompletion=parsing.complete_models("inverter"),
        ),
        METHOD,
        ONE_LAYER,
    ] = None,
    output: options.Output = None,
    name: options.Name = "{stem}_{op}.png",
    size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Side of the photograph's middle square, pixels. Default: 224; with an autoencoder the whole."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Pictures of each layer, from different starts."), OPTIMIZES] = 1,
    *,
    search: Annotated[Search, OPTIMIZES],
    extractor_source: Annotated[options.ExtractorSource, OF_LAYERS],
    listing: options.Listing,
    frames: options.Frames = None,
    batch: Batch,
    show: options.Show = False,
    existing: options.Existing,
    telling: Telling,
    quality: options.Quality = 95,
    seed: options.Seed = 0,
    compute: options.Compute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Show what a layer of a network keeps of a photograph: find a picture with the same features at that layer.

    percept invert --layers conv5

    percept invert photo.jpg --layers relu1_2,relu2_2,relu3_3 -o sheet.png

    percept invert photo.jpg --layers fc7 --extractor alexnet --samples 4

    percept invert photo.jpg -m autoencoder.safetensors
    """
    from percept_cli.commands.batch_plan import find_items, plan_batch
    from percept_cli.core.pretrained.manifest import find_inverter, layer_of, shipped_models

    console = report.console()
    by_generator = _by_generator(method, model)
    autoencoder = model if model is not None and role_of(model) == "autoencoder" else None
    asked: Sequence[str] = layer or ()
    if model is not None and not asked and (known_layer := layer_of(model)):
        asked = (known_layer,)
    if not autoencoder and not asked:
        known = f"{model} is neither an autoencoder nor an inverter. " if model else ""
        raise UsageError(f"{known}Give --layers, as in --layers conv5 or --layers relu1_2,relu3_3.")
    if not autoencoder and model is not None and len(asked) > 1:
        raise UsageError("-m is an inverter of one layer: give one of --layers, or leave -m out for the shipped ones.")
    if model is not None:
        check_model(model, "inverter", "autoencoder")
    if not photos and listing.from_file is None:
        from percept_cli.core.data.photos import sample_photo

        sample = sample_photo()
        photos = [str(sample)]
        output = output or "./"  # the folder of the sample is scikit-image's
        console.say(f"no image was given: {sample.name}, a sample photograph of scikit-image")

    items = find_items(photos, listing, batch)

    def plan_for(op: str, label: str, networks: Sequence[str]) -> "Plan":
        op = chosen.describe(op, "layer", "model")
        return plan_batch(
            items, output, name=name, op=op, model=label, networks=networks, existing=existing, batch=batch,
            console=console, frames=frames,
        )  # fmt: skip

    if autoencoder:
        stem = Path(autoencoder).stem
        plan = plan_for(stem, stem, [autoencoder])

        # Only now the slow imports, so that a mistyped option is refused at once.
        from percept_cli.commands.batch import run_batch
        from percept_cli.commands.invert_work import Coding

        run_batch(
            plan,
            Coding(autoencoder, size, compute).start,
            console,
            compute=compute,
            quality=quality,
            show=show,
            telling=telling,
        )
        return
    from percept_cli.core.extractors.geometry import choose_side, shallow_to_deep

    extractor = extractor_source.choose()
    architecture = extractor.architecture
    layers = shallow_to_deep(architecture, asked)
    for each in asked:
        if architecture.resolve(each) != each:
            console.say(f"{each} of {extractor.name} is {architecture.resolve(each)}")
    inverters = {each: model or find_inverter(extractor.name, each).name for each in layers} if by_generator else {}
    networks = [*inverters.values(), *([extractor.name] if extractor.name in shipped_models() else [])]
    plan = plan_for("_".join(filter(None, ("+".join(layers), model and Path(model).stem))), extractor.name, networks)

    from percept_cli.commands.batch import run_batch
    from percept_cli.commands.invert_work import Inverting
    from percept_cli.core.optimization.inversion import check_options, preset_options

    changes = {key: value for key, value in options.given(search).items() if key != "preset"}
    settings = {
        each: replace(preset_options(search.preset, architecture, each), seed=seed, **changes) for each in layers
    }
    for setting in settings.values():
        check_options(setting)
    side = choose_side(architecture, layers, size, announce=console.say)
    work = Inverting(extractor_source, tuple(layers), inverters, settings, samples, side, seed, compute)
    run_batch(plan, work.start, console, compute=compute, quality=quality, show=show, telling=telling)


def _by_generator(method: str | None, model: str | None) -> bool:
    """Whether a generator makes the pictures. Raises UsageError for options that exclude each other."""
    if model is not None and method == "optimize":
        raise UsageError("-m names a generator: leave it or --method optimize out.")
    return method == "generator" or (method is None and model is not None)
