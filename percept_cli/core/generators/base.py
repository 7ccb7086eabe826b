"""The base class of every generator: what padding, tiling and saving need to know of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn


class Generator(nn.Module):
    """A feed-forward network from (N, C, h, w) to images (N, 3, s·h, s·w), RGB in [0, 1] or slightly beyond.

    Its attributes hold for any weights. A subclass states those that differ from the defaults, as class attributes or,
    where they depend on its arguments, in `__init__`.
    """

    scale: int = 1
    """s, the factor by which the result is wider and higher than the input."""

    size_multiple: int = 1
    """Tiles must begin and end at multiples of this many pixels, except at the edges of the picture."""

    smallest: int = 1
    """Smallest side of the input in pixels; smaller pictures are padded (see `run_whole`)."""

    receptive_radius: int | None = None
    """How far an output pixel depends on input pixels around its own, in pixels of each direction; None if unknown."""

    tiles_exactly: bool = True
    """Whether a tile with `receptive_radius` pixels around it equals that part of the whole picture.

    False for networks with statistics over the picture, such as instance norm, where every pixel depends on all others.
    """

    inputs: int = 3
    """Channels of the input: 3 for RGB, 4 for RGB and a mask, other numbers for features."""

    arguments: Mapping[str, Any] = MappingProxyType({})
    """Arguments of its class with which it can be created again; saved with its weights."""

    @property
    def exact_halo(self) -> int | None:
        """Pixels needed around a tile so that it equals the whole picture; None if no number suffices or is known."""
        return self.receptive_radius if self.tiles_exactly else None

    @property
    def fills_holes(self) -> bool:
        """Whether its input has a mask as fourth channel, whose pixels it fills."""
        return self.inputs == 4
