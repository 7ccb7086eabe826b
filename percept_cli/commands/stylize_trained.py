"""The networks of `percept stylize` that restyle in one pass: trained for one style, or for any."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from percept_cli.conditions import refuse
from percept_cli.console import Console
from percept_cli.core.runtime import BYTES_PER_PIXEL, Runtime, memory_errors, size_advice
from percept_cli.core.strokes import stroke_for
from percept_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.generators import Generator
    from percept_cli.core.generators.feature_statistics import Statistics
    from percept_cli.core.images.photo import Photo


@dataclass(frozen=True)
class Asked:
    """What is asked of every result; names and meanings as in `percept stylize`. mask: whether there is one."""

    size: int | None
    strength: float
    keep_colors: bool
    stroke: float | str
    mask: bool
    tile: int | str

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of the result for a photograph of height x width pixels."""
        from percept_cli.core.images.photo import fit_short_side

        return (height, width) if self.size is None else fit_short_side(height, width, self.size)


def place_trained(model: str, runtime: Runtime, mask: bool) -> "Generator":
    """A network of one style, or a translation, placed by the runtime. Raises UsageError for options that it cannot use."""
    from percept_cli.core.pretrained.generators import load_generator

    loaded = load_generator(model, "style")
    if loaded.network.fills_holes and not mask:
        raise UsageError(f"{loaded.name} fills holes: give --mask PICTURE, white where they are.")
    if loaded.recipe.get("degrade"):
        refuse(f"{loaded.name} repairs pictures and paints no strokes", "stroke")
    if loaded.network.exact_halo is None:
        refuse(f"{loaded.name} sees the whole picture at once, and so runs without tiles", "tile")
    return runtime.place_network(loaded.network)


def place_styled(
    model: str,
    styles: Sequence[Path],
    style_size: int,
    weights: Sequence[float] | None,
    runtime: Runtime,
    console: Console,
) -> "Generator":
    """A network of any style, placed by the runtime and bound to the paintings, each of a short side of `style_size` pixels."""
    from percept_cli.core.generators.any_style import AnyStyleGenerator
    from percept_cli.core.generators.styled import bind_style
    from percept_cli.core.losses.style import load_styles
    from percept_cli.core.pretrained.generators import load_generator

    network = load_generator(model, "any-style").network
    assert isinstance(network, AnyStyleGenerator)
    paintings = [runtime.place(each) for each in load_styles(styles, style_size, console.warn)]
    return bind_style(runtime.place_network(network), paintings, weights)


def restyle_frames_by(
    generator: "Generator", runtime: Runtime, asked: Asked, photos: "Iterator[Photo]"
) -> "Callable[[Photo, Tensor | None], Photo]":
    """The function that restyles all frames of an animation alike; photos: some of them, at least one."""
    from percept_cli.core.inference.restyle import fit_to_frames

    first = next(photos)
    stroke = stroke_for(asked.stroke, *asked.result_size(first.height, first.width))
    fitted, content = fit_to_frames(
        generator, itertools.chain([first], photos), runtime, size=asked.size, stroke=stroke
    )
    return restyle_by(fitted, runtime, asked, content)


def restyle_by(
    generator: "Generator", runtime: Runtime, asked: Asked, content: "Statistics | None" = None
) -> "Callable[[Photo, Tensor | None], Photo]":
    """The function that restyles a photograph, with its mask or None, by a placed network; content: as of `restyle`."""
    from percept_cli.core.inference.restyle import restyle

    def change(photo: "Photo", allowed: "Tensor | None") -> "Photo":
        height, width = asked.result_size(photo.height, photo.width)
        advice = size_advice(height, width, BYTES_PER_PIXEL, runtime.device)
        if asked.mask:
            advice = "Shrink the photograph and its mask"
        with memory_errors(f"{width}x{height} pixels", advice):
            return restyle(
                photo, generator, runtime, size=asked.size, strength=asked.strength, keep_colors=asked.keep_colors,
                stroke=stroke_for(asked.stroke, height, width), mask=allowed, tile=asked.tile,
                content=content,
            )  # fmt: skip

    return change
