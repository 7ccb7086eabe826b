"""Measurements of generators: receptive radius by their convolutions, errors near a cut, size of the largest map."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

# Most pixels computed around a tile. Tiles of networks with a larger receptive radius equal the whole within about a
# gray level.
WIDEST_HALO = 64
CUT, ROWS = 72, 24  # small pixels on each side of the cut, and rows of the strip that is cut


@contextlib.contextmanager
def forward_hooks(modules: Iterable[nn.Module], hook: Callable[..., None]) -> Iterator[None]:
    """A context in which `hook(module, inputs, output)` is called after every forward pass of the modules."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def cut_errors(enlarge: Callable[[Tensor], Tensor], multiple: int = 1) -> Tensor:
    """The largest difference that a cut through an image makes 0, 1, ... small pixels from it, (d,).

    enlarge: from images (1, 3, h, w) in [0, 1] to s times their size. A strip of noise, which has every frequency, is
    enlarged once as a whole and once from its middle on, as a tile that begins there.
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

    Counted are those that run for an image of `side` pixels: for parallel branches this is an upper bound. Attention and
    pooling are not counted.
    """
    reach = 0.0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal reach
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        kernel, dilation = max(module.kernel_size), max(int(step) for step in module.dilation)
        reach += dilation * (kernel - 1) / 2 * side / inputs[0].shape[-1]

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    with forward_hooks(convolutions, count):
        enlarge(torch.zeros(1, 3, side, side))
    # A convolution of the enlarged image reaches parts of small pixels; which ones depends on the output pixel.
    return math.ceil(reach) + (1 if reach % 1 else 0)


@torch.inference_mode()
def largest_map(network: nn.Module, enlarge: Callable[[Tensor], Tensor], side: int) -> int:
    """The size of the largest output of a layer, in values per small pixel, for an image of `side` pixels."""
    largest = 0

    def measure(_: nn.Module, __: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    with forward_hooks(network.modules(), measure):
        enlarge(torch.zeros(1, 3, side, side))
    return -(-largest // side**2)
