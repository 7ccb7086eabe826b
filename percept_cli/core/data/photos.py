"""Photographs for training: the files in folders, reproducible random crops of them, and batches of crops."""

import hashlib
import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from percept_cli.core.files.formats import PHOTOGRAPH_EXTENSIONS
from percept_cli.core.files.inputs import is_special, list_paths
from percept_cli.core.files.listing import FileList
from percept_cli.core.images.decode import load_levels
from percept_cli.errors import ImageError, UsageError

# Of decoded photographs: of the first ones, and of those that were read last
CACHE_BYTES = RECENT_BYTES = 1 << 30
MOST_SHRINKING = 2.0
SAMPLE_PHOTO = "chelsea.png"
# The pictures in scikit-image that are photographs of scenes, not textures, plots, masks or microscopy
SAMPLE_PHOTOS = (
    "astronaut.png", "camera.png", SAMPLE_PHOTO, "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png",
    "motorcycle_right.png", "rocket.jpg",
)  # fmt: skip


def find_photos(folders: Sequence[Path]) -> FileList:
    """All images in folders and their subfolders, sorted; a file stands for itself. Raises UsageError if there is none.

    Links that lead nowhere and folders that cannot be read are among them, so that they are reported as unreadable.
    """
    photos: list[str] = []
    for folder in folders:
        if os.path.isfile(folder):
            photos.append(str(folder))
        elif os.path.isdir(folder):
            photos += list_paths(folder, recursive=True, extensions=PHOTOGRAPH_EXTENSIONS, hidden_folders=True)
        elif is_special(folder):
            raise UsageError(f"--data {folder}: this is a pipe or a device, give a file or a folder.")
        else:
            raise UsageError(f"--data {folder}: there is no such file or folder.")
    if not photos:
        raise UsageError(
            f"--data {' '.join(map(str, folders))}: no images found ({', '.join(sorted(PHOTOGRAPH_EXTENSIONS))})."
        )
    return FileList(photos)


def fingerprint(photos: Sequence[Path]) -> str:
    """A digest of the names and the sizes in bytes of photographs; of -1 where a link leads nowhere."""
    digest = hashlib.sha256()
    for number, path in enumerate(photos.texts() if isinstance(photos, FileList) else map(os.fspath, photos)):
        # Names need not be valid in any encoding.
        line = ("\n" if number else "") + f"{os.path.basename(path)} {_bytes_of(path)}"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _bytes_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def photo_settings(photos: Sequence[Path], name: str = "photos") -> dict[str, Any]:
    """The number and the digest of photographs, which must be the same in a resumed run."""
    return {name: len(photos), f"{name}_digest": fingerprint(photos)}


def sample_photos() -> list[Path]:
    """The photographs in scikit-image. Raises UsageError if it is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UsageError("The sample photographs come with scikit-image, which is not installed. Give --data FOLDER.")
    folder = Path(spec.origin).parent / "data"
    return [folder / name for name in SAMPLE_PHOTOS if (folder / name).exists()]


def sample_photo() -> Path:
    """The photograph for commands without an image: scikit-image's cat. Raises UsageError if it is missing."""
    path = next((photo for photo in sample_photos() if photo.name == SAMPLE_PHOTO), None)
    if path is None:
        raise UsageError(f"{SAMPLE_PHOTO}, scikit-image's sample photograph, is not there: name an image.")
    return path


def training_photos(data: Sequence[Path] | None, product: str, announce: Callable[[str], None]) -> Sequence[Path]:
    """The photographs in the folders, or else the sample photographs, which is announced; product: what is trained."""
    if data:
        return find_photos(data)
    photos = sample_photos()
    announce(f"no --data: training on {len(photos)} sample photographs of scikit-image; more give a better {product}")
    return photos


