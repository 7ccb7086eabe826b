"""Many images through one operation: an image that fails does not stop the others."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import psutil
import torch
import typer

from percept_cli import options
from percept_cli.commands.batch_cluster import Making, check_cluster, cluster_outcomes
from percept_cli.commands.batch_options import RAY, Telling
from percept_cli.commands.batch_plan import Plan
from percept_cli.commands.batch_report import report_plan
from percept_cli.commands.batch_summary import Tally, summarize
from percept_cli.commands.planning import refuse_quality
from percept_cli.console import Console, Failures
from percept_cli.core.batches.pictures import Keeping, Operation, Outcome, make_picture
from percept_cli.core.batches.pipeline import MemoryGate, run_pipeline
from percept_cli.core.batches.records import RUN, ManifestWriter
from percept_cli.core.files.outputs import Job, create_folders
from percept_cli.core.images.animation import read_shape
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.warnings import warnings_in_threads
from percept_cli.core.runtime import CPU, free_memory, release_memory
from percept_cli.errors import ExitCode, ImageError, Interrupted, MemoryShortage

PREVIEW_SIDE = 1200  # pixels
SAMPLED = 16  # pictures whose sizes decide how many are worked on at once
GPU_WORKERS = 8  # at most, to read and write what one GPU computes
Start = Callable[[Console], Operation]
"""Places the networks of a command and returns its operation. It can be pickled, to be called by other processes."""


def run_batch(
    plan: Plan,
    start: Start,
    console: Console,
    *,
    compute: options.Compute,
    quality: int = 95,
    show: bool = False,
    telling: Telling,
    each: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Makes what a plan leaves to do, and reports it. Raises typer.Exit: 3 where some images failed, 4 where all did.

    An image for which memory is not enough fails as one that cannot be read; a single one raises MemoryShortage. show:
    previews every result in the terminal. compute: what the operation runs on. telling: what results tell in their files.
    each: called with every outcome.
    """
    if plan.batch.engine == RAY:
        check_cluster(plan, compute)
    if plan.batch.dry_run:
        report_plan(plan, start, console)
        return
    create_folders(plan.jobs)
    for job in plan.jobs:
        if job.skip:
            why = "done" if job in plan.recorded else "exists"
            console.result(
                f"{job.destination} ({why}, left)", source=job.source, output=job.destination, status="skipped"
            )
    todo = plan.todo
    if not todo and plan.coming is None:
        return
    for output, reason in plan.reasons.items():
        console.say(f"{output}: {reason}: made again")
    operation = None if plan.batch.engine == RAY else start(console)
    watching = plan.coming is not None
    tally = Tally(len(plan.jobs) - len(todo) if watching else len(plan.jobs), len(plan.jobs) - len(todo))
    failures = Failures(console, "source")
    frames = _frames_alone(todo)
    total, unit = (frames, "frame") if frames > 1 else (len(todo), "image")
    with (
        _keeping(plan, quality, show, telling, console) as keeping,
        console.progress(total, unit, shown=total > 1) as progress,
    ):
        if frames > 1:
            keeping = replace(keeping, follow=progress.advance)
        making = (
            cluster_outcomes(plan, start, compute, keeping, console)
            if operation is None
            else _local_outcomes(plan, operation, keeping)
        )
        with making as (workers, outcomes), _told_when_stopped(plan, tally, workers, console):
            for outcome in outcomes:
                tally.planned += watching
                _report(outcome, len(plan.jobs), failures, console, show)
                tally.add(outcome)
                each(outcome)
                if frames == 1:
                    progress.advance(1)
                if plan.batch.most_errors is not None and len(failures.inputs) >= plan.batch.most_errors:
                    break
    _finish(plan, tally, failures, workers, console)


def _frames_alone(todo: list[Job]) -> int:
    """The frames of the only job, which are then followed; 1 where there are several, or it is not an animation."""
    if len(todo) > 1 or todo[0].source is None or todo[0].frames is None:
        return 1
    with contextlib.suppress(ImageError):  # it fails when it is read
        return read_shape(todo[0].source, todo[0].frames)[2]
    return 1


