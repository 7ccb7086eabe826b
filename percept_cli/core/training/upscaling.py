"""The training of an upscaler, and its recipes by name: those of the papers and percept's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from percept_cli.core.data.degradation import DEGRADATIONS, degrade
from percept_cli.core.data.photos import Crops, photo_settings
from percept_cli.core.generators.discriminators import create_discriminator
from percept_cli.core.generators.upscale import SCALES
from percept_cli.core.losses.adversarial import AdversarialLoss, LossAndParts
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.pretrained.generators import start_generator
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.loop import DiscriminatorTraining, TrainingStep
from percept_cli.core.training.recipes import Recipe, create_loss, loss_layers, run_settings, total_of
from percept_cli.core.training.run import CLIP_NORM, Run
from percept_cli.errors import UsageError, unknown_name

ADVERSARIAL = ("standard", "relativistic")
# The discriminator's learning rate over the generator's, by the generator's optimizer: the discriminator has Adam, whose
# rates are about a tenth of Muon's. With a share of 0.1 it still guessed after 500 steps.
DISCRIMINATOR_SHARE = {"muon": 0.5, "adam": 1.0}
# The fields of a recipe that are only for translations
OF_TRANSLATIONS = (
    "bandwidth", "gram_weight", "gram_layers", "content_weight", "content_layers", "matching_weight", "size"
)  # fmt: skip

_RECIPES = (
    Recipe("swift", "swift"),
    # Sharp by features and textures, kept near the photograph by pixels; begins with the weights of a `swift` (--start).
    Recipe(
        "swift-natural", "swift-even", pixel_weight=2.0, feature_weight=1.0,
        feature_layers=("relu1_2", "relu2_2", "relu3_4"), feature_distance="cosine", texture_weight=1.0,
        adversarial_weight=0.05, discriminator_channels=16, steps=1000, batch=8, patch=32, learning_rate=5e-4,
    ),
    # Johnson et al. 2016, section 4.2: relu2_2 alone, 288x288 patches, batch 4, 200,000 steps.
    Recipe(
        "johnson-2016", "johnson-upscale", pixel="mse", pixel_weight=0.0, feature_weight=1.0,
        feature_layers=("relu2_2",), tv_weight=1e-4, scaling="paper", degradation="johnson", steps=200_000, batch=4,
        patch=72, optimizer="adam", learning_rate=1e-3,
    ),
    # Dong et al. 2014: mean squared error; Adam in place of their gradient descent with a learning rate for each layer.
    Recipe("srcnn", "srcnn", pixel="mse", steps=200_000, batch=16, patch=33, optimizer="adam", learning_rate=1e-4),
    # Ledig et al. 2017, section 3.2: 16 patches of 96x96, a million steps.
    Recipe("srresnet", "srresnet", pixel="mse", steps=1_000_000, patch=24, optimizer="adam", learning_rate=1e-4),
    # Ledig et al. 2017, from a trained srresnet (--start): relu5_4 features scaled by 1/12.75 (0.006), adversarial 1e-3.
    Recipe(
        "srgan", "srresnet", pixel="mse", pixel_weight=0.0, feature_weight=0.006, feature_layers=("relu5",),
        adversarial_weight=1e-3, scaling="paper", steps=100_000, patch=24, optimizer="adam", learning_rate=1e-4,
    ),
    # Sajjadi et al. 2017, ENet-PAT: pool2 and pool5 features, Gram matrices of 16x16 patches, adversarial.
    Recipe(
        "enhancenet", "enhancenet", pixel="mse", pixel_weight=0.0, feature_weight=0.2,
        feature_layers=("pool2", "pool5"), texture_weight=3e-7, adversarial_weight=1.0, scaling="paper",
        steps=100_000, patch=32, optimizer="adam", learning_rate=1e-4,
    ),
    # Wang et al. 2018, from an rrdb trained on pixels: conv5_4 before its activation, L1, relativistic discriminator.
    Recipe(
        "esrgan", "rrdb", pixel_weight=1e-2, feature_weight=1.0, feature_layers=("conv5",), feature_distance="l1",
        adversarial_weight=5e-3, adversarial="relativistic", scaling="paper", steps=400_000, patch=32,
        optimizer="adam", learning_rate=1e-4,
    ),
    # Mechrez et al. 2018b, "Maintaining Natural Image Statistics with the Contextual Loss", from a trained srresnet:
    # relu3_4, a bandwidth of 0.1 (the default), images blurred by sigma 3, SRGAN's network and adversarial loss.
    Recipe(
        "natural-statistics", "srresnet", pixel_weight=0.0, contextual_weight=0.1, low_frequency_weight=10.0,
        adversarial_weight=1e-3, scaling="paper", steps=100_000, patch=24, optimizer="adam", learning_rate=1e-4,
    ),
)  # fmt: skip
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}


def find_recipe(name: str) -> Recipe:
    """A recipe by its name. Raises UsageError, with a suggestion, for an unknown one."""
    if name not in RECIPES:
        raise UsageError(unknown_name("preset", name, RECIPES))
    return RECIPES[name]


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
        if self.recipe.adversarial_weight and self.recipe.adversarial not in ADVERSARIAL:
            raise UsageError(unknown_name("adversarial loss", self.recipe.adversarial, ADVERSARIAL))


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
