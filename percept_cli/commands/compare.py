"""`percept compare`: how close two images are, or two folders of them."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options, parsing
from percept_cli.conditions import EffectIf
from percept_cli.core.measures.metrics import CROPPED, EXTRACTED, METRICS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

    from percept_cli.console import Console
    from percept_cli.core.files.folders import Pair
    from percept_cli.core.files.outputs import Job

    Reading = tuple[Tensor, Tensor, tuple[str, ...]] | Exception

USUAL_METRICS = "psnr,ssim,ms_ssim,perceptual"
probe_option = partial(typer.Option, rich_help_panel="Linear probe")

OF_PROBE = EffectIf(lambda call: call.probe is not None, "That is only for --probe FOLDER")
OF_PAIRS = EffectIf(lambda call: call.probe is None, "--probe compares no pictures and writes none")
WRITES = EffectIf(lambda call: call.output is not None, "Without -o no file is written")
CROPS = EffectIf(lambda call: set(CROPPED) & set(call.metrics), "Only PSNR, SSIM and MS-SSIM leave a border out")
OF_LAYERS = EffectIf(
    lambda call: call.probe is None or not call.model or call.layers, "No --layers were asked for beside -m"
)
OF_FEATURES = EffectIf(
    lambda call: call.probe is not None or set(EXTRACTED) & set(call.metrics),
    "None of the --metrics compares features of an extractor that can be chosen",
)


@dataclass(frozen=True)
class ExistingMaps(options.Existing):
    """The same options, for heat maps."""

    overwrite: Annotated[options.Overwrite, OF_PAIRS, WRITES] = False
    skip_existing: Annotated[options.SkipExisting, OF_PAIRS, WRITES] = False


def compare(
    first: Annotated[Path | None, typer.Argument(metavar="A", help="An image, or a folder of them.")] = None,
    second: Annotated[
        Path | None,
        typer.Argument(
            metavar="B", help="The image to compare with A; in a folder, files whose names begin as those of A do."
        ),
    ] = None,
    probe: Annotated[
        Path | None,
        probe_option(
            metavar="FOLDER",
            help="Instead of A and B: classify FOLDER/class/*.jpg by the features of codes and layers.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None, probe_option("-m", "--model", help="An autoencoder; may be repeated."), OF_PROBE
    ] = None,
    size: Annotated[
        int | None, probe_option(min=1, help="Side of each picture's middle square, pixels. Default: 96."), OF_PROBE
    ] = None,
    folds: Annotated[
        int | None,
        probe_option(min=2, help="Parts; a classifier trained on the others classifies each. Default: 5."),
        OF_PROBE,
    ] = None,
    metrics: Annotated[
        parsing.Names,
        parsing.names_option(
            f"Of {', '.join(METRICS)}.", metavar="M1,M2,...", autocompletion=parsing.complete_list(METRICS)
        ),
        OF_PAIRS,
    ] = USUAL_METRICS,  # type: ignore[assignment]
    border: Annotated[
        int,
        typer.Option(
            min=0, help="Pixels that PSNR, SSIM and MS-SSIM leave out at each side; papers on upscaling take the scale."
        ),
        OF_PAIRS,
        CROPS,
    ] = 0,
    layers: Annotated[
        parsing.Names | None,
        parsing.names_option("Of the distances or the probe. Default: the extractor's own."),
        OF_FEATURES,
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="A heat map of the perceptual distance, or without `perceptual` of the pixels' difference: a file or a "
            "folder.",
        ),
        OF_PAIRS,
    ] = None,
    *,
    source: Annotated[options.ExtractorSource, OF_FEATURES, OF_LAYERS],
    existing: ExistingMaps,
    seed: options.Seed = 0,
    compute: options.ExactCompute,
    report: options.Report,
) -> None:
    """Compare images: PSNR and SSIM on luma and RGB, MS-SSIM, perceptual distance, LPIPS, DISTS.

    percept compare original.png upscaled.png --border 4

    percept compare originals/ upscaled/ --border 4 --json

    percept compare photo.png restored.png -o differences.png

    percept compare --probe labeled/ -m autoencoder.safetensors
    """
    from percept_cli.commands.planning import check_sources
    from percept_cli.console import Failures
    from percept_cli.core.files.folders import find_pairs
    from percept_cli.core.files.outputs import create_folders
    from percept_cli.errors import DeviceError, ExitCode, ImageError, UsageError, unknown_name

    console = report.console()
    if probe is not None:
        if first is not None:
            raise UsageError("A and B are compared with each other, --probe looks at one folder: give either.")
        from percept_cli.commands.compare_probe import compare_probe

        compare_probe(probe, model or [], source, layers, size, folds, seed, compute, console)
        return
    if first is None or second is None:
        raise UsageError("Give two images or two folders to compare with each other, or --probe FOLDER.")
    for metric in metrics:
        if metric not in METRICS:
            raise UsageError(unknown_name("metric", metric, METRICS))
    extractor = source.choose()
    parsing.check_layers(extractor.architecture, layers)
    pairs, unmatched = find_pairs(first, second)
    check_sources([path for pair in pairs for path in (pair.first, pair.second)])
    heat_jobs = _plan_heat_maps(pairs, output, existing)

    # Only now the slow imports, so that a mistyped path is refused at once.
    from percept_cli.core.batches.pipeline import run_pipeline
    from percept_cli.core.images.encode import save_image
    from percept_cli.core.images.photo import Photo
    from percept_cli.core.images.warnings import warnings_in_threads
    from percept_cli.core.measures.comparison import create_comparison, load_pair, mean_figures
    from percept_cli.core.measures.pixels import heat_map
    from percept_cli.core.runtime import memory_errors

    runtime = compute.runtime()
    comparison = create_comparison(
        metrics, runtime, border=border, extractor=extractor, layers=layers, seed=seed, announce=console.say
    )
    console.say(runtime.reason)
    for reason in comparison.omitted.values():
        console.warn(reason)
    create_folders(heat_jobs)

    def memory(pair: "Pair") -> "AbstractContextManager[None]":
        return memory_errors(f"{pair.first.name} and {pair.second.name}", "Ask for fewer --metrics or shrink both")

    failures = Failures(console)
    names = [f"mean of {len(pairs)}", *(pair.first.name for pair in pairs)]
    table = _Table(console, names, comparison.figures, comparison.protocol)
    measured: list[dict[str, float]] = []

    def read(entry: "tuple[Pair, Job]") -> "tuple[Pair, Job, Reading]":
        pair, job = entry
        try:
            with memory(pair):
                return pair, job, load_pair(pair.first, pair.second)
        except (ImageError, DeviceError) as error:
            return pair, job, error

    def compare_pair(pair: "Pair", job: "Job", read: "Reading") -> None:
        if isinstance(read, Exception):
            raise read
        images, target, notes = read
        taken = comparison.measure(images, target)
        drawn: dict[str, object] = {}
        if job.destination is not None and not job.skip:
            heat = heat_map(images, target, taken.distances)
            save_image(Photo(heat.image), job.destination, overwrite=job.overwrite)
            drawn = {"output": job.destination, "kind": heat.kind, "white": heat.white}
            console.say(f"{job.destination}: white is a difference of {heat.white:.3f} ({heat.kind})")
        for note in notes:
            console.warn(note)
        for metric in taken.omitted.keys() - comparison.omitted.keys():
            console.warn(f"{pair.first}: {taken.omitted[metric]}")
        if not measured:
            table.head()
        measured.append(taken.figures)
        subject = {"a": pair.first, "b": pair.second, "status": "done"}
        table.row(pair.first.name, subject, taken.figures, omitted=taken.omitted, heat_map=drawn)

    for path, reason in unmatched.items():
        failures.add(path, reason)
    # The next pair is read while one is compared; a single one here, where a signal stops it at once.
    entries = list(zip(pairs, heat_jobs, strict=True))
    readings = map(read, entries) if len(entries) == 1 else run_pipeline(entries, read, workers=1, ahead=2)
    with warnings_in_threads(), console.progress(len(pairs), "pair", shown=len(pairs) > 1) as progress:
        for pair, job, reading in readings:
            try:
                with memory(pair):
                    compare_pair(pair, job, reading)
            except ImageError as error:
                failures.add(pair.first, str(error))
            except DeviceError as error:
                if len(pairs) == 1:
                    raise
                failures.add(pair.first, str(error))
            del reading
            progress.advance(1)

    if os.path.isdir(first) and measured:
        subject = {"status": "mean", "pairs": len(measured)}
        table.row(f"mean of {len(measured)}", subject, mean_figures(measured))
    if failures.inputs:
        if len(failures.inputs) + len(measured) > 1:
            console.error(f"{len(failures.inputs)} failed, {len(measured)} compared")
        raise typer.Exit(ExitCode.SOME_FAILED if measured else ExitCode.ALL_FAILED)


class _Table:
    """Prints a row of figures for each pair. names: all that the first column may hold; protocol: how figures are taken."""

    def __init__(
        self, console: "Console", names: Sequence[str], figures: Sequence[str], protocol: Mapping[str, object]
    ):
        self.console, self.protocol = console, protocol
        self.first_width = max(map(len, names))
        self.widths = {figure: max(len(figure), 8) for figure in figures}

    def head(self) -> None:
        """Prints the names of the figures, and the protocol as details."""
        for subject, text in self.protocol.items():
            self.console.detail(f"{subject}: {text}")
        if not self.console.as_json:
            self.console.figures(self._line("", {figure: figure for figure in self.widths}))

    def row(
        self,
        name: str,
        subject: Mapping[str, object],
        figures: Mapping[str, float],
        *,
        omitted: Mapping[str, str] | None = None,
        heat_map: Mapping[str, object] | None = None,
    ) -> None:
        """Prints figures as papers give them: decibels with two decimals, the others with four.

        subject: the fields of the JSON line that say what was measured.
        """
        cells = {each: f"{value:.{2 if each.startswith('psnr') else 4}f}" for each, value in figures.items()}
        # The PSNR of equal images is infinite, which JSON cannot hold: null.
        finite = {each: value if math.isfinite(value) else None for each, value in figures.items()}
        found = {"figures": finite} if omitted is None else {"figures": finite, "omitted": omitted}
        drawn = {"heat_map": heat_map} if heat_map else {}
        self.console.figures(self._line(name, cells), **subject, **found, protocol=self.protocol, **drawn)

    def _line(self, name: str, cells: Mapping[str, str]) -> str:
        columns = (cells.get(figure, "-").rjust(width) for figure, width in self.widths.items())
        return f"{name.ljust(self.first_width)}  {'  '.join(columns)}"


def _plan_heat_maps(pairs: "Sequence[Pair]", output: str | None, existing: options.Existing) -> "Sequence[Job]":
    """One job for each pair; without --output its destination is None."""
    from percept_cli.core.files.inputs import InputItem
    from percept_cli.core.files.outputs import Job, plan_outputs
    from percept_cli.errors import UsageError

    if output is None or not pairs:
        return [Job(pair.first, None) for pair in pairs]
    if output == "-":
        raise UsageError("-o -: standard output is for the figures. Give the heat map a file or a folder.")
    jobs = plan_outputs(
        [InputItem(pair.first, Path(pair.first.name)) for pair in pairs], output, name="{stem}_{op}.png",
        op="difference", **vars(existing),
    )  # fmt: skip
    seconds = {os.path.realpath(pair.second) for pair in pairs}
    for job in jobs:
        if job.destination is not None and os.path.realpath(job.destination) in seconds:
            raise UsageError(f"'{job.destination}' is an input and would be written over: choose another -o.")
    return jobs
