"""Measurements of a generator that does not state its receptive radius: by its convolutions, and by what a cut changes."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

# The most that a tile is given around it: of a network that sees farther, tiles equal the whole within about a gray level.
WIDEST_HALO = 64
# Small pixels on each side of the cut, and the rows of the strip that is cut
CUT, ROWS = 72, 24


@torch.inference_mode()
def cut_errors(enlarge: Callable[[Tensor], Tensor], multiple: int = 1) -> Tensor:
    """How much a cut through the image changes the result 0, 1, ... small pixels from it: the largest differences, (d,).

    enlarge: from images (1, 3, h, w) in [0, 1] to s times their size. A strip of noise, which has every frequency, is
    enlarged as a whole and from its middle on. The results differ as those of the whole and of a tile that ends there.
    """
    side, rows = (-(-length // multiple) * multiple for length in (CUT, ROWS))
    strip = torch.rand((1, 3, rows, 2 * side), generator=torch.Generator().manual_seed(0))
    whole, part = enlarge(strip), enlarge(strip[..., side:])
    scale = part.shape[-1] // side
    difference = (whole[..., side * scale :] - part).abs().float().cpu()
    return difference.amax(dim=(0, 1, 2)).view(side, scale).amax(dim=1)


@torch.inference_mode()
def convolution_radius(network: nn.Module, enlarge: Callable[[Tensor], Tensor], side: int) -> int:
    """The receptive radius in small pixels of all convolutions of a network, as if they were applied one after another.

    Counted are those that the network runs for an image of `side` pixels. With parallel branches this is more than any
    of them sees. Attention and pooling are not counted.
    """
    reach = 0.0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal reach
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        kernel, dilation = max(module.kernel_size), max(int(step) for step in module.dilation)
        reach += dilation * (kernel - 1) / 2 * side / inputs[0].shape[-1]

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    try:
        enlarge(torch.zeros(1, 3, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    # A convolution of the enlarged image sees parts of small pixels, and which ones depends on the pixel it is for.
    return math.ceil(reach) + (1 if reach % 1 else 0)


@torch.inference_mode()
def largest_map(network: nn.Module, enlarge: Callable[[Tensor], Tensor], side: int) -> int:
    """The size of the largest map that one layer of a network makes, in values per small pixel: its memory depends on it."""
    largest = 0

    def measure(_: nn.Module, __: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    hooks = [module.register_forward_hook(measure) for module in network.modules()]
    try:
        enlarge(torch.zeros(1, 3, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return -(-largest // side**2)
