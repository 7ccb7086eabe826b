"""The files of a picture of `percept visualize` and of its numbers: planned before the work, written and reported after it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from percept_cli.commands.planning import refuse_quality
from percept_cli.conditions import refuse
from percept_cli.console import Console
from percept_cli.core.drawing.records import EXTENSIONS, Record, encode_records
from percept_cli.core.files.atomic import prepare_folder
from percept_cli.core.files.inputs import InputItem, readable
from percept_cli.core.files.outputs import Job, create_folders, plan_outputs
from percept_cli.errors import UsageError, unknown_name
from percept_cli.options import Existing

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.drawing.plots import Plot
    from percept_cli.core.pretrained.extractors import ExtractorChoice
    from percept_cli.core.visualization.steps import Step

Result = TypeVar("Result")
SVG, HTML = ".svg", ".html"

Numbers = Annotated[
    Path | None, typer.Option("--data", metavar="FILE.json|csv", help="Write the numbers of the picture here.")
]
SheetFile = Annotated[str | None, typer.Option("-o", "--output", help="A file, a folder that ends in /, or -.")]
SheetOrPageFile = Annotated[
    str | None,
    typer.Option("-o", "--output", help="A file, also .html with a slider, a folder that ends in /, or - for a PNG."),
]
PlotFile = Annotated[
    str | None, typer.Option("-o", "--output", help="A file, also .svg, a folder that ends in /, or - for a PNG.")
]


@dataclass(frozen=True)
class PictureFile:
    """The files of one picture and of its numbers, and how they are written.

    numbers: None where none are to be written. quality: of JPEG, AVIF and WebP. show: in the terminal too.
    """

    console: Console
    job: Job
    numbers: Path | None
    quality: int
    show: bool

    @property
    def is_page(self) -> bool:
        """Whether the file is an HTML page."""
        return self.job.destination is not None and self.job.destination.suffix.lower() == HTML

    def is_done(self) -> bool:
        """Whether the picture exists and is left as it is, which is reported."""
        if self.job.skip:
            self.console.result(f"{self.job.destination} (exists, left)", output=self.job.destination, status="skipped")
        return self.job.skip

    def write(self, picture: "Tensor | Plot | str", records: Sequence[Record], **fields: Any) -> None:
        """Write a sheet (1, 3, H, W) in [0, 1], a plot or the text of a page, and its numbers, and report the fields.

        Raises ImageError where a picture cannot be written, UsageError where a folder cannot be made.
        """
        from torch import Tensor

        from percept_cli.core.drawing.plots import render, render_svg
        from percept_cli.core.files.atomic import atomic_write_bytes
        from percept_cli.core.images.encode import save_image
        from percept_cli.core.images.photo import Photo

        place = self.job.destination
        create_folders([self.job])
        pixels: Tensor | None = None
        if isinstance(picture, str):
            assert place is not None
            atomic_write_bytes(place, readable(picture).encode(), overwrite=self.job.overwrite)
        elif isinstance(picture, Tensor) or place is None or place.suffix.lower() != SVG:
            pixels = picture if isinstance(picture, Tensor) else render(picture)
            photo = Photo(pixels)
            save_image(photo, place or self.console.binary, quality=self.quality, overwrite=self.job.overwrite)
            fields = {"width": photo.width, "height": photo.height, **fields}
        else:
            atomic_write_bytes(place, render_svg(picture), overwrite=self.job.overwrite)
            pixels = render(picture) if self.show else None
        if place is not None:
            self.console.result(str(place), output=place, status="done", **fields)
            if self.show and pixels is not None:
                self.console.show(pixels)
        if self.numbers is not None:
            numbers = encode_records(records, self.numbers.suffix.lower())
            atomic_write_bytes(self.numbers, numbers, overwrite=self.job.overwrite)


def plan_picture(
    subject: str,
    what: str,
    output: str | None,
    data: Path | None,
    existing: Existing,
    console: Console,
    *,
    sources: Sequence[Path] = (),
    others: Sequence[str] = (),
    quality: int = 95,
    show: bool = False,
) -> PictureFile:
    """The files of a picture: `{subject}_{what}.png` in the current folder or in the folder `output`, else the file `output`.

    data: the file of the numbers. others: allowed extensions besides those of images, as `.svg`. Raises UsageError as
    `plan_outputs` does, for an unusable `data`, and where a file is one of the `sources`.
    """
    (job,) = plan_outputs(
        [InputItem(None, Path(f"{subject}.png"))], output or "./", name="{stem}_{op}.png", op=what, others=others,
        overwrite=existing.overwrite, skip_existing=existing.skip_existing,
    )  # fmt: skip
    _refuse_source(job.destination, sources, "-o")
    if job.destination is None:
        refuse("Standard output has the picture", "json")
        if data is None:
            refuse("Standard output has no older file", "overwrite", "skip_existing")
    if job.destination is None or job.destination.suffix.lower() != HTML:
        refuse_quality([".png" if job.destination is None else job.destination.suffix])
    return PictureFile(console, job, _plan_numbers(data, sources, existing), quality, show)


def plan_page(
    subject: str,
    what: str,
    output: str | None,
    data: Path | None,
    existing: Existing,
    console: Console,
    *,
    sources: Sequence[Path] = (),
) -> PictureFile:
    """The files of a page: `{subject}_{what}.html` in the current folder or in the folder `output`, else the file `output`.

    Raises UsageError as `plan_picture` does, and for another extension.
    """
    folder = Path(output or ".")
    if output is None or output.endswith("/") or os.path.isdir(folder):
        place = folder / f"{subject.replace('/', '-')}_{what}{HTML}"
        create_folders([Job(None, place)])  # a file is only planned in a folder that exists
        output = str(place)
    elif folder.suffix.lower() != HTML:
        raise UsageError(
            f"-o '{output}': this is a page; give a name that ends in {HTML}, or a folder that ends in '/'."
        )
    return plan_picture(subject, what, output, data, existing, console, sources=sources, others=(HTML,))


def follow(steps: "Iterator[Step[Result]]", console: Console, unit: str, work: str, advice: str) -> Result:
    """Do the work of a picture step by step, with progress in `unit`, and return its result.

    work, advice: what memory may not be enough for, and what to do then. Raises MemoryShortage where it is not enough, and
    what the work raises.
    """
    from percept_cli.core.runtime import memory_errors

    with memory_errors(work, advice):
        step = next(steps)
        with console.progress(step.total, unit) as progress:
            for step in steps:
                if step.result is None:
                    progress.advance(1, step.figures)
    assert step.result is not None
    return step.result


def extractor_title(choice: "ExtractorChoice") -> str:
    """An extractor in the title of a picture: its architecture, and the name of the file of its weights if given."""
    return choice.name + (f" ({Path(choice.weights).name})" if choice.weights else "")


def _plan_numbers(data: Path | None, sources: Sequence[Path], existing: Existing) -> Path | None:
    if data is None:
        return None
    if data.suffix.lower() not in EXTENSIONS:
        raise UsageError(unknown_name("extension of --data", data.suffix or str(data), EXTENSIONS))
    if not data.parent.is_dir():
        raise UsageError(f"The folder '{data.parent}' of --data '{data}' does not exist: make it first.")
    if data.exists() and not (existing.overwrite or existing.skip_existing):
        raise UsageError(f"--data '{data}' exists already: add --overwrite or --skip-existing.")
    _refuse_source(data, sources, "--data")
    if existing.skip_existing and data.exists():
        return None
    prepare_folder(data.parent)
    return data


def _refuse_source(place: Path | None, sources: Sequence[Path], option: str) -> None:
    if place is not None and os.path.realpath(place) in set(map(os.path.realpath, sources)):
        raise UsageError(f"'{place}' is an input and would be written over: choose another {option}.")
