"""Recipes, and those of the upscalers by name: the papers' and percept's own. Imports no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from percept_cli.core.losses.scaling import total_variation_factor
from percept_cli.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Recipe:
    """A way to train a network; the fields are options of `percept train upscale` or `percept train translate`.

    name: the preset of an upscaler, or the kind of data of a translation. A loss of weight 0 is left out. pixel to
    low_frequency compare the result with its target, content with its source; adversarial and matching are losses
    against a discriminator, whose first layer has `discriminator_channels`. feature_shares, texture_shares: the relative
    weights of the layers, equal unless there is one for each layer. scaling: `typical` divides a feature or texture term by
    its usual size, `paper` does not. mean_one: with `paper`, features have a mean of one. architecture, degradation, patch
    (side of a crop before it is enlarged, in pixels): only for upscalers. size (side of a crop, in pixels): only for
    translations.
    """

    name: str
    architecture: str = ""
    pixel: str = "l1"
    pixel_weight: float = 1.0
    feature_weight: float = 0.0
    feature_layers: tuple[str, ...] = ("relu2_2", "relu3_4")
    feature_distance: str = "mse"
    texture_weight: float = 0.0
    texture_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    contextual_weight: float = 0.0
    contextual_layers: tuple[str, ...] = ("relu3_4",)
    bandwidth: float = 0.1
    gram_weight: float = 0.0
    gram_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    low_frequency_weight: float = 0.0
    content_weight: float = 0.0
    content_layers: tuple[str, ...] = ("relu4_2",)
    adversarial_weight: float = 0.0
    adversarial: str = "standard"
    matching_weight: float = 0.0
    discriminator: str = "srgan"
    discriminator_channels: int = 64
    jitter: int = 0
    consistency_weight: float = 0.0
    fourier_weight: float = 0.0
    tv_weight: float = 0.0
    scaling: str = "typical"
    degradation: str = "bicubic"
    steps: int = 3000
    batch: int = 16
    patch: int = 48
    size: int = 128
    optimizer: str = "muon"
    learning_rate: float = 1.5e-3
    feature_shares: tuple[float, ...] = ()
    texture_shares: tuple[float, ...] = ()
    mean_one: bool = False

    def settings(self, without: Sequence[str]) -> dict[str, Any]:
        """The fields for checkpoints and model files, without some of them and without the name; tuples as lists."""
        left_out = {"name", "feature_shares", "texture_shares", "mean_one", *without}
        fields = {name: value for name, value in asdict(self).items() if name not in left_out}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


# The weights of features are for those of Oxford's VGG networks, which the papers before 2018 compare, and whose scale
# `compact` has. The weights of losses that the papers sum are converted to those of means.
_RECIPES = (
    Recipe("swift", "swift"),
    # Sharp by features and a discriminator, kept near the photograph by pixels; begins with a trained `swift` (--start).
    Recipe(
        "swift-natural", "swift-even", consistency_weight=1.0, feature_weight=1.0,
        feature_layers=("relu1_2", "relu2_2", "relu3_4"), feature_distance="cosine", jitter=7, adversarial_weight=0.15,
        discriminator="unet", discriminator_channels=32, steps=1000, batch=8, patch=32, learning_rate=5e-4,
    ),
    # Johnson et al. 2016, section 4.2: relu2_2 alone, 288x288 patches, batch 4, 200,000 steps. The strength of total
    # variation is the largest that the paper names for styles, since it names none for upscalers.
    Recipe(
        "johnson-2016", "johnson-upscale", pixel="mse", pixel_weight=0.0, feature_weight=1.0,
        feature_layers=("relu2_2",), tv_weight=total_variation_factor(1e-4, 288), scaling="paper",
        degradation="johnson", steps=200_000, batch=4, patch=72, optimizer="adam", learning_rate=1e-3,
    ),
    # Dong et al. 2014: mean squared error; Adam in place of their gradient descent with a learning rate for each layer.
    Recipe("srcnn", "srcnn", pixel="mse", steps=200_000, batch=16, patch=33, optimizer="adam", learning_rate=1e-4),
    # Ledig et al. 2017, section 3.2: 16 patches of 96x96, a million steps.
    Recipe("srresnet", "srresnet", pixel="mse", steps=1_000_000, patch=24, optimizer="adam", learning_rate=1e-4),
    # Ledig et al. 2017, from a trained srresnet (--start): relu5_4 features scaled by 1/12.75 (0.006 of their squares, a
    # mean over places and, as in every rebuild, over channels), adversarial 1e-3.
    Recipe(
        "srgan", "srresnet", pixel="mse", pixel_weight=0.0, feature_weight=0.006, feature_layers=("relu5",),
        adversarial_weight=1e-3, scaling="paper", steps=100_000, patch=24, optimizer="adam", learning_rate=1e-4,
    ),
    # Sajjadi et al. 2017, ENet-PAT, table 2 of the supplement: features of pool2 0.2 and of pool5 0.02, plain Gram matrices
    # of patches of 16x16 feature pixels at relu1_1 3e-7, at relu2_1 and relu3_1 1e-6, adversarial 2; all means of squares,
    # of features with a mean of one. Departs from the paper, where each filter has this mean over ImageNet: here it is that
    # of a layer over the photographs of the batch, in which single filters may never be active.
    Recipe(
        "enhancenet", "enhancenet", pixel="mse", pixel_weight=0.0, feature_weight=0.22,
        feature_layers=("pool2", "pool5"), feature_shares=(0.2, 0.02), texture_weight=2.3e-6,
        texture_shares=(3e-7, 1e-6, 1e-6), mean_one=True, adversarial_weight=2.0, scaling="paper", steps=100_000,
        patch=32, optimizer="adam", learning_rate=1e-4,
    ),
    # Wang et al. 2018, from an rrdb trained on pixels: conv5_4 before its activation, L1, relativistic discriminator. Their
    # code, whose losses are means, compares features of torchvision's network: --extractor vgg19.
    Recipe(
        "esrgan", "rrdb", pixel_weight=1e-2, feature_weight=1.0, feature_layers=("conv5",), feature_distance="l1",
        adversarial_weight=5e-3, adversarial="relativistic", scaling="paper", steps=400_000, patch=32,
        optimizer="adam", learning_rate=1e-4,
    ),
    # Mechrez et al. 2018b, "Maintaining Natural Image Statistics with the Contextual Loss", from a trained srresnet:
    # relu3_4, a bandwidth of 0.1 (the default), images blurred by sigma 3, SRGAN's network and adversarial loss. The paper
    # does not say which levels the squared error is of: here they are 0 to 1.
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
