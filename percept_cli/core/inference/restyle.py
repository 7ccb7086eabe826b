"""Photographs restyled by a trained generator, with transparency, strength, original colors and a mask."""

from collections.abc import Iterable

import torch
from torch import Tensor

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.feature_statistics import Statistics
from percept_cli.core.generators.held_norms import hold_norms
from percept_cli.core.images.masks import hide, keep_outside
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.tiles import AUTO
from percept_cli.core.inference.colors import keep_original_colors
from percept_cli.core.inference.run import STYLED, measure_frames, run_whole
from percept_cli.core.inference.stroke import resize_for_stroke, restyle_at_stroke
from percept_cli.core.runtime import Runtime


def restyle(
    photo: Photo,
    generator: Generator,
    runtime: Runtime,
    *,
    size: int | None = None,
    strength: float = 1.0,
    keep_colors: bool = False,
    stroke: float = 1.0,
    mask: Tensor | None = None,
    tile: int | str = AUTO,
    content: Statistics | None = None,
) -> Photo:
    """The photograph restyled by a generator, of its own size or with a short side of `size` pixels.

    generator: placed by `Runtime.place_network`. strength: share of the style in the mixture of pixels, 0 to 1.
    keep_colors: only brightness is restyled. stroke: how large strokes are, 0.25 to 8; 1 is as in training (see
    `restyle_at_stroke`). mask: (1, 1, H, W) in [0, 1], not with a `size`; pixels where it is 0 do not change, and the
    others are hidden from a generator that fills holes. tile: as for `run_generator`. content: the statistics of all
    frames of an animation, from `fit_to_frames`, for one of them. Transparency is kept; the network gets premultiplied
    colors, so that hidden ones have no effect.
    """
    pixels = photo.visible(size)
    inputs = hide(pixels, mask) if mask is not None and generator.fills_holes else pixels
    restyled = restyle_at_stroke(generator, inputs, runtime, stroke, tile, content)
    result = photo.with_visible(finish(restyled, pixels, strength=strength, keep_colors=keep_colors))
    return result if mask is None else keep_outside(result, photo, mask)


def fit_to_frames(
    generator: Generator, photos: Iterable[Photo], runtime: Runtime, *, size: int | None = None, stroke: float = 1.0
) -> tuple[Generator, Statistics | None]:
    """The generator and the `content` with which `restyle` changes all frames of an animation alike.

    photos: some or all of its frames. generator, size, stroke: as `restyle` gets them. What stands still stays the same
    where the generator measures statistics of whole pictures: those of the frames take their place.
    """
    frames = (resize_for_stroke(photo.visible(size), stroke) for photo in photos)
    if isinstance(generator, STYLED):
        return generator, measure_frames(generator, frames, runtime)
    held = hold_norms(generator, frames, lambda network, frame: run_whole(network, frame, runtime))
    return held or generator, None


def finish(restyled: Tensor, pixels: Tensor, *, strength: float, keep_colors: bool) -> Tensor:
    """Applies strength and original colors to images (N, 3, H, W) of one size in [0, 1]."""
    if keep_colors:
        restyled = keep_original_colors(restyled, pixels)
    return restyled if strength == 1.0 else torch.lerp(pixels, restyled, strength)
