"""What an upscaler costs on this processor beside how good it is: `make bench-upscalers`.

Times percept's upscalers and the architectures that spandrel builds, in turns within one run, and prints them with their
PSNR: percept's as measured here, those of others as published. With random weights, as time does not depend on them.
After each network the first of the list is timed, a shipped `swift`: the ratio of the two holds also on a machine whose
speed drifts or that does other work.

    python bench/upscalers.py                      x4 and x2, one thread, fp32: about three minutes
    python bench/upscalers.py --scale 4 --precision bf16 --threads 2
    python bench/upscalers.py --write docs         also writes the table of upscaling.md, and upscalers.png
"""

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import spandrel
import torch
from upscaler_networks import HERE, SETS, Upscaler, listed
from upscaler_plot import Point, plot

from percept_cli.core.drawing.plots import render
from percept_cli.core.files.atomic import atomic_write_bytes
from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.reach import WIDEST_HALO
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.inference.run import run_whole
from percept_cli.core.runtime import Runtime, choose_runtime, seed_everything
from percept_cli.errors import UsageError

BEGIN, END = "<!-- written by make bench-upscalers -->", "<!-- end -->"
HEADERS = ("network", "ms / MP", "ratio", "parameters", "radius", "tiles", "Set5", "BSD100", "Urban100", "PSNR from")


@dataclass
class Timing:
    """Seconds of each counted pass of a network, and their ratios to those of the reference just after."""

    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One line of the table. milliseconds: of a megapixel of output. radius: None if unknown. exact: tiles equal the whole."""

    name: str
    milliseconds: float
    ratio: float
    parameters: int
    radius: int | None
    exact: bool
    psnr: Mapping[str, float | None]
    source: str

    def cells(self) -> list[str]:
        """Its entries as text; figures that were measured here are bold."""
        mark = "**" if self.source == HERE else ""
        figures = [f"{mark}{value:.2f}{mark}" if (value := self.psnr.get(name)) else "" for name in SETS]
        return [
            self.name, f"{self.milliseconds:,.0f}", f"{self.ratio:.3g}", f"{self.parameters / 1e6:.2f} M",
            "" if self.radius is None else str(self.radius), "exact" if self.exact else "about", *figures, self.source,
        ]  # fmt: skip


def time_in_turns(
    passes: Mapping[str, Callable[[], object]],
    rounds: int,
    limit: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times each pass once a round, and after it the first of them, as its reference, for a tenth of the time.

    The first round warms up and is not counted. limit: seconds after which a pass that was counted once is left out of
    further rounds.
    """

    def seconds_of(run: Callable[[], object]) -> float:
        started = clock()
        run()
        return clock() - started

    reference = next(iter(passes.values()))
    timings = {name: Timing() for name in passes}
    for turn in range(rounds + 1):
        for name, run in passes.items():
            timing = timings[name]
            if timing.seconds and sum(timing.seconds) > limit:
                continue
            taken = seconds_of(run)
            beside = [taken] if run is reference else []
            while not beside or sum(beside) < taken / 10:
                beside.append(seconds_of(reference))
            if turn > 0:
                timing.seconds.append(taken)
                timing.ratios.append(taken / statistics.mean(beside))
    return timings


def measure(scale: int, side: int, rounds: int, limit: float, runtime: Runtime) -> list[Row]:
    """The rows of a scale, from the fastest network to the slowest; side: of the small image, pixels."""
    image = torch.rand(1, 3, side, side)
    upscalers = listed(scale)
    networks = [runtime.place_network(each.build().eval().requires_grad_(False)) for each in upscalers]
    passes = {
        each.name: (lambda network=network: run_whole(network, image, runtime))  # type: ignore[misc]
        for each, network in zip(upscalers, networks, strict=True)
    }
    timings = time_in_turns(passes, rounds, limit)
    # Of the reference, a megapixel; of the others by their ratios, as they were not all timed at the same moments.
    unit = 1e3 * statistics.median(timings[upscalers[0].name].seconds) / ((side * scale) ** 2 / 1e6)
    rows = [
        describe(each, network, timings[each.name], unit) for each, network in zip(upscalers, networks, strict=True)
    ]
    return sorted(rows, key=lambda row: row.ratio)


