"""The folder of a training run: its place, the names of its files, and its lock."""

from pathlib import Path

from percept_cli.core.files.atomic import prepare_folder
from percept_cli.core.files.locks import FolderLock
from percept_cli.errors import UsageError

CHECKPOINT, LOG, PREVIEW = "checkpoint.pt", "log.jsonl", "preview.png"


def run_folder(output: Path) -> Path:
    """The folder of a run: `starry.run/` for `starry.safetensors`."""
    return output.with_suffix(".run")


def lock_folder(folder: Path) -> FolderLock:
    """Makes the folder of a run and locks it for this process.

    Raises UsageError where another process has locked it, and where nothing can be written in it.
    """
    lock = FolderLock(folder)
    try:
        folder.mkdir(exist_ok=True)
        holder = lock.take()
    except OSError as error:
        raise UsageError(f"The folder '{folder}' cannot be written: {error.strerror or error}.") from error
    if holder is not None:
        who = f"process {holder}" if holder else "another process"
        raise UsageError(f"{folder} is in use: {who} trains there. Wait for it, stop it, or give another --output.")
    try:
        prepare_folder(folder)
    except UsageError:
        lock.release()
        raise
    return lock
