"""The work of `percept stylize` on one photograph, with its networks in place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from percept_cli import options
from percept_cli.commands.stylize_optimized import optimize_by
from percept_cli.commands.stylize_trained import Asked, place_styled, place_trained, restyle_by, restyle_frames_by
from percept_cli.console import Console
from percept_cli.core.batches.pictures import Foreseen, Made, Operation
from percept_cli.core.files.formats import keeps_levels
from percept_cli.core.files.outputs import Job
from percept_cli.core.images.masks import load_mask
from percept_cli.core.images.photo import Photo, fit_short_side
from percept_cli.core.inference.run import count_tiles
from percept_cli.core.runtime import BYTES_PER_PIXEL

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.generators import Generator
    from percept_cli.core.optimization.style_transfer import StyleOptions

# Of memory for a pixel: of the photograph and its result with their copies, and of what the network has in work
PHOTO_BYTES, NETWORK_BYTES = 60, 600
LARGEST_WORK = 1 << 22  # pixels that a network has in work, where it runs in tiles


@dataclass(frozen=True)
class Restyling:
    """What `percept stylize` is asked for, by the names of its options.

    model: the network, a shipped one or a file, None for an optimization that begins without one. optimized: the options
    of the optimization, None for one pass.
    """

    model: str | None
    style: tuple[Path, ...]
    style_size: int
    blend: Sequence[float] | None
    size: int | None
    strength: float
    keep_colors: bool
    stroke: float | str
    mask: Path | None
    tile: int | str
    label: str
    quality: int
    optimized: "StyleOptions | None"
    extractor: options.ExtractorSource
    preview: Path | None
    compute: options.Compute

    def start(self, console: Console) -> Operation:
        """The operation, with its networks in place. Raises as `load_generator`."""
        runtime = self.compute.runtime(console.say)
        asked = Asked(self.size, self.strength, self.keep_colors, self.stroke, self.mask is not None, self.tile)
        generator: Generator | None = None
        if self.style and self.model is not None:
            generator = place_styled(self.model, self.style, self.style_size, self.blend, runtime, console)
            steps = 0 if self.optimized is None else self.optimized.steps
            more = f"; --steps {steps} goes on from it" if steps else ""
            console.say(f"one pass of {Path(self.model).stem}{more}")
        elif self.model is not None:
            generator = place_trained(self.model, runtime, self.mask is not None)
        if self.optimized is not None:
            extractor = self.extractor.choose()
            change = optimize_by(
                self.style, extractor, runtime, self.optimized, asked, console, self.preview, generator
            )
        else:
            assert generator is not None
            change = restyle_by(generator, runtime, asked)

        def tiles(height: int, width: int) -> int:
            size = self.result_size(height, width)
            return 1 if generator is None or self.optimized else count_tiles(generator, *size, self.tile)

        def of_frames(photos: Iterator[Photo]) -> Callable[[Photo, Job], Made]:
            # A network that fills holes sees them filled with nothing; each optimization is on its own.
            if generator is None or generator.fills_holes or self.optimized is not None:
                return apply
            fitted = restyle_frames_by(generator, runtime, asked, photos)
            return lambda photo, job: self._apply(fitted, photo, job)

        def apply(photo: Photo, job: Job) -> Made:
            return self._apply(change, photo, job)

        return Operation(apply, runtime, self.foresee, tiles, self.optimized is None, of_frames)

    def result_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) of the result for a photograph of height x width pixels."""
        return (height, width) if self.size is None else fit_short_side(height, width, self.size)

    def foresee(self, height: int, width: int) -> Foreseen:
        """The size and the memory of a result for a photograph of height x width pixels."""
        size = self.result_size(height, width)
        pixels = size[0] * size[1]
        network = BYTES_PER_PIXEL * pixels if self.optimized else NETWORK_BYTES * min(pixels, LARGEST_WORK)
        return Foreseen(*size, PHOTO_BYTES * (height * width + pixels) + network)

    def _apply(self, change: "Callable[[Photo, Tensor | None], Photo]", photo: Photo, job: Job) -> Made:
        if self.mask is None:
            return Made(change(photo, None), {"model": self.label})
        warnings: tuple[str, ...] = ()
        allowed = load_mask(self.mask, job.source, photo.height, photo.width)
        if job.destination is not None and not keeps_levels(job.destination.suffix, self.quality):
            warnings = ("its format changes pixels outside the mask a little; PNG keeps them",)
        return Made(change(photo, allowed), {"model": self.label}, warnings=warnings)
