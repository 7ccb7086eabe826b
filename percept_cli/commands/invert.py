"""`percept invert`: pictures of what a layer of a network keeps of a photograph."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.invert_options import METHOD, OF_LAYERS, ONE_LAYER, OPTIMIZES, Search
from percept_cli.core import choices
from percept_cli.core.pretrained.manifest import check_model, role_of
from percept_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.console import Console, Progress
    from percept_cli.core.extractors.graph import FeatureExtractor
    from percept_cli.core.files.outputs import Job
    from percept_cli.core.generators import Generator
    from percept_cli.core.images.photo import Photo
    from percept_cli.core.optimization.inversion import InversionOptions
    from percept_cli.core.runtime import Runtime

    Operation = Callable[[Photo, Job], Photo]


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
    show: options.Show = False,
    existing: options.Existing,
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
    from percept_cli.commands.planning import check_jobs, refuse_missing
    from percept_cli.core.files.inputs import expand_inputs
    from percept_cli.core.files.outputs import plan_outputs
    from percept_cli.core.pretrained.manifest import find_inverter, layer_of

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

    items = expand_inputs(photos, **vars(listing))

    def plan(op: str, label: str) -> "list[Job]":
        op = chosen.describe(op, "layer", "model")
        planned = plan_outputs(items, output, name=name, op=op, model=label, **vars(existing))
        check_jobs(planned, output)
        refuse_missing(planned, console)
        return planned

    fields: dict[str, object] = {}
    if autoencoder:
        jobs = plan(Path(autoencoder).stem, Path(autoencoder).stem)
        operation = _through_code(autoencoder, size, compute, console, fields)
    else:
        from percept_cli.core.extractors.geometry import choose_side, shallow_to_deep

        extractor = extractor_source.choose()
        architecture = extractor.architecture
        layers = shallow_to_deep(architecture, asked)
        for each in asked:
            if architecture.resolve(each) != each:
                console.say(f"{each} of {extractor.name} is {architecture.resolve(each)}")
        jobs = plan("_".join(filter(None, ("+".join(layers), model and Path(model).stem))), extractor.name)
        files = {each: model or find_inverter(extractor.name, each).path for each in layers} if by_generator else {}

        # Only now the slow imports, so that a mistyped option is refused at once.
        from percept_cli.core.optimization.inversion import check_options, preset_options
        from percept_cli.core.pretrained.generators import check_inverter, load_generator
        from percept_cli.core.runtime import seed_everything

        changes = {key: value for key, value in options.given(search).items() if key != "preset"}
        settings = {
            each: replace(preset_options(search.preset, architecture, each), seed=seed, **changes) for each in layers
        }
        for setting in settings.values():
            check_options(setting)
        side = choose_side(architecture, layers, size, announce=console.say)
        runtime = compute.runtime(console.say)
        seed_everything(seed)
        created = extractor.create(layers, seed, console.say)
        inverters = {}
        for each, file in files.items():
            inverter = load_generator(str(file), "inverter")
            check_inverter(inverter, created, each)
            console.say(f"{each} by {inverter.name}")
            inverters[each] = runtime.place_network(inverter.network)
        fields["extractor"] = extractor.name
        operation = _to_pictures(created, inverters or settings, samples, side, runtime, console, fields)

    from percept_cli.commands.batch import process_images

    process_images(jobs, operation, console, quality=quality, show=show, fields=fields)


def _by_generator(method: str | None, model: str | None) -> bool:
    """Whether a generator makes the pictures. Raises UsageError for options that exclude each other."""
    if model is not None and method == "optimize":
        raise UsageError("-m names a generator: leave it or --method optimize out.")
    return method == "generator" or (method is None and model is not None)


def _to_pictures(
    extractor: "FeatureExtractor",
    by_layer: "Mapping[str, Generator] | Mapping[str, InversionOptions]",
    samples: int,
    side: int,
    runtime: "Runtime",
    console: "Console",
    fields: dict[str, object],
) -> "Operation":
    """The operation of a photograph: one picture, or a sheet of all layers and samples. It reports their errors.

    by_layer: the inverter of each layer, or the options of its optimization.
    """
    from torch import float32

    from percept_cli.core.extractors.geometry import fixed_side
    from percept_cli.core.images.photo import Photo, middle_square
    from percept_cli.core.inference import invert as inference
    from percept_cli.core.optimization import inversion
    from percept_cli.core.runtime import BYTES_PER_PIXEL, memory_errors, size_advice
    from percept_cli.core.visualization.inversion import inversion_sheet, measure_inversion

    # Errors are measured in float32, whatever the precision of the networks.
    exact = replace(runtime, dtype=float32).freeze(copy.deepcopy(extractor))
    frozen = runtime.freeze(extractor)
    steps = sum(each.steps if isinstance(each, inversion.InversionOptions) else 1 for each in by_layer.values())

    def find(square: "Tensor", layer: str, sample: int, progress: "Progress") -> "tuple[Tensor, dict[str, object]]":
        chosen = by_layer[layer]
        if not isinstance(chosen, inversion.InversionOptions):
            progress.advance(1)
            return inference.invert(square, layer, frozen, chosen, runtime), {"method": "generator"}
        chosen = replace(chosen, seed=chosen.seed + sample)
        for step in inversion.invert(square, layer, frozen, runtime, chosen):
            progress.advance(1, {"loss": step.total, **step.parts})
        return step.image.cpu(), {"method": "optimize", "seed": chosen.seed, "steps": chosen.steps}

    def operation(photo: Photo, job: "Job") -> Photo:
        original = middle_square(photo.visible(), side)
        label = "standard input" if job.source is None else job.source.name
        found, records = [], []
        advice = "Close other programs or use --device cpu"
        if fixed_side(extractor) is None:
            advice = size_advice(side, side, BYTES_PER_PIXEL, runtime.device, extractor.smallest_side)
        with console.progress(steps * samples, "step") as progress, memory_errors(f"{side}x{side} pixels", advice):
            for sample in range(samples):
                for layer in extractor.layers:
                    image, how = find(original, layer, sample, progress)
                    name = f"{layer}, start {sample + 1}" if samples > 1 else layer
                    each = measure_inversion(name, image, original, layer, exact, runtime)
                    console.say(
                        f"{label}: {name}: feature error {each.feature_error:.4f}, image error {each.image_error:.1f} "
                        "gray levels"
                    )
                    errors = {"feature_error": round(each.feature_error, 5), "image_error": round(each.image_error, 2)}
                    found.append(each)
                    records.append({"layer": layer, "sample": sample, **how, **errors})
        fields["layers"] = records
        picture = found[0].image if len(found) == 1 else inversion_sheet(original, found, len(extractor.layers))
        return Photo(picture, icc=photo.icc, format=photo.format)

    return operation


def _through_code(
    model: str, size: int | None, compute: options.Compute, console: "Console", fields: dict[str, object]
) -> "Operation":
    """The operation of an autoencoder on a photograph, or on its middle square of `size` pixels. It reports the code."""
    from percept_cli.core.generators.autoencoder import Autoencoder
    from percept_cli.core.images.photo import Photo, middle_square
    from percept_cli.core.inference.invert import run_autoencoder
    from percept_cli.core.measures.pixels import image_error
    from percept_cli.core.pretrained.generators import load_generator
    from percept_cli.core.runtime import BYTES_PER_PIXEL, memory_errors, size_advice

    loaded = load_generator(model, "autoencoder")
    runtime = compute.runtime(console.say)
    network = runtime.place_network(loaded.network)
    assert isinstance(network, Autoencoder)
    fields["model"] = loaded.name

    def operation(photo: Photo, job: "Job") -> Photo:
        label = "standard input" if job.source is None else job.source.name
        pixels = photo.visible()
        if size is not None:
            pixels = middle_square(pixels, size)
            photo = Photo(pixels, icc=photo.icc, format=photo.format, bits=photo.bits)
        height, width = pixels.shape[-2:]
        short = min(height, width)
        advice = size_advice(short, short, BYTES_PER_PIXEL, runtime.device, 1)
        with memory_errors(f"{width}x{height} pixels", advice):
            result, code = run_autoencoder(network, pixels, runtime)
        down, across = (network.stride * units for units in code.shape[2:])
        if (down, across) != (height, width):
            console.say(
                f"{label}: the code covers {across}x{down} pixels, of which the last repeat the edges of "
                f"{width}x{height}; the result is cut to that"
            )
        levels = 255 if photo.bits == 8 else 65535  # as the file holds it
        error = image_error((result * levels).round() / levels, pixels)
        fewer, shape = pixels.numel() / code.numel(), list(code.shape[1:])
        console.say(
            f"{label}: a code of {'x'.join(map(str, shape))}, {fewer:.1f} times fewer numbers than the pixels; image "
            f"error {error:.1f} gray levels"
        )
        fields.update(code=shape, times_fewer=round(fewer, 2), image_error=round(error, 2))
        return photo.with_visible(result)

    return operation
