"""How the systems of the papers, and percept's own, train an upscaler: architecture, losses and schedule by name."""

from dataclasses import dataclass

from percept_cli.errors import UsageError, unknown_name


@dataclass(frozen=True)
class Recipe:
    """One way to train an upscaler; every field is an option of `percept train upscale`.

    Weights of 0 leave a loss out. `scaling` is as everywhere: `typical` makes 1.0 the usual size of a feature or
    texture term, `paper` takes the raw figure. `patch` is the side of a training crop in low-resolution pixels;
    `discriminator_channels` the width of the discriminator's first layer.
    """

    architecture: str
    pixel: str = "l1"
    pixel_weight: float = 1.0
    feature_weight: float = 0.0
    feature_layers: tuple[str, ...] = ("relu2_2", "relu3_4")
    feature_distance: str = "mse"
    texture_weight: float = 0.0
    texture_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    contextual_weight: float = 0.0
    contextual_layers: tuple[str, ...] = ("relu3_4",)
    low_frequency_weight: float = 0.0
    adversarial_weight: float = 0.0
    adversarial: str = "standard"
    discriminator_channels: int = 64
    tv_weight: float = 0.0
    scaling: str = "typical"
    degradation: str = "bicubic"
    steps: int = 3000
    batch: int = 16
    patch: int = 48
    optimizer: str = "muon"
    learning_rate: float = 1.5e-3


RECIPES: dict[str, Recipe] = {
    "swift": Recipe("swift"),
    # Sharp by features and textures, held in place by pixels; begins from a `swift` (give --start).
    "swift-natural": Recipe(
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
    "johnson-2016": Recipe(
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
    "srcnn": Recipe("srcnn", pixel="mse", steps=200_000, batch=16, patch=33, optimizer="adam", learning_rate=1e-4),
    # Ledig et al. 2017, section 3.2: 16 patches of 96x96, a million steps.
    "srresnet": Recipe("srresnet", pixel="mse", steps=1_000_000, patch=24, optimizer="adam", learning_rate=1e-4),
    # The same from an srresnet (give --start): relu5_4 features scaled by 1/12.75 (0.006), adversarial 1e-3.
    "srgan": Recipe(
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
    "enhancenet": Recipe(
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
    "esrgan": Recipe(
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
    # (see `upscale_loss`), images blurred by sigma 3, SRGAN's network and adversarial loss; from an srresnet.
    "natural-statistics": Recipe(
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
}


def find_recipe(name: str) -> Recipe:
    """A recipe by its name. Raises UsageError, with a suggestion, for one that is not there."""
    if name not in RECIPES:
        raise UsageError(unknown_name("preset", name, RECIPES))
    return RECIPES[name]
