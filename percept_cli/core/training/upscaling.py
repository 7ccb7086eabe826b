"""The training of an upscaler."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from percept_cli.core.choices import DEGRADATIONS, SCALES, UPSCALER_ADVERSARIAL, UPSCALER_DISCRIMINATORS
from percept_cli.core.data.degradation import degrade
from percept_cli.core.data.photos import Crops, photo_settings
from percept_cli.core.generators.discriminators import DISCRIMINATORS, create_discriminator
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
    crops_per_photo: int = 1

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"--scale {self.scale}: give one of {', '.join(map(str, SCALES))}.")
        if self.recipe.degradation not in DEGRADATIONS:
            raise UsageError(unknown_name("degradation", self.recipe.degradation, DEGRADATIONS))
        if self.recipe.adversarial_weight and self.recipe.adversarial not in UPSCALER_ADVERSARIAL:
            raise UsageError(unknown_name("adversarial loss", self.recipe.adversarial, UPSCALER_ADVERSARIAL))
        if self.recipe.adversarial_weight and self.recipe.discriminator not in UPSCALER_DISCRIMINATORS:
            raise UsageError(unknown_name("discriminator", self.recipe.discriminator, UPSCALER_DISCRIMINATORS))
        side = self.recipe.patch * self.scale
        # Without a discriminator the extractor says what it needs.
        smallest = DISCRIMINATORS[self.recipe.discriminator].smallest if self.recipe.adversarial_weight else 1
        if side - self.recipe.jitter < smallest:
            raise UsageError(
                f"--jitter {self.recipe.jitter} leaves {side - self.recipe.jitter} of {side} pixels of an enlarged crop; "
                f"{smallest} are needed. Give less, or a larger --patch."
            )


def train_upscale(photos: Sequence[Path], run: Run, options: UpscaleTraining) -> Iterator[TrainingStep]:
    """Trains an upscaler on photographs, step by step; the model is written after the last step.

    Raises UsageError for unknown layers, losses and networks, and as `Run.train`.
    """
    recipe, runtime, (rank, processes) = options.recipe, run.runtime, run.shard
    seed_everything(options.seed)
    taps = loss_layers(recipe, options.extractor.architecture)
    extractor = runtime.freeze(options.extractor.create(taps, options.seed, run.announce)) if taps else None
    loss = create_loss(recipe, extractor, options.scale)
    adversarial = None
    if recipe.adversarial_weight:
        discriminator = run.place(create_discriminator(recipe.discriminator, recipe.discriminator_channels))
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
    if options.crops_per_photo > 1:  # earlier versions had not this entry
        settings["crops_per_photo"] = options.crops_per_photo
    crops = Crops(
        photos, recipe.patch * options.scale, options.seed, recipe.steps * recipe.batch * processes, native=True,
        repeats=options.crops_per_photo, apart=recipe.batch * processes,
    )  # fmt: skip

    def shrink(images: Tensor, step: int) -> Tensor:
        return degrade(images, options.scale, recipe.degradation, np.random.default_rng((options.seed, step, rank)))

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        small = runtime.place(shrink(images, step))
        with runtime.autocast():
            result = network(small)
        # Extractors and discriminators halve their maps on a grid: at one fixed place they would reward a pattern that fits it.
        # The same in all processes: the cut of one that has the batches of all.
        result, target = cut_alike(result, images, recipe.jitter, np.random.default_rng((options.seed, step, 0, 2)))
        parts = loss(result, target, target)
        if adversarial is not None:
            parts |= adversarial.generator_parts(result, target)
        return total_of(parts), parts

    # `percept upscale --look` finds a model by this entry.
    look = "natural" if taps or adversarial else "faithful"
    sample = crops[0][None]
    return run.train(
        training, crops, recipe.batch, compute_loss, recipe.learning_rate, settings,
        clip_norm=CLIP_NORM, shown=(sample, shrink(sample, 0)),
        finish=lambda: run.save_generator(
            "upscaler", recipe.architecture, look=look, input="photo" if recipe.degradation == "photo" else "clean"
        ),
    )  # fmt: skip


def cut_alike(result: Tensor, target: Tensor, jitter: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Two images (N, 3, H, W) without `jitter` of their rows and columns, (N, 3, H - jitter, W - jitter).

    How many are cut at the top and the left is drawn from 0 to `jitter`, the same for both.
    """
    top, left = (int(offset) for offset in random.integers(jitter + 1, size=2))
    height, width = target.shape[-2] - jitter, target.shape[-1] - jitter
    rows, columns = slice(top, top + height), slice(left, left + width)
    return result[..., rows, columns], target[..., rows, columns]