def describe(upscaler: Upscaler, network: Generator, timing: Timing, unit: float) -> Row:
    """The row of a network: the median of its ratios, and what percept knows of its tiles. unit: milliseconds of a ratio of 1."""
    halo, ratio = network.exact_halo, statistics.median(timing.ratios)
    return Row(
        upscaler.name,
        unit * ratio,
        ratio,
        sum(parameter.numel() for parameter in network.parameters()),
        network.receptive_radius,
        halo is not None and halo <= WIDEST_HALO,
        upscaler.psnr,
        upscaler.source,
    )


def plain_table(rows: Sequence[Row]) -> str:
    """The rows with aligned columns, without the addresses of links."""
    lines = [list(HEADERS), *([re.sub(r"\[(.+?)\]\(.+?\)", r"\1", cell) for cell in row.cells()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADERS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, len(HEADERS) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = [HEADERS, ("---", *["---:"] * (len(HEADERS) - 2), "---"), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def section(tables: Mapping[int, Sequence[Row]], conditions: str) -> str:
    """The part of docs/upscaling.md between the marks: what was timed and how, and a table for each scale."""
    parts = [BEGIN, conditions]
    for scale, rows in tables.items():
        parts += [f"x{scale}:", markdown_table(rows)]
    return "\n\n".join([*parts, END])


def replace_section(page: str, part: str) -> str:
    """A page with `part` in place of what stands between its marks. Raises UsageError for a page without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"The page has no lines '{BEGIN}' and '{END}', between which the tables stand.")
    return before + part + after


def describe_conditions(side: int, runtime: Runtime) -> str:
    """A sentence for the tables: the processor, the number format, the threads and the size of the image."""
    threads = torch.get_num_threads()
    return (
        f"Measured on {processor()}, {runtime.precision}, {threads} thread{'s' if threads > 1 else ''}, an image of "
        f"{side}x{side} pixels, torch {torch.__version__.split('+')[0]}, spandrel {spandrel.__version__}; medians of "
        "passes in turns."
    )


def processor() -> str:
    """The name of the processor as Linux gives it; elsewhere "this processor"."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "this processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "this processor")


def points(tables: Mapping[int, Sequence[Row]]) -> dict[int, list[Point]]:
    """The networks of each scale whose PSNR on Set5 is known; without bicubic interpolation, far below all others."""
    return {
        scale: [
            Point(row.name, row.milliseconds / 1e3, psnr, row.source == HERE)
            for row in rows
            if (psnr := row.psnr.get("set5")) and row.parameters
        ]
        for scale, rows in tables.items()
    }


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--scale", type=int, nargs="+", default=[4, 2], choices=(2, 4))
    option("--size", type=int, default=96, help="side of the small image, pixels; a multiple of 32")
    option("--rounds", type=int, default=15, help="counted passes of each network")
    option("--limit", type=float, default=2.0, help="seconds of passes after which a network is not timed again")
    option("--precision", default="fp32", choices=("fp32", "bf16", "auto"))
    option("--threads", type=int, default=1)
    option("--write", type=Path, metavar="DOCS", help="the folder of upscaling.md and upscalers.png")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Prints a table for each scale and, if asked, writes the page and the plot."""
    given = parse(arguments)
    runtime = choose_runtime("cpu", given.precision, given.threads)
    seed_everything(0)
    conditions = describe_conditions(given.size, runtime)
    print(conditions)
    tables = {}
    for scale in given.scale:
        tables[scale] = measure(scale, given.size, given.rounds, given.limit, runtime)
        print(f"\nx{scale}\n{plain_table(tables[scale])}", flush=True)
    if given.write:
        page = given.write / "upscaling.md"
        text = replace_section(page.read_text(encoding="utf-8"), section(tables, conditions))
        atomic_write_bytes(page, text.encode(), overwrite=True)
        save_image(Photo(render(plot(points(tables), conditions))), given.write / "upscalers.png")


if __name__ == "__main__":
    main(sys.argv[1:])
