"""Pictures in terminals: the protocol that a terminal supports, and the text that is sent to it."""

import base64
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from torch import Tensor

from percept_cli.core.images.photo import quantize, resize_image

Way = Literal["kitty", "iterm2", "blocks"]
Pair = tuple[tuple[int, int, int], tuple[int, int, int]]

KITTY_CHUNK = 4096  # bytes of base64 an escape sequence, the most that the protocol takes
LONGEST = 1200  # pixels; a terminal does not show more


def picture_way(environment: Mapping[str, str], is_terminal: bool) -> Way | None:
    """How a terminal shows a picture, by its environment variables.

    None where the output is no terminal, NO_COLOR is set, or TERM is dumb or missing. Half blocks within tmux and screen,
    which do not pass images on.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if not is_terminal or environment.get("NO_COLOR") or term in ("", "dumb"):
        return None
    if "TMUX" in environment or "STY" in environment:
        return "blocks"
    if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return "blocks"


def kitty_sequence(png: bytes, columns: int) -> str:
    """A PNG file in kitty's graphics protocol, shown `columns` cells wide: escape sequences of at most 4096 bytes of data."""
    data = base64.b64encode(png).decode()
    chunks = [data[start : start + KITTY_CHUNK] for start in range(0, len(data), KITTY_CHUNK)]
    sequences = []
    for number, chunk in enumerate(chunks):
        more = int(number < len(chunks) - 1)
        # q=2: no reply from the terminal, which would be read as typed text.
        keys = f"a=T,f=100,q=2,c={columns},m={more}" if number == 0 else f"m={more}"
        sequences.append(f"\x1b_G{keys};{chunk}\x1b\\")
    return "".join(sequences) + "\n"


def iterm2_sequence(png: bytes, columns: int) -> str:
    """A PNG file in iTerm2's inline images protocol, shown `columns` cells wide."""
    data = base64.b64encode(png).decode()
    return f"\x1b]1337;File=inline=1;size={len(png)};width={columns};preserveAspectRatio=1:{data}\x07\n"


def shown_columns(height: int, width: int, columns: int, rows: int) -> int:
    """The largest width in cells at which the whole picture is visible; a cell is about twice as high as wide."""
    return max(1, min(columns, math.floor(2 * rows * width / height)))


def half_blocks(pixels: Tensor, columns: int, rows: int) -> list[list[Pair]]:
    """A picture (1, 3, H, W) in [0, 1] as rows of cells, each an upper and a lower pixel (red, green, blue) from 0 to 255."""
    height, width = pixels.shape[-2:]
    across = min(shown_columns(height, width, columns, rows), width)
    down = max(1, round(across * height / width / 2))
    levels = quantize(resize_image(pixels.float().cpu(), 2 * down, across), np.uint8).tolist()
    return [
        [(tuple(upper), tuple(lower)) for upper, lower in zip(levels[row], levels[row + 1], strict=True)]
        for row in range(0, 2 * down, 2)
    ]


def for_terminal(pixels: Tensor) -> Tensor:
    """A picture (1, 3, H, W), reduced to a long side of at most `LONGEST` pixels."""
    height, width = pixels.shape[-2:]
    factor = min(1.0, LONGEST / max(height, width))
    return resize_image(pixels, max(1, round(height * factor)), max(1, round(width * factor)))
