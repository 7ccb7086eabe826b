"""What Dosovitskiy & Brox 2016 found, as inequalities between the figures of `deepsim.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Claim:
    """One finding at one layer: `less` must be the smaller of the two figures."""

    layer: str
    finding: str
    figure: str
    less: float
    more: float

    @property
    def holds(self) -> bool:
        return self.less < self.more

    def __str__(self) -> str:
        verdict = "holds         " if self.holds else "does not hold "
        sign = "<" if self.holds else ">="
        figure = self.figure.replace("_", " ")
        return f"{verdict} {self.layer}: {self.finding} ({figure} {self.less:.3f} {sign} {self.more:.3f})"

    def as_fields(self) -> dict[str, object]:
        return asdict(self) | {"holds": self.holds}


# finding, figure, the method with the smaller, the one with the larger; `*` is every layer but the first.
FINDINGS = (
    ("DeePSiM is sharper than the image loss", "gradient_energy", "image", "deepsim"),
    ("DeePSiM looks more like the photograph than the image loss", "perceptual", "deepsim", "image"),
    ("the image loss is nearer in pixels than DeePSiM", "image_error", "image", "deepsim"),
    ("optimization is nearest in features, of DeePSiM too", "feature_error", "optimize", "deepsim"),
    ("optimization is nearest in features, of the image loss too", "feature_error", "optimize", "image"),
    ("optimization is farther in pixels than DeePSiM", "image_error", "deepsim", "optimize"),
    ("without the feature loss the content goes", "feature_error", "deepsim", "no-feature"),
    ("without the feature loss it looks less like the photograph", "perceptual", "deepsim", "no-feature"),
    ("without the adversarial loss it is noisier", "high_frequencies", "deepsim", "no-adversarial"),
    ("without the image loss it is farther in pixels", "image_error", "deepsim", "no-image"),
)
# Of shallow layers the optimization finds the very pixels, in the paper too.
ONLY_AT_DEPTH = "optimization is farther in pixels than DeePSiM"


def paper_order(rows: Sequence[Mapping[str, object]], layers: Sequence[str]) -> list[Claim]:
    """Every finding at every layer (named from shallow to deep) that has both of its figures.

    What is said of depth is asked of all layers but the first of several.
    """
    cells = {(row["layer"], row["method"]): row for row in rows}
    claims = []
    for layer in layers:
        for finding, figure, less, more in FINDINGS:
            if finding == ONLY_AT_DEPTH and layer == layers[0] and len(layers) > 1:
                continue
            first, second = cells.get((layer, less)), cells.get((layer, more))
            if first is not None and second is not None:
                claims.append(Claim(layer, finding, figure, float(first[figure]), float(second[figure])))  # type: ignore[arg-type]
    return claims
