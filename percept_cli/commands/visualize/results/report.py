"""`percept visualize report`: everything that can be said of a model, on one page that opens from disk."""

from pathlib import Path
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers

SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png")  # a face, fur, things
MOST = 8  # photographs: a page stays small


def report(
    photos: options.Inputs = None,
    model: Annotated[
        str, typer.Option("-m", "--model", help="A shipped style, upscaler, inverter, or a file, of anyone's too.")
    ] = "",
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="A .html file, or a folder that ends in /.")
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="LOG", help="Of its training: log.jsonl or a .run folder. Default: the one beside it."),
    ] = None,
    metrics: Annotated[
        str, typer.Option(metavar="M1,M2,...", help="Figures, as `percept compare` has them.")
    ] = "psnr,ssim,ms_ssim,perceptual",
    data: Numbers = None,
    extractor_weights: options.ExtractorWeights = None,
    recursive: options.Recursive = False,
    from_file: options.FromFile = None,
    null: options.NullSeparated = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """One HTML file about a model: results to swipe, figures, frequencies, speed, training and recipe. It fetches nothing.

    percept visualize report -m starry-night

    percept visualize report -m mine.safetensors photo.jpg -o mine.html
    """
    from percept_cli.commands.visualize.picture import (
        photo_files,
        plan_numbers,
        plan_page,
        report_skipped,
        write_numbers,
        write_page,
    )
    from percept_cli.console import Console
    from percept_cli.core.data.photos import sample_photos
    from percept_cli.core.files.inputs import expand_inputs
    from percept_cli.core.pretrained.manifest import shipped_models
    from percept_cli.core.visualization.history import LOG, find_log, read_history
    from percept_cli.errors import UsageError

    console = Console(quiet, json)
    if not model:
        raise UsageError("Give a model, as in -m starry-night or -m mine.safetensors; see `percept models list`.")
    if photos or from_file is not None:
        items = expand_inputs(photos or [], recursive=recursive, from_file=from_file, null_separated=null)
        paths = photo_files(items)
    else:
        paths = [path for path in sample_photos() if path.name in SAMPLES]
        console.say(f"no image was given: {len(paths)} sample photographs of scikit-image")
    if len(paths) > MOST:
        raise UsageError(f"{len(paths)} photographs would make a page too large to send: give {MOST} at most.")
    shipped = shipped_models().get(model)
    file = shipped.path if shipped and not Path(model).is_file() else Path(model)
    flags = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_page(Path(model).stem, "report", output, sources=[*paths, file], **flags)
    numbers = plan_numbers(data, paths, **flags)
    if report_skipped(job, console):
        return
    beside = file.with_suffix(".run") / LOG
    found = find_log(log) if log is not None else beside if beside.is_file() else None

    import torch

    from percept_cli.core.images.decode import load_image
    from percept_cli.core.measures.comparison import create_comparison
    from percept_cli.core.runtime import choose_runtime, memory_errors
    from percept_cli.core.visualization.report import measure_sample, report_page, report_records
    from percept_cli.core.visualization.trial import measure_speed, prepare_trial, take_samples

    history = read_history(found, Path(model).stem) if found is not None else None
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    trial = prepare_trial(model, runtime, extractor_weights, seed, console.say)
    # Figures are those of fp32, whatever the model runs in, as `percept compare` takes them.
    exact = choose_runtime(device, "fp32", threads)
    border = trial.scale if trial.scale > 1 else 0
    comparison = create_comparison(metrics.split(","), exact, border=border, seed=seed, announce=console.say)
    measured = []
    with console.progress(len(paths), "photograph") as progress:
        for path in paths:
            photo = load_image(path)
            for note in photo.notes:
                console.warn(f"{path}: {note}")
            with memory_errors(str(path), "Give smaller photographs"):
                samples = take_samples(trial, path.name, photo.visible())
                measured += [measure_sample(sample, trial, comparison) for sample in samples]
            progress.advance(1)
    speed = measure_speed(trial, seed)
    where = f"on {runtime.device} in {runtime.precision}"
    if runtime.device.type == "cpu":
        where += f", {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    sentence = f"{speed:.2f} megapixels of the result a second, {where}, the median of runs on one picture."
    write_page(
        report_page(trial, file, measured, comparison, sentence, history), job, console, model=trial.loaded.name,
        role=trial.role, megapixels_per_second=round(speed, 3), photographs=len(paths),
    )  # fmt: skip
    write_numbers(report_records(trial, measured), numbers)
