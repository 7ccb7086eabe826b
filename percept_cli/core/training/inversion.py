"""What the commands share that train by images, a comparator's features and a discriminator."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.generators.discriminators import DeepsimDiscriminator
from percept_cli.core.losses.adversarial import AdversarialLoss, Freezing, LossAndParts
from percept_cli.core.losses.functional import feature_reconstruction_loss, typical_square
from percept_cli.core.losses.terms import FeatureTerm, PixelTerm, Term, is_typical
from percept_cli.core.losses.weighted import PerceptualLoss
from percept_cli.core.pretrained.extractors import RANDOM, create_extractor, named_extractor
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.loop import DiscriminatorTraining, Training, unwrap
from percept_cli.core.training.run import CLIP_NORM, Run
from percept_cli.errors import UsageError, unknown_name

# Mean squared and mean absolute difference of two unrelated photographs in [0, 1], over crops of BSDS400.
UNRELATED = {"mse": 0.112, "l1": 0.263}
# The paper's images have 227x227 pixels and levels of 0 to 255.
PAPER_VALUES = 3 * 227**2
LEVELS = 255
DISCRIMINATOR = "discriminator"
# The comparator's layers, unless others are given: conv5 of AlexNet in the paper, its like in the others.
COMPARATOR_LAYERS = {
    "compact": ("relu2_2", "relu3_4", "relu4_4"),
    "vgg16": ("relu2_2", "relu3_3"),
    "vgg19": ("relu2_2", "relu3_4"),
    "alexnet": ("relu5",),
    "squeezenet1_0": ("fire4", "fire8"),
    "squeezenet1_1": ("fire4", "fire8"),
    DISCRIMINATOR: ("conv2", "conv3", "conv4", "conv5"),
}


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


def create_comparator(
    name: str,
    layers: tuple[str, ...] | None,
    weights: str | None,
    seed: int,
    announce: Callable[[str], None] | None = None,
) -> FeatureExtractor:
    """The frozen network that images are compared in, by name; `random` is AlexNet untrained (section 4 of the paper).

    layers: None for those of `COMPARATOR_LAYERS`. weights as for `create_extractor`, which also says what is raised.
    """
    if name == RANDOM:
        name, weights = "alexnet", RANDOM
    create_architecture(name)  # which refuses an unknown name
    return create_extractor(name, layers or COMPARATOR_LAYERS[name], weights, seed, announce)


def discriminator_taps(layers: tuple[str, ...] | None) -> tuple[str, ...]:
    """The convolutions of a discriminator whose features are compared. Raises UsageError for one that is not there."""
    known = tuple(f"conv{number}" for number in range(1, 6))
    for layer in layers or ():
        if layer not in known:
            raise UsageError(unknown_name("layer of the discriminator", layer, known))
    return layers or COMPARATOR_LAYERS[DISCRIMINATOR]


@dataclass
class InversionLoss:
    """The weighted losses of an inverter's images, by name: `image`, `feature.LAYER`, `adversarial`.

    comparator: an extractor, or None where the features of the discriminator itself are compared (DIAT) or none are.
    discriminator: None without an adversarial loss. size: side of the images in pixels. pixel: `mse` or `l1`, in levels
    of 0 to 255 with `paper` scaling, half the sum of squares or the sum. average: the mean of a scalar over all
    processes.
    """

    weights: LossWeights
    comparator: FeatureExtractor | None
    discriminator: nn.Module | None
    runtime: Runtime
    size: int
    scaling: str = "typical"
    discriminator_layers: tuple[str, ...] = ()
    pixel: str = "mse"
    average: Callable[[Tensor], Tensor] = lambda value: value
    adversarial: AdversarialLoss | None = None

    def __post_init__(self) -> None:
        if self.discriminator is not None:
            self.adversarial = AdversarialLoss(
                self.discriminator, self.runtime, weight=self.weights.adversarial, freezing=Freezing(),
                average=self.average,
            )  # fmt: skip
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

    def generator_part(self, result: Tensor, images: Tensor, code: Tensor) -> LossAndParts:
        """The loss of results (N, 3, H, W) that should be the images, made from a code, which is of normalized scale."""
        parts: dict[str, Tensor] = self.loss(result, images)[1] if self.loss is not None else {}
        if self.adversarial is not None:
            if self.weights.feature and self.comparator is None:
                parts |= self._discriminator_features(result, images)
            parts |= self.adversarial.generator_parts(result, images, code)
        return torch.stack(list(parts.values())).sum(), parts

    def _discriminator_features(self, result: Tensor, images: Tensor) -> dict[str, Tensor]:
        discriminator = unwrap(self.discriminator)  # type: ignore[arg-type]
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


# Muon's rates are some ten times Adam's, which the discriminator keeps.
DISCRIMINATOR_SHARE = {"muon": 0.1, "adam": 1.0}
# Dosovitskiy & Brox 2016, the released solver
ADAM_RATE, MUON_RATE = 2e-4, 1.5e-3


@dataclass(frozen=True)
class LossOptions:
    """The options of the losses, checked, and what they make."""

    weights: LossWeights
    loss: str
    scaling: str
    comparator: str
    layers: tuple[str, ...] | None
    comparator_weights: str | None
    discriminator_channels: int
    code_branch: bool
    size: int
    pixel: str = "mse"

    @classmethod
    def check(
        cls,
        loss: str,
        weights: tuple[float | None, float | None, float | None],
        scaling: str,
        comparator: str,
        layers: str | None,
        comparator_weights: str | None,
        discriminator_channels: int,
        code_branch: bool,
        size: int,
        pixel: str = "mse",
    ) -> "LossOptions":
        """From what was given. weights: of the image, feature and adversarial losses. Raises UsageError."""
        if comparator not in (RANDOM, DISCRIMINATOR):
            comparator, comparator_weights = named_extractor(comparator, comparator_weights)
        options = cls(
            find_weights(loss, scaling, *weights), loss, scaling, comparator,
            tuple(layers.split(",")) if layers else None, comparator_weights, discriminator_channels, code_branch, size,
            pixel,
        )  # fmt: skip
        if options.compares_discriminator:
            discriminator_taps(options.layers)
            if not options.weights.adversarial:
                raise UsageError(
                    "--comparator discriminator needs a discriminator that learns: give an --adversarial-weight above 0."
                )
        if options.weights.adversarial and size < DeepsimDiscriminator.smallest:
            raise UsageError(f"--size {size}: the discriminator needs {DeepsimDiscriminator.smallest} pixels or more.")
        return options

    @property
    def compares_discriminator(self) -> bool:
        """Whether features of the discriminator itself are compared."""
        return bool(self.weights.feature) and self.comparator == DISCRIMINATOR

    @property
    def clip_norm(self) -> float | None:
        """Of gradients whose scale is known."""
        return CLIP_NORM if self.scaling == "typical" else None

    def create(self, run: Run, training: Training, optimizer: str, code_channels: int, seed: int) -> InversionLoss:
        """The loss, with its comparator; its discriminator is trained beside the network."""
        compared = None
        if self.weights.feature and not self.compares_discriminator:
            created = create_comparator(self.comparator, self.layers, self.comparator_weights, seed, run.announce)
            compared = run.runtime.freeze(created)
        discriminator = None
        if self.weights.adversarial:
            discriminator = run.place(
                DeepsimDiscriminator(self.discriminator_channels, code_channels if self.code_branch else 0)
            )
        compare = InversionLoss(
            self.weights, compared, discriminator, run.runtime, self.size, self.scaling,
            discriminator_taps(self.layers) if self.compares_discriminator else (), self.pixel,
            average=lambda value: run.accelerator.reduce(value, "mean"),  # type: ignore[arg-type, return-value]
        )  # fmt: skip
        if compare.adversarial is not None:
            training.discriminator = DiscriminatorTraining.by_adam(
                compare.adversarial.discriminator, compare.adversarial.discriminator_loss, DISCRIMINATOR_SHARE[optimizer],
                betas=(0.9, 0.999), freezing=compare.adversarial.freezing,
            )  # fmt: skip
        return compare

    def settings(self, compare: InversionLoss) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        compared = compare.comparator.layers if compare.comparator is not None else ()
        return {
            "loss": self.loss, "image_weight": self.weights.image, "feature_weight": self.weights.feature,
            "adversarial_weight": self.weights.adversarial, "scaling": self.scaling, "pixel": self.pixel,
            "comparator": self.comparator if self.weights.feature else "",
            "comparator_layers": list(compare.discriminator_layers or compared),
            "comparator_weights": Path(self.comparator_weights).name if self.comparator_weights else "",
            "discriminator_channels": self.discriminator_channels if self.weights.adversarial else 0,
            "code_branch": self.code_branch and bool(self.weights.adversarial),
        }  # fmt: skip
