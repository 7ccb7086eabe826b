"""The only module that prints: results on stdout, everything else on stderr."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from percept_cli import interruption, streams
from percept_cli.errors import ImageError

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.drawing.terminal import Pair


class Console:
    """Prints messages and results.

    quiet: only warnings, errors and figures; as_json: each result is one JSON object a line; verbose: details too.
    """

    pictures = 0  # how many files this process has reported as written

    def __init__(self, quiet: bool = False, as_json: bool = False, verbose: bool = False):
        self.quiet, self.as_json, self.verbose = quiet, as_json, verbose and not quiet
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Prints a message; the same one only once."""
        if not self.quiet and message not in self._said:
            self._said.add(message)
            self._print(message, sys.stderr)

    def detail(self, message: str) -> None:
        """Prints a message where details were asked for."""
        if self.verbose:
            self.say(message)

    def warn(self, message: str) -> None:
        """Prints a warning; the same one only once."""
        if message not in self._said:
            self._said.add(message)
            self._print(f"warning: {message}", sys.stderr)

    def error(self, message: str) -> None:
        """Prints an error."""
        self._print(f"error: {message}", sys.stderr)

    def result(self, text: str, **fields: Any) -> None:
        """Prints one result: its text, or with --json its fields as one object a line."""
        Console.pictures += fields.get("output") is not None
        if self.as_json:
            self._print(json.dumps(fields, default=str), sys.stdout)
        elif text and not self.quiet:
            self._print(text, sys.stdout)

    def figures(self, text: str, **fields: Any) -> None:
        """Prints what a command was asked to find out: as a result, and where the console is quiet too."""
        self._print(json.dumps(fields, default=str) if self.as_json else text, sys.stdout)

    @property
    def binary(self) -> BinaryIO:
        """Standard output, for the bytes of an image; its `write` raises ImageError where they cannot be delivered."""
        return _Delivery(sys.stdout.buffer)  # type: ignore[return-value]

    def show(self, pixels: "Tensor") -> None:
        """Shows a picture (1, 3, H, W) in [0, 1] on the terminal, if that can show pictures."""
        from percept_cli.core.drawing.terminal import picture_way

        way = None if self.quiet else picture_way(os.environ, sys.stderr.isatty())
        if way is None:
            return
        from percept_cli.core.drawing.terminal import (
            for_terminal,
            half_blocks,
            iterm2_sequence,
            kitty_sequence,
            shown_columns,
        )
        from percept_cli.core.images.encode import encode_image
        from percept_cli.core.images.photo import Photo

        if Progress.bar is not None:
            Progress.bar.clear()
        columns, lines = shutil.get_terminal_size()
        if way == "blocks":
            self._stderr_blocks(half_blocks(pixels, columns, lines - 2), columns)
            return
        png = encode_image(Photo(for_terminal(pixels)), ".png")[0]
        wide = shown_columns(pixels.shape[-2], pixels.shape[-1], columns, lines - 2)
        sys.stderr.write((kitty_sequence if way == "kitty" else iterm2_sequence)(png, wide))
        sys.stderr.flush()

    def _stderr_blocks(self, cells: "list[list[Pair]]", columns: int) -> None:
        from rich.color import Color
        from rich.console import Console as Terminal
        from rich.segment import Segment, Segments
        from rich.style import Style

        segments = []
        for row in cells:
            for upper, lower in row:
                segments.append(Segment("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))))
            segments.append(Segment.line())
        # rich takes the nearest of the colors that the terminal has.
        Terminal(file=sys.stderr, width=columns).print(Segments(segments), end="")

    def progress(self, total: int, unit: str, initial: int = 0, *, shown: bool = True) -> "Progress":
        """A progress bar on a terminal, elsewhere one line every 30 seconds; nothing when quiet or not `shown`."""
        return Progress(total, unit, initial, self if shown else Console(quiet=True))

    def _print(self, text: str, stream: TextIO) -> None:
        if Progress.bar is not None:
            Progress.bar.write(text, file=stream)
            stream.flush()
        else:
            print(text, file=stream, flush=True)


class _Delivery:
    """Standard output for the bytes of an image."""

    def __init__(self, stream: BinaryIO):
        self.stream = stream

    def write(self, data: bytes) -> None:
        """Writes all bytes. Raises ImageError where that fails, but not where the reader has gone."""
        self.stream.write(data)
        self.flush()

    def flush(self) -> None:
        """Raises ImageError where bytes could not be written."""
        self.stream.flush()
        error = streams.undelivered()
        if error is not None:
            raise ImageError(f"The picture could not be written to standard output: {error.strerror or error}.")


class Failures:
    """The inputs that could not be used; each is reported when it is added. field: its name in a line of --json."""

    def __init__(self, console: Console, field: str = "file"):
        self.console, self.field, self.inputs = console, field, list[str]()

    def add(self, source: Path | str, reason: str) -> None:
        """Reports why an input could not be used, as an error and with --json as a result too."""
        name = str(source)
        self.inputs.append(name)
        self.console.error(reason if name in reason else f"{name}: {reason}")
        if self.console.as_json:
            self.console.result("", **{self.field: name}, status="failed", error=reason)


class Progress:
    """How far a long piece of work is: a bar on a terminal, elsewhere one line every 30 seconds.

    It shows the rate, the time left and one figure in at most 80 columns; a verbose console gets a line of all figures every
    10 seconds.
    """

    LINE_EVERY, DETAILS_EVERY = 30.0, 10.0
    COLUMNS = 80
    bar: Any = None  # the one bar on the terminal, through which messages are printed

    def __init__(self, total: int, unit: str, initial: int, console: Console):
        interruption.check()
        self.total, self.unit, self.done, self.console = total, unit, initial, console
        self._initial, self._started = initial, time.monotonic()
        self._last_line = self._last_details = self._started
        self._own_bar: Any = None
        if not console.quiet and sys.stderr.isatty() and Progress.bar is None:
            from tqdm import tqdm

            self._own_bar = Progress.bar = tqdm(
                total=total, unit=unit, initial=initial, file=sys.stderr, leave=False,
                ncols=min(self.COLUMNS, shutil.get_terminal_size().columns) - 1,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {rate_fmt}, {remaining} left{postfix}",
            )  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._own_bar is not None:
            self._own_bar.close()
            Progress.bar = None

    def advance(self, amount: int = 1, figures: Mapping[str, float] | None = None) -> None:
        """Adds pieces that are done. figures: by name; the first is shown beside the bar."""
        interruption.check()
        self.done += amount
        now = time.monotonic()
        notes = [f"{name} {value:.3g}" for name, value in (figures or {}).items()]
        if self._own_bar is not None:
            self._own_bar.set_postfix_str(notes[0] if notes else "", refresh=False)
            self._own_bar.update(amount)
        elif not self.console.quiet and now - self._last_line >= self.LINE_EVERY:
            self._last_line = now
            left = (now - self._started) / max(1, self.done - self._initial) * (self.total - self.done)
            figure = f", {notes[0]}" if notes else ""
            self.console.say(f"{self.unit} {self.done}/{self.total}, {left / 60:.1f} min left{figure}")
        if len(notes) > 1 and now - self._last_details >= self.DETAILS_EVERY:
            self._last_details = now
            self.console.detail(f"{self.unit} {self.done}: {', '.join(notes)}")
