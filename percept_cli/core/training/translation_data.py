"""The data of the training of a translation, and its recipes; imports no torch before examples are made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from percept_cli.core.data.amounts import parse_amount
from percept_cli.core.extractors.architecture import Architecture
from percept_cli.core.files.folders import match_by_name
from percept_cli.core.training.presets import Recipe
from percept_cli.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from percept_cli.core.data.batches import Examples

# The kinds of training data
UNPAIRED, PAIRS, MATCH_SOURCE, DEGRADE = "unpaired", "pairs", "match source", "degrade"
# pix2pixHD (Wang et al. 2018): the weights of VGG-19's relu1_1 to relu5_1
PIX2PIXHD_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)

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
    # After pix2pixHD (Wang et al. 2018): features and matching weigh ten times as much as the adversarial loss. Departs from
    # the paper, whose features are raw, where here each layer is divided by its distance for an unrelated picture, and whose
    # code sums where here means are taken: over the discriminator's layers (4) and scales, so that matching would weigh 20
    # times as much as the adversarial loss.
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
    ) -> "tuple[Examples, dict[str, Any]]":
        """`count` pairs of crops, and settings that must be the same in a resumed run. Raises UsageError for no pictures.

        warn: called for each picture without a partner.
        """
        from percept_cli.core.data.paired_crops import CorruptedCrops, PairedCrops, UnpairedCrops
        from percept_cli.core.data.photos import find_photos, photo_settings, training_photos

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
