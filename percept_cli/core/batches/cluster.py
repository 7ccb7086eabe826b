"""Pictures made by the machines of a cluster: Ray Data hands out the jobs, and its workers record what they made.

Each worker is a process that keeps the networks. Where one is killed, Ray begins it again, and hands it what it had in work.
"""

import contextlib
import math
import os
import pickle
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from percept_cli.core.batches.parts import Run, attempt
from percept_cli.core.batches.pictures import Keeping, Operation, Outcome, make_picture
from percept_cli.core.batches.pipeline import run_pipeline
from percept_cli.core.batches.records import ManifestWriter
from percept_cli.core.batches.work import describe_work
from percept_cli.core.files.outputs import Job
from percept_cli.core.images.warnings import warnings_in_threads
from percept_cli.core.runtime import release_memory
from percept_cli.errors import DeviceError, ImageError, UsageError

ATTEMPTS = 3  # of a picture whose work ends its process
MARGIN = 60 * 10**9  # nanoseconds that the clocks of two filesystems may differ
LARGEST_TASK = 32  # pictures
TASKS_EACH = 16  # at least, for each worker, so that they end at about the same time
GPU_READERS = 8  # pictures at once, at most, beside one GPU


@dataclass(frozen=True)
class Assignment:
    """What each worker of a cluster is told beside its jobs. It can be pickled.

    start: places the networks. keeping: without a log. folder: the one in which the batch was started. version: of percept.
    threads: of each worker on a processor. readers: how many pictures one reads and writes at once.
    """

    start: Callable[[], Operation]
    keeping: Keeping
    run: Run
    folder: Path
    version: str
    threads: int
    readers: int


@dataclass(frozen=True)
class Pool:
    """The workers for a batch: how many, and the processor slots and GPUs of each. readers: as in Assignment."""

    size: int
    processors: int
    gpus: int
    readers: int


