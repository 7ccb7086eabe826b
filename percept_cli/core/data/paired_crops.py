"""Pairs of crops, a source and a target, on which translations are trained.

An example is one tensor (C + 3, size, size) in [0, 1]: the C channels of the source (3, or 4 with a mask), then the three
of the target; `split_example` separates them. Example n depends only on the seed and n.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from percept_cli.core.data.corruption import corrupt
from percept_cli.core.data.photos import Crops, PhotoReader, scale_crop, shuffled
from percept_cli.core.files.folders import Pair
from percept_cli.errors import UsageError

SAME_SHAPE = 1.02  # the largest ratio of the aspect ratios of a pair


def split_example(examples: Tensor) -> tuple[Tensor, Tensor]:
    """The sources (N, C, H, W) and the targets (N, 3, H, W) of a batch."""
    return examples[:, :-3], examples[:, -3:]


@dataclass
class CorruptedCrops:
    """Native crops of photographs (see `Crops`): the source is degraded by `corrupt`, the target is not.

    amount: the range from which it is drawn. offset: each target is shifted at random by up to so many pixels in each
    direction (Mechrez et al. 2018, section 4, misaligned pairs).
    """

    photos: Sequence[Path]
    size: int
    seed: int
    count: int
    kind: str
    amount: tuple[float, float]
    offset: int = 0
    _crops: Crops = field(init=False)

    def __post_init__(self) -> None:
        self._crops = Crops(self.photos, self.size + 2 * self.offset, self.seed, self.count, native=True)

    @property
    def unreadable(self) -> Mapping[Path, str]:
        """The photographs that could not be read so far, and why."""
        return self._crops.unreadable

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        random = np.random.default_rng((self.seed, number, 2))
        clean = self._crops[number]
        middle = _cut(clean, self.offset, self.offset, self.size)
        source = corrupt(middle, self.kind, float(random.uniform(*self.amount)), random)
        down, across = random.integers(0, 2 * self.offset + 1, 2)
        return torch.cat([source, _cut(clean, int(down), int(across), self.size)])


@dataclass
class UnpairedCrops:
    """Crops of one set of pictures with unrelated crops of another set.

    short_side: larger pictures are shrunk to so many pixels on the short side before a crop of `size` is taken. Raises
    UsageError if it is less than `size`.
    """

    sources: Sequence[Path]
    targets: Sequence[Path]
    size: int
    seed: int
    count: int
    short_side: int = 256
    _readers: tuple[PhotoReader, PhotoReader] = field(init=False)

    def __post_init__(self) -> None:
        if self.short_side < self.size:
            raise UsageError(f"--short-side {self.short_side}: give --size {self.size} or more.")
        self._readers = PhotoReader(self.sources, self.short_side), PhotoReader(self.targets, self.short_side)

    @property
    def unreadable(self) -> Mapping[Path, str]:
        """The pictures that could not be read so far, and why."""
        return self._readers[0].unreadable | self._readers[1].unreadable

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        crops = []
        for part, reader in enumerate(self._readers):
            random = np.random.default_rng((self.seed, number, part))
            photo = reader.read_next(*shuffled(len(reader.photos), self.seed + part, number))
            crops.append(_crop_of(photo, _draw_box(photo, self.size / min(photo.size), random), self.size, random))
        return torch.cat(crops)


@dataclass
class PairedCrops:
    """Crops of two pictures of the same subject, both at the same place.

    The side of a crop is drawn between `smallest` times the short side and the short side, scaled to `size`, and mirrored
    at random. The pictures of a pair may differ in size but not in aspect ratio. offset: the crop of the second is
    shifted at random by up to so many pixels of the crop.
    """

    pairs: Sequence[Pair]
    size: int
    seed: int
    count: int
    offset: int = 0
    smallest: float = 0.7
    unreadable: dict[Path, str] = field(default_factory=dict)
    _readers: tuple[PhotoReader, PhotoReader] = field(init=False)

    def __post_init__(self) -> None:
        sides = [pair.first for pair in self.pairs], [pair.second for pair in self.pairs]
        self._readers = PhotoReader(sides[0], 4 * self.size), PhotoReader(sides[1], 4 * self.size)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        order, position = shuffled(len(self.pairs), self.seed, number)
        for step in range(len(order)):
            pictures = self._read(int(order[(position + step) % len(order)]))
            if pictures is not None:
                break
        else:
            raise UsageError(
                f"None of the {len(self.pairs)} pairs could be read; the first: {next(iter(self.unreadable.items()))}."
            )
        random = np.random.default_rng((self.seed, number))
        share = float(random.uniform(self.smallest, 1.0))
        box = _draw_box(pictures[0], share, random)
        mirrored = random.random() < 0.5
        shift = random.integers(-self.offset, self.offset + 1, 2) * share / self.size
        crops = []
        for picture, moved in zip(pictures, (np.zeros(2), shift), strict=True):
            short = min(picture.size)
            # At an edge, the shift is smaller.
            left, top = (
                float(np.clip(start + by * short / length, 0, 1 - share * short / length))
                for start, by, length in zip(box, moved, picture.size, strict=True)
            )
            crops.append(_tensor_of(picture, left, top, share, self.size, mirrored))
        return torch.cat(crops)

    def _read(self, index: int) -> tuple[Image.Image, Image.Image] | None:
        first, second = (reader.read(index) for reader in self._readers)
        for reader in self._readers:
            self.unreadable.update(reader.unreadable)
        if first is None or second is None:
            return None
        shapes = first.width / first.height, second.width / second.height
        if max(shapes) / min(shapes) > SAME_SHAPE:
            pair = self.pairs[index]
            self.unreadable[pair.second] = (
                f"it is {shapes[1]:.2f} times as wide as high and {pair.first.name} {shapes[0]:.2f} times"
            )
            return None
        return first, second


def _draw_box(photo: Image.Image, share: float, random: np.random.Generator) -> tuple[float, float]:
    """The left and the top edge, as shares of the width and the height, of a random square of `share` of the short side."""
    side = min(1.0, share) * min(photo.size)
    return tuple(float(random.uniform(0, 1 - side / length)) for length in photo.size)  # type: ignore[return-value]


def _crop_of(photo: Image.Image, box: tuple[float, float], size: int, random: np.random.Generator) -> Tensor:
    return _tensor_of(photo, *box, min(1.0, size / min(photo.size)), size, random.random() < 0.5)


def _tensor_of(photo: Image.Image, left: float, top: float, share: float, size: int, mirrored: bool) -> Tensor:
    """A square of `share` of the short side, as (3, size, size); left, top: as shares of the width and the height."""
    side = share * min(photo.size)
    x, y = left * photo.width, top * photo.height
    return scale_crop(photo, (x, y, min(x + side, photo.width), min(y + side, photo.height)), size, mirrored)


def _cut(image: Tensor, top: int, left: int, size: int) -> Tensor:
    return image[:, top : top + size, left : left + size]
