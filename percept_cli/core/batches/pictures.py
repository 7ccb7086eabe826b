"""One picture of a batch: read, changed, written whole, and recorded. The same code runs on one machine and on many."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from percept_cli.core.batches.animations import make_animation
from percept_cli.core.batches.clock import Clock
from percept_cli.core.batches.records import DONE, FAILED, STARTED, Entry
from percept_cli.core.batches.reruns import record_of
from percept_cli.core.batches.work import Work, describe_file, hash_file
from percept_cli.core.files.atomic import atomic_write_bytes
from percept_cli.core.files.formats import WRITABLE, pipe_extension
from percept_cli.core.files.frames import ALL
from percept_cli.core.files.outputs import Job
from percept_cli.core.images.animation import Frame, holds_animation, load_frame, repeatable
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import encode_animation, encode_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.provenance import Record
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
    by several threads at once. of_frames: makes of some frames, spread over an animation, the function that is applied to
    each of its frames in place of `apply`, so that they fit together; None where frames are as other pictures.
    """

    apply: Callable[[Photo, Job], Made]
    runtime: Runtime
    foresee: Callable[[int, int], Foreseen]
    count_tiles: Callable[[int, int], int] = lambda height, width: 1
    passes: bool = True
    of_frames: Callable[[Iterator[Photo]], Callable[[Photo, Job], Made]] | None = None


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
    have the photographs. follow: called after each frame of an animation. provenance: what results tell of how they were
    made, in their files; None: nothing. strip: whether results have neither EXIF nor XMP.
    """

    quality: int = 95
    work: Work | None = None
    log: Callable[[Entry], None] | None = None
    check_pipe: Callable[[str], None] = lambda extension: None
    stdout: BinaryIO | None = None
    with_photo: bool = False
    follow: Callable[[], object] = lambda: None
    provenance: Work | None = None
    strip: bool = False


def make_picture(
    job: Job, operation: Operation, keeping: Keeping, computing: contextlib.AbstractContextManager
) -> Outcome:
    """Reads the photograph of a job, applies an operation and writes the result, whole or not at all.

    computing: entered for the time of the operation. What makes this picture fail is in the outcome. Raises what the
    operation raises beyond ImageError and MemoryShortage.
    """
    clock = Clock()
    entry = _begin_entry(job, operation, keeping)
    warnings: list[str] = []
    try:
        with memory_errors("this image", "Close other programs, or shrink it first"):
            made, data = _make(job, operation, keeping, computing, clock, warnings, entry)
            _write(data, job, keeping, entry)
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


def _make(
    job: Job,
    operation: Operation,
    keeping: Keeping,
    computing: contextlib.AbstractContextManager,
    clock: Clock,
    warnings: list[str],
    entry: Entry | None,
) -> tuple[Made, bytes]:
    """Reads a photograph or animation and applies an operation; returns what it made and the bytes of its file.

    entry: gets the facts of the input.
    """
    source = job.source if job.frames is None and (job.source or keeping.provenance is None) else repeatable(job.source)
    if job.frames == ALL and source is not None and holds_animation(source):
        _describe_input(job, entry)
        return make_animation(source, job, operation, keeping, computing, clock, warnings)
    photo = load_frame(source, job.frames) if isinstance(job.frames, int) else load_image(source)
    _describe_input(job, entry)
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
    try:
        result = made.photo.without_metadata() if keeping.strip else made.photo
        data, notes = _encode(result, job, keeping.quality, record)
    except ImageError as error:
        if job.destination is None:
            raise
        raise ImageError(f"'{job.destination}': {error}") from error
    warnings += notes
    return made, data


def _describe_input(job: Job, entry: Entry | None) -> None:
    """Adds the facts of the input, which was opened and so is known to be no pipe and no device."""
    if entry is not None and job.source is not None:
        entry.update(describe_file(job.source, "input"))


def _describe(source: Path | BinaryIO, operation: Operation, work: Work, entry: Entry | None) -> Record:
    """The record of the result of a photograph, a file or what standard input gave."""
    if isinstance(source, Path):
        name, sha256 = str(source), entry["input_sha256"] if entry is not None else hash_file(source)
    else:
        source.seek(0)
        name, sha256 = None, hashlib.sha256(source.read()).hexdigest()
    return record_of({"input": name, "input_sha256": sha256, **work.fields, **_machine(operation)})


def _encode(photo: Photo, job: Job, quality: int, record: Record | None) -> tuple[bytes, tuple[str, ...]]:
    if job.destination is None:
        return encode_image(photo, pipe_extension(photo.format), quality=quality, record=record)
    extension = job.destination.suffix
    if job.frames == ALL and extension.lower() not in WRITABLE:  # as a GIF of one frame
        return encode_animation([Frame(photo)], extension, plays=1, quality=quality)
    return encode_image(photo, extension, quality=quality, record=record)


def _write(data: bytes, job: Job, keeping: Keeping, entry: Entry | None) -> None:
    """Writes the file of a result, whole or not at all."""
    if job.destination is None:
        assert keeping.stdout is not None
        keeping.stdout.write(data)
        keeping.stdout.flush()
        return
    if entry is not None and keeping.log is not None:
        # Before the result, so that one without a record of its end is known to be percept's own.
        keeping.log({**entry, "output_sha256": hashlib.sha256(data).hexdigest()})
    atomic_write_bytes(job.destination, data, overwrite=job.overwrite)
