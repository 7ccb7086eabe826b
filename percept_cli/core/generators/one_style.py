"""The generator of any style with one painting, or a blend of several, fixed in it: photographs to images in one pass."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from percept_cli.core.generators.any_style import NOISE, WIDTHS, AnyStyleGenerator, ModulatedBlock
from percept_cli.core.generators.encoder import LEVELS
from percept_cli.core.generators.feature_statistics import Statistics

FORM = 2.0  # deviation of the Gaussian that smooths noise, units of the deepest level


class FixedModulation(nn.Module):
    """What the modulation of a block is for one painting: a scale and a shift of each channel, whatever the code."""

    def __init__(self, channels: int):
        super().__init__()
        self.values = nn.Parameter(torch.zeros(2 * channels))

    def forward(self, code: Tensor) -> Tensor:
        return self.values.expand(len(code), -1)


class OneStyleGenerator(AnyStyleGenerator):
    """Photographs (N, 3, H, W) RGB in [0, 1] in the style of its painting, to images of one size.

    It is what is left of the generator of any style where the painting does not change: the statistics of the painting
    are buffers, and the code of the painting became the scales and shifts that the modulation makes of it. Untrained, its
    encoder and its statistics are zero: see `fix_style` and `set_style`. Its tiles equal the whole if they get the
    statistics of the whole picture, which `measure_part` gives part by part.
    """

    tiles_exactly = True

    def __init__(self, widths: Sequence[int] = WIDTHS, noise: int = NOISE):
        super().__init__(widths, noise)
        del self.code
        for block in self._blocks():
            block.modulation = FixedModulation(block.first.out_channels)
        for level, count in enumerate(LEVELS):
            self.register_buffer(f"style_mean_{level}", torch.zeros(1, count))
            self.register_buffer(f"style_covariance_{level}", torch.zeros(1, count, count))

    @property
    def style(self) -> Statistics:
        """The description of its painting."""
        means, covariances = (
            tuple(self.get_buffer(f"style_{name}_{level}") for level in range(len(LEVELS)))
            for name in ("mean", "covariance")
        )
        return Statistics(means, covariances)

    @torch.no_grad()
    def set_style(self, style: Statistics) -> None:
        """Takes another painting, by its description; the decoder stays as it was trained."""
        for level, (mean, covariance) in enumerate(style.tensors):
            self.get_buffer(f"style_mean_{level}").copy_(mean)
            self.get_buffer(f"style_covariance_{level}").copy_(covariance)

    def forward(  # type: ignore[override]
        self, images: Tensor, content: Statistics | None = None, origin: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """The images in the style of the painting; content, origin: as of the generator of any style."""
        return super().forward(images, self.style, content, origin)

    def encode(self, style: Statistics) -> Tensor:
        """A placeholder for the code, which the blocks no longer read."""
        return style.means[0]

    def _blocks(self) -> list[ModulatedBlock]:
        return [module for module in self.stages.modules() if isinstance(module, ModulatedBlock)]


@torch.no_grad()
def fix_style(generator: AnyStyleGenerator, style: Statistics) -> OneStyleGenerator:
    """The generator of one style that gives what a generator of any style gives with this description of a painting."""
    fixed = OneStyleGenerator(**generator.arguments)
    own = fixed.state_dict()
    own |= {name: value for name, value in generator.state_dict().items() if name in own}
    code = generator.encode(style)
    for name, module in generator.named_modules():
        if isinstance(module, ModulatedBlock):
            own[f"{name}.modulation.values"] = module.modulation(code)[0]
    fixed.load_state_dict(own)
    fixed.set_style(style)
    return fixed.train(generator.training)


@torch.no_grad()
def without_noise(generator: OneStyleGenerator) -> OneStyleGenerator:
    """The generator without noise among the inputs of its decoder, of which it paints spots in plain skies.

    Its other weights stay, so it makes what it made where the noise was 0.
    """
    channels = generator.arguments["noise"]
    bare = OneStyleGenerator(generator.arguments["widths"], noise=0)
    kept = {name: value for name, value in generator.state_dict().items() if not name.startswith("noise")}
    for level in range(1, len(LEVELS)):
        name = f"stages.{level}.enter.weight"
        kept[name] = kept[name][:, : kept[name].shape[1] - channels]  # the noise is the last of what comes in
    bare.load_state_dict(kept)
    return bare.train(generator.training)


@torch.no_grad()
def with_forms(generator: OneStyleGenerator) -> OneStyleGenerator:
    """Changes its noise to smooth forms of some 40 pixels at the deepest level, and 0 at others; it is returned.

    A generator without noise stays as it is. The forms are the same ones whatever the noise was.
    """
    deepest = len(LEVELS) - 1
    if generator.arguments["noise"]:
        noise = AnyStyleGenerator(**generator.arguments).get_buffer(f"noise_{deepest}")
        for level in range(1, deepest):
            generator.get_buffer(f"noise_{level}").zero_()
        generator.get_buffer(f"noise_{deepest}").copy_(_smooth(noise))
    return generator


def _smooth(tile: Tensor) -> Tensor:
    """A square tile (1, C, n, n) that is repeated without end, convolved with a Gaussian; its deviation becomes 1."""
    frequencies = torch.fft.fftfreq(tile.shape[-1])
    weights = torch.exp(-2 * (torch.pi * FORM * frequencies) ** 2)
    smooth = torch.fft.ifft2(torch.fft.fft2(tile) * weights[:, None] * weights).real
    return smooth / smooth.std(dim=(2, 3), keepdim=True)
