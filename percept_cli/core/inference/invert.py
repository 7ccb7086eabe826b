"""Images from features by an inverter, or from a code by an autoencoder, in one pass."""

from collections.abc import Iterator

import torch
from torch import Tensor

from percept_cli.core.extractors.graph import FeatureExtractor
from percept_cli.core.generators.autoencoder import STRIDE, Autoencoder
from percept_cli.core.generators.base import Generator
from percept_cli.core.inference.run import forward
from percept_cli.core.runtime import Runtime


@torch.inference_mode()
def invert(photos: Tensor, layer: str, extractor: FeatureExtractor, inverter: Generator, runtime: Runtime) -> Tensor:
    """Photographs reconstructed by an inverter from their features at a layer, both (N, 3, H, W) in [0, 1].

    extractor: frozen by the runtime, tapped at the layer. inverter: passes `check_inverter` for these; placed by
    `Runtime.place_network`. The result is on the processor.
    """
    features = extractor(runtime.place(photos), [layer])[layer]
    return run_inverter(inverter, features, (photos.shape[-2], photos.shape[-1]), runtime)


def run_inverter(network: Generator, features: Tensor, size: tuple[int, int], runtime: Runtime) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] on the processor, reconstructed by an inverter from raw features; size: (H, W).

    network: placed by `Runtime.place_network`.
    """
    return forward(network, features, runtime, size).clamp(0, 1)


def run_autoencoder(network: Autoencoder, images: Tensor, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Images (N, 3, H, W) in [0, 1] encoded and decoded, in [0, 1], and their code; both on the processor.

    network: placed by `Runtime.place_network`, in evaluation mode.
    """
    code = forward(lambda placed: network.encode(placed)[0], images, runtime)
    return forward(network.decode, code, runtime, tuple(images.shape[-2:])).clamp(0, 1), code


def draw_images(
    network: Autoencoder, count: int, side: int, seed: int, runtime: Runtime
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (1, 3, side, side) in [0, 1] decoded from samples of a standard normal distribution, each with its code.

    network: variational, placed by `Runtime.place_network`. The codes are drawn on the processor one at a time: the first
    images of a seed do not depend on `count`, nor do their codes depend on the device.
    """
    generator = torch.Generator().manual_seed(seed)
    units = -(-side // STRIDE)
    for _ in range(count):
        code = torch.randn(1, network.channels, units, units, generator=generator)
        yield forward(network.decode, code, runtime, (side, side)).clamp(0, 1), code
