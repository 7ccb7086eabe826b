"""The images that a command reads: files, folders, patterns, lists and standard input, in order and without duplicates."""

import glob
import itertools
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from percept_cli.core.files.formats import READABLE_EXTENSIONS
from percept_cli.errors import UsageError


@dataclass(frozen=True)
class InputItem:
    """One image to read: its path, None for standard input, and its path below the folder in which it was found."""

    source: Path | None
    relative: Path

    @property
    def label(self) -> str:
        """Its name in messages."""
        return label_of(self.source)


def label_of(source: Path | None) -> str:
    """The name of an image in messages: its path, or `standard input` for None."""
    return "standard input" if source is None else str(source)


def find_images(folder: str | Path, *, recursive: bool) -> list[Path]:
    """The images in a folder, with `recursive` in all folders below it too, sorted. Hidden ones are left out.

    Raises UsageError where there are none.
    """
    found = _images_below(folder, recursive)
    if not found:
        advice = "" if recursive else ", add -r to search the folders in it"
        raise UsageError(f"The folder '{folder}' holds no image{advice}.")
    return found


def expand_inputs(
    photos: Sequence[str] | None, *, recursive: bool, from_file: Path | None, null_separated: bool = False
) -> list[InputItem]:
    """The images that files, folders, patterns and `-` stand for, in order and without duplicates; at least one.

    A folder gives its images sorted, with `recursive` those of all folders below it too; hidden files are left out.
    from_file: a list with one path on each line (`-`: standard input); null_separated: each path ends in a null byte.
    A file that does not exist stays in the result, so that it fails alone and the other images are processed.
    Raises UsageError for a pattern without a match, a folder without images and an empty list.
    """
    photos = photos or []
    items = [item for photo in photos for item in _expand(photo, recursive)]
    if from_file is not None:
        if str(from_file) == "-" and "-" in photos:
            raise UsageError("Standard input cannot be both an image ('-') and the list of images ('--from-file -').")
        for photo in _read_list(from_file, null_separated):
            items += _expand(photo, recursive, is_path=True)
    if not items:
        raise UsageError("No image was given: name files, folders, patterns or '-' for standard input.")
    unique: dict[str | None, InputItem] = {}
    for item in items:
        unique.setdefault(None if item.source is None else os.path.normcase(os.path.abspath(item.source)), item)
    return list(unique.values())


def _expand(photo: str, recursive: bool, *, is_path: bool = False) -> list[InputItem]:
    """The images that one argument stands for; with `is_path` it is neither a pattern nor `-` for standard input."""
    if not photo:
        raise UsageError("An input is an empty text: a shell variable may be unset.")
    if photo == "-" and not is_path:
        return [InputItem(None, Path("stdin"))]
    refuse_address(photo)
    path = Path(photo)
    if path.is_dir():
        return [InputItem(source, source.relative_to(path)) for source in find_images(photo, recursive=recursive)]
    # An existing file goes before a pattern: 'photo[1].jpg' may be either.
    if is_path or not glob.has_magic(photo) or os.path.lexists(path):
        return [InputItem(path, Path(path.name))]

    # The shell has expanded patterns already, except on Windows or within quotes.
    start = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    matches: list[Path] = []
    for match in map(Path, sorted(glob.glob(photo, recursive=True))):
        if match.is_dir():
            if "**" not in path.parts:
                matches += _images_below(match, recursive)
        elif _is_image_name(match.name):
            matches.append(match)
    if not matches:
        raise UsageError(f"No image matches '{photo}'.")
    return [InputItem(match, match.relative_to(start)) for match in matches]


def readable(text: str) -> str:
    """A text that can be drawn and encoded: bytes of file names that are no UTF-8 are written as escapes, `\\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def refuse_address(given: str) -> None:
    """Raises UsageError for an address on the web where the path of a file is needed."""
    found = re.match(r"(https?|ftp):/+(.*)", given, re.IGNORECASE)
    if found and not os.path.lexists(given):
        address = f"{found[1]}://{found[2]}"  # a path has lost one of the slashes
        raise UsageError(f"{address} is an address, and percept reads files: download it first: curl -O -L {address}")


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in READABLE_EXTENSIONS


def _images_below(folder: str | Path, recursive: bool) -> list[Path]:
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        found += [Path(parent, name) for name in files if _is_image_name(name)]
    return sorted(found)


def _read_list(from_file: Path, null_separated: bool) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if str(from_file) == "-" else from_file.read_bytes()
    except OSError as error:
        raise UsageError(f"The list '{from_file}' cannot be read: {error.strerror or error}.") from error
    # Windows editors begin a text file with a byte order mark.
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\0") if null_separated else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    paths = [os.fsdecode(line) for line in lines if line]
    if any("\0" in path for path in paths):
        raise UsageError(f"The list '{from_file}' holds null bytes: its paths seem to be ended by them, not by lines.")
    if not paths:
        raise UsageError(f"The list '{from_file}' names no image.")
    return paths
