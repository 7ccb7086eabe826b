"""Files that are written whole or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from percept_cli.errors import ImageError


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; ImageError in one sentence where that fails."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A hidden, empty file beside `path`, with its suffix, to be filled within the block and then put in its place.

    If the block fails, that file is removed and `path` is untouched. An OSError of the block becomes ImageError.
    """
    temporary = path.with_name(f".percept-{secrets.token_hex(8)}{path.suffix}")
    try:
        # Replacing a device such as /dev/null would take it away from every program.
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not an ordinary file"
            raise ImageError(f"'{path}' cannot be written: it is {kind}.")
        # Made here and not by tempfile, whose files only their owner may read: 0o666 leaves it to the umask.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        if path.exists():
            shutil.copymode(path, temporary)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ImageError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
