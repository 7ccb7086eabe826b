"""Long lists of files, kept in few bytes. Imports no torch."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np


class FileList(Sequence[Path]):
    """Paths of files in one text, which all threads share: about 8 bytes beside the name of each.

    A million paths as `Path` objects take some 300 bytes each. A path is made when it is asked for.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        if isinstance(index, slice):
            return [Path(self._at(position)) for position in range(*index.indices(len(self)))]
        return Path(self._at(range(len(self))[index]))

    def texts(self) -> Iterator[str]:
        """The paths as text, in order, without an object for each."""
        return map(self._at, range(len(self)))

    @property
    def nbytes(self) -> int:
        """The memory that the paths take, in bytes."""
        return len(self._text) + self._ends.nbytes

    def _at(self, position: int) -> str:
        return os.fsdecode(self._text[self._ends[position] : self._ends[position + 1]])
