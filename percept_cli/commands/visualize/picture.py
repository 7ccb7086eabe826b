"""Where a picture of `percept visualize` and the numbers behind it go, and how they get there."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from percept_cli.console import Console
from percept_cli.core.drawing.records import EXTENSIONS, Record, encode_records
from percept_cli.core.files.inputs import InputItem
from percept_cli.core.files.outputs import Job, create_folders, plan_outputs
from percept_cli.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.drawing.plots import Plot
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


Numbers = Annotated[
    Path | None, typer.Option("--data", metavar="FILE.json|csv", help="The numbers behind the picture.")
]
Picture = Annotated[str | None, typer.Option("-o", "--output", help="A file, a folder that ends in /, or -.")]
PageFile = Annotated[
    str | None,
    typer.Option("-o", "--output", help="A file, also .html with a slider, a folder that ends in /, or - for a PNG."),
]
PlotFile = Annotated[
    str | None, typer.Option("-o", "--output", help="A file, also .svg, a folder that ends in /, or - for a PNG.")
]
SVG, HTML = ".svg", ".html"


def plan_picture(
    subject: str,
    what: str,
    output: str | None,
    *,
    sources: Sequence[Path] = (),
    plot: bool = False,
    page: bool = False,
    overwrite: bool,
    skip_existing: bool,
) -> Job:
    """The place of one picture: `{subject}_{what}.png` in the current folder or the one that `output` names, else `output`.

    A `plot` may also be an SVG file, a `page` also an HTML file. Raises UsageError as `plan_outputs` does, and where it
    would be written over one of its `sources`.
    """
    item = InputItem(None, Path(f"{subject}.png"))
    others = ((SVG,) if plot else ()) + ((HTML,) if page else ())
    (job,) = plan_outputs(
        [item], output or "./", name="{stem}_{op}.png", op=what, others=others, overwrite=overwrite,
        skip_existing=skip_existing,
    )  # fmt: skip
    _refuse_source(job, sources, "-o")
    return job


def plan_page(
    subject: str, what: str, output: str | None, *, sources: Sequence[Path] = (), overwrite: bool, skip_existing: bool
) -> Job:  # fmt: skip
    """The place of one page: `{subject}_{what}.html` in the current folder or the one that `output` names, else `output`.

    Raises UsageError as `plan_picture` does, and for another extension.
    """
    folder = Path(output or ".")
    if output is None or output.endswith("/") or folder.is_dir():
        output = str(folder / f"{subject.replace('/', '-')}_{what}{HTML}")
    elif folder.suffix.lower() != HTML:
        raise UsageError(
            f"-o '{output}': this is a page; give a name that ends in {HTML}, or a folder that ends in '/'."
        )
    item = InputItem(None, Path(Path(output).name))
    (job,) = plan_outputs(
        [item], output, name="{stem}{ext}", op=what, others=(HTML,), overwrite=overwrite, skip_existing=skip_existing
    )
    _refuse_source(job, sources, "-o")
    return job


def plan_numbers(data: Path | None, sources: Sequence[Path] = (), *, overwrite: bool, skip_existing: bool) -> Job:
    """The place of the numbers, without a destination where none are wanted. Raises UsageError as `plan_picture` does."""
    if data is None:
        return Job(None, None)
    if data.suffix.lower() not in EXTENSIONS:
        raise UsageError(unknown_name("extension of --data", data.suffix or str(data), EXTENSIONS))
    if not data.parent.is_dir():
        raise UsageError(f"The folder '{data.parent}' of --data '{data}' does not exist: make it first.")
    if data.exists() and not (overwrite or skip_existing):
        raise UsageError(f"--data '{data}' exists already: add --overwrite or --skip-existing.")
    job = Job(None, data, skip=skip_existing and data.exists())
    _refuse_source(job, sources, "--data")
    return job


def report_skipped(job: Job, console: Console) -> bool:
    """Whether the picture is there and stays, which is then said."""
    if job.skip:
        console.result(f"{job.destination} (exists, left)", output=job.destination, status="skipped")
    return job.skip


def write_numbers(records: Sequence[Record], job: Job) -> None:
    """Writes the numbers behind a picture where they are wanted. Raises ImageError where that fails."""
    from percept_cli.core.files.atomic import atomic_write_bytes

    if job.destination is not None and not job.skip:
        atomic_write_bytes(job.destination, encode_records(records, job.destination.suffix.lower()))


def write_picture(
    picture: "Tensor", job: Job, console: Console, *, quality: int = 95, show: bool = False, **fields: Any
) -> None:
    """Writes a picture (1, 3, H, W) in [0, 1] and reports it with these fields. Raises ImageError where that fails.

    show: on the terminal too.
    """
    from percept_cli.core.images.encode import encode_image, save_image
    from percept_cli.core.images.photo import Photo

    photo = Photo(picture)
    if job.destination is None:
        console.write_binary(encode_image(photo, ".png")[0])
        return
    create_folders([job])
    save_image(photo, job.destination, quality=quality)
    console.result(
        str(job.destination), output=job.destination, status="done", width=photo.width, height=photo.height, **fields
    )
    if show:
        console.show(picture)


def write_plot(
    plot: "Plot", job: Job, console: Console, *, quality: int = 95, show: bool = False, **fields: Any
) -> None:  # fmt: skip
    """Writes a plot as SVG or as the picture that the name asks for. Raises as `write_picture` and `render` do."""
    from percept_cli.core.drawing.plots import render, render_svg
    from percept_cli.core.files.atomic import atomic_write_bytes

    if job.destination is None or job.destination.suffix.lower() != SVG:
        write_picture(render(plot), job, console, quality=quality, show=show, **fields)
        return
    atomic_write_bytes(job.destination, render_svg(plot))
    console.result(str(job.destination), output=job.destination, status="done", **fields)
    if show:
        console.show(render(plot))


def write_page(text: str, job: Job, console: Console, **fields: Any) -> None:
    """Writes a page and reports it with these fields. Raises ImageError where that fails."""
    from percept_cli.core.files.atomic import atomic_write_bytes

    assert job.destination is not None
    create_folders([job])
    atomic_write_bytes(job.destination, text.encode())
    console.result(str(job.destination), output=job.destination, status="done", **fields)


def _refuse_source(job: Job, sources: Sequence[Path], option: str) -> None:
    taken = {source.resolve() for source in sources}
    if job.destination is not None and job.destination.resolve() in taken:
        raise UsageError(f"'{job.destination}' is an input and would be written over: choose another {option}.")


SHORT_SIDE = 384  # pixels


@dataclass(frozen=True)
class Subject:
    """A photograph as a network sees it, `pixels` (1, 3, H, W) in [0, 1], and what a reader of its picture must know."""

    pixels: "Tensor"
    notes: tuple[str, ...]
    scaled: bool


def choose_photo(image: Path | None, console: Console) -> Path:
    """The photograph to look at: the one given, or scikit-image's sample, which is then said."""
    if image is not None:
        return image
    from percept_cli.core.data.photos import sample_photo

    path = sample_photo()
    console.say(f"no image was given: {path.name}, a sample photograph of scikit-image")
    return path


