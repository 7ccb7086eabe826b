"""The wanted enlargement of a picture, and the scale of network that it needs; imports no torch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from percept_cli.errors import ImageError, ModelError, UsageError


@dataclass(frozen=True)
class Enlargement:
    """A factor, or a width or height in pixels (one of the three); exact: only by a network of exactly this factor."""

    factor: float | None = None
    width: int | None = None
    height: int | None = None
    exact: bool = False

    @property
    def label(self) -> str:
        """Its part of output file names: x4, x2.5, w3000, h2000."""
        if self.factor is not None:
            return f"x{self.factor:g}"
        return f"w{self.width}" if self.width is not None else f"h{self.height}"

    def factor_for(self, height: int, width: int) -> float:
        """The factor for a picture of height x width pixels. Raises ImageError for one that is already large enough."""
        if self.factor is not None:
            return self.factor
        target, given, side = (self.height, height, "high") if self.width is None else (self.width, width, "wide")
        assert target is not None
        if target <= given:
            raise ImageError(f"It is {given} pixels {side} already; only enlarging to more is done here.")
        return target / given

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of the result for a picture of height x width pixels."""
        factor = self.factor_for(height, width)
        return self.height or max(1, round(height * factor)), self.width or max(1, round(width * factor))

    def network_scale(self, factor: float, scales: Iterable[int]) -> int:
        """The smallest of the networks' `scales` that is at least a factor (see `factor_for`).

        Raises ModelError for no scales; where all are smaller, UsageError, or ImageError if that depends on the picture.
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
    """The enlargement given by options, None for none; scales: of the options `--x4` and the like that are given.

    Raises UsageError for more than one option, and for a factor of 1 or less.
    """
    options = {"--scale": factor, "--width": width, "--height": height}
    given = [*(f"--x{scale}" for scale in scales), *(name for name, value in options.items() if value is not None)]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other: give one of them.")
    if scales:
        return Enlargement(factor=scales[0], exact=True)
    if factor is not None and not 1 < factor < math.inf:
        raise UsageError(f"--scale is {factor:g}; give more than 1.")
    return Enlargement(factor, width, height) if given else None
