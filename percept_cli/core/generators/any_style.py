"""The generator of any style: it restyles photographs in one pass after a painting on which it was not trained.

A fixed encoder describes both pictures at four depths. The features of the photograph get the mean and the covariance of
the painting's, and a decoder, which a code of the painting modulates, makes an image of them.
"""

import contextlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.blocks import shrink
from percept_cli.core.generators.encoder import LEVELS, Encoder
from percept_cli.core.generators.feature_statistics import Statistics, measure_statistics, merge_statistics, transfer
from percept_cli.core.generators.folded import paint
from percept_cli.core.generators.inversion import Doubling
from percept_cli.core.generators.strips import convolve
from percept_cli.core.generators.style import OUTPUT_RANGE, pad_to_multiple
from percept_cli.core.images.tiles import Tile
from percept_cli.core.processes import roll_over_processes

# Of the decoder at each level: channels, and residual blocks
WIDTHS = (16, 40, 80, 96)
BLOCKS = (1, 1, 3, 3)
CODE = 128  # channels of the code that modulates the blocks
CODE_RANGE = 3.0
# A plain sky has nothing of which strokes could be made: a fixed noise of so many channels, repeated without end, is an
# input of every level but the shallowest (as in Ulyanov et al. 2016, "Texture Networks").
NOISE = 4
NOISE_SIDES = (61, 67, 71)  # of its tile at strides 2, 4 and 8: with no common divisor, so that it hardly repeats