def choose_workers(operation: Operation, plan: Plan) -> int:
    """How many pictures are worked on at once: as asked, or by the cores and the memory of the machine.

    It depends on the whole plan, not on what is left of it, and not on what is free now: a batch that goes on computes
    each picture by as many threads as the one that was stopped.
    """
    most = len(plan.jobs) if plan.coming is None else sys.maxsize
    if plan.batch.jobs is not None:
        return min(plan.batch.jobs, most)
    if most == 1 or not operation.passes:
        return 1
    if operation.runtime.device.type != "cpu":
        return min(GPU_WORKERS, os.cpu_count() or 1, most)
    largest = 1
    for job in plan.jobs[:: max(1, len(plan.jobs) // SAMPLED)]:
        with contextlib.suppress(ImageError):  # it fails in its turn
            if job.source is not None:
                width, height, _ = read_shape(job.source, job.frames)
                largest = max(largest, operation.foresee(height, width).memory)
    budget = plan.batch.memory or psutil.virtual_memory().total // 2
    return max(1, min(torch.get_num_threads(), budget // largest, most))


@contextlib.contextmanager
def _local_outcomes(plan: Plan, operation: Operation, keeping: Keeping) -> Iterator[Making]:
    """A context with how many pictures of a plan this process makes at once, and the outcomes in the order of the jobs."""
    workers = choose_workers(operation, plan)
    with contextlib.closing(_outcomes(plan, operation, keeping, workers)) as outcomes:
        yield workers, outcomes


def _outcomes(plan: Plan, operation: Operation, keeping: Keeping, workers: int) -> Generator[Outcome, None, None]:
    """The outcomes of the jobs of a plan that are left, in their order."""
    on_processor = operation.runtime.device.type == "cpu"
    if workers == 1 and plan.coming is None:
        for job in plan.todo:
            outcome = make_picture(job, operation, keeping, contextlib.nullcontext())
            if outcome.error is not None:
                release_memory()
            yield outcome
        return
    computing: contextlib.AbstractContextManager = contextlib.nullcontext()
    threads = torch.get_num_threads()
    if on_processor and operation.passes:
        threads = max(1, threads // workers)
    else:
        computing = threading.Semaphore(1)
    gate = MemoryGate(plan.batch.memory or free_memory(CPU) // 2)

    def work(job: Job) -> Outcome:
        needed = 0
        with contextlib.suppress(ImageError):  # it fails when it is read
            if job.source is not None:
                width, height, _ = read_shape(job.source, job.frames)
                needed = operation.foresee(height, width).memory
        with gate.holding(needed):
            outcome = make_picture(job, operation, keeping, computing)
        if outcome.error is not None:
            release_memory()
        return outcome

    with warnings_in_threads():
        jobs = plan.todo if plan.coming is None else (job for job in plan.coming() if job is None or not job.skip)
        yield from run_pipeline(jobs, work, workers, lambda: torch.set_num_threads(threads))


@contextlib.contextmanager
def _keeping(plan: Plan, quality: int, show: bool, telling: Telling, console: Console) -> Iterator[Keeping]:
    """How the results of a plan are kept; its manifest, if there is one, is open in the context."""
    keeping = Keeping(
        quality,
        check_pipe=lambda extension: refuse_quality([extension]),
        stdout=console.binary if any(job.destination is None for job in plan.jobs) else None,
        with_photo=show,
        provenance=None if telling.no_provenance or telling.strip else plan.work,
        strip=telling.strip,
    )
    if plan.manifest is None:
        yield keeping
        return
    writer = ManifestWriter(plan.manifest)
    try:
        writer.add({
            "status": RUN, "folder": os.getcwd(), "command_line": list(plan.arguments.line),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        })  # fmt: skip
        yield replace(keeping, work=plan.work, log=writer.add)
    finally:
        writer.close()


def _report(outcome: Outcome, planned: int, failures: Failures, console: Console, show: bool) -> None:
    job = outcome.job
    for remark in outcome.remarks:
        console.say(remark)
    for warning in outcome.warnings:
        console.warn(f"{job.label}: {warning}")
    if outcome.error is not None:
        if isinstance(outcome.error, MemoryShortage) and planned == 1:
            raise MemoryShortage(f"{job.label}: {outcome.error}") from outcome.error
        failures.add(job.label, str(outcome.error))
        return
    if job.destination is not None:
        height, width = outcome.size
        seconds = round(sum(outcome.seconds.values()), 3)
        console.result(
            str(job.destination), source=job.label, output=job.destination, status="done",
            width=width, height=height, seconds=seconds, **outcome.fields,
        )  # fmt: skip
    if show and outcome.photo is not None:
        console.show(_preview(outcome.photo).visible())


@contextlib.contextmanager
def _told_when_stopped(plan: Plan, tally: Tally, workers: int, console: Console) -> Iterator[None]:
    """A context in which a signal that stops the batch is passed on after what was done is told."""
    try:
        yield
    except Interrupted:
        summarize(plan, tally, workers, console)
        raise


def _finish(plan: Plan, tally: Tally, failures: Failures, workers: int, console: Console) -> None:
    """Reports a batch as a whole. Raises typer.Exit where images failed."""
    summarize(plan, tally, workers, console)
    if failures.inputs:
        if len(plan.jobs) > 1:
            console.error(
                f"{len(failures.inputs)} of {len(plan.jobs)} images failed: {', '.join(failures.inputs)}"
                + (f". `percept retry {plan.manifest}` tries them again" if plan.manifest is not None else "")
            )
        every = len(failures.inputs) == len(plan.jobs)
        raise typer.Exit(ExitCode.ALL_FAILED if every else ExitCode.SOME_FAILED)


def _preview(photo: Photo) -> Photo:
    """A photograph with rows and columns left out, large enough for a terminal: a large result is not copied whole."""
    step = max(1, max(photo.height, photo.width) // PREVIEW_SIDE)
    alpha = None if photo.alpha is None else photo.alpha[..., ::step, ::step]
    return replace(photo, pixels=photo.pixels[..., ::step, ::step], alpha=alpha)
