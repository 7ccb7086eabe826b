"""The cells of DeePSiM's experiment: one method at one layer, trained, run on the held-out photographs and measured."""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from reconstruction_metrics import gradient_energy, high_frequency_share, normalized_errors
from torch import Tensor

from percept_cli.app import run as run_percept
from percept_cli.core.drawing.sheets import Panel, contact_sheet
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.files.atomic import atomic_write_bytes
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.inference.invert import run_inverter
from percept_cli.core.measures.pixels import perceptual_distance, place_distances
from percept_cli.core.optimization.inversion import InversionOptions, invert
from percept_cli.core.pretrained.generators import check_inverter, load_generator
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ExitCode

# By name: its heading, and the options of its training; no training is an optimization.
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "optimize": ("optimization", ()),
    "image": ("image loss", ("--loss", "image")),
    "deepsim": ("DeePSiM", ("--loss", "deepsim")),
    "no-feature": ("no feature loss", ("--loss", "deepsim", "--feature-weight", "0")),
    "no-adversarial": ("no adversarial", ("--loss", "deepsim", "--adversarial-weight", "0")),
    "no-image": ("no image loss", ("--loss", "deepsim", "--image-weight", "0")),
}
USUAL = ("optimize", "image", "deepsim")
# The options of a training, by their beginnings, that a method has no use for; percept refuses them.
COMPARING, DISCRIMINATING = ("--comparator",), ("--discriminator", "--code-branch", "--no-code-branch")
IDLE = {"image": (*COMPARING, *DISCRIMINATING), "no-feature": COMPARING, "no-adversarial": DISCRIMINATING}
ROWS, TILE = 6, 128  # of a sheet: photographs, and the pixels that a small picture is enlarged to

Row = dict[str, object]


def fitting(options: Sequence[str], method: str) -> list[str]:
    """Those of the options of all trainings that have an effect in a method."""
    kept: list[str] = []
    dropping = False
    for word in options:
        dropping = word.startswith(IDLE.get(method, ())) if word.startswith("--") else dropping
        if not dropping:
            kept.append(word)
    return kept


