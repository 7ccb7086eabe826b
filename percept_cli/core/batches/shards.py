"""Parts of a job for several machines: which pictures are in a part depends on their names alone."""

import hashlib
import re
from pathlib import Path

from percept_cli.errors import UsageError


def parse_shard(text: str) -> tuple[int, int]:
    """The part and the number of parts of `3/16`. Raises UsageError for anything else."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts:
        raise UsageError(f"--shard {text}: give the part and the number of parts, such as 3/16; the first is 1/16.")
    return part, parts


def is_in_shard(relative: Path, shard: tuple[int, int]) -> bool:
    """Whether a picture is in a part; relative: its path below the folder that was searched, the same on every machine."""
    name = relative.as_posix().encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(name).digest()[:8]) % shard[1] == shard[0] - 1
