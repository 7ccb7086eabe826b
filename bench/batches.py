"""Pictures a second: the engine of batches, a plain loop over the same pictures, and one process for each picture.

All in one run, in turns, so that the ratios hold on a machine that does other work too.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from percept_cli.core.data.photos import find_photos
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo, resize_image

COMMANDS = {"wave": ["stylize", "-m", "wave"], "udnie": ["stylize", "-m", "udnie"], "x2": ["upscale", "--x2"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="?", help="a folder of photographs; default: scikit-image's samples")
    parser.add_argument("--count", type=int, default=16, help="how many pictures of a megapixel")
    parser.add_argument("--processes", type=int, default=3, help="how many of them one process each")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="wave,udnie,x2")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        folder.mkdir()
        _write_pictures(find_photos([given.photos] if given.photos else None), folder, given.count)
        print(f"{given.count} pictures of 1152x864, best of {given.rounds} rounds, pictures a second")
        print(f"{'':10s} {'engine':>8s} {'-j 1':>8s} {'loop':>8s} {'processes':>10s}   engine/loop  engine/processes")
        for kind in given.only.split(","):
            _compare(kind, folder, Path(name) / "out", given)


def _compare(kind: str, folder: Path, out: Path, given: argparse.Namespace) -> None:
    line, pictures = COMMANDS[kind], sorted(folder.iterdir())
    few = pictures[: given.processes]
    start = min(_seconds([*line, str(pictures[0]), "-o", str(out.with_suffix(".png"))]) for _ in range(2))
    best: dict[str, float] = {}
    for _ in range(given.rounds):
        # The engine's time has the start of the program in it, which the loop's has not.
        measured = {
            "engine": len(pictures) / _seconds([*line, str(folder), "-o", f"{out}/"]),
            "-j 1": len(pictures) / _seconds([*line, str(folder), "-o", f"{out}/", "-j", "1"]),
            "loop": _loop(kind, pictures, out),
            "processes": len(few)
            / sum(_seconds([*line, str(each), "-o", str(out.with_suffix(".png"))]) for each in few),
        }
        best = {name: max(value, best.get(name, 0.0)) for name, value in measured.items()}
    engine = best["engine"]
    print(
        f"{kind:10s} {engine:8.2f} {best['-j 1']:8.2f} {best['loop']:8.2f} {best['processes']:10.2f}   "
        f"{engine / best['loop']:11.2f}  {engine / best['processes']:16.1f}     (a single picture with its start: {start:.1f} s)",
        flush=True,
    )


def _seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "percept_cli", *arguments, "--overwrite", "-q"], check=True)
    return time.perf_counter() - began


def _loop(kind: str, pictures: list[Path], out: Path) -> float:
    """Pictures a second of a loop in Python that reads, computes and writes one after another, as the library allows."""
    from percept_cli.core.inference.restyle import restyle
    from percept_cli.core.inference.upscale import upscale
    from percept_cli.core.pretrained.generators import load_generator
    from percept_cli.core.runtime import choose_runtime

    runtime = choose_runtime()
    role = "upscaler" if kind == "x2" else "style"
    network = runtime.place_network(load_generator("swift-x2-natural" if kind == "x2" else kind, role).network)
    out.mkdir(exist_ok=True)
    began = time.perf_counter()
    for path in pictures:
        photo = load_image(path)
        result = upscale(photo, network, runtime) if kind == "x2" else restyle(photo, network, runtime)
        save_image(result, out / path.name)
    return len(pictures) / (time.perf_counter() - began)


def _write_pictures(sources: list[Path], folder: Path, count: int) -> None:
    for number in range(count):
        photo = load_image(sources[number % len(sources)])
        save_image(Photo(resize_image(photo.visible(), 864, 1152)), folder / f"{number:04d}.png")


if __name__ == "__main__":
    main()
