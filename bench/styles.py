"""How near results come to a painting and to the photograph, on the real VGG-19 (`make bench-styles`).

Style: 0 for the painting's own Gram matrices, 1 for those of the untouched photograph, mean of relu1_1, relu2_1, relu3_1
and relu3_4, with the painting at a short side of 256 pixels; half, quarter: all three pictures at a half and a quarter of
their sizes, where strokes and forms are seen. Content: the squared distance at relu3_3, 1 for an unrelated picture.
With --judge-at results and photographs are shrunk to that short side first, as one sees them on a screen.
The shipped styles are measured on every photograph; the network of any style, and with --steps the optimization, with
every painting of --held-out, each on one photograph in turn.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.files.inputs import list_images
from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.styled import bind_style
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import Photo, fit_short_side, resize_image
from percept_cli.core.inference.restyle import restyle
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.losses.style import load_styles
from percept_cli.core.losses.terms import Features
from percept_cli.core.losses.weighted import shrink
from percept_cli.core.measures.spectrum import checkerboard_peaks
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.core.runtime import Runtime, choose_runtime
from percept_cli.core.strokes import parse_stroke_or_auto, stroke_for

STYLE_LAYERS, CONTENT_LAYER = ("relu1_1", "relu2_1", "relu3_1", "relu3_4"), "relu3_3"
SIZES = {"style": 1, "half": 2, "quarter": 4}
PAINTING_SIDE = 256
GRID = 4  # pixels: enlargement by 2 twice leaves periods of 2 and 4


@dataclass(frozen=True)
class Judged:
    """The figures of a result (see the module), and the strongest period of a grid in dB over its surroundings."""

    style: float
    half: float
    quarter: float
    content: float
    peak: float

    def row(self) -> str:
        """The cells of a table in Markdown."""
        return f"{self.style:.3f} | {self.half:.3f} | {self.quarter:.3f} | {self.content:.2f} | {self.peak:.1f}"


class Judge:
    """Measures results by the features of VGG-19, tapped at the layers of the module."""

    def __init__(self, extractor: FeatureExtractor, runtime: Runtime):
        self.extractor, self.runtime = extractor, runtime

    @torch.inference_mode()
    def features(self, images: Tensor, times: int) -> Features:
        """The features of images (1, 3, H, W) that are made `times` smaller."""
        return self.extractor(self.runtime.place(shrink(images, times).clamp(0, 1)))

    @torch.inference_mode()
    def judge(self, result: Tensor, photograph: Tensor, painting: Tensor) -> Judged:
        """The figures of a result and its photograph, of one size, and the painting, all (1, 3, H, W) in [0, 1]."""
        figures, content = {}, 0.0
        for name, times in SIZES.items():
            made, before, target = (self.features(images, times) for images in (result, photograph, painting))
            figures[name] = float(np.mean([relative(made[key], before[key], target[key]) for key in STYLE_LAYERS]))
            if times == 1:
                difference = (made[CONTENT_LAYER].float() - before[CONTENT_LAYER].float()).square().mean()
                content = (difference / (2 * before[CONTENT_LAYER].float().var(dim=(2, 3)).mean())).item()
        return Judged(**figures, content=content, peak=max(checkerboard_peaks(result, GRID).values()))


def relative(made: Tensor, before: Tensor, target: Tensor) -> float:
    """The squared distance of a result's Gram matrix to the target's, over that of the photograph's."""
    grams = [gram_matrix(features) for features in (made, before, target)]
    return ((grams[0] - grams[2]).square().sum() / (grams[1] - grams[2]).square().sum()).item()


def mean_of(rows: Sequence[Judged]) -> Judged:
    """The means of the figures; of the peaks, the largest."""
    means = {name: float(np.mean([getattr(row, name) for row in rows])) for name in (*SIZES, "content")}
    return Judged(**means, peak=max(row.peak for row in rows))


def photographs_of(folder: Path, short_side: int) -> list[Photo]:
    """The photographs of a folder, with a short side of so many pixels."""
    found = []
    for path in list_images(folder, recursive=False):
        pixels = load_image(path).visible()
        found.append(Photo(resize_image(pixels, *fit_short_side(*pixels.shape[-2:], short_side)).clamp(0, 1)))
    return found


