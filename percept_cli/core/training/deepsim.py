"""The losses of DeePSiM: of images, of features and against a discriminator (Dosovitskiy & Brox 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.data.photos import photo_settings
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.generators.discriminators import DeepsimDiscriminator
from percept_cli.core.losses.adversarial import AdversarialLoss, Freezing, LossAndParts
from percept_cli.core.losses.functional import feature_reconstruction_loss, typical_square
from percept_cli.core.losses.scaling import LEVELS, is_typical
from percept_cli.core.losses.terms import FeatureTerm, PixelTerm, Term
from percept_cli.core.losses.weighted import PerceptualLoss
from percept_cli.core.pretrained.extractors import RANDOM
from percept_cli.core.processes import mean_over_processes
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.deepsim_options import (
    DISCRIMINATOR,
    UNRELATED,
    DeepsimOptions,
    LossWeights,
    choose_comparator,
    choose_discriminator_layers,
    feature_factor,
    image_factor,
)
from percept_cli.core.training.loop import DiscriminatorTraining, Training, unwrap
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import UsageError, unknown_name


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
                usual = mean_over_processes(typical_square(targets[layer])).clamp_min(1e-12)
                distance = distance / (len(self.discriminator_layers) * usual)
            else:
                distance = distance * feature_factor(1.0, targets[layer][0].numel())
            parts[f"feature.{layer}"] = self.weights.feature * distance
        return parts


# The discriminator's learning rate over the generator's, by the generator's optimizer: the discriminator has Adam, whose
# rates are about a tenth of Muon's.
DISCRIMINATOR_SHARE = {"muon": 0.1, "adam": 1.0}


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
