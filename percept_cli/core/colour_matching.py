"""Johnson et al. 2016, section 4.2: an enlargement with the colours of the photograph that it was made from."""

from dataclasses import replace

import torch

from percept_cli.core.images import MIN_ALPHA, Photo
from percept_cli.core.losses.functional import match_histogram


def match_colours(result: Photo, photo: Photo) -> Photo:
    """An enlargement that holds levels, each channel with the distribution of the photograph's own (`match_histogram`).

    Where the one or the other is transparent its colours do not count and stay as they are.
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
