"""What a layer keeps of an image: a picture is optimized until its features there are those of the image."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.losses.functional import alpha_norm, relative_feature_loss, total_variation
from percept_cli.core.optimization import loop as optimization
from percept_cli.core.optimization.loop import Loss, OptimizationStep, fence, optimize_image
from percept_cli.core.optimization.parametrization import Frequencies, Parametrization, Pixels
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError, unknown_name

PRESETS = ("mahendran-vedaldi",)
PARAMETRIZATIONS = ("spectrum", "pixels")
# Of the noise that a picture begins as, in units of what photographs have at each frequency.
START_CONTRAST = 0.01
ADAM_RATE = 0.1  # in units of a photograph's spectrum
POLISH_RATE = 0.01  # in units of the range of a pixel
POLISHED_BELOW = 0.1  # feature error
FOUND = 0.05
OPTIMIZERS = ("auto", *optimization.OPTIMIZERS)


@dataclass(frozen=True)
class InversionOptions:
    """What is asked of an optimization; names and meanings as in `percept invert`.

    Weights are those of priors on the normalized image, of mean 0 and deviation 1 as the extractor sees it, beside a
    feature loss of 1 for no likeness at all.
    """

    steps: int = 300
    optimizer: str = "auto"
    total_variation_weight: float = 0.0
    total_variation_exponent: float = 2.0
    alpha_weight: float = 0.0
    jitter: int = 0
    seed: int = 0
    parametrization: str = "spectrum"


def check_options(options: InversionOptions) -> None:
    """Raises UsageError for an unknown optimizer or parametrization, and for jitter with L-BFGS."""
    if options.optimizer not in OPTIMIZERS:
        raise UsageError(unknown_name("optimizer", options.optimizer, OPTIMIZERS))
    if options.parametrization not in PARAMETRIZATIONS:
        raise UsageError(unknown_name("parametrization", options.parametrization, PARAMETRIZATIONS))
    if options.jitter and options.optimizer in ("auto", "lbfgs"):
        raise UsageError("--jitter moves the picture between evaluations, which lbfgs compares: add --optimizer adam.")


def mahendran_vedaldi(architecture: Architecture, layer: str) -> InversionOptions:
    """The settings of Mahendran & Vedaldi 2015 as their code has them: 400 steps of SGD on the pixels, α = 6, β = 2.

    Total variation counts 0.5, 5 or 50 by the depth of the layer among the architecture's.
    """
    names = architecture.layer_names
    depth = (names.index(architecture.resolve(layer)) + 1) / len(names)
    # Departs from the paper, whose weights are listed for the 20 layers of one network: here for thirds as deep as
    # theirs (layers 1 to 6, 7 to 12, the rest). Their code halves 1, 10 and 100.
    variation = 0.5 if depth <= 0.3 else 5.0 if depth <= 0.6 else 50.0
    # Their 8e-10, halved too, is for gray levels of 0 to 255 summed over an image of unit norm; on normalized pixels
    # and as a mean it is this times the fourth power of a deviation in gray levels (255 · 0.226).
    alpha = 4e-10 * (255 * 0.226) ** 4
    return InversionOptions(400, "sgd", variation, 2.0, alpha, parametrization="pixels")


def mahendran_vedaldi_rates(steps: int) -> list[float]:
    """Their learning rates for an image of unit norm: 0.004 for a quarter of the steps, a tenth for half, a hundredth."""
    return [0.004 * (1.0 if step < steps / 4 else 0.1 if step < 3 * steps / 4 else 0.01) for step in range(steps)]


def reconstruct(
    target: Tensor,
    layer: str,
    side: int,
    extractor: FeatureExtractor,
    runtime: Runtime,
    options: InversionOptions,
) -> Iterator[OptimizationStep]:
    """Finds a picture (1, 3, side, side) whose features at a layer are `target`, from noise, yielding every step.

    target: (1, C, h, w) or (1, C), as the extractor returns them. The parts of a step are `feature`, the squared relative
    error there, and the priors in use. Raises UsageError as `check_options` does.
    """
    check_options(options)
    mean, std = extractor.mean.float(), extractor.std.float()
    chance = torch.Generator().manual_seed(options.seed)

    def loss(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        normalized, parts = (image - mean) / std, {}
        if options.total_variation_weight:
            variation = total_variation(normalized, options.total_variation_exponent)
            parts["tv"] = options.total_variation_weight * variation
        if options.alpha_weight:
            parts["alpha"] = options.alpha_weight * alpha_norm(normalized)
        if options.jitter:
            down, across = torch.randint(-options.jitter, options.jitter + 1, (2,), generator=chance).tolist()
            image = image.roll((down, across), (2, 3))
        features = extractor(runtime.place(image), [layer])[layer]
        parts["feature"] = relative_feature_loss(features, target)
        return torch.stack(list(parts.values())).sum(), parts

    # Mahendran & Vedaldi clamp nothing: their α-norm alone keeps the pixels in range.
    fenced_by_alpha = options.optimizer == "sgd" and options.alpha_weight > 0
    compare = loss if fenced_by_alpha else fence(loss)
    space: Parametrization
    if options.parametrization == "spectrum":
        space = Frequencies(side, side, spectrum_exponent(target, side), runtime.device)
        spectrum = space.encode(torch.zeros(1, 3, side, side, device=runtime.device))
        start = space.decode(START_CONTRAST * torch.randn(spectrum.shape, generator=chance).to(runtime.device))
    else:
        space = Pixels()
        start = mean + std * torch.randn((1, 3, side, side), generator=chance).to(runtime.device)
    if options.optimizer == "auto":
        yield from _search_and_polish(start, compare, options.steps, space)
        return
    rates = None
    if options.optimizer == "sgd":
        # Their image has unit norm: here it is as large as the root of its number of values, each of size `unit`.
        unit = 1.0 if isinstance(space, Frequencies) else std.square().mean().item()
        rates = [rate * 3 * side * side * unit for rate in mahendran_vedaldi_rates(options.steps)]
    elif options.optimizer == "adam":
        rates = cosine_rates(ADAM_RATE, options.steps)
    yield from optimize_image(start, compare, options.steps, options.optimizer, parametrization=space, rates=rates)


def _search_and_polish(start: Tensor, loss: Loss, steps: int, space: Parametrization) -> Iterator[OptimizationStep]:
    """L-BFGS, and then Adam on the pixels: once the features are found to `FOUND`, or for the last third of the steps.

    L-BFGS finds shapes without noise in the fewest steps, but learns the curvature from differences of gradients, in
    which the rounding of bf16 features shows once their error is down to some hundredths. Adam goes on from there. At
    deep layers, whose error stays above `POLISHED_BELOW`, it would only add noise to which they are blind.
    """
    image = start
    for step in optimize_image(start, loss, steps, "lbfgs", parametrization=space):
        image, polishing = step.image, steps - step.index
        yield step
        error = step.parts["feature"] ** 0.5
        if polishing and (error < FOUND or (error < POLISHED_BELOW and polishing <= steps // 3)):
            break
    else:
        return
    yield from optimize_image(
        image, loss, polishing, "adam", steps - polishing + 1, rates=cosine_rates(POLISH_RATE, polishing)
    )


def cosine_rates(first: float, steps: int) -> list[float]:
    """Learning rates that fall from `first` to a hundredth of it along half a cosine."""
    return [first * (0.505 + 0.495 * math.cos(math.pi * step / steps)) for step in range(steps)]


def spectrum_exponent(target: Tensor, side: int) -> float:
    """How steeply the spectrum that is searched falls, for features (1, C, h, w) or (1, C) of a picture `side` wide.

    Layers that are as fine as the picture tell of grain as well as of shapes: there the search is nearly even. The
    coarser a layer, the less it tells of grain, and the more has to come from what photographs are like.
    """
    stride = side / target.shape[-1] if target.ndim == 4 else side
    return 1 - 0.5 / stride


@torch.no_grad()
def feature_error(image: Tensor, original: Tensor, layer: str, extractor: FeatureExtractor) -> float:
    """‖φ(image) − φ(original)‖ / ‖φ(original)‖ at a layer; images (1, 3, H, W) in [0, 1]."""
    features, target = extractor(image, [layer])[layer], extractor(original, [layer])[layer]
    return relative_feature_loss(features, target).sqrt().item()


def for_sample(options: InversionOptions, number: int) -> InversionOptions:
    """The same options from another start, numbered from 0."""
    return replace(options, seed=options.seed + number)
