"""The stream of an image: an ordinary file or standard input, and nothing that could be waited for."""

import contextlib
import errno
import io
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from percept_cli.errors import ImageError


def open_stream(source: Path | BinaryIO | None, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
    """A context of the stream of an image, which can seek; None is standard input, which stays open. name: in messages.

    Raises ImageError for what is no ordinary file, cannot be read or is empty.
    """
    try:
        if isinstance(source, Path):
            _refuse_special(source, name)
            stream: BinaryIO = source.open("rb")
        else:
            stream = source or sys.stdin.buffer
            # Pillow goes back to the start, which a pipe cannot.
            stream = stream if stream.seekable() else io.BytesIO(stream.read())
            stream.seek(0)  # it may have been read before
        if not stream.read(1):
            raise ImageError(f"'{name}' is empty.")
        stream.seek(0)
    except FileNotFoundError as error:
        raise ImageError(f"'{name}' does not exist.") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        looped = isinstance(error, OSError) and error.errno == errno.ELOOP
        reason = "its links lead in a circle" if looped else getattr(error, "strerror", None) or error
        raise ImageError(f"'{name}' cannot be read: {reason}.") from error
    return stream if isinstance(source, Path) else contextlib.nullcontext(stream)


def _refuse_special(source: Path, name: str) -> None:
    # Before it is opened, as to open a pipe waits for its writer.
    kind = stat.S_IFMT(source.stat().st_mode)
    if kind == stat.S_IFDIR:
        os.scandir(source).close()  # raises OSError where the folder cannot be read, which is worth more to know
        raise ImageError(f"'{name}' is a folder, not an image.")
    if kind == stat.S_IFIFO:
        raise ImageError(f"'{name}' is a pipe, not a file: give '-' and feed the image to standard input.")
    if kind != stat.S_IFREG:
        raise ImageError(f"'{name}' is a device, not an image.")
