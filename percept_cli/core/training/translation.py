"""The training of a translation: one kind of picture to another; its data and its recipes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from percept_cli.core.data.corruption import parse_amount
from percept_cli.core.data.paired_crops import CorruptedCrops, PairedCrops, UnpairedCrops, split_example
from percept_cli.core.data.photos import Examples, find_photos, photo_settings, training_photos
from percept_cli.core.extractors import Architecture
from percept_cli.core.files.folders import match_by_name
from percept_cli.core.generators.discriminators import MultiscaleDiscriminator
from percept_cli.core.losses.adversarial import AdversarialLoss, LossAndParts
from percept_cli.core.losses.terms import PIX2PIXHD_WEIGHTS
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.pretrained.generators import start_generator
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.loop import DiscriminatorTraining, TrainingStep
from percept_cli.core.training.recipes import Recipe, create_loss, loss_layers, run_settings, total_of
from percept_cli.core.training.run import CLIP_NORM, Run
from percept_cli.errors import UsageError, unknown_name

# The kinds of training data
UNPAIRED, PAIRS, MATCH_SOURCE, DEGRADE = "unpaired", "pairs", "match source", "degrade"

ADVERSARIAL = ("least-squares", "standard")
# The discriminators' learning rate over the generator's, by the generator's optimizer: they have Adam, whose rates are
# about a tenth of Muon's.
DISCRIMINATOR_SHARE = {"muon": 0.2, "adam": 1.0}
# The fields of a recipe that are only for upscalers
OF_UPSCALERS = ("architecture", "texture_weight", "texture_layers", "scaling", "degradation", "patch")

# The layers are those of VGG; `usual_recipe` chooses others for other extractors.
_PLAIN = Recipe(
    UNPAIRED, pixel_weight=0.0, feature_layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    feature_distance="l1", feature_shares=PIX2PIXHD_WEIGHTS, contextual_layers=("relu3_2", "relu4_2"),
    adversarial="least-squares", discriminator_channels=32, steps=1500, batch=4,
)  # fmt: skip
RECIPES: Mapping[str, Recipe] = {
    # Mechrez et al. 2018: content from the source, the rest from any picture of the targets. Departs from the paper, whose
    # content term is a contextual loss too: features also keep the content in its place.
    UNPAIRED: replace(_PLAIN, contextual_weight=1.0, content_weight=1.0),
    # pix2pixHD (Wang et al. 2018): features and matching weigh ten times as much as the adversarial loss. Departs from the
    # paper, whose features are raw: here each layer is divided by its distance for an unrelated picture.
    PAIRS: replace(_PLAIN, name=PAIRS, feature_weight=1.0, adversarial_weight=0.1, matching_weight=1.0),
    # There is no target to compare with: a discriminator compares with the set of targets, a weak content loss with the
    # source.
    MATCH_SOURCE: replace(_PLAIN, name=MATCH_SOURCE, adversarial_weight=0.1, content_weight=0.1),
    DEGRADE: replace(_PLAIN, name=DEGRADE, pixel_weight=1.0, batch=8, size=96),
}
# A hole is filled by its surroundings, so the crops must be larger than the holes.
FILL = replace(RECIPES[DEGRADE], batch=4, size=192, feature_weight=0.1)


@dataclass(frozen=True)
class TranslationData:
    """The data of the training of a translation; names and meanings as in `percept train translate`.

    source, target, data: files or folders of pictures. Raises UsageError for options that contradict each other.
    """

    source: Sequence[Path] | None = None
    target: Sequence[Path] | None = None
    pairs: bool = False
    match: str | None = None
    degrade: str | None = None
    amount: str | None = None
    data: Sequence[Path] | None = None
    offset: int = 0
    short_side: int = 256

    def __post_init__(self) -> None:
        _ = self.mode  # raises UsageError

    @property
    def mode(self) -> str:
        """The kind of training data: `unpaired`, `pairs`, `match source` or `degrade`."""
        if self.match is not None and self.match != "source":
            raise UsageError(unknown_name("--match", self.match, ["source"]))
        if self.degrade is not None:
            if self.source or self.target or self.pairs or self.match:
                raise UsageError(
                    "--degrade makes its pairs from --data: leave --source, --target, --pairs and --match out."
                )
            parse_amount(self.degrade, self.amount)
            return DEGRADE
        if self.data or self.amount:
            raise UsageError("--data and --amount go with --degrade. Elsewhere give --source and --target.")
        if not self.target:
            raise UsageError(
                "Say what to learn: --target PICTURES (and --source PHOTOS/), with --pairs where they belong together, or "
                "--degrade noise, blur, jpeg, mask, gray or downscale."
            )
        if self.pairs and self.match:
            raise UsageError("--pairs has targets to compare with and --match source has none: give one of them.")
        if self.pairs and not self.source:
            raise UsageError("--pairs needs both --source and --target.")
        if self.offset and not self.pairs:
            raise UsageError(
                "--offset shifts the targets of --pairs or --degrade; unpaired ones have no place to be shifted from."
            )
        return PAIRS if self.pairs else MATCH_SOURCE if self.match else UNPAIRED

    @property
    def paired(self) -> bool:
        """Whether each source has a target of its own."""
        return self.mode in (PAIRS, DEGRADE)

    @property
    def inputs(self) -> int:
        """The number of channels of a source: 3, or 4 with a mask of the holes that are to be filled."""
        return 4 if self.degrade == "mask" else 3

    def create_examples(
        self, size: int, seed: int, count: int, announce: Callable[[str], None], warn: Callable[[str], None]
    ) -> tuple[Examples, dict[str, Any]]:
        """`count` pairs of crops, and settings that must be the same in a resumed run. Raises UsageError for no pictures.

        warn: called for each picture without a partner.
        """
        if self.degrade is not None:
            photos = training_photos(self.data, "translation", announce)
            amount = parse_amount(self.degrade, self.amount)
            settings = {
                "degrade": self.degrade, "amount": list(amount), "offset": self.offset, **photo_settings(photos)
            }  # fmt: skip
            return CorruptedCrops(photos, size, seed, count, self.degrade, amount, self.offset), settings
        sources = training_photos(self.source, "translation", announce)
        targets = find_photos(self.target or [])
        settings = {**photo_settings(sources, "sources"), **photo_settings(targets, "targets")}
        if not self.paired:
            crops = UnpairedCrops(sources, targets, size, seed, count, self.short_side)
            return crops, {**settings, "short_side": self.short_side}
        pairs, unmatched = match_by_name(sources, targets)
        for path, reason in unmatched.items():
            warn(f"{path} was left out: {reason}")
        if not pairs:
            raise UsageError(
                "--pairs: no name of --source is found in --target; a01.jpg belongs to a01.png or a01_night.png."
            )
        settings |= {"pairs": len(pairs), "offset": self.offset}
        return PairedCrops(pairs, size, seed, count, self.offset), settings


def usual_recipe(data: TranslationData, architecture: Architecture) -> Recipe:
    """The default recipe for the data; an extractor without the recipe's layers has its own default layers."""
    recipe = FILL if data.degrade == "mask" else RECIPES[data.mode]
    names = ("feature_layers", "contextual_layers", "gram_layers", "content_layers")
    layers = {name: architecture.choose_layers(None, getattr(recipe, name)) for name in names}
    return replace(recipe, **layers)  # type: ignore[arg-type]


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
        if recipe.adversarial not in ADVERSARIAL:
            raise UsageError(unknown_name("adversarial loss", recipe.adversarial, ADVERSARIAL))
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
