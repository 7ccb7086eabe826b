"""The scalings of losses: by their usual sizes, or as in the papers."""

from percept_cli.core.choices import SCALINGS
from percept_cli.errors import UsageError, unknown_name


def is_typical(scaling: str) -> bool:
    """Whether a `--scaling` divides terms by their usual size. Raises UsageError, with a suggestion, for unknown names."""
    if scaling not in SCALINGS:
        raise UsageError(unknown_name("scaling", scaling, SCALINGS))
    return scaling == "typical"
