"""Crops of the photographs in folders, endless and reproducible: what networks are trained on."""

import hashlib
import importlib.util
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from percept_cli.core.files.formats import PHOTOGRAPH_EXTENSIONS
from percept_cli.core.images.decode import load_levels
from percept_cli.errors import ImageError, UsageError

CACHE_BYTES = 1 << 30
READERS = 2
MOST_SHRINKING = 2.0
# scikit-image's packaged pictures that are photographs, not plots, masks or microscopy
SAMPLE_PHOTO = "chelsea.png"
SAMPLE_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "rocket.jpg",
)


def find_photos(folders: Sequence[Path]) -> list[Path]:
    """Every image below the folders (or the files themselves), sorted. Raises UsageError when there is none."""
    photos: list[Path] = []
    for folder in folders:
        if folder.is_file():
            photos.append(folder)
        elif folder.is_dir():
            photos += sorted(
                p for p in folder.rglob("*") if p.suffix.lower() in PHOTOGRAPH_EXTENSIONS and not p.name.startswith(".")
            )
        else:
            raise UsageError(f"--data {folder}: there is no such file or folder.")
    if not photos:
        raise UsageError(
            f"--data {' '.join(map(str, folders))}: no images found ({', '.join(sorted(PHOTOGRAPH_EXTENSIONS))})."
        )
    return photos


def fingerprint(photos: Sequence[Path]) -> str:
    """A digest of the names and the sizes in bytes of photographs."""
    listing = "\n".join(f"{photo.name} {photo.stat().st_size}" for photo in photos)
    return hashlib.sha256(listing.encode()).hexdigest()[:16]


def photo_settings(photos: Sequence[Path], name: str = "photos") -> dict[str, Any]:
    """The number and the digest of photographs, which must be the same in a resumed run."""
    return {name: len(photos), f"{name}_digest": fingerprint(photos)}


def sample_photos() -> list[Path]:
    """The photographs that scikit-image packages, for first runs with no data of one's own."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UsageError("The sample photographs come with scikit-image, which is not installed. Give --data FOLDER.")
    folder = Path(spec.origin).parent / "data"
    return [folder / name for name in SAMPLE_PHOTOS if (folder / name).exists()]


def sample_photo() -> Path:
    """The photograph for commands that are given none: scikit-image's cat. Raises UsageError where it is not there."""
    path = next((photo for photo in sample_photos() if photo.name == SAMPLE_PHOTO), None)
    if path is None:
        raise UsageError(f"{SAMPLE_PHOTO}, scikit-image's sample photograph, is not there: name an image.")
    return path


def training_photos(data: Sequence[Path] | None, product: str, announce: Callable[[str], None]) -> list[Path]:
    """The photographs under the folders given, or the sample ones, which is announced; product: what more would improve."""
    if data:
        return find_photos(data)
    photos = sample_photos()
    announce(f"no --data: training on {len(photos)} sample photographs of scikit-image; more give a better {product}")
    return photos


