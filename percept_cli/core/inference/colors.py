"""Colors of a result: those of the photograph it was made from, by histogram or by luminance."""

from dataclasses import replace

import torch
from torch import Tensor

from percept_cli.core.images.photo import LUMA, MIN_ALPHA, Photo


def match_colors(result: Photo, photo: Photo) -> Photo:
    """Gives each channel of an enlargement the distribution of the photograph's own (see `match_histogram`).

    result: holds levels (see `Photo`), and so does what is returned. Transparent pixels count in neither picture and stay
    as they are.
    """
    pixels = result.pixels.clone()
    wanted, seen = photo.pixels, torch.ones_like(pixels[:, :1], dtype=torch.bool)
    if result.alpha is not None and photo.alpha is not None:
        seen = result.alpha.int() > 0
        wanted = wanted[:, :, photo.alpha[0, 0] > MIN_ALPHA][:, :, None]
    if seen.any() and wanted.numel():
        most = torch.iinfo(pixels.dtype).max
        visible = pixels[:, :, seen[0, 0]][:, :, None]
        pixels[:, :, seen[0, 0]] = match_histogram(visible, wanted * most)[:, :, 0]
    return replace(result, pixels=pixels)


def match_histogram(images: Tensor, reference: Tensor) -> Tensor:
    """Gives images (N, C, H, W) the distribution of values of `reference`, (N, C, h, w), channel by channel.

    Each value becomes that of the same rank in the reference, interpolated between two; equal values stay equal. Images
    of whole levels (uint8, uint16) get the nearest level; the reference is in their units, of any type. So do Johnson et
    al. 2016, section 4.2, match an enlargement to its low-resolution input.
    """
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    # One channel after another: the order alone takes eight bytes a pixel.
    for index in range(len(images)):
        for channel in range(images.shape[1]):
            values, wanted = images[index, channel].flatten(), reference[index, channel].flatten().sort().values
            if values.is_floating_point():
                ordered, order = values.sort()
                _, groups, counts = ordered.unique_consecutive(return_inverse=True, return_counts=True)
                result[index, channel].view(-1)[order] = _values_at_ranks(counts, wanted).to(result.dtype)[groups]
            else:
                counts = values.int().bincount(minlength=1)
                table = _values_at_ranks(counts, wanted.double()).round().to(torch.int32)
                result[index, channel] = table[values.int()].to(result.dtype).view_as(result[index, channel])
    return result


def _values_at_ranks(counts: Tensor, wanted: Tensor) -> Tensor:
    """The values among sorted `wanted` at the ranks of groups of equal values in ascending order, `counts` of each."""
    # The middle of the ranks that equal values share, as a place among the reference's.
    ranks = counts.cumsum(0) - 0.5 * counts.double()
    places = (ranks / counts.sum() * len(wanted) - 0.5).clamp(0, len(wanted) - 1)
    below = places.floor().long()
    low, high = wanted[below], wanted[(below + 1).clamp(max=len(wanted) - 1)]
    return torch.lerp(low, high, (places - below).to(low.dtype))


def keep_original_colors(restyled: Tensor, photograph: Tensor) -> Tensor:
    """The brightness of one image with the colors of another (Gatys et al. 2016, luminance transfer)."""
    weights = restyled.new_tensor(LUMA).view(1, 3, 1, 1)
    difference = ((restyled - photograph) * weights).sum(dim=1, keepdim=True)
    # The same step on every channel changes luma by just that and leaves the color difference signals as they are.
    return (photograph + difference).clamp(0, 1)
