"""Signals that stop the program: Ctrl-C, SIGTERM and SIGHUP.

The first signal raises Interrupted where the program is. Libraries may swallow that, so it is remembered too, and the
loops look (`check`). While a module is imported nothing may be raised, as imports turn it into other errors: before the
work begins the program ends at once with its sentence, and during the work the next look finds the signal. A second signal
always ends the program at once.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from percept_cli.errors import ExitCode, Interrupted

NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_received: list[int] = []  # the signals that were received
_state = {"deferred": False, "begun": False}


def install() -> None:
    """Handles the signals from now on, with none received. A SIGHUP that nohup ignores stays ignored."""
    _received.clear()
    _state.update(deferred=False, begun=False)
    sys.unraisablehook = _unraisable
    for number in NUMBERS:
        if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def end() -> None:
    """Lets every signal end the program at once from now on: the work is done."""
    for number in NUMBERS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, lambda number, frame: _leave(number))


def ignore() -> None:
    """Ignores the signals from now on: Python ends itself, all is done, and its end would give them their default action."""
    for number in NUMBERS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)


def check() -> None:
    """Raises Interrupted where a signal was received that nothing has ended yet; the work has begun."""
    _state["begun"] = True
    if _received and not _state["deferred"]:
        raise interrupted()


def received() -> int | None:
    """The first signal that was received, None where there is none."""
    return _received[0] if _received else None


def interrupted(message: str = "") -> Interrupted:
    """The error for the signal that was received, here or in another process of a training; message: what to tell of it."""
    number = _received[0] if _received else signal.SIGTERM
    return Interrupted(message or _sentence(number), code_of(number))


def code_of(number: int) -> ExitCode:
    """The exit code for a signal."""
    return ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A context in which the first signal is only remembered, for the work to end where it can go on later."""
    _state.update(deferred=True, begun=True)
    try:
        yield
    finally:
        _state["deferred"] = False


def _handle(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if len(_received) > 1:
        if _state["deferred"] and len(_received) == 2:
            raise Interrupted(
                "stopped at once; repeat the command with --resume to go on from the last checkpoint", code_of(number)
            )
        _leave(number)
    if _state["deferred"]:
        return
    if _is_importing(frame):
        if not _state["begun"]:
            _leave(number)
        return
    raise interrupted()


def _leave(number: int) -> None:
    """Ends the program now, without the clean-up that Python does, which a module half imported may break."""
    with contextlib.suppress(OSError):
        os.write(2, f"error: {_sentence(number)}\n".encode())
    os._exit(code_of(number))


def _sentence(number: int) -> str:
    return f"stopped by {signal.Signals(number).name}; what was finished is kept"


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _unraisable(problem: "sys.UnraisableHookArgs") -> None:
    """Prints nothing where a library could not pass Interrupted on: it is remembered, and the next look finds it."""
    if not isinstance(problem.exc_value, Interrupted):
        sys.__unraisablehook__(problem)
