"""The sheets of docs/: what the shipped upscalers and inverters make of scikit-image's photographs (`make pictures`)."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.data.compression import compress_jpeg
from percept_cli.core.data.degradation import degrade
from percept_cli.core.data.photos import sample_photos
from percept_cli.core.drawing.sheets import Panel, contact_sheet
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo, floats, middle_square
from percept_cli.core.inference.invert import run_inverter
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.pretrained.blending import load_shipped_upscaler, photo_share
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.core.runtime import Runtime, choose_runtime

# Of each photograph: where a square of 4 times SMALL pixels begins, from the top and the left
CROPS = {"astronaut": (60, 130), "coffee": (120, 200), "chelsea": (30, 90)}
SMALL, SCALE = 56, 4
# Of each photograph of KODAK24: where a square begins, from the top and the left; a face, letters, roofs, foliage
COMPRESSED = {"kodim04": (150, 210), "kodim05": (230, 370), "kodim08": (190, 250), "kodim13": (40, 300)}
QUALITY = 80
INVERTED, SIDE = ("astronaut", "coffee", "chelsea"), 224


def sample(name: str) -> Tensor:
    """A photograph of scikit-image, (1, 3, H, W)."""
    return load_image(next(path for path in sample_photos() if path.stem == name)).pixels


def upscaling_sheet(runtime: Runtime) -> Tensor:
    """A row for each crop: shrunk and enlarged by bicubic interpolation, in both looks, and as it was."""
    networks = {
        look: runtime.place_network(load_generator(f"swift-x{SCALE}-{look}", "upscaler").network)
        for look in ("faithful", "natural")
    }
    rows = []
    for name, (top, left) in CROPS.items():
        side = SMALL * SCALE
        original = sample(name)[..., top : top + side, left : left + side]
        small = degrade(original, SCALE, "bicubic", np.random.default_rng(0))
        bicubic = torch.nn.functional.interpolate(small, scale_factor=SCALE, mode="bicubic").clamp(0, 1)
        tiles = [Panel(bicubic, ("bicubic",))]
        for look, network in networks.items():
            tiles.append(Panel(floats(upscale(Photo(small), network, runtime).pixels), (look,)))
        rows.append([*tiles, Panel(original, ("original",))])
    return contact_sheet(rows)


def photographs_sheet(runtime: Runtime, folder: Path) -> Tensor:
    """A row for each crop of KODAK24: shrunk, saved as JPEG, and enlarged by the networks for clean pictures and for such."""
    networks = {
        title: runtime.place_network(load_shipped_upscaler(SCALE, photo_share=share).network)
        for title, share in (("for clean pictures", 0.0), ("by what the file lost", photo_share(QUALITY)))
    }
    rows = []
    for name, (top, left) in COMPRESSED.items():
        side = SMALL * SCALE
        photograph = load_image(folder / f"{name}.png").pixels
        # The whole photograph, since the crop's blocks are those of a whole file.
        whole = degrade(photograph, SCALE, "bicubic", np.random.default_rng(0))
        whole = compress_jpeg(whole, QUALITY)
        rows_cut, columns_cut = slice(top, top + side), slice(left, left + side)
        bicubic = torch.nn.functional.interpolate(whole, scale_factor=SCALE, mode="bicubic").clamp(0, 1)
        tiles = [Panel(bicubic[..., rows_cut, columns_cut], (f"JPEG {QUALITY}, bicubic",))]
        for title, network in networks.items():
            result = floats(upscale(Photo(whole), network, runtime).pixels)
            tiles.append(Panel(result[..., rows_cut, columns_cut], (title,)))
        rows.append([*tiles, Panel(photograph[..., rows_cut, columns_cut], ("original",))])
    return contact_sheet(rows)


def inversion_sheet(runtime: Runtime) -> Tensor:
    """A row for each photograph: itself, and what each shipped inverter makes of its features."""
    rows = []
    models = [model for model in shipped_models().values() if model.role == "inverter"]
    for name in INVERTED:
        original = middle_square(sample(name), SIDE)
        tiles = [Panel(original, ("photograph",))]
        for model in models:
            inverter = load_generator(model.name, "inverter")
            layer = inverter.metadata["layer"]
            extractor = runtime.freeze(create_extractor(inverter.metadata["extractor"], [layer]))
            with torch.no_grad():
                code = extractor(runtime.place(original))[layer]
            result = run_inverter(runtime.place_network(inverter.network), code, original.shape[-2:], runtime)
            tiles.append(Panel(result.cpu().float(), (f"from {layer}",)))
        rows.append(tiles)
    return contact_sheet(rows)


def main() -> None:
    """Writes upscaling.jpg and inverters.jpg into a folder, and photographs.jpg where KODAK24 is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kodak", type=Path, help="the folder of KODAK24's PNG files")
    given = parser.parse_args()
    runtime = choose_runtime()
    save_image(Photo(upscaling_sheet(runtime)), given.folder / "upscaling.jpg", quality=90)
    if given.kodak:
        save_image(Photo(photographs_sheet(runtime, given.kodak)), given.folder / "photographs.jpg", quality=90)
    save_image(Photo(inversion_sheet(runtime)), given.folder / "inverters.jpg", quality=90)


if __name__ == "__main__":
    main()