class Examples(Protocol):
    """The examples that a training takes its batches from; number n is a function of n alone, and all have one shape."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Tensor: ...

    @property
    def unreadable(self) -> Mapping[Path, str]:
        """Which files could not be read so far, and why."""


@dataclass
class PhotoReader:
    """Photographs by their number, upright, 8-bit RGB over black, kept in memory while there is room.

    short_side: photographs are shrunk to a short side of so many pixels, None leaves them as they are. A file that
    cannot be read is None and is named in `unreadable`.
    """

    photos: Sequence[Path]
    short_side: int | None = None
    unreadable: dict[Path, str] = field(default_factory=dict)
    _cache: dict[int, Image.Image] = field(default_factory=dict)
    _cached_bytes: int = 0

    def read(self, index: int) -> Image.Image | None:
        """The photograph of that number, None when it cannot be read."""
        if index in self._cache:
            return self._cache[index]
        path = self.photos[index]
        if path in self.unreadable:
            return None
        try:
            photo = load_levels(path, self.short_side)
        except ImageError as error:
            self.unreadable[path] = str(error)
            return None
        excess = min(photo.size) / self.short_side if self.short_side else 1.0
        if excess > 1:
            photo = photo.resize((round(photo.width / excess), round(photo.height / excess)), Image.Resampling.BOX)
        weight = photo.width * photo.height * 3
        if self._cached_bytes + weight <= CACHE_BYTES:
            self._cache[index] = photo
            self._cached_bytes += weight
        return photo

    def read_next(self, order: Sequence[int] | NDArray[np.int64], position: int) -> Image.Image:
        """The photograph at a place of an endless order, or the next that can be read. UsageError when none can."""
        for offset in range(len(order)):
            photo = self.read(int(order[(position + offset) % len(order)]))
            if photo is not None:
                return photo
        raise UsageError(f"None of the {len(order)} training images could be read; the first: {self.photos[0]}.")


@dataclass
class Crops:
    """Square random crops, (3, size, size) RGB float32 in [0, 1]; crop number n is a function of (seed, n) alone.

    So a run that resumes at a step, or one that is spread over processes, sees the very crops an unbroken one sees.
    A crop's side is drawn between `smallest` and the whole of the photograph's short side and scaled to `size`, its
    place and mirroring at random: enlarged crops are as smooth as large photographs are, pixel by pixel. A file that
    cannot be read gives way to the next one and is named in `unreadable`.

    native: crops of the file's own pixels instead, or of up to twice as many shrunk to `size`, mirrored and turned by
    right angles: never enlarged, which is what an upscaler must learn from. A photograph that is too small is mirrored
    at its edges.
    """

    photos: Sequence[Path]
    size: int
    seed: int
    count: int
    smallest: float = 0.5
    native: bool = False
    _reader: PhotoReader = field(init=False)

    def __post_init__(self) -> None:
        # Enough for crops of `size`; a native one is of the file's own pixels.
        self._reader = PhotoReader(self.photos, None if self.native else 4 * self.size)

    @property
    def unreadable(self) -> dict[Path, str]:
        """Which photographs could not be read so far, and why."""
        return self._reader.unreadable

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        random = np.random.default_rng((self.seed, number))
        return self._crop(self._reader.read_next(*shuffled(len(self.photos), self.seed, number)), random)

    def _crop(self, photo: Image.Image, random: np.random.Generator) -> Tensor:
        if self.native:
            return self._cut_native(photo, random)
        short = min(photo.size)
        side = round(short * random.uniform(self.smallest, 1.0))
        left = int(random.integers(photo.width - side + 1))
        top = int(random.integers(photo.height - side + 1))
        box = (left, top, left + side, top + side)
        crop = photo.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
        if random.random() < 0.5:
            crop = ImageOps.mirror(crop)
        return to_tensor(crop)

    def _cut_native(self, photo: Image.Image, random: np.random.Generator) -> Tensor:
        shrinking = max(1.0, random.uniform(0.0, MOST_SHRINKING))  # half of the crops as they are
        side = max(self.size, min(round(self.size * shrinking), *photo.size))
        left = int(random.integers(max(1, photo.width - side + 1)))
        top = int(random.integers(max(1, photo.height - side + 1)))
        box = (left, top, min(left + side, photo.width), min(top + side, photo.height))
        crop = photo.crop(box)
        if side > self.size:
            crop = crop.resize((self.size, self.size), Image.Resampling.BICUBIC)
        levels = np.asarray(crop)
        missing = [(0, max(0, self.size - length)) for length in levels.shape[:2]]
        levels = np.pad(levels, [*missing, (0, 0)], mode="symmetric")
        levels = np.rot90(levels, int(random.integers(4)))
        if random.random() < 0.5:
            levels = levels[:, ::-1]
        return to_tensor(levels)


def shuffled(count: int, seed: int, number: int) -> tuple[NDArray[np.int64], int]:
    """The order of `count` photographs in the epoch of example `number`, and its place in it. Every epoch has each once."""
    epoch, position = divmod(number, count)
    return np.random.default_rng((seed, epoch, 1)).permutation(count), position


def first_examples(examples: Examples, most: int) -> Tensor:
    """The first examples in one tensor (N, ...), at most so many."""
    return torch.stack([examples[number] for number in range(min(most, len(examples)))])


def to_tensor(picture: Image.Image | NDArray[np.uint8]) -> Tensor:
    """8-bit levels (H, W, 3) as (3, H, W) RGB float32 in [0, 1]."""
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255


def load_square(path: Path, side: int) -> Tensor:
    """The middle of a photograph, (1, 3, side, side) RGB in [0, 1], scaled so that its short side is `side`.

    Raises ImageError where it cannot be read.
    """
    photo = ImageOps.fit(load_levels(path), (side, side), Image.Resampling.BICUBIC)
    return to_tensor(photo)[None]


def batches_from(examples: Examples, batch: int, first: int, rank: int = 0, world: int = 1) -> Iterator[Tensor]:
    """The examples from batch number `first` on, crops as (batch, 3, size, size), those of process `rank` of `world`.

    The next batches are read in threads while the caller works on this one; Pillow decodes outside Python's lock.
    """

    def load(step: int) -> Tensor:
        start = (step * world + rank) * batch
        return torch.stack([examples[number] for number in range(start, start + batch)])

    with ThreadPoolExecutor(READERS) as pool:
        waiting: deque[Future[Tensor]] = deque()
        try:
            for step in range(first, len(examples) // (batch * world)):
                waiting.append(pool.submit(load, step))
                if len(waiting) > READERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