def of_8_bits(photo: Photo) -> Tensor:
    """The pixels as a file of 8 bits holds them."""
    return photo.visible().mul(255).round() / 255


@dataclass(frozen=True)
class Asked:
    """How photographs are restyled and judged: `--stroke`, and the short side at which they are judged, None for their own."""

    stroke: float | str = 1.0
    side: int | None = None

    def judged(self, judge: Judge, network: Generator, photo: Photo, painting: Tensor) -> Judged:
        """The figures of a photograph restyled by a network, which the runtime has placed."""
        factor = stroke_for(self.stroke, photo.height, photo.width)
        pair = of_8_bits(restyle(photo, network, judge.runtime, stroke=factor)), photo.visible()
        if self.side is not None:
            size = fit_short_side(photo.height, photo.width, self.side)
            pair = resize_image(pair[0], *size).clamp(0, 1), resize_image(pair[1], *size).clamp(0, 1)
        return judge.judge(*pair, painting)


def judge_models(
    judge: Judge, photos: Sequence[Photo], paintings: Sequence[Path], names: Sequence[str], asked: Asked
) -> Iterator[tuple[str, Judged]]:
    """The figures of styles, whose files name their painting; those whose painting is not there are left out."""
    by_name = {path.name: path for folder in paintings for path in list_images(folder, recursive=False)}
    for name in names:
        loaded = load_generator(name, "style")
        trained_on = json.loads(loaded.metadata.get("styles", "[]"))
        if len(trained_on) != 1 or trained_on[0] not in by_name:
            continue
        (painting,) = load_styles([by_name[trained_on[0]]], PAINTING_SIDE)
        network = judge.runtime.place_network(loaded.network)
        yield loaded.name, mean_of([asked.judged(judge, network, photo, painting) for photo in photos])


def judge_any_style(
    judge: Judge, photos: Sequence[Photo], held_out: Path, name: str, asked: Asked
) -> tuple[str, Judged]:
    """The figures of a network of any style for the paintings of a folder, each on one photograph in turn."""
    network = judge.runtime.place_network(load_generator(name, "any-style").network)
    assert isinstance(network, AnyStyleGenerator)
    rows = []
    for number, path in enumerate(list_images(held_out, recursive=False)):
        painting, photo = load_styles([path], PAINTING_SIDE)[0], photos[number % len(photos)]
        styled = bind_style(network, [judge.runtime.place(painting)])
        rows.append(asked.judged(judge, styled, photo, painting))
    return f"{Path(name).stem}, {len(rows)} paintings", mean_of(rows)


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of photographs")
    parser.add_argument("--vgg19", required=True, help="the weights of VGG-19")
    parser.add_argument(
        "--paintings", type=Path, nargs="*", default=[], help="folders with the paintings of the styles"
    )
    parser.add_argument("--held-out", type=Path, help="paintings for the network of any style")
    parser.add_argument("--models", nargs="*", help="styles, shipped or files; all shipped ones by default")
    parser.add_argument("--any-style", default="any-style", help="the network of any style")
    parser.add_argument("--short-side", type=int, default=512)
    parser.add_argument("--stroke", type=parse_stroke_or_auto, default=1.0, help="as of `percept stylize`")
    parser.add_argument("--judge-at", type=int, help="a short side in pixels")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    runtime = choose_runtime(threads=given.threads)
    layers = (*STYLE_LAYERS, CONTENT_LAYER)
    judge = Judge(runtime.freeze(create_extractor("vgg19", layers, given.vgg19)), runtime)
    photos, asked = photographs_of(given.photos, given.short_side), Asked(given.stroke, given.judge_at)
    names = given.models
    if names is None:
        names = [model.name for model in shipped_models().values() if model.role == "style"]
    print("| model | style | half | quarter | content | grid, dB |\n|---|---|---|---|---|---|")
    for name, judged in judge_models(judge, photos, given.paintings, names, asked):
        print(f"| `{name}` | {judged.row()} |", flush=True)
    if given.held_out:
        name, judged = judge_any_style(judge, photos, given.held_out, given.any_style, asked)
        print(f"| `{name}` | {judged.row()} |")


if __name__ == "__main__":
    main()
