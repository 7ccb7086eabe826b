"""The photographs that `percept visualize` takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from percept_cli.commands.planning import check_sources
from percept_cli.console import Console
from percept_cli.core.files.inputs import expand_inputs, readable
from percept_cli.errors import ExitCode, ImageError, MemoryShortage, UsageError
from percept_cli.options import Listing

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.images.photo import Photo

Result = TypeVar("Result")
SHORT_SIDE = 384  # pixels

Photograph = Annotated[
    Path | None, typer.Argument(metavar="IMAGE", help="A photograph. Default: one of scikit-image's.")
]


@dataclass(frozen=True)
class Subject:
    """A photograph, `pixels` (1, 3, H, W) in [0, 1]. note: its size, and its original one if it was scaled."""

    pixels: "Tensor"
    note: str
    scaled: bool

    @property
    def size(self) -> str:
        """The size for messages."""
        return f"{self.pixels.shape[-1]}x{self.pixels.shape[-2]} pixels"


def choose_photo(image: Path | None, console: Console) -> Path:
    """The given photograph, or a sample of scikit-image, which is reported."""
    if image is not None:
        check_sources([image])
        return image
    from percept_cli.core.data.photos import sample_photo

    path = sample_photo()
    console.say(f"no image was given: {path.name}, a sample photograph of scikit-image")
    return path


def list_photos(photos: list[str] | None, listing: Listing) -> list[Path]:
    """The given files. Raises UsageError for standard input, which has no name for the figure."""
    items = expand_inputs(photos, **vars(listing))
    paths = [item.source for item in items if item.source is not None]
    if len(paths) < len(items):
        raise UsageError("Standard input has no name to stand in a figure: give files or folders.")
    check_sources(paths)
    return paths


def load_pixels(path: Path, console: Console) -> "Tensor":
    """The pixels (1, 3, H, W) in [0, 1] of a photograph, on black where it is transparent.

    Raises ImageError for a file that cannot be read.
    """
    return _load(path, console).visible()


def load_subject(path: Path, size: int | None, console: Console, usual: int = SHORT_SIDE) -> Subject:
    """A photograph with a short side of `size` pixels, by default its own but at most `usual`, on black where transparent.

    Raises ImageError for a file that cannot be read.
    """
    from percept_cli.core.images.photo import fit_short_side, resize_image

    photo = _load(path, console, enough=size or usual)
    pixels = photo.visible()
    whole = photo.whole or (photo.height, photo.width)
    short_side = size or min(*whole, usual)
    if short_side == min(whole):
        return Subject(pixels, f"{photo.width}x{photo.height} pixels", False)
    height, width = fit_short_side(*whole, short_side)
    note = f"scaled from {whole[1]}x{whole[0]} to {width}x{height} pixels"
    return Subject(resize_image(pixels, height, width), note, True)


def _load(path: Path, console: Console, enough: int | None = None) -> "Photo":
    from percept_cli.core.images.decode import load_image

    photo = load_image(path, enough=enough)
    for note in photo.notes:
        console.warn(f"{path}: {note}")
    return photo


def each_good(
    paths: Sequence[Path], work: "Callable[[Path], Result]", console: Console, unit: str
) -> tuple[list[tuple[Path, "Result"]], list[Path]]:
    """The files of which `work` could be done, with its results, and the others; with progress in `unit`.

    Left out, with an error in the console, is what cannot be read and what memory is not enough for. Raises typer.Exit
    with 4 where nothing is left, and MemoryShortage for a single file.
    """
    from percept_cli.core.runtime import memory_errors, release_memory

    done, failed = list[tuple[Path, Any]](), list[Path]()
    with console.progress(len(paths), unit) as progress:
        for path in paths:
            try:
                with memory_errors(str(path), "Shrink it first"):
                    done.append((path, work(path)))
            except (ImageError, MemoryShortage) as error:
                if isinstance(error, MemoryShortage) and len(paths) == 1:
                    raise
                failed.append(path)
                console.error(str(error) if str(path) in str(error) else f"{path}: {error}")
            # Only here, where the error and all that its traceback holds are gone.
            if path in failed:
                release_memory()
            progress.advance(1)
    if not done:
        raise typer.Exit(ExitCode.ALL_FAILED)
    return done, failed


def exit_if_failed(failed: Sequence[Path]) -> None:
    """Raises typer.Exit with 3 where some files had to be left out of a picture."""
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def unique_names(files: list[Path]) -> list[str]:
    """The names of files without their folders and extensions; whole paths where two files have the same name."""
    names = [readable(path.stem) for path in files]
    return names if len(set(names)) == len(names) else [readable(str(path)) for path in files]