@dataclass(frozen=True)
class Experiment:
    """What all cells share: the photographs, and by layer the network as it is searched and as it is measured in."""

    given: argparse.Namespace
    layers: list[str]
    names: list[str]  # of the held-out photographs' pictures
    originals: Tensor  # (N, 3, size, size)
    runtime: Runtime
    frozen: dict[str, FeatureExtractor]
    exact: dict[str, FeatureExtractor]  # in float32
    judge: FeatureExtractor

    def methods(self, layer: str) -> tuple[str, ...]:
        """Of a layer: all at the one of the ablations."""
        return tuple(METHODS) if layer == self.given.ablate else USUAL

    def cell(self, layer: str, method: str) -> Row:
        """The figures of one method at one layer, from its file where it is finished."""
        folder = self.given.out / layer
        file = folder / f"{method}.json"
        if not file.exists():
            (folder / method).mkdir(parents=True, exist_ok=True)
            say(f"{layer}: {METHODS[method][0]}")
            model = self.train(layer, method) if METHODS[method][1] else None
            self.invert(layer, model, folder / method)
            row = {"layer": layer, "method": method, **self.measure(layer, self.pictures(layer, method))}
            atomic_write_bytes(file, json.dumps(row).encode(), overwrite=True)
        return json.loads(file.read_text())

    def train(self, layer: str, method: str) -> Path:
        """The generator, trained by percept's own command, from where it was stopped if it was."""
        model = self.given.out / layer / f"{method}.safetensors"
        if model.exists():
            return model
        given = self.given
        command = ["train-invert", "--layer", layer, "-o", model, *METHODS[method][1], "--resume"]
        for name in (
            "extractor",
            "extractor_weights",
            "size",
            "steps",
            "batch",
            "seed",
            "device",
            "precision",
            "threads",
        ):
            if getattr(given, name) is not None:
                command += [f"--{name.replace('_', '-')}", getattr(given, name)]
        for folder in given.data:
            command += ["--data", folder]
        with contextlib.redirect_stdout(sys.stderr):  # of results, there is only the table
            code = run_percept([str(word) for word in [*command, *fitting(given.train, method)]])
        if code != ExitCode.OK:
            say(f"{model} is not trained to its end: the same experiment goes on with it")
            raise SystemExit(code)
        return model

    def invert(self, layer: str, model: Path | None, folder: Path) -> None:
        """A picture of every held-out photograph, by its features alone, unless it is there."""
        if model is not None:
            inverter = load_generator(str(model), "inverter")
            check_inverter(inverter, self.exact[layer], layer)
            network = self.runtime.place_network(inverter.network)
        options = InversionOptions(steps=self.given.optimize_steps, seed=self.given.seed)
        for name, original in zip(self.names, self.originals.split(1), strict=True):
            if (folder / name).exists():
                continue
            with torch.no_grad():
                code = self.frozen[layer](self.runtime.place(original))[layer].clone()
            if model is not None:
                picture = run_inverter(network, code, original.shape[-2:], self.runtime)
            else:
                for step in invert(original, layer, self.frozen[layer], self.runtime, options):
                    picture = step.image
            save_image(Photo(picture.cpu()), folder / name)

    def pictures(self, layer: str, method: str) -> Tensor:
        """What a method made, (N, 3, size, size), in the 8 bits of its files."""
        folder = self.given.out / layer / method
        return torch.cat([load_image(folder / name).pixels for name in self.names])

    def measure(self, layer: str, results: Tensor) -> dict[str, float]:
        """The figures of results (N, 3, size, size), means over the photographs."""
        features, wanted = (self.features(images, layer) for images in (results, self.originals))
        share = high_frequency_share(results).mean() / high_frequency_share(self.originals).mean().clamp_min(1e-12)
        return {
            "image_error": normalized_errors(results, self.originals).mean().item(),
            "feature_error": normalized_errors(features, wanted).mean().item(),
            "gradient_energy": gradient_energy(results, self.originals),
            "high_frequencies": share.item(),
            "perceptual": self.distance(results),
        }

    @torch.no_grad()
    def features(self, images: Tensor, layer: str) -> Tensor:
        """Of a layer in float32, on the processor."""
        device = self.runtime.device
        return torch.cat([self.exact[layer](few.to(device))[layer].cpu() for few in images.split(1)])

    @torch.no_grad()
    def distance(self, results: Tensor) -> float:
        """Mean perceptual distance to the originals, as the judge sees it."""
        distances = []
        for pair in zip(results.split(1), self.originals.split(1), strict=True):
            features, wanted = (self.judge(images.to(self.runtime.device)) for images in pair)
            distances.append(
                perceptual_distance({layer: place_distances(features[layer], wanted[layer]) for layer in features})
            )
        return torch.cat(distances).mean().item()

    def sheet(self, layer: str) -> Tensor:
        """Photographs by rows, methods by columns, each picture with its normalized errors."""
        factor = -(-TILE // self.given.size)
        pictures = {method: self.pictures(layer, method) for method in self.methods(layer)}
        wanted = self.features(self.originals, layer)
        errors = {
            method: (normalized_errors(made, self.originals), normalized_errors(self.features(made, layer), wanted))
            for method, made in pictures.items()
        }
        rows = []
        for number in range(min(ROWS, len(self.names))):
            tiles = [Panel(enlarge(self.originals[number : number + 1], factor), ("original",))]
            for method, made in pictures.items():
                image, feature = (error[number].item() for error in errors[method])
                caption = METHODS[method][0], f"image {image:.2f}", f"features {feature:.2f}"
                tiles.append(Panel(enlarge(made[number : number + 1], factor), caption))
            rows.append(tiles)
        return contact_sheet(rows)


def enlarge(image: Tensor, factor: int) -> Tensor:
    """Each pixel as a square of `factor`."""
    return F.interpolate(image, scale_factor=factor)


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
