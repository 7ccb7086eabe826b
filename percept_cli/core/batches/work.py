"""What decides the pixels of a result beside its input, and whether a result that exists is still the one asked for."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from percept_cli.core.batches.records import DONE, FAILED, Entry
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.errors import ImageError

CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Work:
    """A command and its options that change pixels, as they are typed, with the content of the files that they name.

    models: name of a shipped model -> sha256 of its file. files: path of any other file that an option names -> sha256.
    """

    command: str
    arguments: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fields(self) -> Entry:
        """The parts of an entry of a manifest that tell this work."""
        return {**asdict(self), "arguments": list(self.arguments)}


def describe_work(command: str, arguments: Iterable[str], models: Iterable[str], files: Iterable[str]) -> Work:
    """The work of a command; models: names of shipped ones, and paths of files. Raises ImageError for an unreadable file."""
    shipped = shipped_models()
    named = set(models)
    paths = {*files, *(name for name in named if name not in shipped)}
    return Work(
        command,
        tuple(arguments),
        {name: shipped[name].sha256 for name in sorted(named) if name in shipped},
        {path: hash_path(Path(path)) for path in sorted(paths)},
    )


def hash_file(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal digits. Raises ImageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read: {error.strerror or error}.") from error


def hash_path(path: Path) -> str:
    """The sha256 of a file, or of the names and contents of the files in a folder. Raises ImageError as `hash_file`."""
    if not path.is_dir():
        return hash_file(path)
    digest = hashlib.sha256()
    for each in sorted(each for each in path.rglob("*") if each.is_file()):
        digest.update(f"{each.relative_to(path).as_posix()}\0{hash_file(each)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def describe_file(path: Path, kind: str) -> Entry:
    """The facts of a file by which a change is noticed; kind: `input` or `output`, the beginning of their names.

    Raises ImageError where it cannot be read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    return {
        f"{kind}_sha256": hash_file(path), f"{kind}_bytes": found.st_size, f"{kind}_mtime_ns": found.st_mtime_ns
    }  # fmt: skip


def why_again(entry: Entry | None, source: Path, destination: Path, work: Work) -> str | None:
    """Why a picture has to be made (again), one short phrase; None where the entry's result is the one asked for.

    A file whose size and time are as recorded counts as unchanged; of another one the content is compared.
    """
    if entry is None:
        return "new"
    if entry["status"] == FAILED:
        return "it failed"
    if entry["status"] != DONE:
        return "it was not finished"
    if any(entry.get(name) != value for name, value in work.fields.items()):
        return "another command, option or model"
    if not _is_as_recorded(entry, source, "input"):
        return "the input changed"
    if not destination.exists():
        return "the result is gone"
    if not _is_as_recorded(entry, destination, "output"):
        return "the result was changed by something else"
    return None


def _is_as_recorded(entry: Entry, path: Path, kind: str) -> bool:
    try:
        found = os.stat(path)
        if found.st_size != entry.get(f"{kind}_bytes"):
            return False
        return found.st_mtime_ns == entry.get(f"{kind}_mtime_ns") or hash_file(path) == entry.get(f"{kind}_sha256")
    except (OSError, ImageError):
        return False
