"""Inversion by optimization: an image with the features that a photograph has at a layer."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from percept_cli.core.choices import INVERSION_OPTIMIZERS, INVERSION_PRESETS, PARAMETRIZATIONS
from percept_cli.core.extractors.architecture import Architecture
from percept_cli.core.extractors.graph import FeatureExtractor
from percept_cli.core.losses.functional import alpha_norm, relative_feature_loss, total_variation
from percept_cli.core.optimization.loop import Loss, OptimizationStep, optimize_image, penalize_range
from percept_cli.core.optimization.parametrization import Frequencies, Parametrization, Pixels
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError, unknown_name

START_CONTRAST = 0.01  # of the noise at the start, in units of a photograph's spectrum
ADAM_RATE = 0.1  # in units of a photograph's spectrum
# With the optimizer auto, L-BFGS is replaced by Adam on the pixels as soon as the feature error is below the first value,
# and for the last third of the steps if it is below the second.
ADAM_AT_ONCE_BELOW = 0.05
ADAM_BELOW = 0.1
ADAM_PIXEL_RATE = 0.01  # in units of the range of a pixel


@dataclass(frozen=True)
class InversionOptions:
    """Options of inversion by optimization; names and meanings as in `percept invert`.

    Weights are those of priors on the image normalized to mean 0 and deviation 1, beside a feature loss that is 1 for
    features of 0. parametrization: `spectrum` or `pixels`.
    """

    steps: int = 300
    optimizer: str = "auto"
    tv_weight: float = 0.0
    tv_exponent: float = 2.0
    alpha_weight: float = 0.0
    jitter: int = 0
    seed: int = 0
    parametrization: str = "spectrum"


def check_options(options: InversionOptions) -> None:
    """Raises UsageError for an unknown optimizer or parametrization, and for jitter with L-BFGS."""
    if options.optimizer not in INVERSION_OPTIMIZERS:
        raise UsageError(unknown_name("optimizer", options.optimizer, INVERSION_OPTIMIZERS))
    if options.parametrization not in PARAMETRIZATIONS:
        raise UsageError(unknown_name("parametrization", options.parametrization, PARAMETRIZATIONS))
    if options.jitter and options.optimizer in ("auto", "lbfgs"):
        raise UsageError("--jitter moves the picture between evaluations, which lbfgs compares: add --optimizer adam.")


def preset_options(preset: str | None, architecture: Architecture, layer: str) -> InversionOptions:
    """The options of a preset for a layer, the defaults for None. Raises UsageError for an unknown preset or layer."""
    if preset is None:
        return InversionOptions()
    if preset not in INVERSION_PRESETS:
        raise UsageError(unknown_name("preset", preset, INVERSION_PRESETS))
    return mahendran_vedaldi(architecture, layer)


def mahendran_vedaldi(architecture: Architecture, layer: str) -> InversionOptions:
    """The options in the code of Mahendran & Vedaldi 2015: 400 steps of SGD on the pixels, α = 6, β = 2.

    Total variation has the weight 0.5, 5 or 50 by the depth of the layer in the network.
    """
    names = architecture.layer_names
    depth = (names.index(architecture.resolve(layer)) + 1) / len(names)
    # Departs from the paper, which lists weights for the 20 layers of one network (1 to 6, 7 to 12, the rest): here for
    # the same shares of the depth. Their code halves the paper's 1, 10 and 100.
    variation = 0.5 if depth <= 0.3 else 5.0 if depth <= 0.6 else 50.0
    # Half of their 8e-10, which is for gray levels of 0 to 255 summed over an image of unit norm. For the mean over
    # normalized pixels it is multiplied by the fourth power of a standard deviation in gray levels (255 · 0.226).
    alpha = 4e-10 * (255 * 0.226) ** 4
    return InversionOptions(400, "sgd", variation, 2.0, alpha, parametrization="pixels")


def mahendran_vedaldi_rates(steps: int) -> list[float]:
    """Their learning rates for an image of unit norm: 0.004, after 1/4 of the steps 0.0004, after 3/4 0.00004."""
    return [0.004 * (1.0 if step < steps / 4 else 0.1 if step < 3 * steps / 4 else 0.01) for step in range(steps)]


def invert(
    photo: Tensor, layer: str, extractor: FeatureExtractor, runtime: Runtime, options: InversionOptions
) -> Iterator[OptimizationStep]:
    """Optimizes an image from noise until it has the features of a photograph at a layer, yielding every step.

    photo: (1, 3, H, W) in [0, 1]; images of steps have its size. extractor: frozen by the runtime, tapped at the layer.
    The parts of a step are `feature`, the squared relative error of the features, and the priors in use. Raises
    UsageError as `check_options`, and for a photograph that is too small for the layer.
    """
    check_options(options)
    height, width = photo.shape[-2:]
    with torch.no_grad():
        target = extractor(runtime.place(photo), [layer])[layer]
    mean, std = extractor.mean.float(), extractor.std.float()
    generator = torch.Generator().manual_seed(options.seed)

    def loss(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        normalized, parts = (image - mean) / std, {}
        if options.tv_weight:
            parts["tv"] = options.tv_weight * total_variation(normalized, options.tv_exponent)
        if options.alpha_weight:
            parts["alpha"] = options.alpha_weight * alpha_norm(normalized)
        if options.jitter:
            down, across = torch.randint(-options.jitter, options.jitter + 1, (2,), generator=generator).tolist()
            image = image.roll((down, across), (2, 3))
        features = extractor(runtime.place(image), [layer])[layer]
        parts["feature"] = relative_feature_loss(features, target)
        return torch.stack(list(parts.values())).sum(), parts

    # Mahendran & Vedaldi do not clamp: only their α-norm keeps the pixels in range.
    compare = loss if options.optimizer == "sgd" and options.alpha_weight else penalize_range(loss)
    space: Parametrization
    if options.parametrization == "spectrum":
        space = Frequencies(height, width, spectrum_exponent(target, width), runtime.device)
        start = space.noise(1, START_CONTRAST, generator)
    else:
        space = Pixels()
        start = mean + std * torch.randn((1, 3, height, width), generator=generator).to(runtime.device)
    if options.optimizer == "auto":
        yield from _lbfgs_then_adam(start, compare, options.steps, space)
        return
    rates = None
    if options.optimizer == "sgd":
        # Their image has unit norm; the squared norm of this one is its number of values times `unit`.
        unit = 1.0 if isinstance(space, Frequencies) else std.square().mean().item()
        rates = [rate * 3 * height * width * unit for rate in mahendran_vedaldi_rates(options.steps)]
    elif options.optimizer == "adam":
        rates = cosine_rates(ADAM_RATE, options.steps)
    yield from optimize_image(start, compare, options.steps, options.optimizer, parametrization=space, rates=rates)


def _lbfgs_then_adam(start: Tensor, loss: Loss, steps: int, space: Parametrization) -> Iterator[OptimizationStep]:
    """Optimizes by L-BFGS, then by Adam on the pixels if the feature error has become small, yielding every step.

    L-BFGS finds shapes without noise in the fewest steps, but it estimates curvature from differences of gradients, where
    at an error of some hundredths the rounding of bf16 features is noticeable. At deep layers, whose error stays above
    `ADAM_BELOW`, Adam would only add noise that does not change the features.
    """
    image = start
    for step in optimize_image(start, loss, steps, "lbfgs", parametrization=space):
        image, left = step.image, steps - step.index
        yield step
        error = step.parts["feature"] ** 0.5
        if left and (error < ADAM_AT_ONCE_BELOW or (error < ADAM_BELOW and left <= steps // 3)):
            break
    else:
        return
    yield from optimize_image(image, loss, left, "adam", steps - left + 1, rates=cosine_rates(ADAM_PIXEL_RATE, left))


def cosine_rates(first: float, steps: int) -> list[float]:
    """Learning rates that decrease from `first` to a hundredth of it along half a cosine."""
    return [first * (0.505 + 0.495 * math.cos(math.pi * step / steps)) for step in range(steps)]


def spectrum_exponent(target: Tensor, width: int) -> float:
    """The exponent of `Frequencies`, 0.5 to 1, for features (1, C, h, w) or (1, C) of an image `width` pixels wide.

    Features of a fine layer determine fine texture as well as shapes, so its exponent gives both similar rates. Coarser
    layers determine less texture, which then follows the spectrum of photographs.
    """
    stride = width / target.shape[-1] if target.ndim == 4 else width
    return 1 - 0.5 / stride


@torch.no_grad()
def feature_error(image: Tensor, original: Tensor, layer: str, extractor: FeatureExtractor) -> float:
    """The relative error ‖φ(image) − φ(original)‖ / ‖φ(original)‖ at a layer; images (1, 3, H, W) in [0, 1]."""
    features, target = extractor(image, [layer])[layer], extractor(original, [layer])[layer]
    return relative_feature_loss(features, target).sqrt().item()