def photo_files(items: Sequence[InputItem]) -> list[Path]:
    """The files of a batch. Raises UsageError for standard input, whose picture has no name to stand in a figure."""
    if any(item.source is None for item in items):
        raise UsageError("Standard input has no name to stand in a figure: give files or folders.")
    return [item.source for item in items if item.source is not None]


def load_subject(path: Path, size: int | None, console: Console, usual: int = SHORT_SIDE) -> Subject:
    """A photograph with a short side of `size` pixels; without a size as it is, or at the usual one where it is larger.

    That it was scaled is noted. Transparent pictures are laid over black. Raises ImageError for files that
    cannot be read.
    """
    from percept_cli.core.images.decode import load_image
    from percept_cli.core.images.photo import fit_short_side, resize_image

    photo = load_image(path, enough=size or usual)
    for note in photo.notes:
        console.warn(f"{path}: {note}")
    pixels = photo.visible()
    whole = photo.whole or (photo.height, photo.width)
    wanted = size or min(*whole, usual)
    if wanted == min(whole):
        return Subject(pixels, (f"{photo.width}x{photo.height} pixels",), False)
    height, width = fit_short_side(*whole, wanted)
    note = f"scaled from {whole[1]}x{whole[0]} to {width}x{height} pixels"
    return Subject(resize_image(pixels, height, width), (note,), True)
