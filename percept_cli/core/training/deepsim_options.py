"""The options of the losses of DeePSiM, and their weights (Dosovitskiy & Brox 2016). Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from percept_cli.core.choices import SMALLEST_DISCRIMINATED
from percept_cli.core.losses.scaling import LEVELS, is_typical
from percept_cli.core.pretrained.extractors import RANDOM, ExtractorChoice, choose_extractor
from percept_cli.errors import UsageError, unknown_name

# The mean squared and the mean absolute difference of two unrelated photographs in [0, 1], measured on crops of BSDS400
UNRELATED = {"mse": 0.112, "l1": 0.263}
# The paper's images have 227x227 pixels and levels from 0 to 255.
PAPER_VALUES = 3 * 227**2
# The name of the discriminator as comparator, its layers that can be compared, and those that are by default
DISCRIMINATOR = "discriminator"
DISCRIMINATOR_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
USUAL_DISCRIMINATOR_LAYERS = DISCRIMINATOR_LAYERS[1:]


@dataclass(frozen=True)
class LossWeights:
    """The weights of the three losses; 0 leaves a loss out."""

    image: float = 0.0
    feature: float = 0.0
    adversarial: float = 0.0


# Dosovitskiy & Brox 2016: of half the sum of squares of levels, of the same of features, and of the mean log loss
PAPER_WEIGHTS = LossWeights(image=2e-6, feature=0.01, adversarial=100.0)


def image_factor(weight: float, values: int = PAPER_VALUES) -> float:
    """The weight of the mean of d² in [0, 1] that equals a weight of ½ Σ d² over `values` levels from 0 to 255.

    The paper's 2e-6 becomes 1.0e4.
    """
    return weight * 0.5 * LEVELS**2 * values


def feature_factor(weight: float, values: int) -> float:
    """The weight of the mean of d² that equals a weight of ½ Σ d² over `values` features."""
    return weight * 0.5 * values


# With each loss divided by its value for an unrelated photograph, the paper's weights are 1.1e3 for the image loss and
# 100 for the adversarial loss, so 1 and 0.089. The weight of the feature loss depends on the scale of the features: on
# conv5 of AlexNet (43,264 values) it is about that of the image loss, so here it is 1 with every comparator.
TYPICAL_ADVERSARIAL = PAPER_WEIGHTS.adversarial / (image_factor(PAPER_WEIGHTS.image) * UNRELATED["mse"])
# Of each `--loss`, the weights with `--scaling typical`, then those with `--scaling paper`
LOSSES: dict[str, tuple[LossWeights, LossWeights]] = {
    "image": (LossWeights(image=1.0), LossWeights(image=PAPER_WEIGHTS.image)),
    "feature": (LossWeights(feature=1.0), LossWeights(feature=PAPER_WEIGHTS.feature)),
    "deepsim": (LossWeights(1.0, 1.0, TYPICAL_ADVERSARIAL), PAPER_WEIGHTS),
}


def find_weights(loss: str, scaling: str, **given: float | None) -> LossWeights:
    """The weights of a loss by name; those that are given, as the fields of `LossWeights`, replace the usual ones.

    Raises UsageError for unknown names, and if all weights are 0.
    """
    if loss not in LOSSES:
        raise UsageError(unknown_name("loss", loss, LOSSES))
    usual = LOSSES[loss][0 if is_typical(scaling) else 1]
    weights = replace(usual, **{name: weight for name, weight in given.items() if weight is not None})
    if weights == LossWeights():
        raise UsageError(
            "All losses have a weight of 0. Give one of --image-weight, --feature-weight, --adversarial-weight."
        )
    return weights


def choose_comparator(name: str, weights: str | None) -> ExtractorChoice:
    """The network whose features are compared: an extractor, or `random`, an untrained AlexNet (paper, section 4).

    Raises as `choose_extractor`.
    """
    return ExtractorChoice("alexnet", RANDOM) if name == RANDOM else choose_extractor(name, weights)


def choose_discriminator_layers(layers: Sequence[str] | None) -> tuple[str, ...]:
    """The convolutions of a discriminator whose features are compared. Raises UsageError for an unknown one."""
    for layer in layers or ():
        if layer not in DISCRIMINATOR_LAYERS:
            raise UsageError(unknown_name("layer of the discriminator", layer, DISCRIMINATOR_LAYERS))
    return tuple(layers or USUAL_DISCRIMINATOR_LAYERS)


# That of Adam is from the released solver of Dosovitskiy & Brox 2016.
LEARNING_RATES = {"adam": 2e-4, "muon": 1.5e-3}


@dataclass(frozen=True, kw_only=True)
class DeepsimOptions:
    """The options that trainings with these losses have in common, named as those of the commands.

    loss: a name of `LOSSES`; the three weights replace those of the loss. scaling: `typical` or `paper`. pixel: `mse` or
    `l1`. comparator: the name or the file of an extractor, `random` or `discriminator`. code_branch: whether the code is
    an input of the discriminator. width: the number of channels of the trained network as a share of the usual number.
    size: side of the crops in pixels. learning_rate: the peak of the schedule, None for that of the optimizer
    (`LEARNING_RATES`). Raises UsageError for options that contradict each other.
    """

    loss: str = "deepsim"
    image_weight: float | None = None
    feature_weight: float | None = None
    adversarial_weight: float | None = None
    scaling: str = "typical"
    pixel: str = "mse"
    comparator: str = "compact"
    comparator_layers: Sequence[str] | None = None
    comparator_weights: str | None = None
    discriminator_channels: int = 32
    code_branch: bool = True
    width: float = 1.0
    steps: int = 1500
    batch: int = 8
    size: int = 128
    learning_rate: float | None = None
    optimizer: str = "muon"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.comparator != DISCRIMINATOR:
            known = choose_comparator(self.comparator, self.comparator_weights).architecture
            for layer in self.comparator_layers or ():
                known.resolve(layer)
        if self.compares_discriminator:
            choose_discriminator_layers(self.comparator_layers)
            if not self.weights.adversarial:
                raise UsageError(
                    "--comparator discriminator needs a discriminator that learns: give an --adversarial-weight above 0."
                )
        if self.weights.adversarial and self.size < SMALLEST_DISCRIMINATED:
            raise UsageError(f"--size {self.size}: the discriminator needs {SMALLEST_DISCRIMINATED} pixels or more.")

    @property
    def weights(self) -> LossWeights:
        """The weight of each of the three losses."""
        return find_weights(
            self.loss, self.scaling, image=self.image_weight, feature=self.feature_weight,
            adversarial=self.adversarial_weight,
        )  # fmt: skip

    @property
    def compares_discriminator(self) -> bool:
        """Whether features of the discriminator itself are compared (DIAT)."""
        return bool(self.weights.feature) and self.comparator == DISCRIMINATOR

    @property
    def peak_rate(self) -> float:
        """The learning rate that is given, or that of the optimizer."""
        return LEARNING_RATES.get(self.optimizer, 0.0) if self.learning_rate is None else self.learning_rate

    @property
    def clip_norm(self) -> float | None:
        """The largest norm of the gradients; None with `paper` scaling, where their usual size is not known."""
        from percept_cli.core.training.runs.run import CLIP_NORM

        return CLIP_NORM if self.scaling == "typical" else None
