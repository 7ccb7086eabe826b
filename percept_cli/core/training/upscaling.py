"""Training of an upscaler: the recipes of the papers' systems and of percept's own, by name, and the run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from percept_cli.core.data.degradation import DEGRADATIONS, degrade
from percept_cli.core.data.photos import Crops, fingerprint
from percept_cli.core.generators.discriminators import create_discriminator
from percept_cli.core.generators.upscale import SCALES
from percept_cli.core.losses.adversarial import AdversarialLoss, LossAndParts
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.pretrained.generators import start_generator
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.loop import DiscriminatorTraining, Training, TrainingStep, unwrap
from percept_cli.core.training.optimizers import create_optimizer
from percept_cli.core.training.recipes import Recipe, create_loss, loss_layers, run_settings, total_of
from percept_cli.core.training.run import CLIP_NORM, Run
from percept_cli.errors import UsageError, unknown_name

ADVERSARIAL = ("standard", "relativistic")
# Muon's rates are some ten times Adam's, which the discriminator keeps; a tenth left it guessing after 500 steps.
DISCRIMINATOR_SHARE = {"muon": 0.5, "adam": 1.0}
# Fields of a recipe that only translations have
OF_TRANSLATION = (
    "bandwidth",
    "gram_weight",
    "gram_layers",
    "content_weight",
    "content_layers",
    "matching_weight",
    "size",
)

_RECIPES = (
    Recipe("swift", "swift"),
    # Sharp by features and textures, held in place by pixels; begins from a `swift` (give --start).
    Recipe(
        "swift-natural",
        "swift-even",
        pixel_weight=2.0,
        feature_weight=1.0,
        feature_layers=("relu1_2", "relu2_2", "relu3_4"),
        feature_distance="cosine",
        texture_weight=1.0,
        adversarial_weight=0.05,
        discriminator_channels=16,
        steps=1000,
        batch=8,
        patch=32,
        learning_rate=5e-4,
    ),
    # Johnson et al. 2016, section 4.2: relu2_2 alone, 288x288 patches, batch 4, 200,000 steps.
    Recipe(
        "johnson-2016",
        "johnson-upscale",
        pixel="mse",
        pixel_weight=0.0,
        feature_weight=1.0,
        feature_layers=("relu2_2",),
        tv_weight=1e-4,
        scaling="paper",
        degradation="johnson",
        steps=200_000,
        batch=4,
        patch=72,
        optimizer="adam",
        learning_rate=1e-3,
    ),
    # Dong et al. 2014: mean squared error; Adam in place of their gradient descent with a rate of its own per layer.
    Recipe("srcnn", "srcnn", pixel="mse", steps=200_000, batch=16, patch=33, optimizer="adam", learning_rate=1e-4),
    # Ledig et al. 2017, section 3.2: 16 patches of 96x96, a million steps.
    Recipe("srresnet", "srresnet", pixel="mse", steps=1_000_000, patch=24, optimizer="adam", learning_rate=1e-4),
    # The same from an srresnet (give --start): relu5_4 features scaled by 1/12.75 (0.006), adversarial 1e-3.
    Recipe(
        "srgan",
        "srresnet",
        pixel="mse",
        pixel_weight=0.0,
        feature_weight=0.006,
        feature_layers=("relu5",),
        adversarial_weight=1e-3,
        scaling="paper",
        steps=100_000,
        patch=24,
        optimizer="adam",
        learning_rate=1e-4,
    ),
    # Sajjadi et al. 2017, ENet-PAT: pool2 and pool5 features, Gram matrices of 16x16 patches, adversarial.
    Recipe(
        "enhancenet",
        "enhancenet",
        pixel="mse",
        pixel_weight=0.0,
        feature_weight=0.2,
        feature_layers=("pool2", "pool5"),
        texture_weight=3e-7,
        adversarial_weight=1.0,
        scaling="paper",
        steps=100_000,
        patch=32,
        optimizer="adam",
        learning_rate=1e-4,
    ),
    # Wang et al. 2018: conv5_4 before its activation, L1, relativistic average discriminator; from a pixel-trained rrdb.
    Recipe(
        "esrgan",
        "rrdb",
        pixel_weight=1e-2,
        feature_weight=1.0,
        feature_layers=("conv5",),
        feature_distance="l1",
        adversarial_weight=5e-3,
        adversarial="relativistic",
        scaling="paper",
        steps=400_000,
        patch=32,
        optimizer="adam",
        learning_rate=1e-4,
    ),
    # Mechrez et al. 2018b, "Maintaining Natural Image Statistics with the Contextual Loss": relu3_4, a bandwidth of 0.1
    # (Recipe's own), images blurred by sigma 3, SRGAN's network and adversarial loss; from an srresnet.
    Recipe(
        "natural-statistics",
        "srresnet",
        pixel_weight=0.0,
        contextual_weight=0.1,
        low_frequency_weight=10.0,
        adversarial_weight=1e-3,
        scaling="paper",
        steps=100_000,
        patch=24,
        optimizer="adam",
        learning_rate=1e-4,
    ),
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}


def find_recipe(name: str) -> Recipe:
    """A recipe by its name. Raises UsageError, with a suggestion, for one that is not there."""
    if name not in RECIPES:
        raise UsageError(unknown_name("preset", name, RECIPES))
    return RECIPES[name]


@dataclass(frozen=True)
class UpscaleTraining:
    """What is asked of the training of an upscaler; names and meanings as in `percept train upscale`.

    recipe: one of `find_recipe`, or changed by `dataclasses.replace`. Raises UsageError for a scale, a degradation or an
    adversarial loss that is not there.
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

    Raises UsageError for layers, losses and networks that are not there, and as `Run.train`.
    """
    recipe, runtime, (rank, processes) = options.recipe, run.runtime, run.shard
    seed_everything(options.seed)
    taps = loss_layers(recipe, options.extractor.architecture)
    extractor = runtime.freeze(options.extractor.create(taps, options.seed, run.announce)) if taps else None
    loss = create_loss(recipe, extractor)
    adversarial = None
    if recipe.adversarial_weight:
        discriminator = create_discriminator("srgan", recipe.discriminator_channels)
        adversarial = AdversarialLoss(discriminator, runtime, recipe.adversarial, recipe.adversarial_weight)
    created = start_generator(
        "upscaler", recipe.architecture, options.start, scale=options.scale, announce=run.announce
    )
    network = run.place(created)
    training = Training(network, create_optimizer(recipe.optimizer, network), recipe.steps)
    if adversarial is not None:
        adversarial.discriminator = run.place(adversarial.discriminator)
        training.discriminator = DiscriminatorTraining.by_adam(
            adversarial.discriminator, adversarial.discriminator_loss, DISCRIMINATOR_SHARE[recipe.optimizer],
            betas=(0.9, 0.99),
        )  # fmt: skip
    settings = {
        **recipe.settings(without=OF_TRANSLATION), "preset": recipe.name, "scale": options.scale, "photos": len(photos),
        "photos_digest": fingerprint(photos), "start": Path(options.start).stem if options.start else "",
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

    def save() -> None:
        # `percept upscale --look` finds a model by this entry.
        look = "natural" if taps or adversarial else "faithful"
        run.save(
            unwrap(network).state_dict(),
            {"role": "upscaler", "architecture": recipe.architecture, "arguments": created.arguments,
             "look": look, "recipe": settings},
        )  # fmt: skip

    sample = crops[0][None]
    return run.train(
        training, crops, recipe.batch, compute_loss, recipe.learning_rate, settings,
        clip_norm=CLIP_NORM, shown=(sample, shrink(sample, 0)), finish=save,
    )  # fmt: skip
