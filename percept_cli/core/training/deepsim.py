"""The losses of DeePSiM: of images, of features and against a discriminator (Dosovitskiy & Brox 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.data.photos import photo_settings
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.generators.discriminators import DeepsimDiscriminator
from percept_cli.core.losses.adversarial import AdversarialLoss, Freezing, LossAndParts
from percept_cli.core.losses.functional import feature_reconstruction_loss, typical_square
from percept_cli.core.losses.terms import FeatureTerm, PixelTerm, Term, is_typical
from percept_cli.core.losses.weighted import PerceptualLoss
from percept_cli.core.pretrained.extractors import RANDOM, ExtractorChoice, choose_extractor
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.loop import DiscriminatorTraining, Training, unwrap
from percept_cli.core.training.run import CLIP_NORM, Run
from percept_cli.errors import UsageError, unknown_name

# The mean squared and the mean absolute difference of two unrelated photographs in [0, 1], measured on crops of BSDS400
UNRELATED = {"mse": 0.112, "l1": 0.263}
# The paper's images have 227x227 pixels and levels from 0 to 255.
PAPER_VALUES = 3 * 227**2
LEVELS = 255
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


@dataclass
class InversionLoss:
    """The weighted losses of the images of an inverter or autoencoder: `image`, `feature.LAYER`, `adversarial`.

    comparator: an extractor; None to compare the features of the discriminator (DIAT), or none. adversarial: the loss
    against a `DeepsimDiscriminator`, or None. size: side of the images in pixels. pixel: `mse` or `l1`; with `paper`
    scaling half the sum of squares, or the sum of absolute values, of differences of levels from 0 to 255.
    """

    weights: LossWeights
    comparator: FeatureExtractor | None
    adversarial: AdversarialLoss | None
    runtime: Runtime
    size: int
    scaling: str = "typical"
    discriminator_layers: tuple[str, ...] = ()
    pixel: str = "mse"

    def __post_init__(self) -> None:
        typical = is_typical(self.scaling)
        terms: dict[str, tuple[Term, float]] = {}
        if self.weights.image:
            if self.pixel not in UNRELATED:
                raise UsageError(unknown_name("pixel distance", self.pixel, UNRELATED))
            sums = {"mse": image_factor(1.0, 3 * self.size**2), "l1": LEVELS * 3 * self.size**2}
            factor = 1 / UNRELATED[self.pixel] if typical else sums[self.pixel]
            terms["image"] = PixelTerm(self.pixel), self.weights.image * factor
        if self.weights.feature and self.comparator is not None:
            layers = self.comparator.layers
            share = {layer: 1 / len(layers) for layer in layers} if typical else self._sums(self.comparator)
            terms["feature"] = FeatureTerm(share, typical=typical), self.weights.feature
        self.loss = (
            PerceptualLoss(terms, self.comparator if self.comparator is not None else "compact") if terms else None
        )

    def _sums(self, comparator: FeatureExtractor) -> dict[str, float]:
        with torch.no_grad():
            features = comparator(self.runtime.place(torch.zeros(1, 3, self.size, self.size)))
        return {layer: feature_factor(1.0, values.numel()) for layer, values in features.items()}

    def __call__(self, result: Tensor, images: Tensor, code: Tensor) -> LossAndParts:
        """The loss of results against their images, both (N, 3, H, W); code: normalized, an input of the discriminator."""
        parts: dict[str, Tensor] = self.loss(result, images)[1] if self.loss is not None else {}
        if self.adversarial is not None:
            if self.weights.feature and self.comparator is None:
                parts |= self._discriminator_features(self.adversarial.discriminator, result, images)
            parts |= self.adversarial.generator_parts(result, images, code)
        return torch.stack(list(parts.values())).sum(), parts

    def _discriminator_features(self, network: nn.Module, result: Tensor, images: Tensor) -> dict[str, Tensor]:
        discriminator = unwrap(network)
        assert isinstance(discriminator, DeepsimDiscriminator)
        with self.runtime.autocast():
            features = discriminator.features(result)
            with torch.no_grad():
                targets = discriminator.features(images)
        parts = {}
        for layer in self.discriminator_layers:
            distance = feature_reconstruction_loss(features[layer], targets[layer])
            if is_typical(self.scaling):
                distance = distance / (len(self.discriminator_layers) * typical_square(targets[layer]).clamp_min(1e-12))
            else:
                distance = distance * feature_factor(1.0, targets[layer][0].numel())
            parts[f"feature.{layer}"] = self.weights.feature * distance
        return parts


# The discriminator's learning rate over the generator's, by the generator's optimizer: the discriminator has Adam, whose
# rates are about a tenth of Muon's.
DISCRIMINATOR_SHARE = {"muon": 0.1, "adam": 1.0}
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
            choose_comparator(self.comparator, self.comparator_weights)
        if self.compares_discriminator:
            choose_discriminator_layers(self.comparator_layers)
            if not self.weights.adversarial:
                raise UsageError(
                    "--comparator discriminator needs a discriminator that learns: give an --adversarial-weight above 0."
                )
        if self.weights.adversarial and self.size < DeepsimDiscriminator.smallest:
            smallest = DeepsimDiscriminator.smallest
            raise UsageError(f"--size {self.size}: the discriminator needs {smallest} pixels or more.")

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
        return CLIP_NORM if self.scaling == "typical" else None


def create_loss(run: Run, training: Training, options: DeepsimOptions, code_channels: int) -> InversionLoss:
    """The loss that the options describe, with its comparator; its discriminator is added to the training.

    code_channels: the number of channels of the code, the other input of the discriminator.
    """
    comparator = None
    if options.weights.feature and not options.compares_discriminator:
        choice = choose_comparator(options.comparator, options.comparator_weights)
        layers = choice.architecture.choose_layers(options.comparator_layers, own=choice.architecture.comparator_layers)
        comparator = run.runtime.freeze(choice.create(layers, options.seed, run.announce))
    adversarial = None
    if options.weights.adversarial:
        network = DeepsimDiscriminator(options.discriminator_channels, code_channels if options.code_branch else 0)
        adversarial = AdversarialLoss(
            run.place(network), run.runtime, weight=options.weights.adversarial, freezing=Freezing(),
            average=lambda value: run.accelerator.reduce(value, "mean"),  # type: ignore[arg-type, return-value]
        )  # fmt: skip
        training.discriminator = DiscriminatorTraining.by_adam(
            adversarial, DISCRIMINATOR_SHARE[options.optimizer], betas=(0.9, 0.999)
        )
    compared = choose_discriminator_layers(options.comparator_layers) if options.compares_discriminator else ()
    return InversionLoss(
        options.weights, comparator, adversarial, run.runtime, options.size, options.scaling, compared, options.pixel
    )


def loss_settings(options: DeepsimOptions, loss: InversionLoss) -> dict[str, Any]:
    """The settings of the loss that must be the same in a resumed run; checkpoints and models hold them."""
    name, weights = options.comparator, options.comparator_weights
    if name not in (RANDOM, DISCRIMINATOR):
        choice = choose_comparator(name, weights)
        name, weights = choice.name, choice.weights
    return {
        "loss": options.loss, "image_weight": options.weights.image, "feature_weight": options.weights.feature,
        "adversarial_weight": options.weights.adversarial, "scaling": options.scaling, "pixel": options.pixel,
        "comparator": name if options.weights.feature else "",
        "comparator_layers": list(loss.comparator.layers if loss.comparator is not None else loss.discriminator_layers),
        "comparator_weights": Path(weights).name if weights else "",
        "discriminator_channels": options.discriminator_channels if options.weights.adversarial else 0,
        "code_branch": options.code_branch and bool(options.weights.adversarial),
    }  # fmt: skip


def run_settings(options: DeepsimOptions, run: Run, photos: Sequence[Path], **own: Any) -> dict[str, Any]:
    """The settings of the schedule, the data and the machine that must be the same in a resumed run."""
    return {
        "steps": options.steps, "batch": options.batch, "size": options.size, "learning_rate": options.peak_rate,
        "optimizer": options.optimizer, **own, **photo_settings(photos), "seed": options.seed,
        "precision": run.runtime.precision, "processes": run.shard[1],
    }  # fmt: skip
