"""How many JPEGs that were saved again without loss are found by their pixels, and at which quality (docs/upscaling.md).

`python bench/compression.py PHOTOS...` takes folders of lossless photographs. It prints for each folder how many of its own
files show traces of a JPEG, then a line for each quality: how many of the files, compressed to it with 4:4:4 and with
4:2:0 and cut by 0 to 7 pixels, are found, and the qualities found. `--webp` prints the JPEG quality with the squared error
of luma that WebP has, beside the mean index of its quantizers: the table of `percept_cli/core/images/compression.py`.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from percept_cli.core.images.quantization import measured_quality
from percept_cli.core.images.vp8 import quantizer_index

QUALITIES = (20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92, 95, 98)
WEBP_QUALITIES = (0, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 98, 100)
LUMA = (0.299, 0.587, 0.114)


def coded(image: Image.Image, kind: str, **options: int) -> tuple[Image.Image, io.BytesIO]:
    """A picture encoded and decoded again, and the file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    with Image.open(file) as decoded:
        return decoded.convert("RGB"), file


def measure(image: Image.Image) -> int | None:
    """The quality that the pixels tell."""
    levels = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)
    return measured_quality(levels / 255)


def luma(image: Image.Image) -> NDArray[np.float64]:
    """In levels, (H, W)."""
    return np.asarray(image, np.float64) @ LUMA


def print_found(folder: Path, paths: list[Path], random: np.random.Generator) -> None:
    """Prints a folder's figures."""
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    own = {path.name: quality for path, image in zip(paths, images, strict=True) if (quality := measure(image))}
    print(f"{folder}: {len(images)} files, traces of a JPEG in {len(own)} as they are")
    for quality in sorted(set(own.values())):
        names = [name for name, each in own.items() if each == quality]
        print(f"  quality {quality}: {len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    # Those are JPEGs already, on a grid of their own.
    lossless = [image for path, image in zip(paths, images, strict=True) if path.name not in own]
    print("| quality | found | lowest, median, highest |\n|---|---|---|")
    for quality in QUALITIES if lossless else ():
        found = []
        for image in lossless:
            for subsampling in (0, 2):
                left, top = (int(each) for each in random.integers(8, size=2))
                decoded, _ = coded(image, "JPEG", quality=quality, subsampling=subsampling)
                found.append(measure(decoded.crop((left, top, *decoded.size))))
        known = [each for each in found if each is not None]
        spread = f"{min(known)}, {np.median(known):g}, {max(known)}" if known else ""
        print(f"| {quality} | {len(known)} of {len(found)} | {spread} |")


def print_webp(paths: list[Path]) -> None:
    """Prints the JPEG qualities of WebP's."""
    rows: dict[int, list[tuple[float, float]]] = {quality: [] for quality in WEBP_QUALITIES}
    jpegs = (*range(5, 100, 5), 97, 98, 99)
    for path in paths:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        errors = [float(np.square(luma(coded(image, "JPEG", quality=each)[0]) - luma(image)).mean()) for each in jpegs]
        for quality, row in rows.items():
            decoded, file = coded(image, "WEBP", quality=quality)
            error = float(np.square(luma(decoded) - luma(image)).mean())
            equal = np.interp(np.log(error), np.log(errors[::-1]), jpegs[::-1])
            row.append((quantizer_index(file) or 0.0, float(equal)))
    print("| WebP quality | index | JPEG quality | standard deviation |\n|---|---|---|---|")
    for quality, row in rows.items():
        (index, equal), deviation = np.mean(row, axis=0), np.std(row, axis=0)[1]
        print(f"| {quality} | {index:.1f} | {equal:.1f} | {deviation:.1f} |")


def main() -> None:
    """Prints the tables of the folders."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, nargs="+", help="folders of PNG files")
    parser.add_argument("--webp", action="store_true", help="the table of WebP instead")
    given = parser.parse_args()
    for folder in given.photos:
        paths = sorted(folder.rglob("*.png"))
        if given.webp:
            print_webp(paths)
        else:
            print_found(folder, paths, np.random.default_rng(0))


if __name__ == "__main__":
    main()