@dataclass
class PhotoReader:
    """Photographs by their number, upright, 8-bit RGB over black, cached in memory up to `CACHE_BYTES`.

    short_side: larger photographs are shrunk to a short side of so many pixels; None keeps their size. recent: so many that
    were read last are kept beside the cache, which holds the first ones, up to `RECENT_BYTES`.
    """

    photos: Sequence[Path]
    short_side: int | None = None
    recent: int = 0
    unreadable: dict[Path, str] = field(default_factory=dict)
    _cache: dict[int, Image.Image] = field(default_factory=dict)
    _cached_bytes: int = 0
    _recent: dict[int, Image.Image] = field(default_factory=dict)
    _recent_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _reading: tuple[threading.Lock, ...] = field(
        default_factory=lambda: tuple(threading.Lock() for _ in range(64)), repr=False
    )

    def read(self, index: int) -> Image.Image | None:
        """The photograph, or None if it cannot be read; its file and the reason are then added to `unreadable`."""
        with self._reading[index % len(self._reading)]:  # of two threads that need a photograph, one decodes it
            known = self._cache.get(index) or self._recent.get(index)
            return known or self._decode(index)

    def _decode(self, index: int) -> Image.Image | None:
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
        with self._lock:
            # The first ones stay: in epochs, those that were used last are needed last.
            if self._cached_bytes + weight <= CACHE_BYTES:
                self._cache[index] = photo
                self._cached_bytes += weight
            elif self.recent:
                self._recent[index] = photo
                self._recent_bytes += weight
                while len(self._recent) > self.recent or self._recent_bytes > RECENT_BYTES:
                    oldest = self._recent.pop(next(iter(self._recent)))
                    self._recent_bytes -= oldest.width * oldest.height * 3
        return photo

    def read_next(self, order: Sequence[int] | NDArray[np.int64], position: int) -> Image.Image:
        """The photograph at a position of a repeated order, or the next that can be read. UsageError if there is none."""
        for offset in range(len(order)):
            photo = self.read(int(order[(position + offset) % len(order)]))
            if photo is not None:
                return photo
        raise UsageError(f"None of the {len(order)} training images could be read; the first: {self.photos[0]}.")


@dataclass
class Crops:
    """Square random crops, (3, size, size) RGB float32 in [0, 1]; crop n depends only on (seed, n).

    So a resumed run, or one on several processes, has the same crops as any other. The side of a crop is drawn between
    `smallest` times the short side of the photograph and the short side, and scaled to `size`; its place and mirroring
    are random. Enlarged crops are smooth, as large photographs are. A file that cannot be read is replaced by the next.

    repeats, apart: a photograph gives so many crops in a row of examples, each `apart` examples after the other, so that it
    is decoded once for all of them (Choi et al. 2019, "Faster Neural Network Training with Data Echoing", before
    augmentation). With the size of the batch of all processes, no batch has two crops of a photograph.

    native: crops of size² pixels as they are, or of up to twice that side shrunk to `size`, mirrored and turned by right
    angles. They are never enlarged, since an upscaler would learn to be as smooth. A photograph that is too small is
    continued by its mirror image.
    """

    photos: Sequence[Path]
    size: int
    seed: int
    count: int
    smallest: float = 0.5
    native: bool = False
    repeats: int = 1
    apart: int = 1
    _reader: PhotoReader = field(init=False)

    def __post_init__(self) -> None:
        # 4 · size pixels are enough for crops scaled to `size`.
        recent = 2 * self.apart if self.repeats > 1 else 0
        self._reader = PhotoReader(self.photos, None if self.native else 4 * self.size, recent)

    @property
    def unreadable(self) -> dict[Path, str]:
        """The photographs that could not be read so far, and why."""
        return self._reader.unreadable

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        random = np.random.default_rng((self.seed, number))
        round_, rest = divmod(number, self.repeats * self.apart)
        visit = round_ * self.apart + rest % self.apart
        return self._crop(self._reader.read_next(*shuffled(len(self.photos), self.seed, visit)), random)

    def _crop(self, photo: Image.Image, random: np.random.Generator) -> Tensor:
        if self.native:
            return self._cut_native(photo, random)
        side = round(min(photo.size) * random.uniform(self.smallest, 1.0))
        left = int(random.integers(photo.width - side + 1))
        top = int(random.integers(photo.height - side + 1))
        return scale_crop(photo, (left, top, left + side, top + side), self.size, random.random() < 0.5)

    def _cut_native(self, photo: Image.Image, random: np.random.Generator) -> Tensor:
        shrinking = max(1.0, random.uniform(0.0, MOST_SHRINKING))  # 1 for half of the crops
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
    """The order of `count` photographs in the epoch of example `number`, and its position there; each epoch has all once."""
    epoch, position = divmod(number, count)
    return _order(count, seed, epoch), position


@lru_cache(maxsize=4)  # of two lists of pictures, while the readers go from one epoch to the next
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order = np.random.default_rng((seed, epoch, 1)).permutation(count)
    order.setflags(write=False)
    return order


def scale_crop(photo: Image.Image, box: tuple[float, float, float, float], size: int, mirrored: bool) -> Tensor:
    """The part of a photograph in a box (left, top, right, bottom), bicubic, (3, size, size) RGB float32 in [0, 1]."""
    crop = photo.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return to_tensor(ImageOps.mirror(crop) if mirrored else crop)


def to_tensor(picture: Image.Image | NDArray[np.uint8]) -> Tensor:
    """8-bit levels (H, W, 3) as (3, H, W) RGB float32 in [0, 1]."""
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255


def load_square(path: Path, side: int) -> Tensor:
    """The middle square of a photograph, scaled to (1, 3, side, side) RGB in [0, 1]. Raises ImageError."""
    photo = ImageOps.fit(load_levels(path), (side, side), Image.Resampling.BICUBIC)
    return to_tensor(photo)[None]
