"""A batch on a Ray cluster: the connection to it, and what its workers have to say."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from percept_cli import __version__, options
from percept_cli.commands.batch_plan import Plan
from percept_cli.console import Console
from percept_cli.core.batches.pictures import Keeping, Made, Operation, Outcome
from percept_cli.core.files.atomic import remove_left_behind
from percept_cli.core.files.outputs import Job
from percept_cli.core.images.photo import Photo
from percept_cli.errors import UsageError
from percept_cli.interruption import NUMBERS

Making = tuple[int, Generator[Outcome, None, None]]
"""How many pictures are made at once, and the outcomes of jobs while they are made."""

INITIAL_DEATHS = 10  # of workers that are killed while they place the networks, one after another
OBJECTS = 256 << 20  # bytes of a cluster of one machine for jobs and outcomes, which are paths and sentences


def check_cluster(plan: Plan, compute: options.Compute) -> None:
    """Raises UsageError where a plan cannot be carried out by a cluster, and where Ray is not installed."""
    if plan.manifest is None:
        raise UsageError(
            "--engine ray records each picture, so that nothing is lost with a machine: give -o FOLDER/ for several images, "
            "or --manifest FILE."
        )
    if compute.device.startswith("cuda:"):
        raise UsageError(f"--device {compute.device}: on a cluster Ray gives each worker its GPU: give --device cuda.")
    _import_ray()


@contextlib.contextmanager
def cluster_outcomes(
    plan: Plan, start: Callable[[Console], Operation], compute: options.Compute, keeping: Keeping, console: Console
) -> Iterator[Making]:
    """A context with how many workers a cluster has for a plan, and the outcomes of its jobs as they come.

    When all have come, what the workers recorded is in the manifest of the plan; before, in parts beside it. Raises
    UsageError where no cluster answers, DeviceError where it has nothing to compute with.
    """
    from percept_cli.core.batches.cluster import Assignment, choose_pool, make_on_cluster
    from percept_cli.core.batches.parts import Run

    assert plan.manifest is not None
    todo, threads, left = plan.todo, compute.threads or 1, 1

    def counted(outcomes: Generator[Outcome, None, None]) -> Generator[Outcome, None, None]:
        nonlocal left
        left = len(todo)
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                left -= 1
                yield outcome

    run = Run.begin(plan.manifest)
    with _connected(plan.batch.address, threads * min(plan.batch.jobs or 1, len(todo))) as resources:
        pool = choose_pool(resources, compute.device, threads, plan.batch.jobs, len(todo))
        console.say(
            f"Ray: {pool.size} {'worker' if pool.size == 1 else 'workers'}, each with "
            + ("a GPU" if pool.gpus else f"{threads} of {int(resources['CPU'])} processor slots")
        )
        told = Keeping(keeping.quality, keeping.work, provenance=keeping.provenance, strip=keeping.strip)
        assignment = Assignment(partial(_start, start), told, run, Path.cwd(), __version__, threads, pool.readers)
        with contextlib.closing(counted(make_on_cluster(todo, assignment, pool))) as outcomes:
            yield pool.size, outcomes
    for folder in {job.destination.parent for job in todo if job.destination is not None}:
        remove_left_behind(folder)  # by workers that were killed
    if left == 0:  # else a worker may still be at its last picture
        run.merge()


class _Collector(Console):
    """Keeps what would be printed."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def _print(self, text: str, stream: TextIO) -> None:
        self.texts.append(text)

    def take(self) -> tuple[str, ...]:
        """What was kept since the last time."""
        taken, self.texts = tuple(self.texts), []
        return taken


class _OwnResults:
    """Standard output for results alone: what Ray prints there from its threads, of workers that ended, goes to the errors."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        """Writes to the stream, or to standard error for another thread than the main one."""
        return (self.stream if threading.current_thread() is threading.main_thread() else sys.stderr).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _start(start: Callable[[Console], Operation]) -> Operation:
    """The operation, in a process whose messages nobody reads: they come with the first picture."""
    console = _Collector()
    operation = start(console)

    def apply(photo: Photo, job: Job) -> Made:
        made = operation.apply(photo, job)
        return replace(made, remarks=(*console.take(), *made.remarks))

    return replace(operation, apply=apply)


def _import_ray() -> Any:
    # It tells its makers of each use, unless it is asked not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what else it logs goes to standard error
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as its next release does, and its warning asks
    try:
        import ray.data
    except ImportError as error:
        raise UsageError(
            "--engine ray needs Ray, which is not installed. Install it with: pip install 'percept[ray]'"
        ) from error
    return ray


@contextlib.contextmanager
def _connected(address: str | None, slots: int) -> Iterator[dict[str, float]]:
    """A context in which this process is connected to a cluster, with the resources of that.

    slots: that a cluster has at least which is begun on this machine.
    """
    ray = _import_ray()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own = {
        "num_cpus": max(slots, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
        "object_store_memory": OBJECTS, "include_dashboard": False,
    } if address == "local" else {}  # fmt: skip
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        reason = str(error).strip().splitlines()
        raise UsageError(
            f"No Ray cluster answers at '{address}' ({reason[0] if reason else type(error).__name__}): begin one with "
            "`ray start --head`, or leave --address out."
        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray has its own, which ends the process without a sentence
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a picture may take as long as it likes
    context.max_consecutive_actor_init_deaths = INITIAL_DEATHS
    try:
        with contextlib.redirect_stdout(_OwnResults(sys.stdout)):  # type: ignore[type-var]
            yield ray.cluster_resources()
    finally:
        with contextlib.redirect_stdout(sys.stderr):  # it prints what it held back as repetitions
            ray.shutdown()
