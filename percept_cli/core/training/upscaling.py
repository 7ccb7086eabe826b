"""The training of an upscaler."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from percept_cli.core.choices import DEGRADATIONS, SCALES, UPSCALER_ADVERSARIAL
from percept_cli.core.data.degradation import degrade
from percept_cli.core.data.photos import Crops, photo_settings
from percept_cli.core.generators.discriminators import create_discriminator
from percept_cli.core.losses.adversarial import AdversarialLoss, LossAndParts
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.pretrained.generators import start_generator
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.loop import DiscriminatorTraining, TrainingStep
from percept_cli.core.training.presets import RECIPES, Recipe
from percept_cli.core.training.recipes import create_loss, loss_layers, run_settings, total_of
from percept_cli.core.training.runs.run import CLIP_NORM, Run
from percept_cli.errors import UsageError, unknown_name

# The discriminator's learning rate over the generator's, by the generator's optimizer: the discriminator has Adam, whose
# rates are about a tenth of Muon's. With a share of 0.1 it still guessed after 500 steps.
DISCRIMINATOR_SHARE = {"muon": 0.5, "adam": 1.0}
# The fields of a recipe that are only for translations
OF_TRANSLATIONS = (
    "bandwidth", "gram_weight", "gram_layers", "content_weight", "content_layers", "matching_weight", "size"
)  # fmt: skip


@dataclass(frozen=True)
class UpscaleTraining:
    """The options of the training of an upscaler; names and meanings as in `percept train upscale`.

    recipe: from `find_recipe`, and perhaps changed by `dataclasses.replace`. Raises UsageError for an unknown scale,
    degradation or adversarial loss.
    """

    recipe: Recipe = RECIPES["swift"]
    scale: int = 4
    start: str | None = None
    extractor: ExtractorChoice = COMPACT
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"--scale {self.scale}: give one of {', '.join(map(str, SCALES))}.")
        if self.recipe.degradation not in DEGRADATIONS:
            raise UsageError(unknown_name("degradation", self.recipe.degradation, DEGRADATIONS))
        if self.recipe.adversarial_weight and self.recipe.adversarial not in UPSCALER_ADVERSARIAL:
            raise UsageError(unknown_name("adversarial loss", self.recipe.adversarial, UPSCALER_ADVERSARIAL))


def train_upscale(photos: Sequence[Path], run: Run, options: UpscaleTraining) -> Iterator[TrainingStep]:
    """Trains an upscaler on photographs, step by step; the model is written after the last step.

    Raises UsageError for unknown layers, losses and networks, and as `Run.train`.
    """
    recipe, runtime, (rank, processes) = options.recipe, run.runtime, run.shard
    seed_everything(options.seed)
    taps = loss_layers(recipe, options.extractor.architecture)
    extractor = runtime.freeze(options.extractor.create(taps, options.seed, run.announce)) if taps else None
    loss = create_loss(recipe, extractor)
    adversarial = None
    if recipe.adversarial_weight:
        discriminator = run.place(create_discriminator("srgan", recipe.discriminator_channels))
        adversarial = AdversarialLoss(discriminator, runtime, recipe.adversarial, recipe.adversarial_weight)
    network = start_generator(
        "upscaler", recipe.architecture, options.start, scale=options.scale, announce=run.announce
    )
    training = run.create_training(network, recipe.optimizer, recipe.steps)
    if adversarial is not None:
        share = DISCRIMINATOR_SHARE[recipe.optimizer]
        training.discriminator = DiscriminatorTraining.by_adam(adversarial, share, betas=(0.9, 0.99))
    settings = {
        **recipe.settings(without=OF_TRANSLATIONS), "preset": recipe.name, "scale": options.scale,
        **photo_settings(photos), "start": Path(options.start).stem if options.start else "",
        **run_settings(run, options.extractor, options.seed, used=bool(taps)),
    }  # fmt: skip
    crops = Crops(
        photos, recipe.patch * options.scale, options.seed, recipe.steps * recipe.batch * processes, native=True
    )

    def shrink(images: Tensor, step: int) -> Tensor:
        return degrade(images, options.scale, recipe.degradation, np.random.default_rng((options.seed, step, rank)))

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        small = runtime.place(shrink(images, step))
        with runtime.autocast():
            result = network(small)
        parts = loss(result, images, images)
        if adversarial is not None:
            parts |= adversarial.generator_parts(result, images)
        return total_of(parts), parts

    # `percept upscale --look` finds a model by this entry.
    look = "natural" if taps or adversarial else "faithful"
    sample = crops[0][None]
    return run.train(
        training, crops, recipe.batch, compute_loss, recipe.learning_rate, settings,
        clip_norm=CLIP_NORM, shown=(sample, shrink(sample, 0)),
        finish=lambda: run.save_generator("upscaler", recipe.architecture, look=look),
    )  # fmt: skip
