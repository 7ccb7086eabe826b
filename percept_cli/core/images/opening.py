"""Image files opened by Pillow: the formats that are read, the limits, and the sentences for what fails."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from percept_cli.core.files.formats import FORMATS, advice_on
from percept_cli.core.images.containers import find_damage, name_frame
from percept_cli.core.images.sources import open_stream
from percept_cli.core.runtime import CPU, fitting_size, free_memory, is_out_of_memory
from percept_cli.errors import ImageError

# Only these, because other readers of Pillow run programs (EPS) or accept almost any file (PCD, MSP).
READABLE_FORMATS = tuple(sorted(known.name for known in FORMATS))

# Pillow's own limit refuses large scans and panoramas. Above this limit Pillow only warns, and `open_image` refuses.
MAX_PIXELS = 500_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Of memory for a pixel while it is decoded: Pillow's copies, then float32
_DECODING_BYTES = 40


@contextlib.contextmanager
def open_image(
    source: Path | BinaryIO | None, *, animated: bool = False
) -> Iterator[tuple[ImageFile.ImageFile, BinaryIO, str]]:
    """A picture whose pixels are not loaded yet, its stream and its name. Every failure of the block becomes ImageError.

    animated: whether it may be an animation; several pages are refused always.
    """
    name = str(source) if isinstance(source, Path) else "standard input"
    # Another library may have set it, for the whole process: half a picture would pass as a whole one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    size: tuple[int, int] | None = None
    with open_stream(source, name) as stream:
        try:
            with Image.open(stream, formats=READABLE_FORMATS) as image:
                size = image.size
                check_pixels(size)
                _refuse_several(image, name, animated)
                yield image, stream, name
        except UnidentifiedImageError as error:
            if cut := _cut(stream, name):
                raise cut from error
            raise ImageError(
                f"'{name}' is not an image that can be read: it is damaged or of another kind than "
                f"{', '.join(READABLE_FORMATS)}.{f' {advice}.' if (advice := advice_on(name)) else ''}"
            ) from error
        except ImageError:
            raise
        except Exception as error:
            if not is_out_of_memory(error) and (cut := _cut(stream, name)):
                raise cut from error
            raise explain(error, f"'{name}'", size) from error


def is_animated(image: Image.Image) -> bool:
    """Whether a picture that was opened has several frames or pages.

    The further pictures of a telephone's JPEG (MPO) are depth and gain maps, not frames.
    """
    return getattr(image, "n_frames", 1) > 1 and image.format != "MPO"


def count_frames(image: Image.Image) -> int:
    """The number of frames; the picture of an APNG for programs that show no animation may be no frame of it."""
    frames: int = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    return frames - 1 if getattr(image, "default_image", False) else frames


def check_pixels(size: tuple[int, int]) -> None:
    """Raises DecompressionBombError for a picture of more than `MAX_PIXELS` pixels."""
    if size[0] * size[1] > MAX_PIXELS:
        raise Image.DecompressionBombError


def explain(error: Exception, what: str, size: tuple[int, int] | None) -> ImageError:
    """The error of a reader as an ImageError. what: the subject of its sentence. size: (width, height), if it is known."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(f"{what} has more than {MAX_PIXELS // 1_000_000} million pixels: cut or shrink it first.")
    if is_out_of_memory(error):
        return ImageError(_too_large(what, size))
    # For damaged files Pillow's readers raise almost any error: struct.error, SyntaxError, IndexError, EOFError.
    return ImageError(f"{what} is damaged or incomplete: {error}.")


def _refuse_several(image: ImageFile.ImageFile, name: str, animated: bool) -> None:
    if not is_animated(image):
        return
    count = count_frames(image)
    if not any(known.name == image.format and known.animated for known in FORMATS):
        raise ImageError(
            f"'{name}' holds {count} pages: save the ones you want as single images first, for instance with ImageMagick."
        )
    if not animated:
        raise ImageError(
            f"'{name}' holds {count} frame{'s' * (count > 1)}: stylize, upscale and invert take --frames all, first or N, the "
            "number of one; for anything else save the ones you want as single images first, for instance with ffmpeg."
        )


def _cut(stream: BinaryIO, name: str) -> ImageError | None:
    """An error that names the frame in which an animation that Pillow does not open ends; None for everything else."""
    damage = find_damage(stream)
    if damage is None or max(damage.frame, damage.total) < 2:  # a still
        return None
    return ImageError(f"{name_frame(name, damage.frame, damage.total)} is damaged or incomplete: {damage.reason}.")


def _too_large(what: str, size: tuple[int, int] | None) -> str:
    if size is None:
        return f"{what} does not fit in memory: close other programs."
    width, height = size
    fitting = fitting_size(height, width, _DECODING_BYTES, free_memory(CPU))
    return f"{what} of {width}x{height} pixels does not fit in memory: shrink it to {fitting[1]}x{fitting[0]} or less."
