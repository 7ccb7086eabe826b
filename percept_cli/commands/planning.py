"""What commands check of their inputs and outputs before torch is imported."""

from collections.abc import Sequence
from pathlib import Path

import typer

from percept_cli.conditions import refuse
from percept_cli.console import Console, Failures
from percept_cli.core.files.formats import has_quality
from percept_cli.core.files.inputs import refuse_address
from percept_cli.core.files.outputs import Job, check_model_output
from percept_cli.core.pretrained.manifest import check_model, role_of, shipped_models
from percept_cli.errors import ExitCode, ImageError, UsageError


def check_jobs(jobs: Sequence[Job], output: str | None) -> None:
    """Raises UsageError for options that change no output of the jobs."""
    places = [job.destination for job in jobs if job.destination is not None]
    if not places:
        refuse("Standard output has neither a name nor an older file", "name", "overwrite", "skip_existing")
        refuse("Standard output has the picture", "json")
    elif output is not None and places == [Path(output)]:
        refuse("-o names the file", "name")
    # What standard output gets is known when the picture is read.
    if places == [job.destination for job in jobs]:
        refuse_quality([place.suffix for place in places])


def refuse_quality(extensions: Sequence[str]) -> None:
    """Raises UsageError where --quality was given and no format of the extensions has one."""
    if not any(map(has_quality, extensions)):
        kinds = " and ".join(sorted({extension.removeprefix(".").upper() for extension in extensions}))
        refuse(f"{kinds} has no quality to choose", "quality")


def refuse_missing(jobs: Sequence[Job], console: Console) -> None:
    """Reports the inputs where none of them exists, and raises typer.Exit; with another one each fails in its turn."""
    todo = [job for job in jobs if not job.skip]
    if not todo or any(job.source is None or job.source.exists() for job in todo) or len(todo) < len(jobs):
        return
    failures = Failures(console, "source")
    for job in todo:
        failures.add(job.label, f"'{job.label}' does not exist.")
    if len(jobs) > 1:
        console.error(f"{len(jobs)} of {len(jobs)} images failed: {', '.join(failures.inputs)}")
    raise typer.Exit(ExitCode.ALL_FAILED)


def check_sources(paths: Sequence[Path]) -> None:
    """Raises ImageError where none of the pictures exists, UsageError for an address on the web."""
    for path in paths:
        refuse_address(str(path))
    if paths and not any(path.exists() for path in paths):
        raise ImageError(f"'{paths[0]}' does not exist.")


def check_exists(path: Path, option: str) -> None:
    """Raises UsageError for a file that does not exist; option: that named it."""
    refuse_address(str(path))
    if not path.exists():
        raise UsageError(f"{option}: '{path}' does not exist.")


def check_style_model(given: str, styled: bool) -> None:
    """Raises, without reading the weights, UsageError for a model of one style beside `--style`, or of any without it.

    styled: whether there are pictures of `--style`. Raises ModelError as `check_model`.
    """
    if Path(given).suffix or given in shipped_models():
        refuse_address(given)
        role = role_of(given)
        if styled and role in ("style", "translation"):
            raise UsageError(f"{given} has its own style: leave -m or --style out, or give -m one of any style.")
        if not styled and role == "any-style":
            raise UsageError(f"{given} restyles after a picture: give it by --style PICTURE.")
    check_model(given, *(("any-style",) if styled else ("style", "translation")))


def check_training(output: Path, data: Sequence[Path] | None, start: str | None = None, *roles: str) -> None:
    """Raises UsageError for a model that cannot be written and for photographs that are not there.

    start: a model of one of the roles, or None. Raises ModelError where there is none of that name.
    """
    check_model_output(output, overwrite=True)
    for place in data or ():
        refuse_address(str(place))
        if not place.exists():
            raise UsageError(f"--data {place}: there is no such file or folder.")
    if start is not None:
        check_model(start, *roles)


def default_model(name: str, kind: str) -> Path:
    """The file of a model in the current folder by a usual name; kind: added where a shipped model has that name."""
    return Path(f"{name}-{kind}.safetensors" if name in shipped_models() else f"{name}.safetensors")
