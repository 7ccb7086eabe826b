"""Many images through one operation: one bad file does not stop the rest."""

import time
from collections.abc import Callable
from dataclasses import replace

import typer

from percept_cli.console import Console
from percept_cli.core.files.formats import pipe_extension
from percept_cli.core.files.outputs import Job, create_folders
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import encode_image, save_image
from percept_cli.core.images.photo import Photo
from percept_cli.errors import ExitCode, ImageError

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
    """Reads, transforms and writes every job, reporting each; raises typer.Exit with 3 or 4 when some or all failed.

    show: every result on the terminal too.
    """
    create_folders(jobs)
    failures: list[str] = []
    for job in jobs:
        if job.skip:
            console.result(
                f"{job.destination} (exists, left)", source=job.source, output=job.destination, status="skipped"
            )
    todo = [job for job in jobs if not job.skip]
    with console.progress(len(todo), "image") if len(todo) > 1 else console.progress_off() as progress:
        for job in todo:
            started = time.monotonic()
            try:
                photo = load_image(job.source)
                for note in photo.notes:
                    console.warn(f"{job.label}: {note}")
                result = operation(photo, job)
                for note in _write(result, job, console, quality, pipe_extension(photo.format)):
                    console.warn(f"{job.label}: {note}")
            except ImageError as error:
                failures.append(job.label)
                console.error(str(error) if job.label in str(error) else f"{job.label}: {error}")
                if console.as_json:
                    console.result("", source=job.label, status="failed", error=str(error))
            else:
                if job.destination is not None:
                    seconds = round(time.monotonic() - started, 3)
                    console.result(
                        str(job.destination), source=job.label, output=job.destination, status="done",
                        width=result.width, height=result.height, seconds=seconds, **fields,
                    )  # fmt: skip
                if show:
                    console.show(_small(result).visible())
            progress.advance(1)
    if failures:
        if len(jobs) > 1:
            console.error(f"{len(failures)} of {len(jobs)} images failed: {', '.join(failures)}")
        raise typer.Exit(ExitCode.ALL_FAILED if len(failures) == len(jobs) else ExitCode.SOME_FAILED)


def _small(photo: Photo) -> Photo:
    """The photograph with pixels left out, enough for a terminal; of a large result few are touched."""
    step = max(1, max(photo.height, photo.width) // PREVIEW_SIDE)
    alpha = None if photo.alpha is None else photo.alpha[..., ::step, ::step]
    return replace(photo, pixels=photo.pixels[..., ::step, ::step], alpha=alpha)


def _write(result: Photo, job: Job, console: Console, quality: int, piped: str) -> tuple[str, ...]:
    """Writes the result to its file, or to standard output in the format of the extension `piped`; returns the notes."""
    if job.destination is not None:
        return save_image(result, job.destination, quality=quality)
    data, notes = encode_image(result, piped, quality=quality)
    console.write_binary(data)
    return notes
