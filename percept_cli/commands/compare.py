"""`percept compare`: how close two images are, or two folders of them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options

if TYPE_CHECKING:
    from percept_cli.core.files.folders import Pair
    from percept_cli.core.files.outputs import Job

USUAL_METRICS = "psnr,ssim,ms_ssim,perceptual"
PANEL = "Linear probe"


def compare(
    first: Annotated[Path | None, typer.Argument(metavar="A", help="An image, or a folder of them.")] = None,
    second: Annotated[
        Path | None,
        typer.Argument(metavar="B", help="Its counterpart; in a folder, files whose names begin with those of A's."),
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Instead of A and B: how well codes and layers tell FOLDER/class/*.jpg apart.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", help="An autoencoder; may be given again.", rich_help_panel=PANEL),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of each picture's middle square, pixels. Default: 96.", rich_help_panel=PANEL),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Parts, each told by the others. Default: 5.", rich_help_panel=PANEL)
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="M1,M2,...",
            help="Of psnr, ssim, ms_ssim, perceptual, contextual, lpips, lpips_vgg, lpips_squeeze, dists.",
        ),
    ] = USUAL_METRICS,
    border: Annotated[
        int,
        typer.Option(
            min=0, help="Pixels left out at each side by PSNR, SSIM and MS-SSIM; papers on upscaling: the scale."
        ),
    ] = 0,
    layers: Annotated[
        str | None,
        typer.Option(metavar="L1,L2,...", help="Of the distances or the probe. Default: the extractor's own."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="A heat map of the differences, to the extractor or, without `perceptual`, of the pixels: a file or "
            "a folder.",
        ),
    ] = None,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compare images: PSNR and SSIM on luma and RGB, MS-SSIM, perceptual distance, LPIPS, DISTS.

    percept compare original.png upscaled.png --border 4

    percept compare originals/ upscaled/ --border 4 --json

    percept compare photo.png restored.png -o differences.png

    percept compare --probe labeled/ -m autoencoder.safetensors
    """
    from percept_cli.console import Console
    from percept_cli.core.files.folders import find_pairs
    from percept_cli.core.files.outputs import create_folders
    from percept_cli.errors import DeviceError, ExitCode, ImageError, UsageError, refuse_options

    console = Console(quiet, json)
    if probe is not None:
        if first is not None:
            raise UsageError("A and B are compared with each other, --probe looks at one folder: give either.")
        of_pairs = {
            "--metrics": None if metrics == USUAL_METRICS else metrics, "--border": border or None, "--output": output,
            "--overwrite": overwrite, "--skip-existing": skip_existing,
        }  # fmt: skip
        refuse_options(of_pairs, "--probe compares no pictures and writes none")
        if models and not layers:
            of_layers = {"--extractor": None if extractor == "compact" else extractor}
            refuse_options(
                of_layers | {"--extractor-weights": extractor_weights}, "No --layers were asked for beside -m"
            )
        from percept_cli.commands.compare_probe import compare_probe

        compare_probe(
            probe, models or [], extractor, extractor_weights, layers.split(",") if layers else None, size, folds, seed,
            device, precision, console,
        )  # fmt: skip
        return
    refuse_options({"--model": models, "--size": size, "--folds": folds}, "That is only for --probe FOLDER")
    if first is None or second is None:
        raise UsageError("Give two images or two folders to compare with each other, or --probe FOLDER.")
    pairs, unmatched = find_pairs(first, second)
    heat_jobs = _plan_heat_maps(pairs, output, overwrite, skip_existing)

    # Only now the heavy imports: a mistyped path is answered at once.
    from percept_cli.core.images.encode import save_image
    from percept_cli.core.images.photo import Photo
    from percept_cli.core.measures.comparison import create_comparison, heat_map, load_pair, mean_figures
    from percept_cli.core.runtime import choose_runtime, memory_errors

    runtime = choose_runtime(device, precision)
    comparison = create_comparison(
        metrics.split(","), runtime, border=border, extractor=extractor, extractor_weights=extractor_weights,
        layers=layers.split(",") if layers else None, seed=seed, announce=console.say,
    )  # fmt: skip
    console.say(runtime.reason)
    for reason in comparison.omitted.values():
        console.warn(reason)
    create_folders(heat_jobs)

    failures: list[Path] = []

    def fail(path: Path, reason: str) -> None:
        failures.append(path)
        console.error(reason if str(path) in reason else f"{path}: {reason}")
        if console.as_json:
            console.result("", file=path, status="failed", error=reason)

    columns = comparison.figures
    names = [f"mean of {len(pairs)}", *(pair.first.name for pair in pairs)]
    measured: list[dict[str, float]] = []

    def row(name: str, cells: Sequence[str]) -> str:
        widths = [max(len(column), 8) for column in columns]
        figures = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        return f"{name.ljust(max(map(len, names)))}  {figures}"

    def compare_pair(pair: "Pair", job: "Job") -> None:
        # The pictures are let go of on return, before the next are loaded.
        images, target, notes = load_pair(pair.first, pair.second)
        taken = comparison.measure(images, target)
        drawn: dict[str, object] = {}
        if job.destination is not None and not job.skip:
            heat = heat_map(images, target, taken.distances)
            save_image(Photo(heat.image), job.destination)
            drawn = {"output": job.destination, "kind": heat.kind, "white": heat.white}
            console.say(f"{job.destination}: white is a difference of {heat.white:.3f} ({heat.kind})")
        for note in notes:
            console.warn(note)
        for metric in taken.omitted.keys() - comparison.omitted.keys():
            console.warn(f"{pair.first}: {taken.omitted[metric]}")
        if not measured and not console.as_json:
            for subject, text in comparison.protocol.items():
                console.result(f"{subject}: {text}")
            console.result(f"\n{row('', columns)}")
        measured.append(taken.figures)
        console.result(
            row(pair.first.name, _cells(taken.figures, columns)), a=pair.first, b=pair.second, status="done",
            figures=_finite(taken.figures), omitted=taken.omitted, protocol=comparison.protocol,
            **({"heat_map": drawn} if drawn else {}),
        )  # fmt: skip

    for path, reason in unmatched.items():
        fail(path, reason)
    with console.progress(len(pairs), "pair") if len(pairs) > 1 else console.progress_off() as progress:
        for pair, job in zip(pairs, heat_jobs, strict=True):
            try:
                with memory_errors(f"{pair.first.name} and {pair.second.name}", "Ask for fewer --metrics"):
                    compare_pair(pair, job)
            except ImageError as error:
                fail(pair.first, str(error))
            except DeviceError as error:
                if len(pairs) == 1:
                    raise
                fail(pair.first, str(error))
            progress.advance(1)

    if first.is_dir() and measured:
        mean = mean_figures(measured)
        console.result(
            row(f"mean of {len(measured)}", _cells(mean, columns)), status="mean", pairs=len(measured),
            figures=_finite(mean), protocol=comparison.protocol,
        )  # fmt: skip
    if failures:
        if len(failures) + len(measured) > 1:
            console.error(f"{len(failures)} failed, {len(measured)} compared")
        raise typer.Exit(ExitCode.SOME_FAILED if measured else ExitCode.ALL_FAILED)


