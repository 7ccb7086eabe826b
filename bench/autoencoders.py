"""Autoencoders side by side on photographs that none was trained on: what their losses keep and what they blur.

    python bench/autoencoders.py blurred.safetensors autoencoder.safetensors --held-out others/ --sheet sheet.jpg

Prints a table; the sheet shows scikit-image's photographs.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from reconstruction_metrics import gradient_energy, high_frequency_share, normalized_errors
from torch import Tensor, nn

from percept_cli.core.data.photos import find_photos, load_square, sample_photos
from percept_cli.core.drawing.sheets import Panel, contact_sheet
from percept_cli.core.extractors import create_architecture
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.measures.comparison import perceptual_layers
from percept_cli.core.measures.pixels import perceptual_distance, place_distances
from percept_cli.core.pretrained.extractors import create_extractor, parse_named_file
from percept_cli.core.pretrained.generators import load_generator

SHOWN = ("astronaut", "camera", "chelsea", "coffee", "motorcycle_left", "rocket")
ENLARGED = 2  # each pixel of a sheet's picture, as a square


@torch.no_grad()
def reconstruct(network: nn.Module, images: Tensor) -> Tensor:
    """Images (N, 3, H, W) to their codes and back, in [0, 1]."""
    result = network(images)
    return (result[0] if isinstance(result, tuple) else result).clamp(0, 1)


def tiles(images: Tensor, caption: str) -> list[Panel]:
    """A row of a sheet."""
    return [Panel(F.interpolate(image, scale_factor=ENLARGED), (caption,)) for image in images.split(1)]


@torch.no_grad()
def main() -> None:
    """Prints a row of figures for each model, means over the held-out photographs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--held-out", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--judge", default="compact", metavar="NAME[=FILE]", help="of the perceptual distance")
    parser.add_argument("--size", type=int, default=64, help="side of the squares, pixels")
    parser.add_argument("--sheet", type=Path, help="where to write a picture of scikit-image's photographs")
    given = parser.parse_args()
    originals = torch.cat([load_square(path, given.size) for path in find_photos([given.held_out])])
    shown = torch.cat([load_square(path, given.size) for path in sample_photos() if path.stem in SHOWN])
    name, file = parse_named_file("--judge", given.judge)
    judge = create_extractor(name, perceptual_layers(create_architecture(name), None), file)
    wanted, rows = judge(originals), [tiles(shown, "photograph")]
    print(
        f"| model | image error | gradient energy | high frequencies | perceptual distance ({name}) |\n|---|---|---|---|---|"
    )
    for model in given.models:
        network = load_generator(model, "autoencoder").network.eval()
        results = reconstruct(network, originals)
        features = judge(results)
        distance = perceptual_distance({tap: place_distances(features[tap], wanted[tap]) for tap in features})
        share = high_frequency_share(results).mean() / high_frequency_share(originals).mean()
        figures = (
            normalized_errors(results, originals).mean().item(), gradient_energy(results, originals),
            share.item(), distance.mean().item(),
        )  # fmt: skip
        print(f"| {Path(model).stem} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
        rows.append(tiles(reconstruct(network, shown), Path(model).stem))
    if given.sheet:
        save_image(Photo(contact_sheet(rows)), given.sheet, quality=90)


if __name__ == "__main__":
    main()
