"""One picture of a batch: read, changed, written whole, and recorded. The same code runs on one machine and on many."""

import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from percept_cli.core.batches.records import DONE, FAILED, STARTED, Entry
from percept_cli.core.batches.reruns import record_of
from percept_cli.core.batches.work import Work, describe_file, hash_file
from percept_cli.core.files.atomic import atomic_write_bytes
from percept_cli.core.files.formats import pipe_extension
from percept_cli.core.files.inputs import label_of
from percept_cli.core.files.outputs import Job
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import encode_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.provenance import Record
from percept_cli.core.images.sources import open_stream
from percept_cli.core.runtime import Runtime, memory_errors
from percept_cli.errors import ImageError, MemoryShortage

STAGES = ("reading", "computing", "writing")


@dataclass(frozen=True)
class Made:
    """What an operation makes of a photograph.

    fields: further fields of its report. remarks, warnings: sentences for the user.
    """

    photo: Photo
    fields: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Foreseen:
    """The size of the result that an operation will make of a photograph, and about how many bytes of memory it takes."""

    height: int
    width: int
    memory: int


@dataclass(frozen=True)
class Operation:
    """The work of a command on one photograph, with its networks in place.

    foresee, count_tiles: for a photograph's height and width; counting may load networks. passes: whether it is a forward
    pass, of which a processor does several at a time better than one after another with all threads. `apply` is then called
    by several threads at once.
    """

    apply: Callable[[Photo, Job], Made]
    runtime: Runtime
    foresee: Callable[[int, int], Foreseen]
    count_tiles: Callable[[int, int], int] = lambda height, width: 1
    passes: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of one job: `photo` where it is done and was asked for, or the `error` for which it failed.

    seconds: of each of STAGES.
    """

    job: Job
    error: ImageError | MemoryShortage | None = None
    size: tuple[int, int] = (0, 0)
    fields: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    photo: Photo | None = None


@dataclass(frozen=True)
class Keeping:
    """How results are kept.

    quality: as in `encode_image`. work, log: what is recorded, and the function that records an entry; None: nothing.
    check_pipe: called with the extension of what standard output gets. stdout: that stream. with_photo: whether outcomes
    have the photographs. provenance: what results tell of how they were made, in their files; None: nothing. strip: whether
    results have neither EXIF nor XMP.
    """

    quality: int = 95
    work: Work | None = None
    log: Callable[[Entry], None] | None = None
    check_pipe: Callable[[str], None] = lambda extension: None
    stdout: BinaryIO | None = None
    with_photo: bool = False
    provenance: Work | None = None
    strip: bool = False


def make_picture(
    job: Job, operation: Operation, keeping: Keeping, computing: contextlib.AbstractContextManager
) -> Outcome:
    """Reads the photograph of a job, applies an operation and writes the result, whole or not at all.

    computing: entered for the time of the operation. What makes this picture fail is in the outcome. Raises what the
    operation raises beyond ImageError and MemoryShortage.
    """
    clock = _Clock()
    entry = _begin_entry(job, operation, keeping)
    warnings: list[str] = []
    try:
        with memory_errors("this image", "Close other programs, or shrink it first"):
            source: Path | io.BytesIO | None = job.source
            if source is None and keeping.provenance is not None:
                source = _read_standard_input()
            photo = load_image(source)
            if entry is not None and job.source is not None:
                # Only now, when it is known to be no pipe and no device.
                entry |= describe_file(job.source, "input")
            record = None
            if keeping.provenance is not None and source is not None:
                record = _describe(source, operation, keeping.provenance, entry)
            warnings += photo.notes
            if job.destination is None:
                keeping.check_pipe(pipe_extension(photo.format))
            clock.stop("reading")
            with computing:
                clock.start()
                made = operation.apply(photo, job)
            del photo
            clock.stop("computing")
            warnings += made.warnings
            result = made.photo.without_metadata() if keeping.strip else made.photo
            warnings += _write(result, job, keeping, entry, record)
            clock.stop("writing")
    except (ImageError, MemoryShortage) as error:
        # Without its traceback, which holds the photograph.
        failure = error.with_traceback(None)
        failure.__context__ = failure.__cause__ = None
        if entry is not None and keeping.log is not None:
            keeping.log({**entry, "status": FAILED, "error": str(failure), "seconds": clock.total})
        return Outcome(job, failure, warnings=tuple(warnings), seconds=clock.seconds)
    size = made.photo.height, made.photo.width
    if entry is not None and keeping.log is not None and job.destination is not None:
        facts = {"width": size[1], "height": size[0], "seconds": clock.total, **made.fields}
        keeping.log({**entry, "status": DONE, **describe_file(job.destination, "output"), **facts})
    return Outcome(
        job, None, size, made.fields, made.remarks, tuple(warnings), clock.seconds,
        made.photo if keeping.with_photo else None,
    )  # fmt: skip


def _begin_entry(job: Job, operation: Operation, keeping: Keeping) -> Entry | None:
    """The entry of a job that is recorded, as far as it is known before the work; None for one that is not."""
    if keeping.work is None or job.source is None or job.destination is None:
        return None
    return {
        "status": STARTED, "input": str(job.source), "output": str(job.destination.absolute()), **keeping.work.fields,
        **_machine(operation),
    }  # fmt: skip


def _machine(operation: Operation) -> Entry:
    """The versions, and the device, precision and threads, with which an operation computes in this thread."""
    from percept_cli import __version__

    runtime = operation.runtime
    return {
        "percept": __version__, "torch": torch.__version__, "device": str(runtime.device),
        "precision": runtime.precision, "threads": torch.get_num_threads(),
    }  # fmt: skip


def _read_standard_input() -> io.BytesIO:
    with open_stream(None, label_of(None)) as stream:
        return io.BytesIO(stream.read())


def _describe(source: Path | io.BytesIO, operation: Operation, work: Work, entry: Entry | None) -> Record:
    """The record of the result of a photograph, a file or what standard input gave."""
    if isinstance(source, Path):
        name, sha256 = str(source), entry["input_sha256"] if entry is not None else hash_file(source)
    else:
        name, sha256 = None, hashlib.sha256(source.getvalue()).hexdigest()
    return record_of({"input": name, "input_sha256": sha256, **work.fields, **_machine(operation)})


def _write(photo: Photo, job: Job, keeping: Keeping, entry: Entry | None, record: Record | None) -> tuple[str, ...]:
    """Writes a result, with the record of how it was made; returns notes on what its format cannot keep."""
    if job.destination is None:
        data, notes = encode_image(photo, pipe_extension(photo.format), quality=keeping.quality, record=record)
        assert keeping.stdout is not None
        keeping.stdout.write(data)
        keeping.stdout.flush()
        return notes
    try:
        data, notes = encode_image(photo, job.destination.suffix, quality=keeping.quality, record=record)
    except ImageError as error:
        raise ImageError(f"'{job.destination}': {error}") from error
    if entry is not None and keeping.log is not None:
        # Before the result, so that one without a record of its end is known to be percept's own.
        keeping.log({**entry, "output_sha256": hashlib.sha256(data).hexdigest()})
    atomic_write_bytes(job.destination, data, overwrite=job.overwrite)
    return notes


class _Clock:
    """The seconds that each stage of a picture took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Begins a stage now, without the time that was waited for it."""
        self._last = time.monotonic()

    def stop(self, stage: str) -> None:
        """Ends a stage, and begins the next."""
        now = time.monotonic()
        self.seconds[stage] = now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Of all stages that have ended, rounded to milliseconds."""
        return round(sum(self.seconds.values()), 3)
