"""The photographs that the pictures of `percept visualize` are made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from percept_cli.console import Console
from percept_cli.core.files.inputs import expand_inputs
from percept_cli.errors import UsageError
from percept_cli.options import Listing

if TYPE_CHECKING:
    from torch import Tensor

SHORT_SIDE = 384  # pixels


@dataclass(frozen=True)
class Subject:
    """A photograph as a network sees it, `pixels` (1, 3, H, W) in [0, 1], and what a reader of its picture must know."""

    pixels: "Tensor"
    notes: tuple[str, ...]
    scaled: bool

    @property
    def size(self) -> str:
        """Its size as messages give it."""
        return f"{self.pixels.shape[-1]}x{self.pixels.shape[-2]} pixels"


def choose_photo(image: Path | None, console: Console) -> Path:
    """The photograph that is given, or scikit-image's sample, which is then reported."""
    if image is not None:
        return image
    from percept_cli.core.data.photos import sample_photo

    path = sample_photo()
    console.say(f"no image was given: {path.name}, a sample photograph of scikit-image")
    return path


def list_photos(photos: list[str] | None, listing: Listing) -> list[Path]:
    """The files that are given. Raises UsageError for standard input, whose picture has no name to stand in a figure."""
    items = expand_inputs(photos, **vars(listing))
    if any(item.source is None for item in items):
        raise UsageError("Standard input has no name to stand in a figure: give files or folders.")
    return [item.source for item in items if item.source is not None]


def load_pixels(path: Path, console: Console) -> "Tensor":
    """The pixels (1, 3, H, W) in [0, 1] of a photograph, over black where it is transparent. Raises ImageError."""
    from percept_cli.core.images.decode import load_image

    photo = load_image(path)
    for note in photo.notes:
        console.warn(f"{path}: {note}")
    return photo.visible()


def load_subject(path: Path, size: int | None, console: Console, usual: int = SHORT_SIDE) -> Subject:
    """A photograph with a short side of `size` pixels; without a size as it is, or at the usual one where it is larger.

    Transparent pictures are laid over black. Raises ImageError for files that cannot be read.
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


def unique_names(files: list[Path]) -> list[str]:
    """The names of files without their folders and extensions; whole paths where two files have the same name."""
    names = [path.stem for path in files]
    return names if len(set(names)) == len(names) else [str(path) for path in files]
