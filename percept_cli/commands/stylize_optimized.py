"""The optimization of `percept stylize --style`: from the photograph, or from the result of one pass."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from percept_cli.commands.stylize_trained import Asked
from percept_cli.console import Console
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.inference.stroke import restyle_at_stroke
from percept_cli.core.losses.style import load_styles, scales_left_out
from percept_cli.core.optimization import style_transfer
from percept_cli.core.runtime import Runtime, seed_everything
from percept_cli.core.strokes import stroke_for
from percept_cli.errors import ImageError

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.generators import Generator
    from percept_cli.core.pretrained.extractors import ExtractorChoice

PREVIEW_EVERY = 10


def optimize_by(
    styles: Sequence[Path],
    extractor: "ExtractorChoice",
    runtime: Runtime,
    options: style_transfer.StyleOptions,
    asked: Asked,
    console: Console,
    preview: Path | None = None,
    generator: "Generator | None" = None,
) -> "Callable[[Photo, Tensor | None], Photo]":
    """The function that restyles a photograph, with its mask or None, by optimization.

    preview: a picture that shows each tenth step. generator: a placed network, from whose result an init of one-pass goes
    on.
    """
    seed_everything(options.seed)
    taps = [*options.content_layers, *options.style_layers]
    frozen = runtime.freeze(extractor.create(taps, options.seed, console.say))
    paintings = load_styles(styles, options.style_size, console.warn)

    def one_pass(pixels: "Tensor") -> "Tensor":
        assert generator is not None
        stroke = stroke_for(asked.stroke, *pixels.shape[-2:])
        return restyle_at_stroke(generator, pixels, runtime, stroke, asked.tile)

    def change(photo: Photo, allowed: "Tensor | None") -> Photo:
        if asked.size is None and min(photo.height, photo.width) < frozen.smallest_side:
            raise ImageError(
                f"{photo.width}x{photo.height} pixels are too few for {extractor.name}: give --size "
                f"{max(style_transfer.SMALLEST_SIZE, frozen.smallest_side)}."
            )
        sides = asked.size or min(photo.height, photo.width), *(min(each.shape[-2:]) for each in paintings)
        if options.style_scales and (left_out := scales_left_out(options.style_scales, frozen, sides)):
            console.warn(left_out)
        optimized = style_transfer.stylize(
            photo, paintings, frozen, runtime, options, size=asked.size, strength=asked.strength,
            keep_colors=asked.keep_colors, mask=allowed, tile=asked.tile, one_pass=one_pass if generator else None,
        )  # fmt: skip
        with console.progress(options.steps, "step") as progress:
            for step in optimized:
                progress.advance(1, {"loss": step.total, **step.parts})
                if preview is not None and step.index % PREVIEW_EVERY == 0:
                    try:
                        save_image(Photo(step.image.cpu()), preview)
                    except ImageError as error:  # the work goes on without it
                        console.warn(str(error))
        return step.photo

    return change
