"""Inverters and autoencoders in one pass: features or a code to images."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from percept_cli.core.generators.autoencoder import STRIDE, Autoencoder
from percept_cli.core.runtime import Runtime


@torch.inference_mode()
def run_inverter(network: nn.Module, features: Tensor, size: tuple[int, int], runtime: Runtime) -> Tensor:
    """One forward pass: raw features of an image of `size` (height, width) to that image, (N, 3, H, W) in [0, 1].

    network: on the runtime's device by `Runtime.prepare`. The result is on the processor.
    """
    with runtime.autocast():
        images = network(runtime.place(features), size)
    return images.float().clamp(0, 1).cpu()


@torch.inference_mode()
def run_autoencoder(network: Autoencoder, images: Tensor, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """What images (N, 3, H, W) in [0, 1] become by way of their code, in [0, 1], and the code; on the processor.

    network: on the runtime's device by `Runtime.prepare`, in evaluation mode.
    """
    height, width = images.shape[-2:]
    with runtime.autocast():
        code, _ = network.encode(runtime.place(images))
        result = network.decode(code, (height, width))
    return result.float().clamp(0, 1).cpu(), code.cpu()


def draw_images(
    network: Autoencoder, count: int, side: int, seed: int, runtime: Runtime
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures (1, 3, side, side) in [0, 1] and the codes they are decoded from: draws of a standard normal (variational).

    The codes are drawn on the processor, one after the other: the first pictures of a seed do not depend on `count` nor
    their codes on the device. network: on the runtime's device by `Runtime.prepare`.
    """
    chance = torch.Generator().manual_seed(seed)
    units = -(-side // STRIDE)
    for _ in range(count):
        with torch.inference_mode(), runtime.autocast():
            code = torch.randn(1, network.channels, units, units, generator=chance)
            image = network.decode(runtime.place(code), (side, side))
        yield image.float().clamp(0, 1).cpu(), code
