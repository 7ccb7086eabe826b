"""The errors that a user can cause or repair, each with its exit code."""

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    INTERNAL = 1
    USAGE = 2
    SOME_FAILED = 3
    ALL_FAILED = 4
    MODEL = 5
    DEVICE = 6
    INTERRUPTED = 130
    TERMINATED = 143


class PerceptError(Exception):
    """An error that the user can repair: its text says what was given, what is allowed and what to do."""

    exit_code: ExitCode = ExitCode.USAGE


class UsageError(PerceptError):
    """A wrong option, or anything else that a check before the work finds."""


class DivergenceError(UsageError):
    """A training or an optimization whose loss, gradient or weights are no finite numbers any more."""


class ImageError(PerceptError):
    """An input that cannot be read, or an output that cannot be written."""

    exit_code = ExitCode.ALL_FAILED


class ModelError(PerceptError):
    """A model or weight file that is missing, damaged or of an unknown format."""

    exit_code = ExitCode.MODEL


class DeviceError(PerceptError):
    """A device that is not available, or too little memory."""

    exit_code = ExitCode.DEVICE


class MemoryShortage(DeviceError):
    """Too little memory for one piece of work; others may fit."""


class VerificationError(PerceptError):
    """A result that percept itself checked and found wrong."""

    exit_code = ExitCode.INTERNAL


class Interrupted(BaseException):
    """Work stopped by a signal. Not an Exception, so that code which handles failures of the work does not catch it."""

    def __init__(self, message: str, exit_code: ExitCode):
        super().__init__(message)
        self.exit_code = exit_code


def unknown_name(kind: str, given: str, choices: Iterable[str], *, hint: str = "", listed: bool = True) -> str:
    """The message for a name that is not known: with the closest known name, if any, then all of them if `listed`."""
    import difflib

    choices = list(choices)
    close = difflib.get_close_matches(given, choices, n=1)
    suggestion = f" Did you mean '{close[0]}'?" if close else ""
    listing = f" Known: {', '.join(choices)}." if choices and listed else ""
    return f"Unknown {kind} '{given}'.{suggestion}{listing}{' ' + hint if hint else ''}"
