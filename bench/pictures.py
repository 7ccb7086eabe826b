"""The README's picture: the demo photograph in every shipped style, side by side (`make pictures`)."""

import argparse
from pathlib import Path

import torch

from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo, fit_short_side, resize_image
from percept_cli.core.inference.restyle import restyle
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.core.runtime import choose_runtime

COLUMNS, GAP = 5, 6


def main() -> None:
    """Writes one sheet: the photograph first, then a tile for each style in the manifest's order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--short-side", type=int, default=230, help="of a tile, pixels")
    given = parser.parse_args()
    runtime = choose_runtime()
    photo = load_image(given.photo)
    tiles = [photo.pixels]
    for model in shipped_models().values():
        if model.role == "style":
            generator = runtime.place_network(load_generator(model.name, "style").network)
            tiles.append(restyle(photo, generator, runtime).pixels)
    height, width = fit_short_side(photo.height, photo.width, given.short_side)
    rows = -(-len(tiles) // COLUMNS)
    sheet = torch.ones(1, 3, rows * (height + GAP) - GAP, COLUMNS * (width + GAP) - GAP)
    for position, tile in enumerate(tiles):
        top, left = position // COLUMNS * (height + GAP), position % COLUMNS * (width + GAP)
        sheet[..., top : top + height, left : left + width] = resize_image(tile, height, width)
    save_image(Photo(sheet), given.output, quality=88)


if __name__ == "__main__":
    main()
