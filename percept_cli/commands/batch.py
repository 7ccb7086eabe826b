"""Many images through one operation: one bad file does not stop the rest."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from percept_cli.console import Console
from percept_cli.core.files.outputs import Job, create_folders
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import encode_image, save_image
from percept_cli.core.images.photo import Photo, floats, premultiply
from percept_cli.errors import ExitCode, ImageError

if TYPE_CHECKING:
    from torch import Tensor

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
    failures: list[tuple[str, str]] = []
    todo = [job for job in jobs if not job.skip]
    for job in jobs:
        if job.skip:
            console.result(
                f"{job.destination} (exists, left)", source=job.source, output=job.destination, status="skipped"
            )
    with console.progress(len(todo), "image") if len(todo) > 1 else console.progress_off() as progress:
        for job in todo:
            name = "standard input" if job.source is None else str(job.source)
            started = time.monotonic()
            try:
                photo = load_image(sys.stdin.buffer if job.source is None else job.source, name)
                for note in photo.notes:
                    console.warn(f"{name}: {note}")
                result = operation(photo, job)
                notes = _write(result, photo, job, console, quality)
                for note in notes:
                    console.warn(f"{name}: {note}")
            except ImageError as error:
                failures.append((name, str(error)))
                console.error(str(error) if name in str(error) else f"{name}: {error}")
                if console.as_json:
                    console.result("", source=name, status="failed", error=str(error))
            else:
                if job.destination is not None:
                    seconds = round(time.monotonic() - started, 3)
                    console.result(
                        str(job.destination), source=name, output=job.destination, status="done",
                        width=result.width, height=result.height, seconds=seconds, **fields,
                    )  # fmt: skip
                if show:
                    console.show(_small(result))
            progress.advance(1)
    if failures:
        if len(jobs) > 1:
            console.error(f"{len(failures)} of {len(jobs)} images failed: {', '.join(name for name, _ in failures)}")
        raise typer.Exit(ExitCode.ALL_FAILED if len(failures) == len(jobs) else ExitCode.SOME_FAILED)


def _small(photo: Photo) -> "Tensor":
    """Pixels (1, 3, h, w) in [0, 1] enough for a terminal, over black; of a large result few are touched."""
    step = max(1, max(photo.height, photo.width) // PREVIEW_SIDE)
    pixels = floats(photo.pixels[..., ::step, ::step])
    return pixels if photo.alpha is None else premultiply(pixels, floats(photo.alpha[..., ::step, ::step]))


def _write(result: Photo, photo: Photo, job: Job, console: Console, quality: int) -> tuple[str, ...]:
    if job.destination is not None:
        return save_image(result, job.destination, quality=quality)
    # A pipe gets what it gave; PNG where that cannot be written.
    extension = {"JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}.get(photo.format, ".png")
    data, notes = encode_image(result, extension, quality=quality)
    console.write_binary(data)
    return notes
