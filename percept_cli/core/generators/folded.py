"""The forward pass of the network of any style at work: what it does in training, in less time and memory.

The movement of features is a linear map of channels, and so are the scaling of the encoder's levels and the modulation of
blocks: they become part of the convolutions beside them. A reflected edge is mapped as the pixels that it repeats, so the
result is the same within rounding. Each level is computed in strips of rows that stay in the processor's cache.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.feature_statistics import Statistics, linear_maps
from percept_cli.core.generators.strips import convolve, in_strips

if TYPE_CHECKING:
    from percept_cli.core.generators.any_style import AnyStyleGenerator, ModulatedBlock, Stage


class Layer(NamedTuple):
    """The weight (outputs, inputs, k, k) and the bias of a convolution."""

    weight: Tensor
    bias: Tensor


def paint(
    network: "AnyStyleGenerator", images: Tensor, style: Statistics, content: Statistics | None, origin: tuple[int, int]
) -> Tensor:
    """What the network makes of images (N, 3, H, W) without gradients; sides are multiples of its `size_multiple`.

    style, content, origin: as for the network, of one picture or of N.
    """
    if len(images) > 1:
        count = len(images)
        alone = [
            paint(network, image, style.select(number, count), content and content.select(number, count), origin)
            for number, image in enumerate(images.split(1))
        ]
        return torch.cat(alone)
    with network.precise(images):
        features = list(network.encoder.unscaled(images))
        content = content or network.encoder.describe(features)
        code = network.encode(style)
    statistics = list(zip(content.tensors, style.tensors, strict=True))
    decoded: Tensor | None = None
    while len(features) > 1:
        decoded = _decode(network, features, linear_maps(*statistics.pop()), decoded, code, origin)
    with network.precise(images):
        return _decode(network, features, linear_maps(*statistics.pop()), decoded, code, origin)


def _decode(
    network: "AnyStyleGenerator",
    features: list[Tensor],
    movement: tuple[Tensor, Tensor],
    decoded: Tensor | None,
    code: Tensor,
    origin: tuple[int, int],
) -> Tensor:
    """What the deepest stage that is left makes of its features, which are taken out, and of what is decoded so far.

    movement: of scaled features, (1, C, C) and (1, C).
    """
    level, here = len(features) - 1, features.pop()
    stage, dtype = cast("Stage", network.stages[level]), working_dtype(here.device)
    matrix, shift = unscale(movement, network.encoder.scales(level))
    # In bf16 folded weights are too coarse: the movement amplifies directions in which a photograph hardly varies.
    folds = dtype == torch.float32
    enter = fold_movement(stage.enter, matrix, shift) if folds else Layer(*stage.enter.parameters())
    own = cast("list[ModulatedBlock]", list(stage.blocks))
    blocks = [fold_modulation(block, code) if folds else partial(block, code=code) for block in own]

    def run(strip: Tensor, *further: Tensor) -> Tensor:
        inputs = [strip if folds else move(strip, matrix, shift), *further]
        if decoded is not None:
            inputs[1] = network.enlarge(inputs[1])
        result = F.conv2d(join(inputs, dtype), *enter).float()
        for block in blocks:
            result = block(result)
        return result if level else network.finish(result)

    further = [] if decoded is None else [decoded]
    if level and network.arguments["noise"]:
        further.append(network.noise(level, here, origin))
    return in_strips(run, here, *further)


def unscale(movement: tuple[Tensor, Tensor], scales: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The matrix (C, C) and shift (C,), float64, that move features before a mean is subtracted and they are divided.

    movement: of those after it, (1, C, C) and (1, C); scales: the means and the divisors (C,).
    """
    mean, deviation = (each.to(movement[0]) for each in scales)
    matrix = movement[0][0] / deviation
    return matrix, movement[1][0] - matrix @ mean


def fold_movement(convolution: nn.Conv2d, matrix: Tensor, shift: Tensor) -> Layer:
    """The convolution of features that gives what `convolution` gives of the moved ones, beside its further inputs.

    matrix (C, C), shift (C,): the movement, float64, of the first C inputs. Sums are of float64.
    """
    count = len(shift)
    own = convolution.weight[:, :count].to(matrix)
    weight = torch.einsum("oikl,ij->ojkl", own, matrix).to(convolution.weight)
    assert convolution.bias is not None
    bias = convolution.bias.to(matrix) + own.sum((2, 3)) @ shift
    return Layer(torch.cat([weight, convolution.weight[:, count:]], dim=1), bias.to(convolution.weight))


def move(features: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Features (N, C, h, w), float32, of which each place is multiplied by a matrix (C, C) and shifted."""
    rows = features.permute(0, 2, 3, 1)
    with torch.autocast(features.device.type, enabled=False):
        moved = F.linear(rows, matrix.to(rows), shift.to(rows))
    return moved.permute(0, 3, 1, 2)


def join(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Maps (N, C, H, W) joined by their channels, with a reflected pixel around them, in channels-last memory."""
    count, _, height, width = parts[0].shape
    channels = sum(part.shape[1] for part in parts)
    joined = parts[0].new_empty((count, height + 2, width + 2, channels), dtype=dtype).permute(0, 3, 1, 2)
    first = 0
    for part in parts:
        joined[:, first : first + part.shape[1], 1:-1, 1:-1] = part
        first += part.shape[1]
    joined[:, :, 0], joined[:, :, -1] = joined[:, :, 2], joined[:, :, -3]
    joined[..., 0], joined[..., -1] = joined[..., 2], joined[..., -3]
    return joined


def fold_modulation(block: "ModulatedBlock", code: Tensor) -> Callable[[Tensor], Tensor]:
    """The block for one code (1, CODE), in the weights of whose first convolution the modulation is.

    It adds to the features that it gets, in place.
    """
    scale, shift = block.modulation(code)[0].chunk(2)
    scale = 1 + scale.tanh()
    assert block.first.bias is not None
    first = Layer(block.first.weight * scale[:, None, None, None], block.first.bias * scale + shift)

    def run(features: Tensor) -> Tensor:
        inner = F.conv2d(F.pad(features, [1, 1, 1, 1], mode="reflect"), *first)
        return features.add_(convolve(F.relu_(inner), block.second))

    return run


def working_dtype(device: torch.device) -> torch.dtype:
    """The type in which convolutions run: that of autocast, where it is on."""
    kind = device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
