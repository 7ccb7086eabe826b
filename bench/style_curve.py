"""How near results come to a painting for their time: optimization from the photograph, from one pass, and by VGG-19.

    python bench/style_curve.py PHOTOGRAPHS... --style PAINTING... --vgg19 FILE [--write docs]

Each photograph is restyled after each painting. From the photograph is `--init content`; from one pass, `--steps N` (0 is
the pass itself). VGG-19 is Gatys et al. 2016 in the form of PyTorch's tutorial on neural style: its layers and its weight of
1e6, L-BFGS, the photograph at full size; only on the first photograph and painting, as it takes minutes. Distances are those of
`bench/styles.py`, seconds those of the processor in one thread, which other programs hardly change.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from styles import CONTENT_LAYER, STYLE_LAYERS, Judge, Judged
from torch import Tensor

from percept_cli.core.drawing.canvas import LINES
from percept_cli.core.drawing.plots import Plot, plain_log_axis, render
from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.styled import bind_style
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo, fit_short_side, resize_image
from percept_cli.core.inference.run import run_generator
from percept_cli.core.losses.style import StyleLossOptions, create_style_loss, load_styles, style_taps
from percept_cli.core.optimization.loop import optimize_image
from percept_cli.core.optimization.style_transfer import StyleOptions, optimize_style
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import find_any_style
from percept_cli.core.runtime import Runtime, choose_runtime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEGIN, END = "<!-- written by make bench-style-curve -->", "<!-- end -->"
PHOTOGRAPH, ONE_PASS, VGG19 = "from the photograph", "from one pass", "VGG-19, L-BFGS"
STEPS = {PHOTOGRAPH: (30, 60, 120, 300), ONE_PASS: (0, 15, 30, 60, 100), VGG19: (5, 10, 20, 40)}
PAINTING_SIDE = 256
# Of PyTorch's tutorial
TUTORIAL = StyleLossOptions(
    content_layers=("conv2_2",),
    style_layers=("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"),
    scaling="paper",
    style_weight=1e6 / 5,
    tv_weight=0,
)


@dataclass(frozen=True)
class Measured:
    """The mean figures of the results of a curve after so many steps (see `styles.Judged`), and their seconds."""

    curve: str
    steps: int
    seconds: float
    style: float
    half: float
    quarter: float
    content: float

    def row(self) -> str:
        """A row of a table in Markdown."""
        return (
            f"| {self.curve} | {self.steps} | {self.seconds:.1f} | {self.style:.3f} | {self.half:.3f} | "
            f"{self.quarter:.3f} | {self.content:.2f} |"
        )


Result = tuple[int, float, Tensor]  # steps, seconds, image


class Subject:
    """A photograph and a painting, (1, 3, H, W) in [0, 1], and the networks that restyle one after the other."""

    def __init__(self, photograph: Path, painting: Path, short_side: int, runtime: Runtime, vgg19: str):
        pixels = load_image(photograph).visible()
        self.photograph = resize_image(pixels, *fit_short_side(*pixels.shape[-2:], short_side)).clamp(0, 1)
        (self.painting,) = load_styles([painting], PAINTING_SIDE)
        self.runtime, self.vgg19 = runtime, vgg19

    def run(self, curve: str) -> Iterator[Result]:
        """The results of a curve, of few steps and of many."""
        if curve == VGG19:
            yield from self.by_vgg19(STEPS[curve])
            return
        content, style = style_taps(create_extractor("compact", ["relu1_1"]).architecture)
        extractor = self.runtime.freeze(create_extractor("compact", [*content, *style]))
        for steps in STEPS[curve]:
            started = time.process_time()
            passed = self.one_pass() if curve == ONE_PASS else None
            image = passed
            options = StyleOptions(
                steps, init="content" if passed is None else "one-pass", content_layers=content, style_layers=style
            )
            if steps:
                for step in optimize_style(self.photograph, [self.painting], extractor, self.runtime, options, passed):
                    image = step.image
            assert image is not None
            yield steps, time.process_time() - started, image

    def one_pass(self) -> Tensor:
        network = load_generator(find_any_style().name, "any-style").network
        assert isinstance(network, AnyStyleGenerator)
        styled = bind_style(self.runtime.place_network(network), [self.runtime.place(self.painting)])
        return run_generator(styled, self.photograph, self.runtime)

    def by_vgg19(self, wanted: tuple[int, ...]) -> Iterator[Result]:
        runtime = choose_runtime(precision="fp32")  # of L-BFGS, as in `percept stylize --optimizer lbfgs`
        layers = (*TUTORIAL.content_layers, *TUTORIAL.style_layers)
        extractor: FeatureExtractor = runtime.freeze(create_extractor("vgg19", layers, self.vgg19))
        started = time.process_time()
        target = runtime.place(self.photograph)
        loss = create_style_loss(extractor, [runtime.place(self.painting)], target, TUTORIAL)
        compare = partial(loss, target_images=target, targets=loss.target_features(target))
        for step in optimize_image(target, compare, max(wanted), "lbfgs"):
            if step.index in wanted:
                yield step.index, time.process_time() - started, step.image


def measure(subjects: list[Subject], curve: str, judge: Judge) -> list[Measured]:
    """The points of a curve, means over the subjects; of VGG-19, of the first alone."""
    results: dict[int, list[tuple[float, Judged]]] = {steps: [] for steps in STEPS[curve]}
    for subject in subjects[:1] if curve == VGG19 else subjects:
        for steps, seconds, image in subject.run(curve):
            made = image.float().clamp(0, 1).mul(255).round() / 255
            results[steps].append((seconds, judge.judge(made, subject.photograph, subject.painting)))
    return [
        Measured(
            curve, steps, fmean(seconds for seconds, _ in found),
            *(fmean(getattr(judged, name) for _, judged in found) for name in ("style", "half", "quarter", "content")),
        )
        for steps, found in results.items()
    ]  # fmt: skip


def plot(rows: list[Measured], conditions: str) -> Plot:
    """Style distance against seconds: a panel at full size, one at half, one at a quarter."""

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, 3)
        for axes, (name, title) in zip(
            panels, {"style": "full size", "half": "half", "quarter": "a quarter"}.items(), strict=True
        ):
            plain_log_axis(axes, "x")
            plain_log_axis(axes, "y")
            axes.set(title=title, xlabel="seconds of one thread")
            for curve, color in zip(STEPS, LINES, strict=False):
                points = [row for row in rows if row.curve == curve]
                axes.plot(
                    [row.seconds for row in points],
                    [getattr(row, name) for row in points],
                    "o-",
                    color=color,
                    label=curve,
                )
        panels[0].set_ylabel("distance to the style of the painting")
        panels[0].legend()

    return Plot("Style for its time", (conditions, "0 is the painting, 1 the photograph."), draw, height=4.6)


def table(rows: list[Measured]) -> str:
    """All points, in Markdown."""
    head = "| | steps | seconds | style | half | quarter | content |\n|---|---|---|---|---|---|---|\n"
    return head + "\n".join(row.row() for row in rows)


def main() -> None:
    """Prints the table; with --write also draws the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("--style", type=Path, nargs="+", required=True, help="paintings")
    parser.add_argument("--vgg19", required=True, help="the weights of VGG-19, which measures and is measured")
    parser.add_argument("--short-side", type=int, default=384)
    parser.add_argument("--curves", nargs="*", default=list(STEPS), choices=list(STEPS))
    parser.add_argument(
        "--rows", type=Path, help="a JSON file of curves that were measured before, and to which it adds"
    )
    parser.add_argument("--write", type=Path, help="a folder for style-curve.png and the table of its styles.md")
    given = parser.parse_args()
    runtime = choose_runtime(threads=1)
    judge = Judge(runtime.freeze(create_extractor("vgg19", (*STYLE_LAYERS, CONTENT_LAYER), given.vgg19)), runtime)
    subjects = [
        Subject(photograph, painting, given.short_side, runtime, given.vgg19)
        for photograph, painting in product(given.photographs, given.style)
    ]
    rows = []
    if given.rows and given.rows.exists():
        rows = [Measured(**row) for row in json.loads(given.rows.read_text())]
    for curve in given.curves:
        if not any(row.curve == curve for row in rows):
            rows += measure(subjects, curve, judge)
    rows.sort(key=lambda row: (list(STEPS).index(row.curve), row.steps))
    if given.rows:
        given.rows.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(table(rows))
    if given.write:
        height, width = subjects[0].photograph.shape[-2:]
        conditions = (
            f"Photographs of {width}x{height} pixels: {len(given.photographs)}; paintings: {len(given.style)}; "
            "VGG-19: one of each. "
            f"{runtime.precision}, torch {torch.__version__}."
        )
        save_image(Photo(render(plot(rows, conditions))), given.write / "style-curve.png")
        page = given.write / "styles.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
