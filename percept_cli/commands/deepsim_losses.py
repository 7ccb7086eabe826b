"""What the commands share that train by images, a comparator's features and a discriminator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from percept_cli.commands.training_run import CLIP_NORM, TrainingRun
from percept_cli.core.deepsim import (
    DISCRIMINATOR,
    InversionLoss,
    LossWeights,
    create_comparator,
    discriminator_taps,
    find_weights,
)
from percept_cli.core.extractors.loading import RANDOM, named_extractor
from percept_cli.core.generators.discriminator import DeepsimDiscriminator
from percept_cli.core.training import Training, adam_rival
from percept_cli.errors import UsageError

# Muon's rates are some ten times Adam's, which the discriminator keeps.
RIVAL_SHARE = {"muon": 0.1, "adam": 1.0}
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
        if options.compares_judge:
            discriminator_taps(options.layers)
            if not options.weights.adversarial:
                raise UsageError(
                    "--comparator discriminator needs a discriminator that learns: give an --adversarial-weight above 0."
                )
        if options.weights.adversarial and size < DeepsimDiscriminator.smallest:
            raise UsageError(f"--size {size}: the discriminator needs {DeepsimDiscriminator.smallest} pixels or more.")
        return options

    @property
    def compares_judge(self) -> bool:
        """Whether features of the discriminator itself are compared."""
        return bool(self.weights.feature) and self.comparator == DISCRIMINATOR

    @property
    def clip_norm(self) -> float | None:
        """Of gradients whose scale is known."""
        return CLIP_NORM if self.scaling == "typical" else None

    def create(
        self, run: TrainingRun, training: Training, optimizer: str, code_channels: int, seed: int
    ) -> InversionLoss:
        """The loss, with its comparator; a discriminator becomes the training's rival."""
        compared = None
        if self.weights.feature and not self.compares_judge:
            created = create_comparator(self.comparator, self.layers, self.comparator_weights, seed, run.console.say)
            compared = run.runtime.freeze(created)
        judge = None
        if self.weights.adversarial:
            judge = run.place(
                DeepsimDiscriminator(self.discriminator_channels, code_channels if self.code_branch else 0)
            )
        compare = InversionLoss(
            self.weights, compared, judge, run.runtime, self.size, self.scaling,
            discriminator_taps(self.layers) if self.compares_judge else (), self.pixel,
            average=lambda value: run.accelerator.reduce(value, "mean"),  # type: ignore[arg-type, return-value]
        )  # fmt: skip
        if judge is not None:
            share, part = RIVAL_SHARE[optimizer], compare.discriminator_part
            training.rival = adam_rival(judge, part, share, betas=(0.9, 0.999), freezing=compare.freezing)
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
