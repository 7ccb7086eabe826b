"""How much larger a picture is to become, and which network's factor that takes; needs no torch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from percept_cli.errors import ImageError, ModelError, UsageError


@dataclass(frozen=True)
class Enlargement:
    """A factor, a width or a height in pixels, one of the three; `exact`: by a network of just that factor."""

    factor: float | None = None
    width: int | None = None
    height: int | None = None
    exact: bool = False

    @property
    def label(self) -> str:
        """Its name in the names of outputs: x4, x2.5, w3000, h2000."""
        if self.factor is not None:
            return f"x{self.factor:g}"
        return f"w{self.width}" if self.width is not None else f"h{self.height}"

    def factor_for(self, height: int, width: int) -> float:
        """How many times larger a picture of this size becomes. ImageError for one that is as large already."""
        if self.factor is not None:
            return self.factor
        wanted, given, side = (
            (self.width, width, "wide") if self.width is not None else (self.height, height, "high")
        )  # fmt: skip
        assert wanted is not None
        if wanted <= given:
            raise ImageError(f"It is {given} pixels {side} already; only enlarging to more is done here.")
        return wanted / given

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of the result."""
        factor = self.factor_for(height, width)
        return self.height or max(1, round(height * factor)), self.width or max(1, round(width * factor))

    def network_scale(self, factor: float, scales: Iterable[int]) -> int:
        """The smallest of the networks' `scales` that reaches a factor (see `factor_for`).

        Raises UsageError if none does, ImageError where that depends on the picture.
        """
        scales = sorted(scales)
        for scale in scales:
            if scale >= factor:
                return scale
        if not scales:
            raise ModelError("No upscaler is shipped that could be taken. Give a file with -m FILE.")
        kind = ImageError if self.factor is None else UsageError
        raise kind(f"{factor:.4g} times is more than the {scales[-1]} of the largest network there is for it.")


def choose_enlargement(
    scales: Sequence[int], factor: float | None, width: int | None, height: int | None
) -> Enlargement | None:
    """The enlargement that options ask for, None for none; scales: of the options that are a factor each (`--x4`).

    Raises UsageError for several, and for a factor of 1 or less.
    """
    named = [f"--x{scale}" for scale in scales]
    given = [
        *named,
        *(
            option
            for option, value in (("--scale", factor), ("--width", width), ("--height", height))
            if value is not None
        ),
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other: give one of them.")
    if named:
        return Enlargement(factor=scales[0], exact=True)
    if factor is not None and not 1 < factor < math.inf:
        raise UsageError(f"--scale is {factor:g}; give more than 1.")
    return Enlargement(factor, width, height) if given else None
