"""How good pictures are that were made from a code: how far from the original, how sharp, how noisy."""

import torch
from torch import Tensor

from percept_cli.core.losses.functional import total_variation
from percept_cli.core.measures.pixels import luma
from percept_cli.errors import UsageError

# Cycles a pixel; the finest pattern there is has 0.5.
HIGH_FREQUENCY = 0.25


def mean_pair_distance(samples: Tensor) -> float:
    """Mean Euclidean distance between pairs of different samples, (N, ...): images or features, N of at least 2.

    Raises UsageError for fewer, and where all of them are the same.
    """
    if len(samples) < 2:
        raise UsageError("A mean distance between pairs needs 2 images or more.")
    distance = torch.pdist(samples.flatten(1).double()).mean().item()
    if distance == 0:
        raise UsageError("All images are the same, by their pixels or by their features: there is nothing to compare.")
    return distance


def normalized_errors(results: Tensor, originals: Tensor) -> Tensor:
    """Euclidean distances to the originals over the mean distance between different originals (N, ...): (N,).

    Dosovitskiy & Brox 2016, table 2; 1 is as far as another photograph is. Raises what `mean_pair_distance` does.
    """
    differences = (results.double() - originals.double()).flatten(1)
    return differences.norm(dim=1) / mean_pair_distance(originals)


def gradient_energy(images: Tensor, originals: Tensor) -> float:
    """Mean squared gradient of images (N, 3, H, W) over that of the originals: below 1 is blurred, above 1 too busy."""
    return (total_variation(images) / total_variation(originals).clamp_min(1e-12)).item()


def high_frequency_share(images: Tensor) -> Tensor:
    """Share of a picture's power at periods below 4 pixels, in luma, about its mean: (N, 3, H, W) to (N,), 0 to 1.

    White noise has 0.80. Seen through a Hann window, lest the borders count as edges. A picture of one color has 0.
    """
    height, width = images.shape[-2:]
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)
    planes = luma(images.cpu().double())[:, 0]
    mean = (planes * window).sum((1, 2), keepdim=True) / window.sum()
    power = torch.fft.fft2((planes - mean) * window).abs().square()
    frequencies = torch.fft.fftfreq(height)[:, None].square() + torch.fft.fftfreq(width).square()
    total = power.sum((1, 2))
    high = (power * (frequencies > HIGH_FREQUENCY**2)).sum((1, 2))
    # What rounding leaves of one color is no picture.
    return torch.where(total > 1e-9 * window.sum() ** 2, high / total.clamp_min(1e-30), torch.zeros_like(total))