class ModulatedBlock(nn.Module):
    """Two 3x3 convolutions added to their input; a code (N, CODE) scales and shifts the channels between them."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)
        shrink(self.second)  # the chain has no normalization and begins as the identity
        linear = nn.Linear(CODE, 2 * channels)
        nn.init.normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
        self.modulation: nn.Module = linear

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.modulation(code)[..., None, None].chunk(2, dim=1)
        inner = convolve(features, self.first) * (1 + scale.tanh()) + shift
        return features + convolve(F.relu(inner), self.second)


class Stage(nn.Module):
    """The decoder at one level: a convolution of all that comes in, then residual blocks."""

    def __init__(self, inputs: int, channels: int, blocks: int):
        super().__init__()
        self.enter = nn.Conv2d(inputs, channels, 3)
        self.blocks = nn.ModuleList(ModulatedBlock(channels) for _ in range(blocks))

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        features = convolve(features, self.enter).float()  # of which the sums of the blocks are, too
        for block in self.blocks:
            features = block(features, code)
        return features


class AnyStyleGenerator(Generator):
    """Photographs (N, 3, H, W) RGB in [0, 1] in the style of paintings, to images of one size, slightly beyond the range.

    Departs from Huang & Belongie 2017 (AdaIN), who match mean and deviation at one depth of VGG-19, in matching mean and
    covariance at four, and from Li et al. 2017, whose decoders are trained on photographs alone, in training the decoder
    by the losses of a style. Statistics are taken in the encoder alone: with those of a whole picture, given as `content`,
    a part of it with `receptive_radius` pixels around it equals that part of the whole.
    """

    size_multiple = 8
    smallest = 32
    # At the most 143: 34 and 41 of the encoder before and after a unit of stride 8, and the rest of the decoder
    receptive_radius = 144
    tiles_exactly = False
    # In training, the share of the next crop of the batch in the picture that a crop stands for: see `summarize`
    plain_strokes = 0.25

    def __init__(self, widths: Sequence[int] = WIDTHS, noise: int = NOISE):
        super().__init__()
        self.arguments = {"widths": list(widths), "noise": noise}
        self.encoder = Encoder()
        self.code = nn.Sequential(nn.Linear(2 * sum(LEVELS), CODE), nn.SiLU(), nn.Linear(CODE, CODE), nn.SiLU())
        random = torch.Generator().manual_seed(0)
        stages = []
        for level, (width, deeper) in enumerate(zip(widths, (*widths[1:], 0), strict=True)):
            stages.append(Stage(LEVELS[level] + deeper + (noise if level else 0), width, BLOCKS[level]))
            if level and noise:
                side = NOISE_SIDES[level - 1]
                self.register_buffer(f"noise_{level}", torch.randn(1, noise, side, side, generator=random))
        self.stages = nn.ModuleList(stages)
        self.enlarge = Doubling()
        self.last = nn.Conv2d(widths[0], 3, 5)

    def describe(self, images: Tensor) -> Statistics:
        """The statistics of pictures (N, 3, H, W), which as those of paintings are the description of a style."""
        with self.precise(images):
            return self.encoder.describe(list(self.encoder.unscaled(images)))

    def forward(
        self,
        images: Tensor,
        style: Tensor | Statistics,
        content: Statistics | None = None,
        origin: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """The images in the style of paintings (N, 3, h, w), or of their description.

        content, origin: for a part of a picture, the statistics of the whole, and its first row and column there, multiples
        of `size_multiple`.
        """
        height, width = images.shape[-2:]
        if not (self.training or torch.is_grad_enabled()):
            described = style if isinstance(style, Statistics) else self.describe(style)
            return paint(self, pad_to_multiple(images, self.size_multiple), described, content, origin)[
                ..., :height, :width
            ]
        with self.precise(images):
            features = self.encoder(pad_to_multiple(images, self.size_multiple))
        described = style if isinstance(style, Statistics) else self.describe(style)
        if content is None:
            with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
                content = self.summarize(features)
        code = self.encode(described)
        statistics = list(zip(content.tensors, described.tensors, strict=True))
        decoded: Tensor | None = None
        for level in reversed(range(1, len(LEVELS))):
            decoded = self.stages[level](self._join(features, statistics, decoded, origin), code)
        with self.precise(images):
            decoded = self.stages[0](self._join(features, statistics, decoded, origin), code.float())
            return self.finish(decoded)[..., :height, :width]

    def finish(self, decoded: Tensor) -> Tensor:
        """The images (N, 3, H, W) of what the last stage has decoded."""
        return 0.5 + 0.5 * OUTPUT_RANGE * torch.tanh(convolve(F.relu(decoded), self.last).float())

    def _join(
        self,
        features: list[Tensor],
        statistics: list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]],
        decoded: Tensor | None,
        origin: tuple[int, int],
    ) -> Tensor:
        """The input of the stage of the deepest level that is left: its moved features, what is decoded so far, and noise.

        features, statistics: of the levels, and of the photograph and the painting; those of this level are taken out,
        which frees their memory.
        """
        level = len(features) - 1
        with torch.no_grad(), torch.autocast(features[0].device.type, enabled=False):
            moved = transfer(features.pop(), *statistics.pop())
        inputs = [moved]
        if decoded is not None:
            inputs.append(self.enlarge(decoded))
        if level and self.arguments["noise"]:
            inputs.append(self.noise(level, moved, origin))
        return torch.cat(inputs, dim=1)

    def precise(self, images: Tensor) -> contextlib.AbstractContextManager:
        """Float32 where the network is at work, whatever the runtime's precision.

        With a bf16 encoder and full-size stage single pixels differ by up to 9 gray levels from fp32, with these by up to 4.
        """
        if self.training:
            return contextlib.nullcontext()
        return torch.autocast(images.device.type, enabled=False)

    def summarize(self, features: Sequence[Tensor]) -> Statistics:
        """The statistics of the features of photographs by which they are moved, where none are given.

        In training those of a crop and the next one together, as if they were one photograph: by its own, a crop of a plain
        sky gets all the contrast of the painting, which a sky beside other things does not. So the larger `plain_strokes` is,
        the more strokes there are in plain places at work.
        """
        own = measure_statistics(features)
        if not self.training:
            return own
        means, covariances = (tuple(map(roll_over_processes, part)) for part in (own.means, own.covariances))
        return merge_statistics([own, Statistics(means, covariances)], [1 - self.plain_strokes, self.plain_strokes])

    def measure_part(self, images: Tensor, part: Tile, size: tuple[int, int]) -> tuple[Statistics, int]:
        """The statistics of a part of a picture of `size` (height, width), and of how many pixels they are.

        images: the pixels (1, 3, h, w) of the part's source, which needs `ENCODER_RADIUS` pixels around the target.
        """
        kept = part.target.within(part.source)
        # What is padded at the right and at the bottom of the picture counts, as it does in a pass over all of it.
        ends = part.target.bottom == size[0], part.target.right == size[1]
        levels = []
        with self.precise(images):
            encoded = self.encoder.unscaled(pad_to_multiple(images, self.size_multiple))
            for level, features in enumerate(encoded):
                rows = slice(kept.top >> level, None if ends[0] else kept.bottom >> level)
                columns = slice(kept.left >> level, None if ends[1] else kept.right >> level)
                levels.append(features[..., rows, columns])
            return self.encoder.describe(levels), levels[0].shape[-2] * levels[0].shape[-1]

    def noise(self, level: int, features: Tensor, origin: tuple[int, int]) -> Tensor:
        """The noise of a level for features (N, C, h, w) of a part that begins at `origin`, in pixels of the image."""
        tile = self.get_buffer(f"noise_{level}")
        rows, columns = (
            torch.arange(first >> level, (first >> level) + length, device=tile.device) % tile.shape[-1]
            for first, length in zip(origin, features.shape[-2:], strict=True)
        )
        noise = tile[..., rows, :][..., columns].expand(len(features), -1, -1, -1)
        return noise.contiguous(memory_format=torch.channels_last)  # as all others: joined with others it would be slow

    def encode(self, style: Statistics) -> Tensor:
        """The code (N, CODE) of described styles that modulates the decoder."""
        deviations = [
            covariance.diagonal(dim1=1, dim2=2).clamp_min(1e-4).sqrt().log() for _, covariance in style.tensors
        ]
        values = torch.cat([*style.means, *deviations], dim=1).clamp(-CODE_RANGE, CODE_RANGE)
        return self.code(values.float())  # type: ignore[no-any-return]
