"""The images that a command reads: files, folders, patterns, lists and standard input, in order and without duplicates."""

import glob
import itertools
import os
import re
import stat
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from percept_cli.core.files.formats import READABLE_EXTENSIONS
from percept_cli.errors import UsageError

WAIT_FOR_WRITER = 2.0  # seconds


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
    """The images in a folder, with `recursive` in all folders below it too, sorted, as `list_images` gives them.

    Raises UsageError where there are none.
    """
    found = list_images(folder, recursive=recursive)
    if not found:
        advice = "" if recursive else ", add -r to search the folders in it"
        raise UsageError(f"The folder '{folder}' holds no image{advice}.")
    return found


def list_images(
    folder: str | Path,
    *,
    recursive: bool,
    extensions: Collection[str] = READABLE_EXTENSIONS,
    hidden_folders: bool = False,
) -> list[Path]:
    """The files in a folder that have one of the extensions, with `recursive` in all folders below it too, sorted.

    Hidden files are left out, and pipes and devices, for which a reader would wait. Folders that cannot be read and links
    that lead nowhere are in the list, so that reading them tells what is wrong.
    """
    return list(
        map(Path, list_paths(folder, recursive=recursive, extensions=extensions, hidden_folders=hidden_folders))
    )


def list_paths(
    folder: str | Path, *, recursive: bool, extensions: Collection[str], hidden_folders: bool = False
) -> list[str]:
    """The same as text, in the same order. What the folder tells of an entry suffices for most: no call for each file."""
    found: list[str] = []
    waiting = [os.fspath(folder)]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if _is_folder(entry):
                        if recursive and (hidden_folders or not entry.name.startswith(".")) and not entry.is_symlink():
                            waiting.append(entry.path)
                    elif _is_image_name(entry.name, extensions) and not _is_special_entry(entry):
                        found.append(entry.path)
        except OSError:
            found.append(place)
    # By the parts of paths, as `Path` compares them: `a/b` is before `a-b`.
    return sorted(found, key=lambda path: os.path.normcase(path).replace(os.sep, "\0"))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_special_entry(entry: "os.DirEntry[str]") -> bool:
    try:
        if entry.is_file():
            return False
    except OSError:
        pass
    return is_special(Path(entry.path))


def is_special(path: Path) -> bool:
    """Whether a path is a pipe, a device or a socket, by itself or through links; False where nothing can be found."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
    return kind not in (stat.S_IFREG, stat.S_IFDIR)


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
    # Not the methods of paths: they raise errors for folders that are closed to the user and for names that are too long.
    if os.path.isdir(path):
        found = list_images(photo, recursive=recursive)
        if not found and _is_image_name(path.name):
            found = [path]  # the shell's *.png may find such a folder, which fails alone
        found = found or find_images(photo, recursive=recursive)
        # A folder that cannot be read is an entry itself.
        return [InputItem(each, each.relative_to(path) if each != path else Path(path.name)) for each in found]
    # An existing file goes before a pattern: 'photo[1].jpg' may be either.
    if is_path or not glob.has_magic(photo) or os.path.lexists(path):
        return [InputItem(path, Path(path.name))]

    # The shell has expanded patterns already, except on Windows or within quotes.
    start = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    matches: list[Path] = []
    for match in map(Path, sorted(glob.glob(photo, recursive=True))):
        if os.path.isdir(match):
            if "**" not in path.parts:
                matches += list_images(match, recursive=recursive)
        elif _is_image_name(match.name) and not is_special(match):
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


def _is_image_name(name: str, extensions: Collection[str] = READABLE_EXTENSIONS) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in extensions


def _read_list(from_file: Path, null_separated: bool) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if str(from_file) == "-" else _read_bytes(from_file)
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


def _read_bytes(path: Path) -> bytes:
    """The content of a file, or of a pipe as the shell's `<(...)` gives it. Raises OSError; UsageError for a device."""
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind == stat.S_IFIFO:
        return _read_pipe(path)
    if kind != stat.S_IFREG and kind != stat.S_IFDIR and not _is_terminal(path):
        raise UsageError(f"The list '{path}' is a device, not a file.")
    return path.read_bytes()


def _is_terminal(path: Path) -> bool:
    with path.open("rb", buffering=0) as file:
        return file.isatty()


def _read_pipe(path: Path) -> bytes:
    """What is written to a pipe. Without a writer, which another program may be about to be, UsageError after a while."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        last = time.monotonic() + WAIT_FOR_WRITER
        while (first := pipe.read(1)) == b"":  # None: there is a writer, which has written nothing yet
            if time.monotonic() > last:
                raise UsageError(f"The list '{path}' is a pipe into which nothing is written: it names no image.")
            time.sleep(0.02)
        os.set_blocking(descriptor, True)
        return (first or b"") + pipe.read()