def choose_pool(resources: dict[str, float], device: str, threads: int, jobs: int | None, count: int) -> Pool:
    """The workers for so many pictures: one for each GPU of the cluster, else for each `threads` processor slots.

    resources: of the cluster, as Ray tells them. jobs: workers at most. Raises DeviceError where there is no GPU or no slot
    for one worker.
    """
    processors, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if device == "cuda" and not gpus:
        raise DeviceError("--device cuda: no machine of the Ray cluster has a GPU.")
    most = min(count, count if jobs is None else jobs)
    if device != "cpu" and gpus:
        share = max(1, min(GPU_READERS, processors // gpus))
        return Pool(min(most, gpus), share, 1, share)
    if processors < threads:
        raise DeviceError(
            f"A worker with --threads {threads} needs as many processor slots, and the Ray cluster has {processors}."
        )
    return Pool(min(most, processors // threads), threads, 0, 1)


def make_on_cluster(todo: Sequence[Job], assignment: Assignment, pool: Pool) -> Generator[Outcome, None, None]:
    """The outcomes of jobs as they come, made by the workers of the cluster to which this process is connected.

    Raises what an operation raises beyond ImageError and MemoryShortage, and what keeps a worker from its work.
    """
    import ray.data

    tasks = math.ceil(len(todo) / min(LARGEST_TASK, max(1, len(todo) // (TASKS_EACH * pool.size))))
    rows = [{"job": pickle.dumps((number, _absolute(job)))} for number, job in enumerate(todo)]
    made = ray.data.from_items(rows, override_num_blocks=tasks).map_batches(
        Worker,
        fn_constructor_args=(assignment,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=pool.size),
        num_cpus=pool.processors,
        num_gpus=pool.gpus,
    )
    del rows
    for table in made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for data in table["made"].to_pylist():
            number, found = pickle.loads(data)
            if isinstance(found, BaseException):
                raise found
            yield replace(found, job=todo[number])


def _absolute(job: Job) -> Job:
    """A job as a process in another folder understands it."""
    assert job.source is not None and job.destination is not None
    return replace(job, source=job.source.absolute(), destination=job.destination.absolute())


class Worker:
    """The process of a cluster that keeps the networks and makes one batch of pictures after another.

    What keeps it from its work is told as the result of its first picture, as Ray would begin it again otherwise.
    """

    def __init__(self, assignment: Assignment):
        self.assigned = assignment
        self.failure: BaseException | None = None
        try:
            self._begin()
        except Exception as error:
            self.failure = error

    def _begin(self) -> None:
        assigned, run = self.assigned, self.assigned.run
        where = f"The machine {socket.gethostname()} of the Ray cluster"
        _check_version(assigned.version, where)
        with contextlib.suppress(OSError):  # only relative paths, of a style for one, need it
            os.chdir(assigned.folder)
        if not run.manifest.exists():
            raise UsageError(
                f"{where} does not see '{run.manifest}': give folders that all machines of the cluster share."
            )
        work = assigned.keeping.work
        if work is not None and describe_work(work.command, work.arguments, [*work.models, *work.files], ()) != work:
            raise UsageError(f"{where} has other files or models under the names of the options than this one.")
        self.attempts = run.count_attempts()
        writer = ManifestWriter(run.new_part())
        self.log = writer.add
        self.keeping = replace(assigned.keeping, log=writer.add)
        torch.set_num_threads(assigned.threads)
        self.operation = assigned.start()

    def __call__(self, table: Any) -> Any:
        """The pickled outcomes of a table of pickled jobs, each with its number."""
        import pyarrow

        numbered = [pickle.loads(data) for data in table["job"].to_pylist()]
        if self.failure is not None:
            return pyarrow.table({"made": [_pickled(numbered[0][0], self.failure)]})
        made: list[bytes] = []
        try:
            jobs = [job for _, job in numbered]
            for (number, _), outcome in zip(numbered, self._outcomes(jobs), strict=True):
                made.append(_pickled(number, outcome))
        except Exception as error:
            made.append(_pickled(numbered[len(made)][0], error))
        return pyarrow.table({"made": pyarrow.array(made, pyarrow.binary())})

    def _outcomes(self, jobs: list[Job]) -> Generator[Outcome, None, None]:
        done = self._find_done(jobs)
        readers, threads = self.assigned.readers, self.assigned.threads
        computing = threading.Semaphore(1) if readers > 1 else contextlib.nullcontext()

        def work(job: Job) -> Outcome:
            return done.get(job) or self._make(job, computing)

        with warnings_in_threads():
            torch.set_num_threads(threads)  # it is said for each thread, and Ray may call in any
            if readers == 1:
                yield from map(work, jobs)
            else:
                yield from run_pipeline(jobs, work, readers, lambda: torch.set_num_threads(threads))

    def _make(self, job: Job, computing: contextlib.AbstractContextManager) -> Outcome:
        output = str(job.destination)
        if self.attempts[os.path.normpath(output)] >= ATTEMPTS:
            return Outcome(
                job,
                ImageError(
                    f"'{job.source}': the process that worked on it ended {ATTEMPTS} times, perhaps for want of memory."
                ),
            )
        self.log(attempt(output))
        outcome = make_picture(job, self.operation, self.keeping, computing)
        if outcome.error is not None:
            release_memory()
        return outcome

    def _find_done(self, jobs: list[Job]) -> dict[Job, Outcome]:
        """The outcomes of jobs that this run has done already, by a worker that ended before its results were taken."""
        run = self.assigned.run
        new: dict[str, Job] = {}
        for job in jobs:
            with contextlib.suppress(OSError):
                if job.destination is not None and job.destination.stat().st_mtime_ns >= run.began - MARGIN:
                    new[os.path.normpath(job.destination)] = job
        found = run.find_done(new) if new else {}
        return {
            new[output]: Outcome(new[output], None, (int(entry["height"]), int(entry["width"])))
            for output, entry in found.items()
        }


def _check_version(version: str, where: str) -> None:
    from percept_cli import __version__

    if version != __version__:
        raise UsageError(
            f"{where} has percept {__version__}, and this one {version}: install the same on all machines."
        )


def _pickled(number: int, found: Outcome | BaseException) -> bytes:
    try:
        return pickle.dumps((number, found))
    except Exception:  # an error of a library that holds what cannot be sent
        return pickle.dumps((number, RuntimeError(f"{type(found).__name__}: {found}")))
