"""The scalings of losses: by their usual sizes, or as in the papers. Imports no torch."""

from percept_cli.core.choices import SCALINGS
from percept_cli.errors import UsageError, unknown_name

LEVELS = 255  # of 8 bits, the largest; the losses of papers before 2018 are of levels


def is_typical(scaling: str) -> bool:
    """Whether a `--scaling` divides terms by their usual size. Raises UsageError, with a suggestion, for unknown names."""
    if scaling not in SCALINGS:
        raise UsageError(unknown_name("scaling", scaling, SCALINGS))
    return scaling == "typical"


def total_variation_factor(strength: float, side: int) -> float:
    """The weight of the mean over [0, 1] that equals a strength of ½ Σ (dx² + dy²) over an image with levels from 0 to 255.

    side: of the paper's images in pixels. The code of Johnson et al. 2016 has this half; the mean is `total_variation`,
    over all differences to a next pixel.
    """
    return strength * 0.5 * LEVELS**2 * 3 * (side - 1) ** 2
