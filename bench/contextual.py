"""Memory and time of the contextual loss and its gradient, streaming against the dense formula: part of `make bench`.

    python bench/contextual.py                          maps of 32² to 128² points: a table; dense up to 96²
    python bench/contextual.py --sides 256              65,536 points (minutes)
    python bench/contextual.py --plot memory.png        the same as a picture too (matplotlib)

Each figure is that of a process of its own: the most memory that the loss took on top of the features and of what torch
itself does, and the processor time of the second of two runs, which a busy machine changes little.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.drawing.canvas import LINES
from percept_cli.core.drawing.plots import Plot, plain_log_axis, render
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.losses import contextual_loss
from percept_cli.core.runtime import choose_runtime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS = 256  # of relu3_x
BANDWIDTH = 0.5
METHODS = ("dense fp32", "streaming fp32", "streaming bf16")
LARGEST_DENSE = 96  # 340 MB a matrix, of which it keeps some ten


def dense_contextual_loss(x: Tensor, y: Tensor) -> Tensor:
    """The formula as the paper writes it, of one pair of maps (1, C, H, W), with all of its matrices."""
    mean = y.mean(dim=(2, 3), keepdim=True)
    x, y = (F.normalize((features - mean).flatten(2)[0].T, dim=1) for features in (x, y))
    distances = ((1 - x @ y.T) / 2).clamp(min=0)
    relative = distances / (distances.amin(dim=1, keepdim=True) + 1e-5)
    likeness = torch.exp((1 - relative) / BANDWIDTH)
    shares = likeness / likeness.sum(dim=1, keepdim=True)
    return -shares.amax(dim=0).mean().log()


def measure(method: str, side: int) -> dict[str, float]:
    """Seconds of the processor and megabytes of the loss and its gradient for x, in this process."""
    choose_runtime("cpu")
    dtype = torch.bfloat16 if method.endswith("bf16") else torch.float32
    chance = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, CHANNELS, max(2, side // 4), max(2, side // 4), generator=chance)
    features = F.interpolate(coarse, size=side, mode="bicubic").relu_().to(dtype)
    features = features.to(memory_format=torch.channels_last)
    x, y = features[:1].requires_grad_(), features[1:].detach()
    compute = dense_contextual_loss if method.startswith("dense") else contextual_loss
    small = torch.ones(1, CHANNELS, 4, 4, dtype=dtype, requires_grad=True)
    compute(small, torch.rand(1, CHANNELS, 4, 4).to(dtype)).backward()  # what the libraries need is had before

    before = _peak_megabytes()
    seconds = math.inf
    for _ in range(2 if side < 256 else 1):
        x.grad = None
        started = time.process_time()
        loss = compute(x, y)
        loss.backward()
        seconds = time.process_time() - started
    return {"seconds": seconds, "megabytes": _peak_megabytes() - before, "loss": loss.item()}


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    """Prints a row for each size of map."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="*", default=[32, 64, 96, 128])
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "SIDE"), help=argparse.SUPPRESS)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture of the figures")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]))))
        return
    print(f"| map, {CHANNELS} channels | one matrix of distances | " + " | ".join(METHODS) + " |")
    print("|---" * (2 + len(METHODS)) + "|")
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    measured: dict[str, list[tuple[int, float, float]]] = {method: [] for method in METHODS}
    for side in given.sides:
        cells = []
        for method in METHODS:
            if method.startswith("dense") and side > LARGEST_DENSE:
                cells.append("-")
                continue
            ran = subprocess.run(
                [sys.executable, __file__, "--one", method, str(side)],
                check=True, stdout=subprocess.PIPE, env=environment,
            )  # fmt: skip
            figures = json.loads(ran.stdout)
            measured[method].append((side, figures["megabytes"], figures["seconds"]))
            cells.append(f"{figures['megabytes']:,.0f} MB, {figures['seconds']:.2f} s")
        print(f"| {side}x{side} | {4 * side**4 / 1e6:,.0f} MB | " + " | ".join(cells) + " |", flush=True)
    if given.plot:
        save_image(Photo(render(plot_of(measured))), given.plot)


def plot_of(measured: Mapping[str, Sequence[tuple[int, float, float]]]) -> Plot:
    """Memory and time against the side of the map, a line for each method."""

    def draw(figure: "Figure") -> None:
        for number, title in enumerate(("most memory on top of the features, MB", "processor time, s"), start=1):
            axes = figure.add_subplot(1, 2, number)
            for (method, rows), color in zip(measured.items(), LINES, strict=False):
                axes.plot([row[0] for row in rows], [row[number] for row in rows], "o-", color=color, label=method)
            axes.set_xscale("log", base=2)
            sides = sorted({row[0] for rows in measured.values() for row in rows})
            axes.set_xticks(sides, [f"{side}x{side}" for side in sides])
            plain_log_axis(axes)
            axes.set_title(title)
            axes.set_xlabel("map")
        figure.axes[0].legend()

    notes = [f"Loss and gradient for one pair of maps of {CHANNELS} channels, each in a process of its own."]
    return Plot("The contextual loss: blocks of rows against one matrix", notes, draw, height=4.6)


if __name__ == "__main__":
    main()
