"""Crops of photographs, each with a crop of a painting whose style it is to get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.data.photos import Crops

PERMUTED = 0.5  # of the paintings


@dataclass
class PaintedCrops:
    """Examples (6, size, size) in [0, 1] of a photograph, then a painting; `paired_crops.split_example` separates them.

    smallest, smallest_painting: of the crops of photographs and of paintings, as for `Crops`: a smaller crop of a painting
    has larger strokes. Half of the paintings have their red, green and blue in a random order, for more palettes than
    there are paintings. Example n depends only on the seed and n.
    """

    photos: Sequence[Path]
    paintings: Sequence[Path]
    size: int
    seed: int
    count: int
    smallest: float = 0.5
    smallest_painting: float = 0.6
    _crops: tuple[Crops, Crops] = field(init=False)

    def __post_init__(self) -> None:
        self._crops = (
            Crops(self.photos, self.size, self.seed, self.count, self.smallest),
            Crops(self.paintings, self.size, self.seed + 1, self.count, self.smallest_painting),
        )

    @property
    def unreadable(self) -> Mapping[Path, str]:
        """The pictures that could not be read so far, and why."""
        return self._crops[0].unreadable | self._crops[1].unreadable

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        photograph, painting = (crops[number] for crops in self._crops)
        random = np.random.default_rng((self.seed, number, 3))
        if random.random() < PERMUTED:
            painting = painting[torch.from_numpy(random.permutation(3))]
        return torch.cat([photograph, painting])
