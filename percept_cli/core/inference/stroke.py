"""Strokes of another size from a trained generator: it restyles the photograph at another size, and the result is brought back.

Strokes have the size in pixels that they had in training. In a photograph shrunk S times they are S times as large; an
upscaler enlarges the result, so that strokes are sharp at the photograph's own size.
"""

import math
from functools import lru_cache

import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.feature_statistics import Statistics
from percept_cli.core.images.photo import LUMA, Photo, floats, resize_image
from percept_cli.core.images.tiles import AUTO
from percept_cli.core.inference.enlargement import Enlargement
from percept_cli.core.inference.run import run_generator
from percept_cli.core.inference.upscale import Upscaler
from percept_cli.core.pretrained.blending import load_shipped_upscaler
from percept_cli.core.pretrained.manifest import upscaler_scales
from percept_cli.core.runtime import Runtime
from percept_cli.core.strokes import check_stroke
from percept_cli.errors import UsageError

# Style distances to the painting at twice the size, where the photograph is 1, at a stroke of 2 (three styles, three
# photographs of 512 pixels, VGG-19): .41 by `natural`, .44 by `faithful`, .60 by bicubic interpolation, .56 at a stroke of
# 1. With the outlines .40, and content goes from .77 to .73.
LOOK = "natural"
WINDOW = 2  # pixels around a pixel of the shrunk picture, for the regression of `add_outlines`
SMALLEST_VARIANCE = 1e-3  # of luma: where a photograph varies less there are no outlines to add


def restyle_at_stroke(
    generator: Generator,
    images: Tensor,
    runtime: Runtime,
    stroke: float,
    tile: int | str = AUTO,
    content: Statistics | None = None,
) -> Tensor:
    """Images (1, C, H, W) in [0, 1] restyled with strokes `stroke` times as large: (1, 3, H, W) in [0, 1].

    generator: of scale 1, placed by `Runtime.place_network`. stroke: 0.25 to 8; at 1 the result is that of
    `run_generator`. Above 1 the generator gets the images shrunk, their sides rounded up, a shipped upscaler of the next
    larger factor enlarges its result, and `add_outlines` makes the photograph's outlines sharp. Below 1 it gets them
    enlarged by bicubic interpolation. tile, content: as for `run_generator`; content of images resized by
    `resize_for_stroke`. Raises UsageError for other strokes, and for a generator that fills holes, which are no strokes;
    MemoryShortage as `Upscaler`.
    """
    if check_stroke(stroke) == 1:
        return run_generator(generator, images, runtime, tile, content)
    if generator.fills_holes:
        raise UsageError("A network that fills holes paints no strokes: leave --stroke at 1.")
    height, width = images.shape[-2:]
    resized = resize_for_stroke(images, stroke)
    painted = run_generator(generator, resized, runtime, tile, content)
    if stroke < 1:
        return resize_image(painted, height, width)
    scale = Enlargement(factor=stroke).network_scale(stroke, upscaler_scales([LOOK]))
    return add_outlines(enlarge(painted, height, width, _upscaler(scale, runtime)), images, resized, painted)


def resize_for_stroke(images: Tensor, stroke: float) -> Tensor:
    """What a generator gets of images (N, C, H, W) in [0, 1] for strokes `stroke` times as large: their sides shrunk as much."""
    height, width = images.shape[-2:]
    return images if stroke == 1 else resize_image(images, math.ceil(height / stroke), math.ceil(width / stroke))


def enlarge(images: Tensor, height: int, width: int, upscaler: Upscaler) -> Tensor:
    """Images (1, 3, h, w) in [0, 1] enlarged by an upscaler and resampled to `height` x `width`, in [0, 1]."""
    photo = None
    for step in upscaler.enlarge(Photo(images, bits=16), height, width):
        photo = step.photo
    assert photo is not None
    return floats(photo.pixels)


def add_outlines(enlarged: Tensor, images: Tensor, shrunk: Tensor, painted: Tensor) -> Tensor:
    """`enlarged` with the outlines of a photograph that its shrunk picture lost, in place and clamped to [0, 1].

    images: the photograph, (1, 3, H, W), as is `enlarged`. shrunk, painted: (1, 3, h, w), what the generator got and
    made. The fine part of the photograph's luma is added as strongly, and with the sign, as the painted colors follow
    the luma around each place: the slope of He et al. 2010 (guided filter, eq. 5). So outlines become sharp, and strokes
    that are not the photograph's stay as they are.
    """
    size = enlarged.shape[-2:]
    guide = _luma(shrunk)
    mean_guide, mean_painted = _mean(guide), _mean(painted)
    variance = (_mean(guide * guide) - mean_guide * mean_guide).clamp(min=0)
    slope = _mean((_mean(guide * painted) - mean_guide * mean_painted) / (variance + SMALLEST_VARIANCE))
    fine = _luma(images) - resize_image(guide, *size)
    for channel in range(3):  # one at a time, to save memory
        strength = F.interpolate(slope[:, channel : channel + 1], size=size, mode="bilinear", align_corners=False)
        enlarged[:, channel : channel + 1].addcmul_(strength, fine)
    return enlarged.clamp_(0, 1)


@lru_cache(maxsize=4)
def _upscaler(scale: int, runtime: Runtime) -> Upscaler:
    """The shipped upscaler of a scale; kept for the next picture, with the size of tiles that it has measured."""
    return Upscaler(runtime.place_network(load_shipped_upscaler(scale, LOOK).network), runtime)


def _luma(images: Tensor) -> Tensor:
    red, green, blue = (weight * images[:, index : index + 1] for index, weight in enumerate(LUMA))
    return red + green + blue


def _mean(images: Tensor) -> Tensor:
    """The mean of the square of pixels around each pixel of images (N, C, H, W), whose edges are repeated."""
    return F.avg_pool2d(F.pad(images, [WINDOW] * 4, mode="replicate"), 2 * WINDOW + 1, stride=1)
