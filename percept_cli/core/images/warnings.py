"""What Pillow warns of while it reads a picture, as a note of the photograph, in any thread."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The photograph has a note instead; that of damaged EXIF data is percept's own.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
OWN_NOTES = ("TiffImagePlugin",)

_of_thread = threading.local()
_routed = threading.Event()


@contextlib.contextmanager
def warnings_in_threads() -> Iterator[None]:
    """A context, entered by the main thread, in which what Pillow warns of in any thread becomes a note of its photograph.

    Python has one list of filters for all threads, so that no thread can change them for itself.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning, module=r"PIL\.")
        shown = warnings.showwarning

        def show(message: Any, category: Any, filename: str, *more: Any) -> None:
            caught = getattr(_of_thread, "caught", None)
            if caught is None or Path(filename).parent.name != "PIL":
                shown(message, category, filename, *more)
            else:
                caught.append((str(message), filename))

        warnings.showwarning = show  # type: ignore[assignment]
        _routed.set()
        try:
            yield
        finally:
            _routed.clear()


@contextlib.contextmanager
def noted_warnings(notes: list[str]) -> Iterator[None]:
    """A context in which Pillow's warnings become one note. In threads that is so within `warnings_in_threads` alone."""
    if threading.current_thread() is threading.main_thread() and not _routed.is_set():
        with warnings_in_threads(), noted_warnings(notes):
            yield
        return
    _of_thread.caught = caught = list[tuple[str, str]]()
    try:
        yield
    finally:
        _of_thread.caught = None
    own = [message for message, filename in caught if Path(filename).stem not in OWN_NOTES]
    if own:
        more = f" (and {len(own) - 1} more warnings)" if len(own) > 1 else ""
        notes.append(f"Pillow warns: {own[0].rstrip('.')}{more}")
