"""A generator of any style, bound to the description of one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.feature_statistics import Statistics, blend_statistics
from percept_cli.core.images.tiles import Tile


class StyledGenerator(Generator):
    """A generator of any style that has the description of one style: it runs as a network that was trained for it.

    Its tiles equal the whole if they get the statistics of the whole picture, which `measure_part` gives part by part.
    """

    def __init__(self, network: AnyStyleGenerator, style: Statistics):
        super().__init__()
        self.network, self.style = network, style
        self.size_multiple, self.smallest = network.size_multiple, network.smallest
        self.receptive_radius = network.receptive_radius

    def forward(self, images: Tensor, content: Statistics | None = None, origin: tuple[int, int] = (0, 0)) -> Tensor:
        """Images (N, 3, H, W) in the style; content, origin: as for `AnyStyleGenerator`."""
        return self.network(images, self.style, content, origin)  # type: ignore[no-any-return]

    def measure_part(self, images: Tensor, part: Tile, size: tuple[int, int]) -> tuple[Statistics, int]:
        """As that of `AnyStyleGenerator`."""
        return self.network.measure_part(images, part, size)


@torch.inference_mode()
def bind_style(
    network: AnyStyleGenerator, paintings: Sequence[Tensor], weights: Sequence[float] | None = None
) -> StyledGenerator:
    """The generator in the style of paintings, each (1, 3, h, w) in [0, 1] on the network's device, with their weights.

    weights: of several paintings; None for equal ones. They are described in the precision of the network's weights.
    """
    described = [network.describe(painting) for painting in paintings]
    return StyledGenerator(network, blend_statistics(described, weights or [1.0] * len(described)))
