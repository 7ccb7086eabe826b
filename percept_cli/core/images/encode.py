"""Writing photographs to image files, with notes on what a format cannot keep."""

import contextlib
import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from percept_cli.core.files.atomic import atomic_write_bytes
from percept_cli.core.files.formats import ANIMATED, find_animated, find_format, pipe_extension
from percept_cli.core.images import metadata, sixteen_bit
from percept_cli.core.images.animation import Frame
from percept_cli.core.images.animation_writers import AnimationWriter, AvifWriter, PngWriter, WebpWriter
from percept_cli.core.images.gif_writer import GifWriter
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.provenance import Record
from percept_cli.errors import ImageError

WRITERS: dict[str, type[AnimationWriter]] = {"GIF": GifWriter, "PNG": PngWriter, "WEBP": WebpWriter, "AVIF": AvifWriter}
"""Pillow's name of a format -> the writer of its animations."""

_HALF_TRANSPARENT = "GIF keeps no half-transparent pixels: each is shown or not"


def check_size(extension: str, height: int, width: int) -> None:
    """Raises ImageError where a format cannot hold a picture of this size, so that no work is done in vain."""
    image_format = ANIMATED.get(extension.lower()) or find_format(extension)
    longest = image_format.longest_side
    if longest is not None and max(height, width) > longest:
        raise ImageError(
            f"A {image_format.name} file holds at most {longest} pixels a side, not {width}x{height}: write PNG."
        )


def encode_image(
    photo: Photo, extension: str, *, quality: int = 95, record: Record | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of an image file, and notes on what its format cannot keep. PNG and TIFF hold 16 bits a channel.

    quality: 0 to 100, of JPEG and AVIF, without chroma subsampling, and of WebP, where 100 is lossless.
    JPEG and BMP hold no transparency: the picture is laid over white. record: of how the picture was made, which the file
    tells, in formats with XMP; they also mark it as changed by a trained network. Raises UsageError for an unknown extension,
    ImageError for pixels that are not finite and for a picture that the format cannot hold.
    """
    image_format = find_format(extension)
    name = image_format.name
    notes = list(photo.lost)
    over_white = photo.alpha is not None and not image_format.alpha
    if over_white and photo.alpha is not None and not _is_opaque(photo.alpha):
        notes.append(f"{name} keeps no transparency: the picture was laid over white")
    sixteen = photo.bits > 8 and image_format.sixteen_bit
    levels = photo.levels(np.uint16 if sixteen else np.uint8, over_white=over_white)

    buffer = io.BytesIO()
    with _named_failure(name, f"A picture of {photo.width} x {photo.height} pixels"):
        options = metadata.write_options(photo, image_format, notes, record)
        if sixteen:
            return sixteen_bit.ENCODERS[name](levels, **options), tuple(notes)
        if photo.bits > 8:
            notes.append(f"{name} keeps 8 bits a channel")
        Image.fromarray(levels).save(buffer, name, **options, **image_format.options(quality))
    return buffer.getvalue(), tuple(notes)


def save_image(
    photo: Photo,
    destination: Path | BinaryIO,
    *,
    quality: int = 95,
    overwrite: bool = True,
    record: Record | None = None,
) -> tuple[str, ...]:
    """Writes an image file, whole or not at all, in the format of its extension; returns the notes of `encode_image`.

    destination: a path, or a binary stream such as standard output: that gets the format in which the photograph was
    read, or PNG where that format is not one for pipes. overwrite: whether it may replace a file. record: as in
    `encode_image`. Raises what that and `atomic_path` raise.
    """
    if not isinstance(destination, Path):
        data, notes = encode_image(photo, pipe_extension(photo.format), quality=quality, record=record)
        destination.write(data)
        destination.flush()
        return notes
    try:
        data, notes = encode_image(photo, destination.suffix, quality=quality, record=record)
    except ImageError as error:
        raise ImageError(f"'{destination}': {error}") from error
    atomic_write_bytes(destination, data, overwrite=overwrite)
    return notes


def _is_opaque(alpha: Tensor) -> bool:
    largest = 1 if alpha.is_floating_point() else torch.iinfo(alpha.dtype).max
    return not bool((alpha.detach().cpu().numpy() < largest).any())  # torch cannot compare uint16


def encode_animation(
    frames: Iterable[Frame], extension: str, *, plays: int, quality: int = 95
) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of an animation, and notes on what its format cannot keep; of the frames one is held at a time.

    frames: of one size; metadata is that of the first. extension: as `.gif`, or one of the others in `ANIMATED`. plays:
    how often it is played; 0 is forever. quality: as for `encode_image`. Durations are rounded to what the format holds,
    so that each frame begins as near to its time as possible. Raises UsageError for an extension that holds no animation,
    ImageError as `encode_image` and for a frame that is shown for too long.
    """
    image_format = find_animated(extension)
    notes: list[str] = []
    writer: AnimationWriter | None = None
    for frame in frames:
        if writer is None:
            check_size(extension, frame.photo.height, frame.photo.width)
            options = metadata.write_options(frame.photo, image_format, notes)
            writer = WRITERS[image_format.name](image_format.options(quality), options)
        levels = frame.photo.levels(np.uint8)
        if image_format.name == "GIF" and _is_half_transparent(levels) and _HALF_TRANSPARENT not in notes:
            notes.append(_HALF_TRANSPARENT)
        with _named_failure(image_format.name, "The animation"):
            writer.add(levels, frame.duration)
    if writer is None:
        raise ImageError("There is no frame to write.")
    with _named_failure(image_format.name, "The animation"):
        return writer.finish(plays), tuple(notes)


def save_animation(
    frames: Iterable[Frame], destination: Path, *, plays: int, quality: int = 95, overwrite: bool = True
) -> tuple[str, ...]:
    """Writes an animation, whole or not at all, in the format of its extension; returns the notes of `encode_animation`.

    overwrite: whether it may replace a file. Raises what `encode_animation` and `atomic_path` raise.
    """
    data, notes = encode_animation(frames, destination.suffix, plays=plays, quality=quality)
    atomic_write_bytes(destination, data, overwrite=overwrite)
    return notes


@contextlib.contextmanager
def _named_failure(name: str, what: str) -> Iterator[None]:
    """A context in which an error of Pillow's writers becomes an ImageError. name: of the format."""
    try:
        yield
    except KeyError as error:
        raise ImageError(f"This installation of Pillow cannot write {name} files.") from error
    except (OSError, ValueError, RuntimeError, OverflowError, struct.error) as error:
        raise ImageError(f"{what} cannot be written as {name}: {error}.") from error


def _is_half_transparent(levels: NDArray[np.uint8]) -> bool:
    return levels.shape[2] == 4 and bool(((levels[..., 3] > 0) & (levels[..., 3] < 255)).any())
