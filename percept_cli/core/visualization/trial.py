"""Trials of a model of any role on photographs: its results, their figures and its speed."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.data.amounts import CORRUPTIONS
from percept_cli.core.data.corruption import corrupt
from percept_cli.core.data.degradation import degrade
from percept_cli.core.extractors.geometry import fixed_side
from percept_cli.core.generators import ARCHITECTURES
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.images.photo import Photo, fit_short_side, floats, middle_square, resize_image
from percept_cli.core.inference.invert import run_autoencoder, run_inverter
from percept_cli.core.inference.run import run_generator
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.measures.comparison import Comparison
from percept_cli.core.measures.spectrum import Peak, frequency_peaks
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.pretrained.generators import LoadedGenerator, check_inverter, load_generator, recognize
from percept_cli.core.pretrained.manifest import role_of, shipped_models
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ImageError, ModelError, unknown_name

SIZES = (128, 256, 512)  # short sides in pixels
SPEED_SIDE = 512
SPEED_SECONDS, SPEED_RUNS = 1.5, 3
USUAL_SCALE = 4  # of the frequencies that are checked where the model does not enlarge


@dataclass(frozen=True)
class Trial:
    """A model ready to run. make: its result for an input, both (1, 3, H, W) in [0, 1] on the CPU.

    scale: of an upscaler, else 1. square: whether the input must be a square. side: the only side of the input in pixels,
    None for any. damage: the kind and the amount of the corruption that a translation was trained to undo, None where
    there is none.
    """

    loaded: LoadedGenerator
    role: str
    make: Callable[[Tensor], Tensor]
    scale: int = 1
    square: bool = False
    side: int | None = None
    damage: tuple[str, float] | None = None

    @property
    def before(self) -> str:
        """The name of the picture that is shown beside the result."""
        return "bicubic" if self.role == "upscaler" else "damaged" if self.damage else "photograph"

    @property
    def after(self) -> str:
        """The name of the result."""
        names = {"style": "restyled", "upscaler": "enlarged", "inverter": "inverted", "autoencoder": "reconstructed",
                 "translation": "restored" if self.damage else "translated"}  # fmt: skip
        return names[self.role]

    @property
    def restores(self) -> bool:
        """Whether the picture beside the result differs from the original, so that it has figures of its own."""
        return self.role == "upscaler" or self.damage is not None


@dataclass(frozen=True)
class Sample:
    """One photograph at one size, the picture shown beside the result, and the result, all (1, 3, H, W) in [0, 1]."""

    photo: str
    original: Tensor
    before: Tensor
    after: Tensor

    @property
    def size(self) -> str:
        return f"{self.after.shape[-1]}x{self.after.shape[-2]}"


def load_trial(
    given: str,
    runtime: Runtime,
    extractor_weights: str | None = None,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> Trial:
    """Load a style, translation, upscaler, inverter or autoencoder, by the name of a shipped one or from a file.

    extractor_weights: of the extractor whose features an inverter takes. Raises ModelError for other names and files.
    """
    role = role_of(given)
    if not role and Path(given).is_file():
        role = recognize(load_weights(Path(given)), given)[0]
    if not role:
        known = [
            name
            for name, model in shipped_models().items()
            if model.role in ARCHITECTURES and model.role != "any-style"
        ]
        raise ModelError(unknown_name("model", given, known, hint="A file is given by its path."))
    known_roles = [known for known in ARCHITECTURES if known != "any-style"]  # which needs a painting too
    if role not in known_roles:
        raise ModelError(f"{given} is of role '{role}': give one of {', '.join(known_roles)}.")
    loaded = load_generator(given, role)
    network = runtime.place_network(loaded.network)
    if role in ("style", "translation"):
        damage = find_damage(loaded) if role == "translation" else None
        return Trial(loaded, role, lambda pixels: run_generator(network, pixels, runtime), damage=damage)
    if role == "upscaler":
        return Trial(
            loaded, role, lambda pixels: floats(upscale(Photo(pixels), network, runtime).pixels), scale=loaded.scale
        )
    if role == "autoencoder":
        assert isinstance(network, Autoencoder)
        return Trial(loaded, role, lambda pixels: run_autoencoder(network, pixels, runtime)[0])

    extractor, layer = loaded.metadata["extractor"], loaded.metadata["layer"]
    created = create_extractor(extractor, [layer], extractor_weights, seed, announce)
    check_inverter(loaded, created, layer)
    frozen = runtime.freeze(created)

    def invert(pixels: Tensor) -> Tensor:
        features = frozen(runtime.place(pixels))[layer]
        return run_inverter(network, features, (pixels.shape[-2], pixels.shape[-1]), runtime)

    return Trial(loaded, role, torch.inference_mode()(invert), square=True, side=fixed_side(created))


def find_damage(loaded: LoadedGenerator) -> tuple[str, float] | None:
    """The corruption that a translation was trained to undo, and its mean amount; None where there is none.

    Raises ModelError for a model that fills holes and whose file does not record them.
    """
    kind, amounts = loaded.recipe.get("degrade"), loaded.recipe.get("amount")
    if kind in CORRUPTIONS and isinstance(amounts, list) and all(isinstance(amount, int | float) for amount in amounts):
        return kind, statistics.mean(amounts)
    if loaded.network.fills_holes:
        raise ModelError(f"{loaded.name} fills holes and its file does not say which it was trained on.")
    return None


def take_samples(trial: Trial, name: str, pixels: Tensor) -> list[Sample]:
    """The results of a model on a photograph (1, 3, H, W) in [0, 1], at each of `SIZES` that is not larger than it.

    The input of an upscaler is the photograph reduced by MATLAB's bicubic interpolation, as in papers, so that the ideal
    result is the photograph; that of an inverter is the middle square.
    """
    short = min(pixels.shape[-2:])
    sides = [trial.side] if trial.side else sorted({min(side, short) for side in SIZES})
    return [_sample(trial, name, pixels, side) for side in sides]


def _sample(trial: Trial, name: str, pixels: Tensor, side: int) -> Sample:
    if trial.square:
        shown = middle_square(pixels, side)
    else:
        shown = resize_image(pixels, *fit_short_side(pixels.shape[-2], pixels.shape[-1], side))
    if trial.damage:
        damaged = corrupt(shown[0], *trial.damage, np.random.default_rng(0))[None]
        made = trial.make(damaged)
        holes = damaged[:, 3:] > 0
        return Sample(name, shown, damaged[:, :3], torch.where(holes, made, shown) if holes.numel() else made)
    if trial.role != "upscaler":
        return Sample(name, shown, shown, trial.make(shown))
    height, width = (length // trial.scale * trial.scale for length in shown.shape[-2:])
    shown = shown[..., :height, :width]
    small = degrade(shown, trial.scale, "bicubic", np.random.default_rng(0))
    return Sample(name, shown, BicubicBase(trial.scale)(small).clamp(0, 1), trial.make(small))


@dataclass(frozen=True)
class Measured:
    """A sample, and the figures against the original and the frequencies of its result and of the picture beside it.

    peaks_before, peaks_after: empty for pictures that are too small for a spectrum.
    """

    sample: Sample
    before: dict[str, float]
    after: dict[str, float]
    peaks_before: Sequence[Peak]
    peaks_after: Sequence[Peak]


def measure_sample(sample: Sample, trial: Trial, comparison: Comparison) -> Measured:
    """Measure a sample as `percept compare` does, the picture beside the result only where it is not the original."""
    before = comparison.measure(sample.before, sample.original).figures if trial.restores else {}
    after = comparison.measure(sample.after, sample.original).figures
    scale = frequency_scale(trial)
    try:
        peaks = [frequency_peaks(picture, scale) for picture in (sample.before, sample.after)]
    except ImageError:
        peaks = [[], []]
    return Measured(sample, before, after, *peaks)


def frequency_scale(trial: Trial) -> int:
    """The scale whose frequencies are checked: of an upscaler its own, else `USUAL_SCALE`."""
    return trial.scale if trial.scale > 1 else USUAL_SCALE


def measure_speed(trial: Trial, seed: int = 0) -> float:
    """The speed in megapixels of the result per second: the median of a few runs on noise, after one run to warm up.

    The result has about `SPEED_SIDE` pixels a side.
    """
    side = trial.side or max(32, SPEED_SIDE // trial.scale)
    channels = 4 if trial.loaded.network.fills_holes else 3
    pixels = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(seed))
    made = trial.make(pixels)
    seconds: list[float] = []
    while len(seconds) < SPEED_RUNS or (sum(seconds) < SPEED_SECONDS and len(seconds) < 20):
        started = time.perf_counter()
        trial.make(pixels)  # includes the transfer to the CPU, so a GPU has finished
        seconds.append(time.perf_counter() - started)
    return made.shape[-1] * made.shape[-2] / 1e6 / statistics.median(seconds)
