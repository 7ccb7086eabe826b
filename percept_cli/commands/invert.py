"""`percept invert`: what a layer of a network keeps of a photograph, as a picture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options
from percept_cli.errors import UsageError, refuse_options, unknown_name

if TYPE_CHECKING:
    from percept_cli.console import Progress
    from percept_cli.core.extractors import Architecture
    from percept_cli.core.files.inputs import InputItem
    from percept_cli.core.optimization.inversion import InversionOptions

METHODS = ("optimize", "generator")
SAMPLE_PHOTO = "chelsea.png"
COLUMNS = 6  # of a sheet, before it begins another row
PANEL = "Optimization"


def invert(
    photos: options.Inputs = None,
    layer: Annotated[
        str, typer.Option("--layer", metavar="L1,L2,...", help="Layers; conv5 is the last convolution of block 5.")
    ] = "",
    method: Annotated[
        str | None,
        typer.Option(
            metavar="optimize|generator",
            help="Search for the picture, or have a network tell. Default: optimize, with -m generator.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m", "--model", help="A shipped inverter or a file of one, or of an autoencoder: these need no --layer."
        ),
    ] = None,
    output: options.Output = None,
    name: options.Name = "{stem}_{op}.png",
    size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Side of the photograph's middle square, pixels. Default: 224; with an autoencoder all."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Pictures a layer, from different starts.")] = 1,
    preset: Annotated[
        str | None,
        typer.Option(metavar="mahendran-vedaldi", help="The settings of a paper.", rich_help_panel=PANEL),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates a picture. Default: 300.", rich_help_panel=PANEL)
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="auto (lbfgs, then adam), lbfgs, adam or sgd.", rich_help_panel=PANEL)
    ] = None,
    tv_weight: Annotated[
        float | None, typer.Option(min=0.0, help="More is smoother. Default: 0.", rich_help_panel=PANEL)
    ] = None,
    tv_exponent: Annotated[
        float | None,
        typer.Option(min=1.0, help="β: 1 leaves edges, 2 (default) flattens them.", rich_help_panel=PANEL),
    ] = None,
    alpha_weight: Annotated[
        float | None,
        typer.Option(min=0.0, help="More keeps colors nearer to gray. Default: 0.", rich_help_panel=PANEL),
    ] = None,
    jitter: Annotated[
        int | None,
        typer.Option(min=0, help="Shift by up to so many pixels each step; with adam or sgd.", rich_help_panel=PANEL),
    ] = None,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    recursive: options.Recursive = False,
    from_file: options.FromFile = None,
    null: options.NullSeparated = False,
    show: options.Show = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    quality: options.Quality = 95,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """See what a layer of a network keeps of a photograph: a picture is found that has the same features there.

    percept invert --layer conv5

    percept invert photo.jpg --layer relu1_2,relu2_2,relu3_3 -o sheet.png

    percept invert photo.jpg --layer fc7 --extractor alexnet --samples 4

    percept invert photo.jpg -m autoencoder.safetensors
    """
    from percept_cli.console import Console
    from percept_cli.core.files.inputs import expand_inputs
    from percept_cli.core.files.outputs import plan_outputs
    from percept_cli.core.pretrained.manifest import find_inverter, layer_of, role_of

    console = Console(quiet, json)
    if method is not None and method not in METHODS:
        raise UsageError(unknown_name("method", method, METHODS))
    if model is not None and method == "optimize":
        raise UsageError("-m names a generator: leave it or --method optimize out.")
    method = method or ("optimize" if model is None else "generator")
    if method == "generator":
        if samples > 1:
            raise UsageError("A generator makes one picture: leave --samples out, or use --method optimize.")
        searching = {
            "--preset": preset, "--steps": steps, "--optimizer": optimizer, "--tv-weight": tv_weight,
            "--tv-exponent": tv_exponent, "--alpha-weight": alpha_weight, "--jitter": jitter,
        }  # fmt: skip
        refuse_options(searching, "A generator does not search")
    autoencoder = model if model is not None and role_of(model) == "autoencoder" else None
    asked = [part.strip() for part in layer.split(",") if part.strip()]
    if model is not None and not asked and (known_layer := layer_of(model)):
        asked = [known_layer]
    if autoencoder:
        own = {
            "--layer": layer, "--extractor-weights": extractor_weights,
            "--extractor": extractor if extractor != "compact" else None,
        }  # fmt: skip
        refuse_options(own, f"{autoencoder} is an autoencoder, which makes its code by itself")
    elif not asked:
        known = f"{model} is neither an autoencoder nor an inverter. " if model else ""
        raise UsageError(f"{known}Give --layer, as in --layer conv5 or --layer relu1_2,relu3_3.")
    elif model is not None and len(asked) > 1:
        raise UsageError("-m is an inverter of one layer: give one --layer, or leave -m out for the shipped ones.")
    if photos or from_file is not None:
        items = expand_inputs(photos or [], recursive=recursive, from_file=from_file, null_separated=null)
    else:
        items = [sample_photo()]
        output = output or "./"  # beside the photograph is among scikit-image's files
        console.say(f"no image was given: {SAMPLE_PHOTO}, a sample photograph of scikit-image")

    if autoencoder:
        from percept_cli.commands.invert_autoencoder import reconstruct_images

        label = Path(autoencoder).stem
        jobs = plan_outputs(
            items, output, name=name, op=label, model=label, overwrite=overwrite, skip_existing=skip_existing
        )  # fmt: skip
        reconstruct_images(
            jobs,
            autoencoder,
            size,
            console,
            device=device,
            precision=precision,
            threads=threads,
            quality=quality,
            show=show,
        )
        return

    # The names of files hold full names of layers, which the architecture knows; its import brings torch.
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.extractors.geometry import shallow_to_deep
    from percept_cli.core.pretrained.extractors import named_extractor

    extractor, extractor_weights = named_extractor(extractor, extractor_weights)
    architecture = create_architecture(extractor)
    layers = shallow_to_deep(architecture, asked)
    for given in asked:
        if architecture.resolve(given) != given:
            console.say(f"{given} of {extractor} is {architecture.resolve(given)}")
    sheet = len(layers) > 1 or samples > 1
    jobs = plan_outputs(
        items, output, name=name, op="inverted" if len(layers) > 1 else layers[0], model=extractor,
        overwrite=overwrite, skip_existing=skip_existing,
    )  # fmt: skip
    if method == "generator":
        files = {each: model or str(find_inverter(extractor, each).path) for each in layers}
    given_settings = {
        "steps": steps, "optimizer": optimizer, "total_variation_weight": tv_weight,
        "total_variation_exponent": tv_exponent, "alpha_weight": alpha_weight, "jitter": jitter,
    }  # fmt: skip
    changes = {key: value for key, value in given_settings.items() if value is not None}
    settings = {each: _settings(preset, architecture, each, seed, changes) for each in layers}

    import copy

    import torch

    from percept_cli.commands.batch import process_images
    from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
    from percept_cli.core.extractors.geometry import choose_side
    from percept_cli.core.files.outputs import Job
    from percept_cli.core.generators import Generator
    from percept_cli.core.images.photo import Photo, middle_square
    from percept_cli.core.inference.invert import run_inverter
    from percept_cli.core.measures.pixels import image_error
    from percept_cli.core.optimization.inversion import check_options, feature_error, for_sample, reconstruct
    from percept_cli.core.pretrained.extractors import create_extractor
    from percept_cli.core.pretrained.generators import check_inverter, load_generator
    from percept_cli.core.runtime import Runtime, choose_runtime, memory_errors, seed_everything

    for each in settings.values():
        check_options(each)
    side = choose_side(architecture, layers, size, announce=console.say)
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    seed_everything(seed)
    created = create_extractor(extractor, layers, extractor_weights, seed, console.say)
    # What is reported is measured in float32, whatever the search ran in.
    exact = Runtime(runtime.device, torch.float32, "").freeze(copy.deepcopy(created))
    inverters: dict[str, Generator] = {}
    if method == "generator":
        for tapped, file in files.items():
            inverter = load_generator(file, "inverter")
            check_inverter(inverter, created, tapped)
            console.say(f"{tapped} by {inverter.name}")
            inverters[tapped] = runtime.prepare(inverter.network)
    frozen = runtime.freeze(created)
    fields: dict[str, object] = {"extractor": extractor}

    def how(each: str, sample: int) -> dict[str, object]:
        if method == "generator":
            return {"method": method}
        chosen = for_sample(settings[each], sample)
        return {"method": method, "seed": chosen.seed, "steps": chosen.steps}

    def invert_code(code: torch.Tensor, each: str, sample: int, progress: "Progress") -> torch.Tensor:
        """The picture (1, 3, side, side) in [0, 1] that a layer's features tell of."""
        if each in inverters:
            progress.advance(1)
            return run_inverter(inverters[each], code, (side, side), runtime)
        for step in reconstruct(code, each, side, frozen, runtime, for_sample(settings[each], sample)):
            progress.advance(1, {"loss": step.total, **step.parts})
        return step.image.cpu()

    def operation(photo: Photo, job: Job) -> Photo:
        original = middle_square(photo.visible(), side)
        placed = runtime.place(original)
        label = "standard input" if job.source is None else job.source.name
        results: list[dict[str, object]] = []
        rows: list[list[Panel]] = []
        total = sum(1 if each in inverters else settings[each].steps for each in layers) * samples
        with console.progress(total, "step") as progress, memory_errors(f"{side}x{side} pixels"):
            for sample in range(samples):
                first = Panel(original, ("original", f"{side}x{side} pixels"))
                rows.append([first if sample == 0 else Panel(None)])
                for each in layers:
                    with torch.no_grad():
                        target = frozen(placed, [each])[each].clone()
                    # As an 8-bit file holds it, which is what anyone can measure again.
                    found = (invert_code(target, each, sample, progress) * 255).round() / 255
                    features = feature_error(runtime.place(found), placed, each, exact)
                    levels = image_error(found, original)
                    start = f", start {sample + 1}" if samples > 1 else ""
                    console.say(
                        f"{label}: {each}{start}: feature error {features:.4f}, image error {levels:.1f} gray levels"
                    )
                    results.append(
                        {"layer": each, "sample": sample, **how(each, sample), "feature_error": round(features, 5),
                         "image_error": round(levels, 2)}
                    )  # fmt: skip
                    rows[-1].append(Panel(found, (f"{each}{start}", f"error {features:.3f}")))
        fields["layers"] = results
        if not sheet:
            return Photo(found, icc=photo.icc, format=photo.format)
        if len(layers) == 1:
            rows = [[tile for row in rows for tile in row if tile.image is not None]]
        if len(rows) == 1:
            rows = wrap(rows[0], COLUMNS)
        return Photo(contact_sheet(rows), icc=photo.icc, format=photo.format)

    process_images(jobs, operation, console, quality=quality, show=show, fields=fields)


def _settings(
    preset: str | None, architecture: "Architecture", layer: str, seed: int, changes: Mapping[str, object]
) -> "InversionOptions":
    """The settings for one layer: the preset's or the usual ones, with those that the user gave in their place."""
    from percept_cli.core.optimization.inversion import PRESETS, InversionOptions, mahendran_vedaldi

    if preset is not None and preset not in PRESETS:
        raise UsageError(unknown_name("preset", preset, PRESETS))
    usual = InversionOptions() if preset is None else mahendran_vedaldi(architecture, layer)
    return replace(usual, seed=seed, **changes)  # type: ignore[arg-type]


def sample_photo() -> "InputItem":
    """The photograph for a first run, which comes with scikit-image."""
    from percept_cli.core.data.photos import sample_photos
    from percept_cli.core.files.inputs import InputItem

    path = next((photo for photo in sample_photos() if photo.name == SAMPLE_PHOTO), None)
    if path is None:
        raise UsageError(f"{SAMPLE_PHOTO}, scikit-image's sample photograph, is not there: name an image.")
    return InputItem(path, Path(path.name))
