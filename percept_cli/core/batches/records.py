"""The manifest of a batch: one line of JSON for each picture that was begun, done or failed, and for each run.

Lines are only added. A process that is killed leaves at most a part of a line at the end, which is not read.
"""

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
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


def part_name(manifest: Path, part: str) -> str:
    """The name of a part of a manifest, to which one worker of a cluster adds."""
    return f"{manifest.stem}-part-{part}{SUFFIX}"


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
        for entry in read_entries(path):
            if entry.get("status") == RUN:
                run = entry
            elif isinstance(entry.get("output"), str) and entry.get("status") in (STARTED, DONE, FAILED):
                output = os.path.normpath(path.absolute().parent / entry["output"])
                if not _is_later(entry, history.entries.get(output), same_file=True):
                    continue  # the parts of a cluster's workers come one after another
                given = str(entry.get("input"))
                folder = str(run.get("folder", path.absolute().parent))
                own = entry["status"] != FAILED or history.entries.get(output, {}).get("own", False)
                source = os.path.normpath(os.path.join(folder, given))
                history.entries[output] = {**entry, "input": source, "output": output, "own": own}
    except OSError as error:
        raise UsageError(f"The manifest '{path}' cannot be read: {error.strerror or error}.") from error
    return History(history.entries, run)


def read_manifests(path: Path) -> History:
    """What the manifest of a folder says with those of its shards and its parts; of two entries of a result the later one."""
    history = read_manifest(path)
    pattern = f"{MANIFEST}*{SUFFIX}" if path.name.startswith(MANIFEST) else part_name(path, "*")
    for other in sorted(path.parent.glob(pattern)):
        for output, entry in read_manifest(other).entries.items():
            known = history.entries.get(output)
            if _is_later(entry, known, same_file=False):
                history.entries[output] = {**entry, "own": entry["own"] or (known is not None and known["own"])}
    return history


def _is_later(entry: Entry, known: Entry | None, *, same_file: bool) -> bool:
    """Whether an entry says more of a result than the one that is known: the later one, by its time or its place in a file.

    What one of several files calls done, no other one takes back; whether it is still so the result itself shows.
    """
    if known is None:
        return True
    done, known_done = entry["status"] == DONE, known["status"] == DONE
    if not same_file and done != known_done:
        return done
    times = entry.get("unix_time"), known.get("unix_time")
    if not all(isinstance(each, float) for each in times):
        return same_file or done
    return times[0] >= times[1] if same_file else times[0] > times[1]  # type: ignore[operator]


def read_entries(path: Path, names: Collection[bytes] | None = None) -> Iterator[Entry]:
    """The entries of a manifest or of a part; names: only those of lines in which one of them occurs. Raises OSError."""
    with path.open("rb") as file:
        for line in file:
            if names is not None and not any(name in line for name in names):
                continue
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
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            if os.lseek(self._handle, 0, os.SEEK_END):
                os.lseek(self._handle, -1, os.SEEK_END)
                if os.read(self._handle, 1) != b"\n":
                    os.write(self._handle, b"\n")
        except OSError as error:
            raise UsageError(f"The manifest '{path}' cannot be written: {error.strerror or error}.") from error

    def add(self, entry: Mapping[str, Any]) -> None:
        """Adds one entry; `output`, an absolute path, is written relative to the manifest where it lies below its folder."""
        entry = {**entry, "unix_time": round(time.time(), 3)}
        if "output" in entry:
            entry["output"] = self._relative(str(entry["output"]))
        self.add_line((json.dumps(entry, default=str) + "\n").encode("utf-8", "surrogateescape"))

    def add_line(self, line: bytes) -> None:
        """Adds a line as it stands in another manifest in the same folder."""
        try:
            os.write(self._handle, line)
        except OSError as error:
            raise UsageError(f"The manifest '{self.path}' cannot be written: {error.strerror or error}.") from error

    def close(self) -> None:
        """Closes the file."""
        os.close(self._handle)

    def _relative(self, output: str) -> str:
        folder = str(self.path.absolute().parent)
        inside = Path(os.path.abspath(output)).is_relative_to(folder)
        return os.path.relpath(output, folder) if inside else os.path.abspath(output)
