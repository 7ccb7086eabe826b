"""`percept visualize report`: a model on one HTML page."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.visualize.picture import Numbers
from percept_cli.conditions import EffectIf
from percept_cli.core.choices import GENERATORS
from percept_cli.core.measures.metrics import METRICS
from percept_cli.core.pretrained.manifest import role_of

if TYPE_CHECKING:
    from percept_cli.core.visualization.trial import Measured

SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png")
MOST = 8  # photographs


def report(
    photos: options.Inputs = None,
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            help="The name of a shipped model, or a file.",
            autocompletion=parsing.complete_models(*GENERATORS),
        ),
    ] = "",
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="A .html file, or a folder that ends in /.")
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="LOG", help="log.jsonl or .run folder of its training. Default: the one beside the file."),
    ] = None,
    metrics: Annotated[
        parsing.Names,
        parsing.names_option(
            "Metrics of `percept compare`.", metavar="M1,M2,...", autocompletion=parsing.complete_list(METRICS)
        ),
    ] = "psnr,ssim,ms_ssim,perceptual",  # type: ignore[assignment]  # parsed by Typer
    data: Numbers = None,
    extractor_weights: Annotated[
        options.ExtractorWeights,
        EffectIf(lambda call: role_of(call.model) == "inverter", "Only an inverter takes features of an extractor"),
    ] = None,
    *,
    listing: options.Listing,
    existing: options.Existing,
    seed: options.Seed = 0,
    compute: options.Compute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """One self-contained HTML file about a model: results with sliders, figures, frequencies, speed, training and recipe.

    percept visualize report -m starry-night

    percept visualize report -m mine.safetensors photo.jpg -o mine.html
    """
    from percept_cli.commands.visualize.photographs import each_good, exit_if_failed, list_photos, load_pixels
    from percept_cli.commands.visualize.picture import plan_page
    from percept_cli.core.pretrained.manifest import check_model, shipped_models
    from percept_cli.errors import UsageError, unknown_name

    console = report.console()
    if not model:
        raise UsageError("Give a model, as in -m starry-night or -m mine.safetensors; see `percept models list`.")
    check_model(model)
    for metric in metrics:
        if metric not in METRICS:
            raise UsageError(unknown_name("metric", metric, METRICS))

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.core.data.photos import sample_photos
    from percept_cli.core.visualization.history import LOG, find_log, read_history

    if photos or listing.from_file is not None:
        paths = list_photos(photos, listing)
    else:
        paths = [path for path in sample_photos() if path.name in SAMPLES]
        console.say(f"no image was given: {len(paths)} sample photographs of scikit-image")
    if len(paths) > MOST:
        raise UsageError(f"{len(paths)} photographs would make a page too large to send: give {MOST} at most.")
    shipped = shipped_models().get(model)
    file = shipped.path if shipped and not Path(model).is_file() else Path(model)
    named = chosen.describe("report", "model")
    target = plan_page(Path(model).stem, named, output, data, existing, console, sources=[*paths, file])
    if target.is_done():
        return
    beside = file.with_suffix(".run") / LOG
    found = find_log(log) if log is not None else beside if beside.is_file() else None

    from percept_cli.core.measures.comparison import create_comparison
    from percept_cli.core.visualization.report import report_page, report_records, speed_sentence
    from percept_cli.core.visualization.trial import load_trial, measure_sample, measure_speed, take_samples

    history = read_history(found, Path(model).stem) if found is not None else None
    runtime = compute.runtime(console.say)
    trial = load_trial(model, runtime, extractor_weights, seed, console.say)
    # Figures are measured in fp32, whatever the precision of the model, as by `percept compare`.
    exact = replace(compute, precision="fp32").runtime()
    border = trial.scale if trial.scale > 1 else 0
    comparison = create_comparison(metrics, exact, border=border, seed=seed, announce=console.say)

    def measure(path: Path) -> "list[Measured]":
        samples = take_samples(trial, path.name, load_pixels(path, console))
        return [measure_sample(sample, trial, comparison) for sample in samples]

    done, failed = each_good(paths, measure, console, "photograph")
    measured = [each for _, samples in done for each in samples]
    speed = measure_speed(trial, seed)
    target.write(
        report_page(trial, file, measured, comparison, speed_sentence(speed, runtime), history),
        report_records(trial, measured), model=trial.loaded.name, role=trial.role,
        megapixels_per_second=round(speed, 3), photographs=len(done),
    )  # fmt: skip
    exit_if_failed(failed)
