"""What the training of a style begins with where its generator is that of any style with one painting fixed in it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.encoder import ENCODER_CHANNELS
from percept_cli.core.generators.feature_statistics import Statistics, blend_statistics
from percept_cli.core.generators.one_style import OneStyleGenerator, fix_style, with_forms, without_noise
from percept_cli.core.pretrained.extractors import COMPACT
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.errors import UsageError

ONE_STYLE = "transport"  # the name of the generator
DEEPEST = f"conv{list(ENCODER_CHANNELS)[-1]}"  # layer of `compact` that its encoder has


def usual_start() -> str | None:
    """The shipped network of any style; None where none is shipped."""
    return next((name for name, model in shipped_models().items() if model.role == "any-style"), None)


def start_one_style(
    start: str | None,
    styles: Sequence[Tensor],
    weights: Sequence[float] | None,
    photographs: Tensor,
    plain_strokes: float = 0.0,
) -> OneStyleGenerator:
    """The generator of one style to train: of the network of any style, of another style, or with an untrained decoder.

    A decoder that is trained for one painting makes spots of the noise among its inputs in plain skies: it gets none, or
    with plain_strokes (see `OneStyleGenerator.summarize`) smooth forms.

    start: a shipped model or a file of the role `any-style` or `style`; None for an untrained decoder, whose encoder is
    scaled by photographs (N, 3, H, W). styles: each (1, 3, h, w); weights: of several, None for equal ones. Raises
    UsageError for a start of another kind, and as `load_generator`.
    """
    if start is None:
        network = AnyStyleGenerator()
        network.encoder.adopt(COMPACT.create([DEEPEST]).named_weights(), photographs)
    else:
        loaded = load_generator(start, "style", also="any-style")
        if not isinstance(loaded.network, AnyStyleGenerator):
            raise UsageError(
                f"--start {start} is a generator of '{loaded.architecture}', not '{ONE_STYLE}'. Give --generator so."
            )
        network = loaded.network
    style = describe_styles(network, styles, weights)
    if isinstance(network, OneStyleGenerator):
        network.set_style(style)
    else:
        network = fix_style(network, style)
    network = with_forms(network) if plain_strokes else without_noise(network)
    network.plain_strokes = plain_strokes
    return network.requires_grad_(True).train()


@torch.no_grad()
def describe_styles(
    network: AnyStyleGenerator, styles: Sequence[Tensor], weights: Sequence[float] | None
) -> Statistics:
    """The description of paintings, each (1, 3, h, w) in [0, 1], or of their blend."""
    return blend_statistics([network.describe(style) for style in styles], weights or [1.0] * len(styles))
