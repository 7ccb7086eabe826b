"""What a million photographs cost a training: `make bench-data`.

The list is made up, as a million files take minutes to write: what is timed is the list in memory and the order of the
pictures. Then crops are cut from photographs of 2K (2040x1356) in files of their own, none of which stays in memory, as in
a folder that is larger than it. "before" is what percept 0.1 did, in the same run and in turns: it drew the order for
every crop, decompressed a PNG twice, and gave whole batches to two threads.
"""

import argparse
import os
import statistics
import tempfile
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from percept_cli.core.data import photos as data
from percept_cli.core.data.batches import Examples, batches_from, count_readers
from percept_cli.core.data.photos import Crops, find_photos, fingerprint, sample_photos, shuffled
from percept_cli.core.files.listing import FileList
from percept_cli.core.images.decode import load_levels
from percept_cli.core.images.integrity import refuse_damaged

MILLION = 1_000_000
WIDTH, HEIGHT = 2040, 1356
BATCH, CROP = 16, 192
FORMATS = {"PNG": {"compress_level": 2}, "JPEG": {"quality": 92}}


def seconds(work: Callable[[], object]) -> float:
    """The seconds that a function takes once."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def made_up_names(count: int) -> list[str]:
    """Paths as those of large data sets are: a thousand files in a folder."""
    return [f"photographs/{number // 1000:04d}/photograph-{number:07d}.jpg" for number in range(count)]


def measure_list() -> Iterator[str]:
    """The memory of the paths, and the time of a position in the order."""
    names = made_up_names(MILLION)
    files = FileList(names)
    tracemalloc.start()
    paths = [Path(name) for name in names[: MILLION // 10]]
    before = tracemalloc.get_traced_memory()[0] / len(paths)
    tracemalloc.stop()
    yield f"memory of a path        before {before:7.0f} bytes      after {files.nbytes / MILLION:7.0f} bytes"
    drawn = statistics.median(seconds(lambda: np.random.default_rng((0, 0, 1)).permutation(MILLION)) for _ in range(5))
    data._order.cache_clear()
    first = seconds(lambda: shuffled(MILLION, 0, 0))
    after = seconds(lambda: [shuffled(MILLION, 0, number) for number in range(10_000)]) / 10_000
    yield (
        f"order of a picture      before {1e3 * drawn:7.1f} ms         after {1e3 * after:7.4f} ms "
        f"({1e3 * first:.0f} ms an epoch)"
    )


def measure_folder(count: int = 5000) -> Iterator[str]:
    """The time to list a folder with everything in it and to take the digest of names and sizes, once for each process."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            Path(folder, f"photograph-{number:07d}.jpg").touch()
        listed = seconds(lambda: find_photos([Path(folder)]))
        files = find_photos([Path(folder)])
        digest = seconds(lambda: fingerprint(files))
    yield (
        f"a file of a folder      listed in {1e6 * listed / count:4.1f} us, its size in {1e6 * digest / count:4.1f} us, "
        "where the system has the folder in memory"
    )


def write_photographs(folder: Path, count: int, form: str) -> FileList:
    """Photographs of 2K with the noise of a camera, from scikit-image's."""
    samples = [load_levels(path) for path in sample_photos()]
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        large = samples[number % len(samples)].resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        noisy = np.asarray(large) + random.normal(0, 3, (HEIGHT, WIDTH, 3))
        paths.append(str(folder / f"{number}.{form.lower()}"))
        Image.fromarray(noisy.clip(0, 255).round().astype(np.uint8)).save(paths[-1], form, **FORMATS[form])
    return FileList(paths)


def load_before(path: Path, short_side: int | None = None) -> Image.Image:
    """`load_levels` with a decompression of PNGs for the checksum of their pixels."""
    if path.suffix == ".png":
        with path.open("rb") as stream, Image.open(stream) as image:
            refuse_damaged(image, stream, str(path))  # type: ignore[arg-type]
    return load_levels(path, short_side)


def batches_before(examples: Examples, batch: int) -> Iterator[Tensor]:
    """Batches that two threads read, each a whole one."""

    def load(number: int) -> Tensor:
        return torch.stack([examples[each] for each in range(number * batch, (number + 1) * batch)])

    with ThreadPoolExecutor(2) as pool:
        waiting: deque = deque()
        for number in range(len(examples) // batch):
            waiting.append(pool.submit(load, number))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def measure_crops(files: FileList, steps: int, rounds: int) -> Iterator[str]:
    """Crops a second: before, now, and with four crops of each photograph."""
    data.CACHE_BYTES = 0
    count = steps * BATCH

    def before() -> None:
        data.load_levels = load_before
        deque(batches_before(Crops(files, CROP, 0, count, native=True), BATCH), maxlen=0)

    def now(repeats: int) -> Callable[[], None]:
        def read() -> None:
            data.load_levels = load_levels
            crops = Crops(files, CROP, 0, count, native=True, repeats=repeats, apart=BATCH)
            deque(batches_from(crops, BATCH, 0), maxlen=0)

        return read

    ways = {"before": before, "after": now(1), "after, 4 crops a photograph": now(4)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(seconds(way))
    yield "   ".join(f"{name} {count / statistics.median(times):6.1f}/s" for name, times in taken.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=16, help="of 2K that are written to a temporary folder")
    parser.add_argument("--steps", type=int, default=4, help=f"of a batch of {BATCH}")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"a million photographs; {os.cpu_count()} processors, {count_readers()} readers")
    for line in (*measure_list(), *measure_folder()):
        print(line, flush=True)
    for form in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            files = write_photographs(Path(folder), given.photographs, form)
            for line in measure_crops(files, given.steps, given.rounds):
                print(f"crops of 2K in {form:5}    {line}", flush=True)


if __name__ == "__main__":
    main()
