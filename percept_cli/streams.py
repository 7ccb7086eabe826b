"""The standard streams, which may be closed, full, or of an encoding that cannot hold every name.

What is written to them never fails: an error is remembered, and the rest is discarded. So pictures are made whether or not
somebody reads about them, and the exit code tells at the end what could not be delivered.
"""

import codecs
import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

# Windows has no ENOTCONN for pipes, but EINVAL.
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN} | ({errno.EINVAL} if os.name == "nt" else set()))
_sinks: dict[str, "_Sink"] = {}


class _Sink(io.RawIOBase):
    """An unbuffered stream that discards what it cannot write, and remembers the first error."""

    def __init__(self, raw: Any, error: OSError | None = None, owner: object = None):
        super().__init__()
        # The owner of `raw` closes it with itself.
        self.raw, self.error, self.owner = raw, error, owner

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.error is None and bool(self.raw.isatty())

    def fileno(self) -> int:
        return int(self.raw.fileno())

    def write(self, data: Any) -> int | None:
        """Writes what it can; after an error it says that all was written."""
        if self.error is None:
            try:
                return self.raw.write(data)  # type: ignore[no-any-return]
            except OSError as error:
                self.error = error
        return len(memoryview(data).cast("B"))


def prepare() -> None:
    """Opens closed standard streams on the null device, and makes writing to stdout and stderr safe.

    Otherwise the next file that is opened would get the number of a closed stream, and messages would go into it.
    """
    closed = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # gets the lowest number that is free
            closed.append(number)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    codecs.register_error("percept.names", _as_the_file_system)
    _wrap("stdout", 1, "percept.names", 1 in closed)
    _wrap("stderr", 2, "backslashreplace", 2 in closed)


def failure(name: str = "stdout") -> OSError | None:
    """Why a stream could not be written; None where it could, or where there is nobody who reads it."""
    sink = _sinks.get(name)
    return None if sink is None or sink.error is None or sink.error.errno in (*_GONE, errno.EBADF) else sink.error


def undelivered() -> OSError | None:
    """Why an image could not be written to stdout, also where it is closed; None where its reader went away."""
    sys.stdout.flush()
    sink = _sinks.get("stdout")
    return None if sink is None or sink.error is None or sink.error.errno in _GONE else sink.error


def _wrap(name: str, number: int, errors: str, closed: bool) -> None:
    stream: TextIO | None = getattr(sys, name)
    if stream is None or closed:
        raw: Any = open(number, "wb", buffering=0, closefd=False)  # noqa: SIM115
        encoding = "utf-8"
    else:
        with contextlib.suppress(OSError):
            stream.flush()
        raw = getattr(stream.buffer, "raw", stream.buffer)
        encoding = stream.encoding
    sink = _sinks[name] = _Sink(raw, OSError(errno.EBADF, "it is closed") if closed else None, stream)
    buffer = io.BufferedWriter(sink)
    setattr(sys, name, io.TextIOWrapper(buffer, encoding, errors, line_buffering=name == "stderr" or sink.isatty()))


def _as_the_file_system(error: UnicodeError) -> tuple[bytes | str, int]:
    """What an encoding cannot hold, as the bytes that file names have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    try:
        return os.fsencode(part), error.end
    except UnicodeEncodeError:
        return codecs.backslashreplace_errors(error)
