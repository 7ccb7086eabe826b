"""What a batch reads: files, folders, patterns, lists and standard input, in order and without duplicates."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from percept_cli.core.files.formats import READABLE_EXTENSIONS
from percept_cli.errors import UsageError


@dataclass(frozen=True)
class InputItem:
    """One image to read: a path, or None for standard input, and its path below the folder it came from."""

    source: Path | None
    relative: Path

    @property
    def label(self) -> str:
        """What messages call it."""
        return label_of(self.source)


def label_of(source: Path | None) -> str:
    """What messages call an image: its path, or `standard input` for None."""
    return "standard input" if source is None else str(source)


def find_images(folder: str | Path, *, recursive: bool) -> list[Path]:
    """The images in a folder, with `recursive` in its whole tree, sorted, without hidden ones. UsageError for none."""
    found = sorted(_images_below(folder, recursive))
    if not found:
        advice = "" if recursive else ", add -r to search the folders in it"
        raise UsageError(f"The folder '{folder}' holds no image{advice}.")
    return found


def expand_inputs(
    inputs: Sequence[str],
    *,
    recursive: bool,
    from_file: Path | None,
    null_separated: bool = False,
) -> list[InputItem]:
    """The images behind files, folders, patterns and `-`, in order and without duplicates; at least one.

    A folder gives its images in sorted order, with `recursive` those of its whole tree; hidden files are left out.
    `from_file` lists one path a line (`-`: standard input), or ended by a null byte with `null_separated`.
    A file that does not exist stays in the list, to fail as one input and not as the batch.
    A pattern without a match, a folder without images and an empty list raise UsageError.
    """
    items: list[InputItem] = []
    for text in inputs:
        items.extend([InputItem(None, Path("stdin"))] if text == "-" else _expand_one(text, recursive, patterns=True))
    if from_file is not None:
        if str(from_file) == "-" and "-" in inputs:
            raise UsageError("Standard input cannot be both an image ('-') and the list of images ('--from-file -').")
        for line in _read_list(from_file, null_separated):
            items.extend(_expand_one(line, recursive, patterns=False))
    if not items:
        raise UsageError("No image was given: name files, folders, patterns or '-' for standard input.")
    unique: dict[str | None, InputItem] = {}
    for item in items:
        unique.setdefault(None if item.source is None else os.path.normcase(os.path.abspath(item.source)), item)
    return list(unique.values())


def _expand_one(text: str, recursive: bool, *, patterns: bool) -> list[InputItem]:
    if not text:
        raise UsageError("An input is an empty text: a shell variable may be unset.")
    path = Path(text)
    if path.is_dir():
        return [InputItem(image, image.relative_to(path)) for image in find_images(text, recursive=recursive)]
    # A name is tried as it stands first: 'photo[1].jpg' is also a pattern.
    if not patterns or not glob.has_magic(text) or os.path.lexists(path):
        return [InputItem(path, Path(path.name))]

    # The shell has expanded patterns already, except on Windows or within quotes.
    fixed_parts = []
    for part in path.parts:
        if glob.has_magic(part):
            break
        fixed_parts.append(part)
    start = Path(*fixed_parts)
    matches: list[Path] = []
    for match in map(Path, sorted(glob.glob(text, recursive=True))):
        if match.is_dir():
            if "**" not in path.parts:
                matches.extend(sorted(_images_below(match, recursive)))
        elif _is_image_name(match.name):
            matches.append(match)
    if not matches:
        raise UsageError(f"No image matches '{text}'.")
    return [InputItem(match, match.relative_to(start)) for match in matches]


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in READABLE_EXTENSIONS


def _images_below(folder: str | Path, recursive: bool) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        yield from (Path(parent, name) for name in files if _is_image_name(name))


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
