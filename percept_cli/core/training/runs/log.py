"""The log of a training: a file with a line of JSON for each step."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from percept_cli.core.files.atomic import atomic_path
from percept_cli.core.training.loop import TrainingStep
from percept_cli.errors import ModelError


@dataclass
class TrainingLog:
    """A log that steps are appended to, at once in the file: the log of a killed run is complete.

    Lines that could not be written, as on a full disk, are kept and written with the next.
    """

    path: Path
    _waiting: list[bytes] = field(default_factory=list)

    def append(self, step: TrainingStep, warn: Callable[[str], None]) -> None:
        """Appends a step; warn: called where it could not be written yet."""
        line = {"step": step.index, "total": step.total, "parts": step.parts, "learning_rate": step.learning_rate}
        self._waiting.append(json.dumps(line).encode() + b"\n")
        try:
            self._write()
        except OSError as error:
            warn(f"{self.path} cannot be written ({error.strerror or error}): its lines wait until it can")

    def _write(self) -> None:
        # Unbuffered, so that what does not fit is known here, and taken back.
        with self.path.open("ab", buffering=0) as file:
            before, data = file.seek(0, os.SEEK_END), b"".join(self._waiting)
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(before)
                raise
        self._waiting.clear()


def begin_log(path: Path, keep_steps: int) -> TrainingLog:
    """Begins the log of a run; of an existing log, the lines of the first `keep_steps` steps are kept.

    A resumed run logs the steps after its checkpoint again, so what follows those lines is removed, also the line that a
    killed run did not finish. Raises ModelError for a broken line among those that are kept, ImageError where the log
    cannot be written.
    """
    kept: list[bytes] = []
    last = 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True) if keep_steps and path.is_file() else ()):
        if last >= keep_steps:
            break
        step = _step_of(line)
        if step is None or step <= last:
            raise ModelError(
                f"{path} is damaged in line {number + 1}. Delete it to go on without the log of the first steps, or "
                "start again without --resume."
            )
        if step > keep_steps:
            break
        kept.append(line)
        last = step
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(b"".join(kept))
    return TrainingLog(path)


def _step_of(line: bytes) -> int | None:
    """The step of a whole line of a log; None for a broken one."""
    try:
        entry = json.loads(line) if line.endswith(b"}\n") else None
    except ValueError:  # no JSON, or no UTF-8
        return None
    step = entry.get("step") if isinstance(entry, dict) else None
    whole = (
        isinstance(entry, dict) and isinstance(entry.get("parts"), dict) and type(entry.get("total")) in (int, float)
    )
    return step if whole and type(step) is int else None
