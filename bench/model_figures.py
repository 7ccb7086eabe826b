"""PSNR of an upscaler on the usual sets: on luma, with a border of its scale left out, as models/manifest.toml states it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from percept_cli.core.data.compression import compress_jpeg
from percept_cli.core.data.degradation import degrade
from percept_cli.core.files.folders import find_pairs
from percept_cli.core.files.inputs import find_images
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.measures.comparison import create_comparison, mean_figures
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

PSNR = re.compile(r"(?P<set>[a-z0-9]+?)(_q(?P<quality>\d+))?_psnr")


def measure(model: Path, evaluation: Path, names: Mapping[str, float], runtime: Runtime) -> dict[str, float]:
    """Those figures of a model, of the `names` of its manifest, that the sets in the folder `evaluation` give.

    Named SET_psnr: the mean over the pictures of SET/xSCALE/HR, enlarged from SET/xSCALE/LR, in decibels. Named
    SET_q75_psnr: the same from JPEG files (4:2:0) of quality 75 of these.
    """
    network = runtime.place_network(load_generator(str(model), "upscaler").network)
    comparison = create_comparison(["psnr"], runtime, border=network.scale)
    found = {}
    for name in names:
        folder = find_set(evaluation, name)
        if folder is not None:
            measured = [
                comparison.measure(upscale(Photo(compressed(small, name)), network, runtime).visible(), large).figures
                for small, large in pairs(folder, network.scale)
            ]
            found[name] = mean_figures(measured)["psnr_y"]
    return found


def compressed(small: Tensor, name: str) -> Tensor:
    """The small picture (1, 3, h, w) of a figure by its name: as it is, or as a JPEG has it."""
    found = PSNR.fullmatch(name)
    return compress_jpeg(small, int(found["quality"])) if found and found["quality"] else small


def find_set(evaluation: Path, name: str) -> Path | None:
    """The folder of the set of a figure, `Set5` for `set5_psnr`; None for other figures and where there is none."""
    found = PSNR.fullmatch(name)
    if found is None:
        return None
    wanted = found["set"]
    return next((entry for entry in sorted(evaluation.iterdir()) if entry.name.lower() == wanted), None)


def pairs(folder: Path, scale: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Small and large pictures (1, 3, h, w) in [0, 1] of a set.

    For a scale without a folder, as 8, large ones are those of the smallest scale, cut to multiples of `scale`, and small
    ones are made of them by MATLAB's bicubic interpolation. Raises UsageError for a set without pictures.
    """
    if (folder / f"x{scale}").is_dir():
        matched, unmatched = find_pairs(folder / f"x{scale}" / "LR", folder / f"x{scale}" / "HR")
        for path, reason in unmatched.items():
            raise UsageError(f"{path}: {reason}.")
        for pair in matched:
            yield load_image(pair.first).visible(), load_image(pair.second).visible()
        return
    smallest = next(iter(sorted(folder.glob("x[2-9]/HR"))), None)
    if smallest is None:
        raise UsageError(f"{folder} holds no folders x2, x3 or x4 with pictures in HR and LR.")
    for path in find_images(smallest, recursive=False):
        large = load_image(path).visible()
        height, width = (side // scale * scale for side in large.shape[-2:])
        large = large[..., :height, :width]
        yield degrade(large, scale, "bicubic", np.random.default_rng(0)), large
