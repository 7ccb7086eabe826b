"""Many images through one operation: an image that fails does not stop the others."""

import time
from collections.abc import Callable
from dataclasses import replace

import typer

from percept_cli.commands.planning import refuse_quality
from percept_cli.console import Console, Failures
from percept_cli.core.files.formats import pipe_extension
from percept_cli.core.files.outputs import Job, create_folders
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.runtime import memory_errors, release_memory
from percept_cli.errors import ExitCode, ImageError, MemoryShortage

PREVIEW_SIDE = 1200  # pixels


def process_images(
    jobs: list[Job],
    operation: Callable[[Photo, Job], Photo],
    console: Console,
    *,
    quality: int = 95,
    show: bool = False,
    fields: dict[str, object],
) -> None:
    """Reads, transforms and writes each image and reports it. Raises typer.Exit: 3 where some failed, 4 where all did.

    An image for which memory is not enough fails as one that cannot be read; a single one raises MemoryShortage.

    show: previews every result in the terminal. fields: more fields for each line of --json; `operation` may change them.
    """
    create_folders(jobs)
    failures = Failures(console, "source")
    for job in jobs:
        if job.skip:
            console.result(
                f"{job.destination} (exists, left)", source=job.source, output=job.destination, status="skipped"
            )
    todo = [job for job in jobs if not job.skip]

    def transform(job: Job) -> Photo:
        # A function, so that the memory of the photograph is free before the next is loaded.
        photo = load_image(job.source)
        for note in photo.notes:
            console.warn(f"{job.label}: {note}")
        if job.destination is None:
            refuse_quality([pipe_extension(photo.format)])
        result = operation(photo, job)
        place = job.destination or console.binary
        for note in save_image(result, place, quality=quality, overwrite=job.overwrite):
            console.warn(f"{job.label}: {note}")
        return result

    with console.progress(len(todo), "image", shown=len(todo) > 1) as progress:
        for job in todo:
            started = time.monotonic()
            try:
                with memory_errors("this image", "Close other programs, or shrink it first"):
                    result = transform(job)
            except (ImageError, MemoryShortage) as error:
                if isinstance(error, MemoryShortage) and len(jobs) == 1:
                    raise MemoryShortage(f"{job.label}: {error}") from error
                failures.add(job.label, str(error))
            else:
                if job.destination is not None:
                    seconds = round(time.monotonic() - started, 3)
                    console.result(
                        str(job.destination), source=job.label, output=job.destination, status="done",
                        width=result.width, height=result.height, seconds=seconds, **fields,
                    )  # fmt: skip
                if show:
                    console.show(_preview(result).visible())
            # Only here, where the error and all that its traceback holds are gone.
            if job.label in failures.inputs:
                release_memory()
            progress.advance(1)
    if failures.inputs:
        if len(jobs) > 1:
            console.error(f"{len(failures.inputs)} of {len(jobs)} images failed: {', '.join(failures.inputs)}")
        raise typer.Exit(ExitCode.ALL_FAILED if len(failures.inputs) == len(jobs) else ExitCode.SOME_FAILED)


def _preview(photo: Photo) -> Photo:
    """A photograph with rows and columns left out, large enough for a terminal: a large result is not copied whole."""
    step = max(1, max(photo.height, photo.width) // PREVIEW_SIDE)
    alpha = None if photo.alpha is None else photo.alpha[..., ::step, ::step]
    return replace(photo, pixels=photo.pixels[..., ::step, ::step], alpha=alpha)
