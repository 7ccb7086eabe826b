"""What a batch would do, told without doing it: `--dry-run`."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from percept_cli.commands.batch_plan import Plan
from percept_cli.console import Console
from percept_cli.core.batches.pictures import Operation
from percept_cli.core.files.outputs import Job
from percept_cli.core.images.animation import read_shape
from percept_cli.core.images.photo import Photo
from percept_cli.errors import ImageError

TRIAL_SIDE = 192  # pixels of the picture by which the time is measured


def report_plan(plan: Plan, start: Callable[[Console], Operation], console: Console) -> None:
    """Prints each job of a plan: its output, size, tiles, memory and about how many seconds; then all together.

    The seconds are those of the computation of one picture after another, from a small picture that is computed now.
    """
    operation, seconds_per_pixel, total, pixels_left = None, 0.0, 0.0, 0
    for job in plan.jobs:
        text = f"{job.label} -> {job.destination or 'standard output'}"
        if job.skip:
            console.result(f"{text}: left as it is", source=job.label, output=job.destination, planned="left")
            continue
        if operation is None:
            operation = start(console)
            seconds_per_pixel = measure_seconds(operation, job)
        try:
            if job.source is None:
                raise ImageError("its size is not known before it is read")
            width, height, frames = read_shape(job.source, job.frames)
            foreseen, tiles = operation.foresee(height, width), operation.count_tiles(height, width)
        except ImageError as error:
            console.result(
                f"{text}: {error}", source=job.label, output=job.destination, planned="unknown", error=str(error)
            )
            continue
        pixels = height * width * frames
        seconds = seconds_per_pixel * pixels
        total, pixels_left = total + seconds, pixels_left + pixels
        reason = plan.reasons.get(str(job.destination))
        console.result(
            f"{text}: {f'{frames} frames of ' if frames > 1 else ''}{width}x{height} -> {foreseen.width}x{foreseen.height}, "
            f"{tiles} {'tile' if tiles == 1 else 'tiles'}, about {_readable(foreseen.memory)} and "
            f"{seconds:.1f} s{'' if reason is None else f' ({reason})'}",
            source=job.label, output=job.destination, planned="make", width=foreseen.width, height=foreseen.height,
            frames=frames, tiles=tiles, memory=foreseen.memory, seconds=round(seconds, 2), reason=reason,
        )  # fmt: skip
    todo = len(plan.todo)
    console.result(
        f"{len(plan.jobs)} images: {todo} to make, {len(plan.jobs) - todo} left as they are; {pixels_left / 1e6:.1f} "
        f"megapixels, about {_duration(total)} of computing; nothing was written",
        summary={
            "planned": len(plan.jobs), "to_make": todo, "left": len(plan.jobs) - todo, "seconds": round(total, 2),
            "megapixels": round(pixels_left / 1e6, 2), "manifest": plan.manifest,
        },
    )  # fmt: skip


def measure_seconds(operation: Operation, job: Job) -> float:
    """The seconds a pixel that an operation takes, measured with a small picture; 0 where it cannot take one."""
    ramp = torch.linspace(0, 1, TRIAL_SIDE)
    photo = Photo((ramp[:, None] * ramp).expand(1, 3, -1, -1).contiguous())
    nowhere = replace(job, destination=None)
    best = float("inf")
    with contextlib.suppress(ImageError):
        for _ in range(2 if operation.passes else 1):  # the first pass prepares the kernels
            began = time.perf_counter()
            operation.apply(photo, nowhere)
            best = min(best, time.perf_counter() - began)
        return best / TRIAL_SIDE**2
    return 0.0


def _readable(memory: int) -> str:
    return f"{memory / (1 << 30):.1f} GB" if memory >= 1 << 30 else f"{max(1, memory >> 20)} MB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
