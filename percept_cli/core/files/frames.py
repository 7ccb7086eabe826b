"""Which frames of animations a command works on."""

from percept_cli.errors import UsageError

FIRST, ALL = "first", "all"


def parse_frames(text: str) -> int | str:
    """`all`, or the number of one frame, from 1, which is also `first`. Raises UsageError for anything else."""
    given = text.strip().lower()
    if given == ALL:
        return ALL
    if given == FIRST:
        return 1
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"--frames {text}: give all, first, or the number of a frame; the first one is 1.")
    return int(given)
