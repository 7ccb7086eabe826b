"""The base class of every generator: the facts by which a generator is run in tiles, padded and saved."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn


class Generator(nn.Module):
    """A feed-forward network that makes images: (N, C, h, w) to (N, 3, s·h, s·w), RGB in [0, 1], perhaps a little beyond.

    Its attributes are facts about it that hold for any weights. A subclass states those for which the default is wrong,
    as class attributes or, where they depend on its arguments, in `__init__`.
    """

    scale: int = 1
    """How many times wider and higher the result is than what it is made of."""

    size_multiple: int = 1
    """Tiles of a picture must begin and end at multiples of so many pixels, except at the picture's own edges."""

    smallest: int = 1
    """The smallest side in pixels that the network takes; smaller pictures are padded (see `run_whole`)."""

    receptive_radius: int | None = None
    """How many pixels of the input, in each direction, an output pixel depends on beyond its own; None: not known."""

    tiles_exactly: bool = True
    """Whether a tile with `receptive_radius` pixels around it gives what the whole picture gives.

    False for a network with statistics over the picture, such as instance norm: they make every pixel depend on all.
    """

    inputs: int = 3
    """Channels of the input: 3 are RGB, 4 are RGB and a mask, other numbers are features."""

    arguments: Mapping[str, Any] = MappingProxyType({})
    """What its class is called with to build it again; saved beside its weights."""

    @property
    def exact_halo(self) -> int | None:
        """Pixels around a tile with which it gives what the whole picture gives; None: no number of them, or not known."""
        return self.receptive_radius if self.tiles_exactly else None

    @property
    def fills_holes(self) -> bool:
        """Whether it needs a mask behind the three channels of the image, and fills what is masked."""
        return self.inputs == 4
