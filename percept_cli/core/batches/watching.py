"""Folders that fill up: new pictures are taken when nothing writes into them any more."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from percept_cli.core.files.inputs import InputItem, list_images

INTERVAL = 1.0  # seconds between two looks; a file that is the same in both has settled

State = tuple[int, int]
"""The size of a file in bytes, and its time of change in nanoseconds."""


def settled(before: Mapping[Path, State], now: Mapping[Path, State], taken: Iterable[Path]) -> list[Path]:
    """The files that are as they were a look ago and hold something, without those that were taken, sorted."""
    seen = set(taken)
    return sorted(path for path, state in now.items() if before.get(path) == state and state[0] and path not in seen)


class Watcher:
    """Finds the pictures that appear in folders, each once. recursive: in all folders below them too."""

    def __init__(self, folders: Sequence[Path], recursive: bool, clock: Callable[[], float] = time.monotonic):
        self.folders, self.recursive, self.clock = folders, recursive, clock
        self._taken: set[Path] = set()
        self._before: dict[Path, State] = {}
        self._last = -INTERVAL

    def look(self) -> list[InputItem]:
        """The pictures that have settled since the last look; none where that was less than INTERVAL ago."""
        if self.clock() - self._last < INTERVAL:
            return []
        self._last = self.clock()
        now = {path: state for path in self._list() if (state := _state(path)) is not None}
        new = settled(self._before, now, self._taken)
        self._before = now
        self._taken.update(new)
        return [InputItem(path, path.relative_to(self._folder_of(path))) for path in new]

    def _list(self) -> list[Path]:
        return [path for folder in self.folders for path in list_images(folder, recursive=self.recursive)]

    def _folder_of(self, path: Path) -> Path:
        return next(folder for folder in self.folders if path.is_relative_to(folder))


def _state(path: Path) -> State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # it went away
    return found.st_size, found.st_mtime_ns
