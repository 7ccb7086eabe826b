"""Files that are written whole or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from percept_cli.errors import ImageError


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all. Raises ImageError where that fails."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A hidden, empty file beside `path` and with its suffix, for the block to fill; it then replaces `path`.

    Where the block fails, that file is removed and `path` is as it was. Raises ImageError for an OSError of the block.
    """
    temporary = path.with_name(f".percept-{secrets.token_hex(8)}{path.suffix}")
    try:
        # Replacing a device such as /dev/null would break every program that uses it.
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not an ordinary file"
            raise ImageError(f"'{path}' cannot be written: it is {kind}.")
        # Not by tempfile, whose files only their owner may read: with 0o666 the umask decides who may.
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