def _plan_heat_maps(
    pairs: "Sequence[Pair]", output: str | None, overwrite: bool, skip_existing: bool
) -> "Sequence[Job]":
    """One job a pair, without a destination where no heat map was asked for."""
    from percept_cli.core.files.inputs import InputItem
    from percept_cli.core.files.outputs import Job, plan_outputs
    from percept_cli.errors import UsageError

    if output is None or not pairs:
        return [Job(pair.first, None) for pair in pairs]
    if output == "-":
        raise UsageError("-o -: standard output is for the figures. Give the heat map a file or a folder.")
    jobs = plan_outputs(
        [InputItem(pair.first, Path(pair.first.name)) for pair in pairs], output, name="{stem}_{op}.png",
        op="difference", overwrite=overwrite, skip_existing=skip_existing,
    )  # fmt: skip
    seconds = {pair.second.resolve() for pair in pairs}
    for job in jobs:
        if job.destination is not None and job.destination.resolve() in seconds:
            raise UsageError(f"'{job.destination}' is an input and would be written over: choose another -o.")
    return jobs


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no infinity, which is the PSNR of equal images: it becomes null."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _cells(figures: Mapping[str, float], columns: Sequence[str]) -> list[str]:
    """Figures as papers print them: decibels with two decimals, the others with four."""
    decimals = {name: 2 if name.startswith("psnr") else 4 for name in columns}
    return [f"{figures[name]:.{decimals[name]}f}" if name in figures else "-" for name in columns]
