"""Enlarged JPEGs: what each shipped network makes of compressed small images, beside the photograph (`make bench-photographs`).

The photographs of each folder are cut to a multiple of the scale, shrunk as by MATLAB's imresize and saved as JPEG (4:2:0)
of several qualities and without loss. PSNR on luma without a border of `scale` pixels, `vgg` as in docs/upscaling.md.
With `--shares` also what lies between the network for clean images and that for photographs, on which
`core.inference.enlargement.photo_share` rests.
"""

import argparse
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.files.inputs import list_images
from percept_cli.core.generators.blocks import BicubicBase
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import quantize
from percept_cli.core.images.resize import shrink_as_matlab
from percept_cli.core.losses.functional import feature_cosine_loss
from percept_cli.core.measures.pixels import crop_border, luma, psnr
from percept_cli.core.pretrained.blending import blend_weights
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.core.runtime import Runtime, choose_runtime

LAYERS = ("relu1_2", "relu2_2", "relu3_4")
LOSSLESS = 100
HALF_COLOR = 2  # Pillow's name of 4:2:0


@dataclass(frozen=True)
class Pair:
    """A compressed small image (1, 3, h, w) and its photograph (1, 3, s·h, s·w), both in [0, 1]."""

    small: Tensor
    photograph: Tensor


def compressed(small: Tensor, quality: int) -> Tensor:
    """An 8-bit image (1, 3, h, w) after a JPEG file of this quality; `LOSSLESS` leaves it as it is."""
    if quality == LOSSLESS:
        return small
    file = io.BytesIO()
    Image.fromarray(quantize(small, np.uint8)).save(file, "JPEG", quality=quality, subsampling=HALF_COLOR)
    with Image.open(file) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def pairs_of(folder: Path, scale: int, quality: int, most: int) -> Iterator[Pair]:
    """The pairs of the first photographs of a folder."""
    for path in list_images(folder, recursive=False)[:most]:
        pixels = load_image(path).pixels
        height, width = pixels.shape[-2] // scale, pixels.shape[-1] // scale
        photograph = pixels[..., : height * scale, : width * scale]
        yield Pair(compressed(shrink_as_matlab(photograph, height, width), quality), photograph)


class Judge:
    """The figures of results: PSNR of luma in dB, and the distance of VGG-19's features (nan without its weights)."""

    def __init__(self, runtime: Runtime, scale: int, vgg19: Path | None):
        self.runtime, self.scale = runtime, scale
        self.extractor: FeatureExtractor | None = (
            runtime.freeze(create_extractor("vgg19", LAYERS, vgg19)) if vgg19 else None
        )

    @torch.inference_mode()
    def figures(self, result: Tensor, photograph: Tensor) -> tuple[float, float]:
        """The PSNR and `vgg` of a result and its photograph, (1, 3, H, W) each."""
        inner = [crop_border(images, self.scale) for images in (result, photograph)]
        decibels = psnr(inner[0], inner[1], luma).item()
        if self.extractor is None:
            return decibels, float("nan")
        with self.runtime.autocast():
            made, wanted = (self.extractor(self.runtime.place(images)) for images in (result, photograph))
        return decibels, float(np.mean([feature_cosine_loss(made[layer], wanted[layer]).item() for layer in LAYERS]))


@torch.inference_mode()
def enlarged(network: nn.Module, small: Tensor, runtime: Runtime) -> Tensor:
    """The result of a network as a file of 8 bits holds it, (1, 3, s·h, s·w)."""
    with runtime.autocast():
        result = network(runtime.place(small))
    return result.float().cpu().clamp(0, 1).mul(255).round() / 255


def between(clean: nn.Module, photo: nn.Module, share: float, scale: int, look: str) -> nn.Module:
    """The network whose weights lie between two, with `share` of the second."""
    network = load_generator(f"swift-x{scale}-{look}", "upscaler").network
    network.load_state_dict(blend_weights(clean.state_dict(), photo.state_dict(), share))
    return network


def networks_of(scale: int, shares: Sequence[float]) -> dict[str, nn.Module]:
    """Bicubic enlargement, the shipped networks of a scale, and those between them if there are `shares`."""
    found: dict[str, nn.Module] = {"bicubic": BicubicBase(scale)}
    for model in shipped_models().values():
        if model.role == "upscaler" and model.scale == scale:
            found[model.name] = load_generator(model.name, "upscaler").network
    for look in ("faithful", "natural") if shares else ():
        clean, photo = (found[f"swift-x{scale}-{look}{suffix}"] for suffix in ("", "-photo"))
        for share in shares:
            found[f"{look}, {share:.0%} photo"] = between(clean, photo, share, scale, look)
    return found


def main() -> None:
    """Prints a table for each folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="photographs that no network was trained on")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--qualities", type=int, nargs="+", default=[LOSSLESS, 90, 75, 50])
    parser.add_argument("--shares", type=float, nargs="*", default=[])
    parser.add_argument("--vgg19", type=Path, help="weights of VGG-19; without them only PSNR is measured")
    parser.add_argument("--most", type=int, default=1000, help="photographs of a folder")
    given = parser.parse_args()
    runtime = choose_runtime()
    judge = Judge(runtime, given.scale, given.vgg19)
    networks = {
        name: runtime.place_network(network) for name, network in networks_of(given.scale, given.shares).items()
    }
    for folder in given.folders:
        print(f"{folder}, x{given.scale}: PSNR-Y / vgg of JPEGs of quality {', '.join(map(str, given.qualities))}")
        rows: dict[str, list[str]] = {name: [] for name in networks}
        for quality in given.qualities:
            pairs = list(pairs_of(folder, given.scale, quality, given.most))
            for name, network in networks.items():
                figures = [judge.figures(enlarged(network, pair.small, runtime), pair.photograph) for pair in pairs]
                decibels, distance = np.mean(figures, axis=0)
                rows[name].append(f"{decibels:.2f} / {distance:.4f}")
        for name, cells in rows.items():
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
