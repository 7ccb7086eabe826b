"""Colors of a result matched to its photograph, by histogram or by luminance."""

from dataclasses import replace

import torch
from torch import Tensor

from percept_cli.core.images.photo import LUMA, MIN_ALPHA, Photo


def match_colors(result: Photo, photo: Photo) -> Photo:
    """The enlargement with the photograph's distribution of values in each channel (see `match_histogram`).

    result: holds levels (see `Photo`), as does what is returned. Transparent pixels are not counted in either picture and
    do not change.
    """
    pixels, reference = result.pixels.clone(), photo.pixels
    visible = torch.ones_like(pixels[0, 0], dtype=torch.bool)
    if result.alpha is not None and photo.alpha is not None:
        visible = result.alpha[0, 0].int() > 0
        reference = reference[:, :, photo.alpha[0, 0] > MIN_ALPHA][:, :, None]
    if visible.any() and reference.numel():
        most = torch.iinfo(pixels.dtype).max
        pixels[:, :, visible] = match_histogram(pixels[:, :, visible][:, :, None], reference * most)[:, :, 0]
    return replace(result, pixels=pixels)


def match_histogram(images: Tensor, reference: Tensor) -> Tensor:
    """Images (N, C, H, W) with the distribution of values of `reference`, (N, C, h, w), channel by channel.

    Each value becomes the value of the same rank in the reference, interpolated between two; equal values stay equal.
    Images of type uint8 or uint16 get the nearest level; the reference has their units and any type. Johnson et al. 2016,
    section 4.2, match enlargements to their low-resolution inputs in this way.
    """
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    # One channel at a time: the sorting order takes eight bytes a pixel.
    for index in range(len(images)):
        for channel in range(images.shape[1]):
            values, target = images[index, channel].flatten(), reference[index, channel].flatten().sort().values
            if values.is_floating_point():
                ordered, order = values.sort()
                _, groups, counts = ordered.unique_consecutive(return_inverse=True, return_counts=True)
                result[index, channel].view(-1)[order] = _values_at_ranks(counts, target).to(result.dtype)[groups]
            else:
                counts = values.int().bincount(minlength=1)
                table = _values_at_ranks(counts, target.double()).round().to(torch.int32)
                result[index, channel] = table[values.int()].to(result.dtype).view_as(result[index, channel])
    return result


def _values_at_ranks(counts: Tensor, target: Tensor) -> Tensor:
    """The values in sorted `target` for groups of equal values in ascending order, with `counts` values each."""
    # The middle rank of each group, as a position among the reference's values.
    ranks = counts.cumsum(0) - 0.5 * counts.double()
    positions = (ranks / counts.sum() * len(target) - 0.5).clamp(0, len(target) - 1)
    below = positions.floor().long()
    low, high = target[below], target[(below + 1).clamp(max=len(target) - 1)]
    return torch.lerp(low, high, (positions - below).to(low.dtype))


def keep_original_colors(restyled: Tensor, photograph: Tensor) -> Tensor:
    """The brightness of `restyled` with the colors of `photograph`, (N, 3, H, W) in [0, 1] (Gatys et al. 2016)."""
    weights = restyled.new_tensor(LUMA).view(1, 3, 1, 1)
    difference = ((restyled - photograph) * weights).sum(dim=1, keepdim=True)
    # An equal change of all channels changes only luma, not the color difference signals.
    return (photograph + difference).clamp(0, 1)
