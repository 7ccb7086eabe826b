"""The photographs that `percept visualize` looks at: found, read, and made small enough to look at quickly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from percept_cli.console import Console
from percept_cli.core.inputs import InputItem
from percept_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

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
    from percept_cli.commands.invert import SAMPLE_PHOTO, sample_photo

    path = sample_photo().source
    assert path is not None
    console.say(f"no image was given: {SAMPLE_PHOTO}, a sample photograph of scikit-image")
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
    from percept_cli.core.decoding import load_image
    from percept_cli.core.images import fit_short_side, resize_image
    from percept_cli.core.restyling import visible_pixels

    photo = load_image(path, enough=size or usual)
    for note in photo.notes:
        console.warn(f"{path}: {note}")
    _, pixels = visible_pixels(photo, None)
    whole = photo.whole or (photo.height, photo.width)
    wanted = size or min(*whole, usual)
    if wanted == min(whole):
        return Subject(pixels, (f"{photo.width}x{photo.height} pixels",), False)
    height, width = fit_short_side(*whole, wanted)
    note = f"scaled from {whole[1]}x{whole[0]} to {width}x{height} pixels"
    return Subject(resize_image(pixels, height, width), (note,), True)
