"""Pictures that invert layers of a network: their errors against the photograph, and their sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from percept_cli.core.drawing.sheets import Panel, contact_sheet, wrap
from percept_cli.core.extractors.graph import FeatureExtractor
from percept_cli.core.measures.pixels import image_error
from percept_cli.core.optimization.inversion import feature_error
from percept_cli.core.runtime import Runtime

COLUMNS = 6


@dataclass(frozen=True)
class Inverted:
    """A picture (1, 3, side, side) in [0, 1] rounded to 8 bits, its name, and its errors.

    feature_error: of `optimization.inversion.feature_error`. image_error: in gray levels of 255.
    """

    name: str
    image: Tensor
    feature_error: float
    image_error: float


def measure_inversion(
    name: str, image: Tensor, original: Tensor, layer: str, extractor: FeatureExtractor, runtime: Runtime
) -> Inverted:
    """The errors of a picture that inverts a layer, rounded to 8 bits, so that its file has the same errors."""
    image = (image * 255).round() / 255
    error = feature_error(runtime.place(image), runtime.place(original), layer, extractor)
    return Inverted(name, image, error, image_error(image, original))


def inversion_sheet(original: Tensor, found: Sequence[Inverted], layers: int) -> Tensor:
    """A sheet (1, 3, H, W) of an original (1, 3, side, side) and its inversions, a row for all layers of each sample.

    layers: their number. Pictures of one layer or one sample are in rows of at most `COLUMNS` instead.
    """
    side = original.shape[-1]
    first = Panel(original, ("original", f"{side}x{side} pixels"))
    panels = [Panel(each.image, (each.name, f"error {each.feature_error:.3f}")) for each in found]
    if layers in (1, len(panels)):
        return contact_sheet(wrap([first, *panels], COLUMNS))
    rows = [panels[start : start + layers] for start in range(0, len(panels), layers)]
    return contact_sheet([[Panel(None) if number else first, *row] for number, row in enumerate(rows)])
