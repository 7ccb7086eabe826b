"""The options that `train invert` and `train autoencoder` have in common: the losses of DeePSiM."""

from dataclasses import dataclass
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.conditions import Call, EffectIf
from percept_cli.core.choices import SCALINGS
from percept_cli.core.extractors import ARCHITECTURES
from percept_cli.core.pretrained.extractors import RANDOM
from percept_cli.core.training.deepsim_options import DISCRIMINATOR, LOSSES, LossWeights, find_weights
from percept_cli.options import PAPERS, loss_choice, loss_layers, loss_option, paper_choice
from percept_cli.parsing import Names, complete_from


def weights_of(call: Call) -> LossWeights:
    """The weights of the three losses of a call."""
    return find_weights(
        call.loss, call.scaling, image=call.image_weight, feature=call.feature_weight,
        adversarial=call.adversarial_weight,
    )  # fmt: skip


FEATURES = EffectIf(lambda call: weights_of(call).feature, "No features are compared, their weight is 0")
FROM_WEIGHTS = EffectIf(
    lambda call: call.comparator not in (DISCRIMINATOR, RANDOM),
    lambda call: f"--comparator {call.comparator} has no file of weights",
)
AGAINST_DISCRIMINATOR = EffectIf(
    lambda call: weights_of(call).adversarial, "There is no discriminator, its weight is 0"
)
OF_IMAGES = EffectIf(lambda call: weights_of(call).image, "No images are compared, their weight is 0")

Loss = Annotated[str, loss_choice("loss", tuple(LOSSES), "deepsim: both and a discriminator.", "--loss")]
LearningRate = Annotated[
    float | None, typer.Option(min=0.0, help="Peak of the schedule. Default: 1.5e-3 for muon, 2e-4 for adam.")
]


@dataclass(frozen=True)
class Losses:
    """The weights of the losses of an inverter or an autoencoder, their comparator and discriminator."""

    image_weight: options.Weight = None
    feature_weight: options.Weight = None
    adversarial_weight: options.Weight = None
    scaling: Annotated[
        str,
        paper_choice(
            "scaling", SCALINGS, "typical: 1.0 is the loss of an unrelated photograph; paper: raw sums of squares."
        ),
    ] = "typical"
    comparator: Annotated[
        str,
        loss_option(
            help="The network whose features are compared: an extractor or a FILE of one, random (AlexNet untrained) or "
            "discriminator.",
            metavar="NAME|FILE",
            autocompletion=complete_from([*ARCHITECTURES, RANDOM, DISCRIMINATOR]),
        ),
        FEATURES,
    ] = "compact"
    comparator_layers: Annotated[
        Names | None, loss_layers("Default: the comparator's own.", autocompletion=None), FEATURES
    ] = None
    comparator_weights: Annotated[
        str | None, loss_option(metavar="FILE|random", help="Weights for --comparator."), FEATURES, FROM_WEIGHTS
    ] = None
    discriminator_channels: Annotated[
        int, loss_option(min=1, help="Channels of the discriminator's first layer."), AGAINST_DISCRIMINATOR
    ] = 32
    code_branch: Annotated[
        bool,
        typer.Option(
            "--code-branch/--no-code-branch",
            help="The discriminator gets the code as well as the image.",
            rich_help_panel=PAPERS,
        ),
        AGAINST_DISCRIMINATOR,
    ] = True
