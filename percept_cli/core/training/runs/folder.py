"""The folder of a training run: its place, the names of its files, its lock, and the checksum of its model."""

from pathlib import Path

from percept_cli.core.files.atomic import atomic_write_bytes, prepare_folder
from percept_cli.core.files.locks import FolderLock
from percept_cli.core.pretrained.files import sha256_of
from percept_cli.errors import UsageError

CHECKPOINT, LOG, PREVIEW, MODEL = "checkpoint.pt", "log.jsonl", "preview.png", "model.sha256"


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


def note_model(output: Path) -> None:
    """Notes the checksum of the model that a run has written, for `is_own_model`. Raises ImageError where that fails."""
    atomic_write_bytes(run_folder(output) / MODEL, sha256_of(output).encode(), overwrite=True)


def is_own_model(output: Path) -> bool:
    """Whether the model is still the one that the run of its name has written."""
    note = run_folder(output) / MODEL
    return note.is_file() and output.is_file() and note.read_text() == sha256_of(output)
