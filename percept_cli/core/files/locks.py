"""Locks on files that the operating system frees when their process ends, however it ends. Imports no torch."""

import contextlib
import os
from pathlib import Path
from typing import ClassVar

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

# Windows locks bytes, which nobody else can then read: one far behind what the file holds.
FAR = 1 << 30


def try_lock(handle: int) -> bool | None:
    """Locks an open file for this process; False where another holds it, None where its filesystem has no locks.

    The lock is free again when the file is closed, or when the process ends or is killed.
    """
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(handle, FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether a path still leads to an open file, which another process may have removed or replaced."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


class FolderLock:
    """The right of one process to work in a folder, held by the file `lock` in it with the process id.

    `take` gets it; `release`, or the end of the process in any way, gives it back. Within a process any number may hold
    it, and the last to release it gives it back.
    """

    _held: ClassVar[dict[str, tuple[int, int]]] = {}  # place: the open file, and how many of this process hold it

    def __init__(self, folder: Path):
        self.path = folder / "lock"
        self._place = os.path.realpath(self.path)
        self._taken = False

    def take(self) -> int | None:
        """Takes the lock and returns None, or else the id of the process that holds it (0 if that is not known).

        Where the filesystem has no locks, it is always taken. Raises OSError where the file cannot be made.
        """
        if self._taken:
            return None
        handle, holders = self._held.get(self._place, (None, 0))
        if handle is None:
            handle, held_by = self._open()
            if handle is None:
                return held_by
        self._held[self._place] = handle, holders + 1
        self._taken = True
        return None

    def _open(self) -> tuple[int | None, int]:
        """The open file with its lock; or None, and the id of the process that holds it."""
        while True:
            handle = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o666)
            if try_lock(handle) is False:
                os.lseek(handle, 0, os.SEEK_SET)
                number = os.read(handle, 20)
                os.close(handle)
                return None, int(number) if number.strip().isdigit() else 0
            # Whoever held the lock may have removed the file between the two calls above.
            if is_at(handle, self.path):
                break
            os.close(handle)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the number in it
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, f"{os.getpid()}\n".encode())
        return handle, 0

    def release(self) -> None:
        """Gives the lock back and removes its file; does nothing where it is not held."""
        if not self._taken:
            return
        self._taken = False
        handle, holders = self._held.pop(self._place)
        if holders > 1:
            self._held[self._place] = handle, holders - 1
            return
        with contextlib.suppress(OSError):  # Windows removes no file that is open; the next run takes it as it is
            self.path.unlink()
        os.close(handle)

    def __del__(self) -> None:
        self.release()
