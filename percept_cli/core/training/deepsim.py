"""The losses of DeePSiM: images, a comparator's features and a discriminator (Dosovitskiy & Brox 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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

# Mean squared and mean absolute difference of two unrelated photographs in [0, 1], over crops of BSDS400.
UNRELATED = {"mse": 0.112, "l1": 0.263}
# The paper's images have 227x227 pixels and levels of 0 to 255.
PAPER_VALUES = 3 * 227**2
LEVELS = 255
# The comparator that is the discriminator itself, and its convolutions: all that can be compared, and those that are.
DISCRIMINATOR = "discriminator"
DISCRIMINATOR_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
USUAL_DISCRIMINATOR_LAYERS = DISCRIMINATOR_LAYERS[1:]


@dataclass(frozen=True)
class LossWeights:
    """How much each of the three losses counts; 0 leaves one out."""

    image: float = 0.0
    feature: float = 0.0
    adversarial: float = 0.0


# Dosovitskiy & Brox 2016: on half the sums of squares of levels and of features, and on the mean log loss.
PAPER_WEIGHTS = LossWeights(image=2e-6, feature=0.01, adversarial=100.0)


def image_factor(weight: float, values: int = PAPER_VALUES) -> float:
    """What a weight on ½ Σ d² over the levels 0 to 255 of `values` values is on the mean of d² in [0, 1].

    The paper's 2e-6 is 1.0e4 so: on a mean it would be nothing.
    """
    return weight * 0.5 * LEVELS**2 * values


def feature_factor(weight: float, values: int) -> float:
    """What a weight on ½ Σ d² over `values` features is on the mean of d²."""
    return weight * 0.5 * values


# In units of what an unrelated photograph costs, the paper's image loss weighs 1.1e3 and its adversarial loss 100: with
# the first set to 1, the second is 0.089. Its feature loss depends on the comparator's scale, 0.01 on conv5 of AlexNet
# (43,264 values): there it is of the image loss's size, and so it is 1 here with every comparator.
TYPICAL_ADVERSARIAL = PAPER_WEIGHTS.adversarial / (image_factor(PAPER_WEIGHTS.image) * UNRELATED["mse"])
# By name, which of the losses: the weights of `--scaling typical`, then those of `--scaling paper`.
LOSSES: dict[str, tuple[LossWeights, LossWeights]] = {
    "image": (LossWeights(image=1.0), LossWeights(image=PAPER_WEIGHTS.image)),
    "feature": (LossWeights(feature=1.0), LossWeights(feature=PAPER_WEIGHTS.feature)),
    "deepsim": (LossWeights(1.0, 1.0, TYPICAL_ADVERSARIAL), PAPER_WEIGHTS),
}


def find_weights(
    loss: str,
    scaling: str,
    image: float | None = None,
    feature: float | None = None,
    adversarial: float | None = None,
) -> LossWeights:
    """The weights of a loss by name, each replaced by the one given. UsageError for unknown names, and for all 0."""
    if loss not in LOSSES:
        raise UsageError(unknown_name("loss", loss, LOSSES))
    usual = LOSSES[loss][0 if is_typical(scaling) else 1]
    weights = LossWeights(
        usual.image if image is None else image,
        usual.feature if feature is None else feature,
        usual.adversarial if adversarial is None else adversarial,
    )
    if weights == LossWeights():
        raise UsageError(
            "All losses have a weight of 0. Give one of --image-weight, --feature-weight, --adversarial-weight."
        )
    return weights


def choose_comparator(name: str, weights: str | None) -> ExtractorChoice:
    """The network that images are compared in: an extractor, or `random`, which is AlexNet untrained (paper, section 4).

    Raises as `choose_extractor`.
    """
    return ExtractorChoice("alexnet", RANDOM) if name == RANDOM else choose_extractor(name, weights)


def choose_discriminator_layers(layers: Sequence[str] | None) -> tuple[str, ...]:
    """The convolutions of a discriminator whose features are compared. Raises UsageError for one that is not there."""
    for layer in layers or ():
        if layer not in DISCRIMINATOR_LAYERS:
            raise UsageError(unknown_name("layer of the discriminator", layer, DISCRIMINATOR_LAYERS))
    return tuple(layers or USUAL_DISCRIMINATOR_LAYERS)


@dataclass
class InversionLoss:
    """The weighted losses of an inverter's images, by name: `image`, `feature.LAYER`, `adversarial`.

    comparator: an extractor, or None where the features of the discriminator itself are compared (DIAT) or none are.
    adversarial: the loss against a `DeepsimDiscriminator`, None without one. size: side of the images in pixels. pixel:
    `mse` or `l1`; with `paper` scaling half the sum of squares or the sum, of levels of 0 to 255.
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
        """The loss of results (N, 3, H, W) that should be the images, made from a code, which is of normalized scale."""
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


# Of the generator's learning rate: Muon's rates are some ten times Adam's, by which the discriminator learns.
DISCRIMINATOR_SHARE = {"muon": 0.1, "adam": 1.0}
# Dosovitskiy & Brox 2016, the released solver, has the first.
LEARNING_RATES = {"adam": 2e-4, "muon": 1.5e-3}


@dataclass(frozen=True, kw_only=True)
class DeepsimOptions:
    """What trainings by these losses have in common, named as the options of the commands.

    loss: a name of `LOSSES`, whose weights a given weight replaces. scaling: `typical` or `paper`. pixel: `mse` or `l1`.
    comparator: the name of an extractor, a file of one, `random` or `discriminator`. learning_rate: the peak of the
    schedule, None for that of the optimizer (`LEARNING_RATES`). Raises UsageError for options that do not go together.
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
        return find_weights(self.loss, self.scaling, self.image_weight, self.feature_weight, self.adversarial_weight)

    @property
    def compares_discriminator(self) -> bool:
        """Whether features of the discriminator itself are compared (DIAT)."""
        return bool(self.weights.feature) and self.comparator == DISCRIMINATOR

    @property
    def peak_rate(self) -> float:
        """The learning rate, that of the optimizer where none is given."""
        return LEARNING_RATES.get(self.optimizer, 0.0) if self.learning_rate is None else self.learning_rate

    @property
    def clip_norm(self) -> float | None:
        """The most that gradients are allowed, where their scale is known."""
        return CLIP_NORM if self.scaling == "typical" else None


def create_loss(run: Run, training: Training, options: DeepsimOptions, code_channels: int) -> InversionLoss:
    """The loss that the options describe, with its comparator; its discriminator joins the training.

    code_channels: those of the code that the discriminator sees beside an image.
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
            adversarial.discriminator, adversarial.discriminator_loss, DISCRIMINATOR_SHARE[options.optimizer],
            betas=(0.9, 0.999), freezing=adversarial.freezing,
        )  # fmt: skip
    compared = choose_discriminator_layers(options.comparator_layers) if options.compares_discriminator else ()
    return InversionLoss(
        options.weights, comparator, adversarial, run.runtime, options.size, options.scaling, compared, options.pixel
    )


def loss_settings(options: DeepsimOptions, loss: InversionLoss) -> dict[str, Any]:
    """What must be the same for a run to be resumed, as checkpoints and models have it."""
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
