"""The manifest of a batch: one line of JSON for each picture that was begun, done or failed, and for each run.

Lines are only added. A process that is killed leaves at most a part of a line at the end, which is not read.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from percept_cli.errors import UsageError

MANIFEST = "percept-manifest"
SUFFIX = ".jsonl"
RUN, STARTED, DONE, FAILED = "run", "started", "done", "failed"

Entry = dict[str, Any]
"""One line of a manifest. `status` is RUN (with `folder` and `command_line`), STARTED, DONE or FAILED."""


def manifest_name(shard: tuple[int, int] | None = None) -> str:
    """The usual name of a manifest; each shard of a job, (3, 16), has its own."""
    return MANIFEST + ("" if shard is None else f"-{shard[0]}-of-{shard[1]}") + SUFFIX


@dataclass(frozen=True)
class History:
    """What a manifest says: the last entry of each output, by its absolute path, and the last run.

    entries: those of pictures, whose `input` and `output` are absolute paths; `own` says whether percept has written the
    output, or may have.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    run: Entry = field(default_factory=dict)

    @property
    def own(self) -> set[str]:
        """The outputs that percept has written, or may have."""
        return {output for output, entry in self.entries.items() if entry["own"]}

    def failed(self) -> list[Entry]:
        """The entries of pictures whose last attempt failed."""
        return [entry for entry in self.entries.values() if entry["status"] == FAILED]


def read_manifest(path: Path) -> History:
    """What a manifest says; an empty history where there is no such file. Raises UsageError for one that cannot be read."""
    history = History()
    if not path.exists():
        return history
    run: Entry = {}
    try:
        for entry in _read_lines(path):
            if entry.get("status") == RUN:
                run = entry
            elif isinstance(entry.get("output"), str) and entry.get("status") in (STARTED, DONE, FAILED):
                output = os.path.normpath(path.absolute().parent / entry["output"])
                given = str(entry.get("input"))
                folder = str(run.get("folder", path.absolute().parent))
                own = entry["status"] != FAILED or history.entries.get(output, {}).get("own", False)
                source = os.path.normpath(os.path.join(folder, given))
                history.entries[output] = {**entry, "input": source, "output": output, "own": own}
    except OSError as error:
        raise UsageError(f"The manifest '{path}' cannot be read: {error.strerror or error}.") from error
    return History(history.entries, run)


def read_manifests(path: Path) -> History:
    """What the manifest of a folder and those of its shards say together; each result is what one says is done."""
    history = read_manifest(path)
    if path.name.startswith(MANIFEST):
        for other in sorted(path.parent.glob(f"{MANIFEST}*{SUFFIX}")):
            further = read_manifest(other)
            for output, entry in further.entries.items():
                if entry["status"] == DONE or output not in history.entries:
                    history.entries[output] = entry
    return history


def _read_lines(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):  # a line of a process that was killed while it wrote
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry


class ManifestWriter:
    """Adds entries to a manifest, each by one call of the system, so that several processes may add to one file.

    Raises UsageError where the file cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            size = os.fstat(self._handle).st_size
            if size and os.pread(self._handle, 1, size - 1) != b"\n":
                os.write(self._handle, b"\n")
        except OSError as error:
            raise UsageError(f"The manifest '{path}' cannot be written: {error.strerror or error}.") from error

    def add(self, entry: Mapping[str, Any]) -> None:
        """Adds one entry; `output`, an absolute path, is written relative to the manifest where it lies below its folder."""
        entry = dict(entry)
        if "output" in entry:
            entry["output"] = self._relative(str(entry["output"]))
        line = json.dumps(entry, default=str) + "\n"
        try:
            os.write(self._handle, line.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise UsageError(f"The manifest '{self.path}' cannot be written: {error.strerror or error}.") from error

    def close(self) -> None:
        """Closes the file."""
        os.close(self._handle)

    def _relative(self, output: str) -> str:
        folder = str(self.path.absolute().parent)
        inside = os.path.commonpath([folder, os.path.abspath(output)]) == folder
        return os.path.relpath(output, folder) if inside else os.path.abspath(output)
