"""One animation of a batch: its frames are read, changed and written one after another."""

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from percept_cli.core.batches.clock import Clock
from percept_cli.core.files.formats import ANIMATED, find_animated
from percept_cli.core.files.outputs import Job
from percept_cli.core.images.animation import Animation, Frame, open_animation, sample_frames
from percept_cli.core.images.encode import encode_animation
from percept_cli.errors import ImageError, MemoryShortage, UsageError

if TYPE_CHECKING:
    from percept_cli.core.batches.pictures import Keeping, Made, Operation

# Frames that are looked at before the work, so that all are changed alike; more cost time and tell little more
SAMPLED = 8


def make_animation(
    source: Path | BinaryIO,
    job: Job,
    operation: "Operation",
    keeping: "Keeping",
    computing: contextlib.AbstractContextManager,
    clock: Clock,
    warnings: list[str],
) -> tuple["Made", bytes]:
    """Applies an operation to each frame; returns what it makes of the first one, and the bytes of the animation.

    source: of the job, which can be opened several times. computing: entered for each frame. warnings: gets those of
    reading, computing and writing, each once. The result has the format of the destination, or for standard output that
    of the source. Raises ImageError and MemoryShortage, those of a frame with its number.
    """
    if job.destination is not None:
        try:
            find_animated(job.destination.suffix)
        except UsageError as error:  # of an input that was not known to be an animation before the work
            raise ImageError(f"'{job.label}' cannot be written to '{job.destination}'. {error}") from error
    with computing:
        clock.start()
        change = operation.apply
        if operation.of_frames is not None:
            with contextlib.closing(sample_frames(source, SAMPLED)) as samples:
                change = operation.of_frames(samples)
        clock.stop("computing")
    made: list[Made] = []

    def changed(animation: Animation) -> Generator[Frame, None, None]:
        for number, frame in enumerate(animation.frames, 1):
            clock.stop("reading")
            with computing, _named(animation, number):
                clock.start()
                result = change(frame.photo, job)
            clock.stop("computing")
            told = (*frame.photo.notes, *result.warnings)
            warnings.extend(sentence for sentence in told if sentence not in warnings)
            if not made:
                made.append(replace(result, fields={**result.fields, "frames": animation.total}))
            yield Frame(result.photo.without_metadata() if keeping.strip else result.photo, frame.duration)
            clock.stop("writing")
            keeping.follow()

    with open_animation(source) as animation:
        extension = job.destination.suffix if job.destination is not None else extension_of(animation.format)
        with contextlib.closing(changed(animation)) as frames:
            data, notes = encode_animation(frames, extension, plays=animation.plays, quality=keeping.quality)
    warnings.extend(notes)
    return made[0], data


def extension_of(name: str) -> str:
    """The extension in which standard output gets an animation that was read in the format of Pillow's name."""
    return next(extension for extension, known in ANIMATED.items() if known.name == name)


@contextlib.contextmanager
def _named(animation: Animation, number: int) -> Iterator[None]:
    """A context whose errors are those of a frame."""
    try:
        yield
    except (ImageError, MemoryShortage) as error:
        raise type(error)(f"{animation.name_frame(number)}: {error}") from error
