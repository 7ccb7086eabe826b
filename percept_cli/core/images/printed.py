"""What the C libraries of image formats print on standard error, caught instead of shown."""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

# libjpeg's warnings (jerror.h), and libtiff's messages: `ZIPDecode: Decoding error at scanline 0, incorrect data check.`
_MESSAGE = re.compile(
    rb"^(?:Corrupt JPEG data: |Premature end of JPEG |Inconsistent progression |Invalid SOS parameters |"
    rb"Unknown Adobe color |Warning: unknown JFIF |Application transferred too many |"
    rb"(?!warning:|error:)[\w./-]+: (?=[^\n]*\.\n))[^\n]*\n",
    re.MULTILINE,
)
# Standard error is one for all threads, of which several may decode.
_LOCK = threading.Lock()


@contextlib.contextmanager
def catch_printed() -> Iterator[list[str]]:
    """A context that yields a list; after the block it holds the lines that image libraries printed in the block.

    What other threads print meanwhile reaches standard error after the block. One thread at a time is in such a block.
    """
    caught: list[str] = []
    with _LOCK:
        try:
            standard_error = os.dup(2)
        except OSError:  # it is closed
            yield caught
            return
        try:
            with _memory_file() as file:
                os.dup2(file.fileno(), 2)
                try:
                    yield caught
                finally:
                    os.dup2(standard_error, 2)
                    file.seek(0)
                    text = file.read()
                    caught += [line.decode("utf-8", "replace").strip() for line in _MESSAGE.findall(text)]
                    with contextlib.suppress(OSError):
                        os.write(standard_error, _MESSAGE.sub(b"", text))
        finally:
            os.close(standard_error)


def _memory_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()  # type: ignore[return-value]  # a BinaryIO in all but name
