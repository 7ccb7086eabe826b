"""Files that are written whole or not at all, and never in the place of a file that nobody allowed to be replaced."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from percept_cli.core.files.locks import is_at, try_lock
from percept_cli.errors import ImageError, UsageError

# The beginning of the names of files that are being written. Each is locked by its process, so that one without a lock
# was left by a process that was killed.
TEMPORARY = ".percept-"


class PlaceTakenError(ImageError):
    """A file appeared under the name of a result after the work for it began."""


def atomic_write_bytes(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Writes a file whole or not at all. Raises as `atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic_path(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A hidden, empty file beside `path` and with its suffix, for the block to fill; it then gets the name `path`.

    overwrite: whether it may replace a file of that name. When the block is left, the result is on the disk, not only in
    the memory of the system. Where the block fails, the hidden file is removed and `path` is as it was. Raises ImageError
    for an OSError of the block, PlaceTakenError where `path` exists and `overwrite` is False.
    """
    temporary: Path | None = None
    handle: int | None = None
    try:
        # Replacing a device such as /dev/null would break every program that uses it.
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not an ordinary file"
            raise ImageError(f"'{path}' cannot be written: it is {kind}.")
        temporary, handle = _create_locked(path.parent, path.suffix)
        if overwrite and path.exists():
            shutil.copymode(path, temporary)
        yield temporary
        _sync(handle)
        if os.name == "nt":  # which renames no file that is open
            os.close(handle)
            handle = None
        _place(temporary, path, overwrite=overwrite)
        sync_folder(path.parent)
    except OSError as error:
        raise ImageError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    finally:
        if handle is not None:
            os.close(handle)
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _create_locked(folder: Path, suffix: str = "") -> tuple[Path, int]:
    """A new hidden file in a folder, and its open handle, which holds its lock."""
    while True:
        path = folder / f"{TEMPORARY}{os.urandom(8).hex()}{suffix}"
        # Not by tempfile, whose files only their owner may read: with 0o666 the umask decides who may.
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if try_lock(handle) is not False and is_at(handle, path):
            return path, handle
        os.close(handle)  # another process took it for one that was left, before it was locked


def _place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Gives a file its name. Raises PlaceTakenError where that exists and `overwrite` is False."""
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):
            # A filesystem without hard links (FAT, some network ones): an empty file takes the name and is replaced.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            os.replace(temporary, path)
    except FileExistsError as error:
        raise PlaceTakenError(
            f"'{path}' exists: it appeared after this work had begun and was left as it is, so this result was not "
            "written. Run this again with --overwrite to replace it, or with another name."
        ) from error


def _sync(handle: int) -> None:
    """Brings a file's content to the disk, where its filesystem can do that."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise


def sync_file(path: Path) -> None:
    """Brings a file's content to the disk. Raises OSError, also for a file that does not exist."""
    handle = os.open(path, os.O_RDWR)
    try:
        _sync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Brings the names of a folder's files to the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def prepare_folder(folder: Path) -> None:
    """Checks that files can be made in a folder, and removes from it what killed processes left half written.

    A folder that does not exist is checked where it would be made. Raises UsageError where no file can be made.
    """
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        path, handle = _create_locked(folder)
        os.close(handle)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"Nothing can be written into the folder '{folder}': {error.strerror or error}. Choose another folder, or "
            "make this one writable."
        ) from error
    remove_left_behind(folder)


def remove_left_behind(folder: Path) -> None:
    """Removes the half-written files of processes that were killed; those of running ones are locked and stay."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{TEMPORARY}*"):
            with contextlib.suppress(OSError):
                handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
                try:
                    left_behind = try_lock(handle) and is_at(handle, path)
                    if left_behind and os.name != "nt":
                        path.unlink()  # while it is locked: its process may be about to lock it
                finally:
                    os.close(handle)
                if left_behind and os.name == "nt":  # which removes no file that is open, here or there
                    path.unlink()
