"""The work of `percept invert` on one photograph, with its networks in place."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from percept_cli import options
from percept_cli.console import Console, Progress
from percept_cli.core.batches.pictures import Foreseen, Made, Operation
from percept_cli.core.extractors.geometry import fixed_side
from percept_cli.core.extractors.graph import FeatureExtractor
from percept_cli.core.files.outputs import Job
from percept_cli.core.generators import Generator
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.images.photo import Photo, middle_square
from percept_cli.core.inference import invert as inference
from percept_cli.core.inference.invert import run_autoencoder
from percept_cli.core.measures.pixels import image_error
from percept_cli.core.optimization import inversion
from percept_cli.core.optimization.inversion import InversionOptions
from percept_cli.core.pretrained.generators import check_inverter, load_generator
from percept_cli.core.runtime import BYTES_PER_PIXEL, Runtime, memory_errors, seed_everything, size_advice
from percept_cli.core.visualization.inversion import inversion_sheet, measure_inversion

PHOTO_BYTES = 60  # of memory for a pixel of the photograph


@dataclass(frozen=True)
class Inverting:
    """What `percept invert` is asked for, by layer: the inverter of each, or the options of its optimization."""

    extractor: options.ExtractorSource
    layers: tuple[str, ...]
    inverters: Mapping[str, str]
    settings: Mapping[str, InversionOptions]
    samples: int
    side: int
    seed: int
    compute: options.Compute

    def start(self, console: Console) -> Operation:
        """The operation, with its networks in place. Raises as `load_generator`."""
        runtime = self.compute.runtime(console.say)
        seed_everything(self.seed)
        created = self.extractor.choose().create(self.layers, self.seed, console.say)
        generators: dict[str, Generator] = {}
        for layer, given in self.inverters.items():
            inverter = load_generator(given, "inverter")
            check_inverter(inverter, created, layer)
            console.say(f"{layer} by {inverter.name}")
            generators[layer] = runtime.place_network(inverter.network)
        started = _Started(self, created, generators or self.settings, runtime, console)
        return Operation(started.apply, runtime, self.foresee, passes=bool(generators))

    def foresee(self, height: int, width: int) -> Foreseen:
        """The size of one of the pictures of a sheet, and the memory for a photograph of height x width pixels."""
        square = self.side * self.side
        return Foreseen(self.side, self.side, PHOTO_BYTES * height * width + BYTES_PER_PIXEL * square)


class _Started:
    """The networks that are in place. by_layer: the inverter of each layer, or the options of its optimization."""

    def __init__(
        self,
        asked: Inverting,
        extractor: FeatureExtractor,
        by_layer: Mapping[str, Generator] | Mapping[str, InversionOptions],
        runtime: Runtime,
        console: Console,
    ):
        self.asked, self.extractor, self.by_layer = asked, extractor, by_layer
        self.runtime, self.console = runtime, console
        # Errors are measured in float32, whatever the precision of the networks.
        self.exact = replace(runtime, dtype=torch.float32).freeze(copy.deepcopy(extractor))
        self.frozen = runtime.freeze(extractor)
        self.steps = sum(each.steps if isinstance(each, InversionOptions) else 1 for each in by_layer.values())

    def apply(self, photo: Photo, job: Job) -> Made:
        """One picture, or a sheet of all layers and samples, whose errors are told."""
        side, samples = self.asked.side, self.asked.samples
        original = middle_square(photo.visible(), side)
        label = "standard input" if job.source is None else job.source.name
        found, records, remarks = [], [], []
        advice = "Close other programs or use --device cpu"
        if fixed_side(self.extractor) is None:
            advice = size_advice(side, side, BYTES_PER_PIXEL, self.runtime.device, self.extractor.smallest_side)
        with (
            self.console.progress(self.steps * samples, "step") as progress,
            memory_errors(f"{side}x{side} pixels", advice),
        ):
            for sample in range(samples):
                for layer in self.extractor.layers:
                    image, how = self._find(original, layer, sample, progress)
                    name = f"{layer}, start {sample + 1}" if samples > 1 else layer
                    each = measure_inversion(name, image, original, layer, self.exact, self.runtime)
                    remarks.append(
                        f"{label}: {name}: feature error {each.feature_error:.4f}, image error {each.image_error:.1f} "
                        "gray levels"
                    )
                    errors = {"feature_error": round(each.feature_error, 5), "image_error": round(each.image_error, 2)}
                    found.append(each)
                    records.append({"layer": layer, "sample": sample, **how, **errors})
        picture = found[0].image if len(found) == 1 else inversion_sheet(original, found, len(self.extractor.layers))
        fields = {"extractor": self.asked.extractor.choose().name, "layers": records}
        return Made(Photo(picture, icc=photo.icc, format=photo.format), fields, tuple(remarks))

    def _find(self, square: Tensor, layer: str, sample: int, progress: Progress) -> tuple[Tensor, dict[str, object]]:
        chosen = self.by_layer[layer]
        if not isinstance(chosen, InversionOptions):
            progress.advance(1)
            return inference.invert(square, layer, self.frozen, chosen, self.runtime), {"method": "generator"}
        chosen = replace(chosen, seed=chosen.seed + sample)
        for step in inversion.invert(square, layer, self.frozen, self.runtime, chosen):
            progress.advance(1, {"loss": step.total, **step.parts})
        return step.image.cpu(), {"method": "optimize", "seed": chosen.seed, "steps": chosen.steps}


@dataclass(frozen=True)
class Coding:
    """What `percept invert` is asked for with an autoencoder; size: of the photograph's middle square, None for all of it."""

    model: str
    size: int | None
    compute: options.Compute

    def start(self, console: Console) -> Operation:
        """The operation of the autoencoder on a photograph, whose code it tells. Raises as `load_generator`."""
        loaded = load_generator(self.model, "autoencoder")
        runtime = self.compute.runtime(console.say)
        network = runtime.place_network(loaded.network)
        assert isinstance(network, Autoencoder)
        return Operation(
            lambda photo, job: self._apply(network, loaded.name, runtime, photo, job), runtime, self.foresee
        )

    def foresee(self, height: int, width: int) -> Foreseen:
        """The size and the memory of a result for a photograph of height x width pixels."""
        size = (height, width) if self.size is None else (self.size, self.size)
        return Foreseen(*size, PHOTO_BYTES * height * width + BYTES_PER_PIXEL // 4 * size[0] * size[1])

    def _apply(self, network: Autoencoder, name: str, runtime: Runtime, photo: Photo, job: Job) -> Made:
        label = "standard input" if job.source is None else job.source.name
        pixels = photo.visible()
        if self.size is not None:
            pixels = middle_square(pixels, self.size)
            photo = Photo(pixels, icc=photo.icc, format=photo.format, bits=photo.bits)
        height, width = pixels.shape[-2:]
        short = min(height, width)
        remarks = []
        advice = size_advice(short, short, BYTES_PER_PIXEL, runtime.device, 1)
        with memory_errors(f"{width}x{height} pixels", advice):
            result, code = run_autoencoder(network, pixels, runtime)
        down, across = (network.stride * units for units in code.shape[2:])
        if (down, across) != (height, width):
            remarks.append(
                f"{label}: the code covers {across}x{down} pixels, of which the last repeat the edges of "
                f"{width}x{height}; the result is cut to that"
            )
        levels = 255 if photo.bits == 8 else 65535  # as the file holds it
        error = image_error((result * levels).round() / levels, pixels)
        fewer, shape = pixels.numel() / code.numel(), list(code.shape[1:])
        remarks.append(
            f"{label}: a code of {'x'.join(map(str, shape))}, {fewer:.1f} times fewer numbers than the pixels; image "
            f"error {error:.1f} gray levels"
        )
        fields = {"model": name, "code": shape, "times_fewer": round(fewer, 2), "image_error": round(error, 2)}
        return Made(photo.with_visible(result), fields, tuple(remarks))
