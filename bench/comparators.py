"""Whether an extractor sees pictures as people do, by four pictures: `python bench/comparators.py PHOTOS EXTRACTOR...`

To people a photograph moved by a pixel or two, or a little darker, is the same; blurred it is worse; another is something
else. So each layer's perceptual distance is taken of the middle of photographs to that middle moved, darkened and blurred,
relative to the distance of another photograph. The last two columns are the share of photographs for which the moved and
the darkened one is nearer than the blurred one: 1.00 for people, 0.50 by chance.

An EXTRACTOR is a name, a file of `percept train extractor`, or NAME=random.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from percept_cli.core.data.photos import find_photos, load_square
from percept_cli.core.measures.pixels import place_distances
from percept_cli.core.pretrained.extractors import create_extractor, parse_named_file

LAYERS = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")
SIDE, MOVED, SIGMA, DARKER = 128, 2, 2.0, 0.85


def distorted(photographs: Tensor) -> dict[str, Tensor]:
    """The middles of photographs (N, 3, H, W), and each of them moved, darkened, blurred and exchanged for another."""
    start = (photographs.shape[-1] - SIDE) // 2
    middle, moved = slice(start, start + SIDE), slice(start + MOVED, start + SIDE + MOVED)
    same = photographs[..., middle, middle]
    return {
        "same": same,
        "moved": photographs[..., moved, moved],
        "darker": same * DARKER,
        "blurred": gaussian_blur(photographs, 13, SIGMA)[..., middle, middle],
        "another": same.roll(1, 0),
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("extractors", nargs="+")
    parser.add_argument("--count", type=int, default=24, help="photographs")
    arguments = parser.parse_args()
    photos = find_photos([arguments.photos])[: arguments.count]
    pictures = distorted(torch.cat([load_square(path, SIDE + 32) for path in photos]))
    print("extractor, layer: moved, darker, blurred (another = 1); moved < blurred, darker < blurred")
    for given in arguments.extractors:
        name, weights = parse_named_file("EXTRACTOR", given)
        extractor = create_extractor(name, LAYERS, weights)
        features = {name: extractor(images) for name, images in pictures.items()}
        for layer in LAYERS:
            distances = {
                name: place_distances(features[name][layer], features["same"][layer]).mean(dim=(1, 2, 3))
                for name in pictures
            }
            relative = [
                (distances[name] / distances["another"]).mean().item() for name in ("moved", "darker", "blurred")
            ]
            nearer = [(distances[name] < distances["blurred"]).float().mean().item() for name in ("moved", "darker")]
            print(f"{given}, {layer}: " + ", ".join(f"{value:.3f}" for value in relative), end="; ")
            print(", ".join(f"{value:.2f}" for value in nearer), flush=True)


if __name__ == "__main__":
    main()
