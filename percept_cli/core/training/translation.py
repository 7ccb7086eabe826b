"""The training of a translation: one kind of picture to another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from percept_cli.core.choices import TRANSLATION_ADVERSARIAL
from percept_cli.core.data.paired_crops import split_example
from percept_cli.core.generators.discriminators import MultiscaleDiscriminator
from percept_cli.core.losses.adversarial import AdversarialLoss, LossAndParts
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.pretrained.generators import start_generator
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.loop import DiscriminatorTraining, TrainingStep
from percept_cli.core.training.presets import Recipe
from percept_cli.core.training.recipes import create_loss, loss_layers, run_settings, total_of
from percept_cli.core.training.runs.run import CLIP_NORM, Run
from percept_cli.core.training.translation_data import MATCH_SOURCE, TranslationData
from percept_cli.errors import UsageError, unknown_name

# The discriminators' learning rate over the generator's, by the generator's optimizer: they have Adam, whose rates are
# about a tenth of Muon's.
DISCRIMINATOR_SHARE = {"muon": 0.2, "adam": 1.0}
# The fields of a recipe that are only for upscalers
OF_UPSCALERS = (
    "architecture",
    "texture_weight",
    "texture_layers",
    "scaling",
    "degradation",
    "patch",
    "discriminator",
    "discriminator_view",
    "jitter",
    "consistency_weight",
    "fourier_weight",
)


@dataclass(frozen=True)
class TranslationTraining:
    """The options of the training of a translation; names and meanings as in `percept train translate`.

    recipe: from `usual_recipe`, and perhaps changed by `dataclasses.replace`. Raises UsageError for losses that are not
    possible with the data.
    """

    data: TranslationData
    recipe: Recipe
    generator: str = "unet"
    width: float | None = None
    start: str | None = None
    extractor: ExtractorChoice = COMPACT
    seed: int = 0

    def __post_init__(self) -> None:
        recipe, mode, smallest = self.recipe, self.data.mode, MultiscaleDiscriminator.smallest
        if recipe.adversarial not in TRANSLATION_ADVERSARIAL:
            raise UsageError(unknown_name("adversarial loss", recipe.adversarial, TRANSLATION_ADVERSARIAL))
        if recipe.adversarial_weight and recipe.size < smallest:
            raise UsageError(f"--size {recipe.size}: the discriminators need {smallest} pixels or more.")
        if not self.data.paired and recipe.matching_weight:
            raise UsageError("--matching-weight compares a result with its own target: it needs --pairs or --degrade.")
        if recipe.matching_weight and not recipe.adversarial_weight:
            raise UsageError(
                "--matching-weight needs a discriminator that learns: give an --adversarial-weight above 0."
            )
        if mode == MATCH_SOURCE and any(
            (recipe.pixel_weight, recipe.feature_weight, recipe.contextual_weight, recipe.gram_weight,
             recipe.low_frequency_weight)
        ):  # fmt: skip
            raise UsageError(
                "--match source has no target to compare with: leave the weights of pixels, features, contextual, Gram "
                "and low frequencies out."
            )


def train_translation(
    run: Run, options: TranslationTraining, warn: Callable[[str], None] = lambda message: None
) -> Iterator[TrainingStep]:
    """Trains a translation, step by step; the model is written after the last step.

    warn: called for each picture without a partner. Raises UsageError for missing data and unknown layers, losses and
    networks, and as `Run.train`.
    """
    recipe, data, runtime, (_, processes) = options.recipe, options.data, run.runtime, run.shard
    examples, data_settings = data.create_examples(
        recipe.size, options.seed, recipe.steps * recipe.batch * processes, run.announce, warn
    )
    seed_everything(options.seed)
    taps = loss_layers(recipe, options.extractor.architecture)
    extractor = runtime.freeze(options.extractor.create(taps, options.seed, run.announce)) if taps else None
    if extractor is not None and recipe.size < extractor.smallest_side:
        raise UsageError(
            f"--size {recipe.size}: {', '.join(taps)} of {options.extractor.name} need {extractor.smallest_side} pixels "
            "or more."
        )
    loss = create_loss(recipe, extractor)
    created = start_generator("translation", options.generator, options.start, inputs=data.inputs, width=options.width)
    training = run.create_training(created, recipe.optimizer, recipe.steps)
    adversarial = None
    if recipe.adversarial_weight:
        # Isola et al. 2017: with pairs, the source is an input of the discriminators too.
        inputs = 3 + data.inputs if data.paired else 3
        adversarial = AdversarialLoss(
            run.place(MultiscaleDiscriminator(recipe.discriminator_channels, inputs=inputs)),
            runtime, recipe.adversarial, recipe.adversarial_weight, recipe.matching_weight,
        )  # fmt: skip
        share = DISCRIMINATOR_SHARE[recipe.optimizer]
        training.discriminator = DiscriminatorTraining.by_adam(adversarial, share, betas=(0.5, 0.999))
    settings = recipe.settings(without=OF_UPSCALERS)
    settings |= {"optimizer": settings.pop("optimizer")}  # last, as in the files of earlier versions
    settings |= {
        "mode": data.mode, **data_settings, "generator": options.generator, "arguments": created.arguments,
        "start": Path(options.start).stem if options.start else "",
        **run_settings(run, options.extractor, options.seed, used=bool(taps)),
    }  # fmt: skip

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        source, target = split_example(images)
        with runtime.autocast():
            result = network(source)
        parts = loss(result, target, source[:, :3])
        if adversarial is not None:
            parts |= adversarial.generator_parts(result, target, source if data.paired else None)
        return total_of(parts), parts

    source, _ = split_example(examples[0][None])
    return run.train(
        training, examples, recipe.batch, compute_loss, recipe.learning_rate, settings,
        clip_norm=CLIP_NORM, shown=(source[:, :3], source),
        finish=lambda: run.save_generator("translation", options.generator, mode=data.mode),
    )  # fmt: skip
