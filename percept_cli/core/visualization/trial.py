"""A model of any role tried on photographs: what it makes of them, against what, and how fast."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.data.corruption import CORRUPTIONS, corrupt
from percept_cli.core.data.degradation import degrade
from percept_cli.core.extractors.geometry import fixed_side
from percept_cli.core.generators import ARCHITECTURES
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.images.photo import Photo, fit_short_side, floats, middle_square, resize_image
from percept_cli.core.inference.invert import run_autoencoder, run_inverter
from percept_cli.core.inference.run import run_generator
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.pretrained.generators import LoadedGenerator, check_inverter, load_generator, recognize
from percept_cli.core.pretrained.manifest import role_of, shipped_models
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ModelError, unknown_name

SIZES = (128, 256, 512)  # short sides in pixels
SPEED_SIDE = 512
SPEED_SECONDS, SPEED_RUNS = 1.5, 3


@dataclass(frozen=True)
class Trial:
    """A model ready to run: `make` turns what it is given into its result, both (1, 3, H, W) in [0, 1] on the processor.

    `before` says what the photograph is beside the result: itself, its bicubic enlargement, or what was spoilt for a
    translation that mends it. `scale` is an upscaler's, else 1; `side` that of the only squares that an inverter takes,
    None for any size; `damage` the kind and the amount of what a translation undoes.
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
        """What stands beside the result."""
        return "bicubic" if self.role == "upscaler" else "spoilt" if self.damage else "photograph"

    @property
    def after(self) -> str:
        """What the result is."""
        names = {"style": "restyled", "upscaler": "enlarged", "inverter": "inverted", "autoencoder": "reconstructed",
                 "translation": "mended" if self.damage else "translated"}  # fmt: skip
        return names[self.role]

    @property
    def mends(self) -> bool:
        """Whether what stands beside the result is not the original, and so has figures of its own."""
        return self.role == "upscaler" or self.damage is not None


@dataclass(frozen=True)
class Sample:
    """One photograph at one size: itself, what stands beside the result, and the result, all (1, 3, H, W) in [0, 1]."""

    photo: str
    original: Tensor
    before: Tensor
    after: Tensor

    @property
    def size(self) -> str:
        return f"{self.after.shape[-1]}x{self.after.shape[-2]}"


def prepare_trial(
    given: str,
    runtime: Runtime,
    extractor_weights: str | None = None,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> Trial:
    """A style, translation, upscaler, inverter or autoencoder by the name of a shipped one or from anyone's file.

    extractor_weights: of the extractor whose features an inverter takes. Raises ModelError for other files.
    """
    role = role_of(given)
    if not role and Path(given).is_file():
        role = recognize(load_weights(Path(given)), given)[0]
    if not role:
        known = [name for name, model in shipped_models().items() if model.role in ARCHITECTURES]
        raise ModelError(unknown_name("model", given, known, hint="A file is given by its path."))
    if role not in ARCHITECTURES:
        raise ModelError(f"{given} is of role '{role}': give one of {', '.join(ARCHITECTURES)}.")
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
    """What a translation was trained to undo, and the middle of how much of it; None where it was trained otherwise.

    Raises ModelError for a file that fills holes and does not say of which size.
    """
    kind, amounts = loaded.recipe.get("degrade"), loaded.recipe.get("amount")
    if kind in CORRUPTIONS and isinstance(amounts, list) and all(isinstance(amount, int | float) for amount in amounts):
        return kind, statistics.mean(amounts)
    if loaded.network.fills_holes:
        raise ModelError(f"{loaded.name} fills holes and its file does not say which it was trained on.")
    return None


def take_samples(trial: Trial, name: str, pixels: Tensor) -> list[Sample]:
    """What a model makes of a photograph (1, 3, H, W) in [0, 1] at every one of `SIZES` that it has the pixels for.

    An upscaler is given the photograph shrunk as papers shrink it (bicubic, as MATLAB), so that the photograph is what
    it should come out as; an inverter its middle square.
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
        spoilt = corrupt(shown[0], *trial.damage, np.random.default_rng(0))[None]
        made = trial.make(spoilt)
        holes = spoilt[:, 3:] > 0
        return Sample(name, shown, spoilt[:, :3], torch.where(holes, made, shown) if holes.numel() else made)
    if trial.role != "upscaler":
        return Sample(name, shown, shown, trial.make(shown))
    height, width = (length // trial.scale * trial.scale for length in shown.shape[-2:])
    shown = shown[..., :height, :width]
    small = degrade(shown, trial.scale, "bicubic", np.random.default_rng(0))
    return Sample(name, shown, BicubicBase(trial.scale)(small).clamp(0, 1), trial.make(small))


def measure_speed(trial: Trial, seed: int = 0) -> float:
    """Megapixels of the result a second: the median of a few runs on noise after a first that is not counted.

    What it is given has `SPEED_SIDE` pixels a side, an upscaler what it enlarges to about that.
    """
    side = trial.side or max(32, SPEED_SIDE // trial.scale)
    channels = 4 if trial.loaded.network.fills_holes else 3
    pixels = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(seed))
    made = trial.make(pixels)
    seconds: list[float] = []
    while len(seconds) < SPEED_RUNS or (sum(seconds) < SPEED_SECONDS and len(seconds) < 20):
        started = time.perf_counter()
        trial.make(pixels)  # its result is on the processor: a GPU is waited for
        seconds.append(time.perf_counter() - started)
    return made.shape[-1] * made.shape[-2] / 1e6 / statistics.median(seconds)
