"""Animations read frame by frame: whole pictures with their durations, as Pillow puts them together."""

import contextlib
import io
import re
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from percept_cli.core.files.formats import ANIMATED, READABLE_EXTENSIONS, find_animated
from percept_cli.core.files.frames import ALL
from percept_cli.core.files.outputs import Job
from percept_cli.core.images import metadata, sixteen_bit
from percept_cli.core.images.containers import avif_plays, find_damage, name_frame
from percept_cli.core.images.decode import channels_of, load_image, turn_upright
from percept_cli.core.images.opening import MAX_PIXELS, check_pixels, count_frames, explain, is_animated, open_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.warnings import noted_warnings
from percept_cli.errors import ImageError, UsageError

# Limits of an animation as that of pixels is one of a picture: a small file could hold work for years.
MAX_FRAMES = 10_000
MAX_PIXELS_OF_ALL = 40 * MAX_PIXELS


@dataclass(frozen=True)
class Frame:
    """A whole picture of an animation, and how many milliseconds it is shown."""

    photo: Photo
    duration: float = 0.0


@dataclass(frozen=True)
class Animation:
    """An animation that is being read: its frames, each decoded when it is asked for.

    name: in messages. format: Pillow's name. total: how many frames. plays: how often it is played; 0 is forever.
    """

    name: str
    format: str
    total: int
    plays: int
    frames: Iterator[Frame]

    def name_frame(self, number: int) -> str:
        """The frame of a number, from 1, as the beginning of a sentence."""
        return name_frame(self.name, number, self.total)


def repeatable(source: Path | BinaryIO | None) -> Path | BinaryIO:
    """A source that can be opened several times: standard input (None) is read to its end, as it may be a pipe."""
    return io.BytesIO(sys.stdin.buffer.read()) if source is None else source


def holds_animation(source: Path | BinaryIO) -> bool:
    """Whether a file holds an animation of several frames, by its structure alone. Raises as `open_animation`."""
    with open_image(source, animated=True) as (image, _, _):
        return is_animated(image)


def read_shape(source: Path, frames: int | str | None) -> tuple[int, int, int]:
    """The (width, height) of a picture as stored, and how many of its frames there are to be changed.

    frames: as of `Job`. Raises as `open_animation`.
    """
    with noted_warnings([]), open_image(source, animated=frames is not None) as (image, _, _):
        return *image.size, count_frames(image) if frames == ALL else 1


def sample_frames(source: Path | BinaryIO, count: int) -> Generator[Photo, None, None]:
    """At most so many frames of an animation, spread over all of it, in order. Raises as `open_animation`."""
    with open_animation(source) as animation:
        most = min(count, animation.total)
        chosen = {(2 * index + 1) * animation.total // (2 * most) for index in range(most)}
        for number, frame in enumerate(animation.frames):
            if number in chosen:
                yield frame.photo
            if number == max(chosen):
                return


def check_animated_outputs(jobs: Iterable[Job]) -> None:
    """Raises UsageError for an animation of which all frames would go into a file of a format that holds none.

    Files that cannot be read fail in their turn, and pictures by the names of other formats are not opened.
    """
    for job in jobs:
        if job.frames != ALL or job.skip or job.source is None or job.destination is None:
            continue
        suffix = job.source.suffix.lower()
        if job.destination.suffix.lower() in ANIMATED or suffix in READABLE_EXTENSIONS - set(ANIMATED):
            continue
        with contextlib.suppress(ImageError):
            if holds_animation(job.source):
                try:
                    find_animated(job.destination.suffix)
                except UsageError as error:
                    raise UsageError(f"'{job.label}' cannot be written to '{job.destination}'. {error}") from error


def load_frame(source: Path | BinaryIO | None, number: int) -> Photo:
    """Reads one frame of an animation; number: from 1. Raises as `open_animation`, and for a frame that is not there.

    Damage in later frames is not looked for. A still picture has one frame, which is read as by `load_image`.
    """
    source = repeatable(source)
    if number == 1 and not holds_animation(source):
        return load_image(source)
    with open_animation(source, last=number) as animation:
        if number > animation.total:
            many = f"{animation.total} frames: give --frames 1 to {animation.total}"
            raise ImageError(
                f"'{animation.name}' holds {many if animation.total > 1 else 'one picture: give --frames 1'}."
            )
        for _ in range(number - 1):
            next(animation.frames)
        return next(animation.frames).photo


@contextlib.contextmanager
def open_animation(source: Path | BinaryIO | None, *, last: int | None = None) -> Iterator[Animation]:
    """A context of an animation, or a still, whose frames are read one at a time. Raises ImageError for every failure.

    last: the last frame that is wanted, from 1; None for all. Damage up to there that the file's structure or its
    checksums show is found before the first frame is decoded, and the message names the frame. An APNG's picture for
    programs that show no animation is no frame where it is not part of the animation. Frames have the size of the first
    one, upright, and 8 bits a channel.
    """
    opened = contextlib.ExitStack()
    image, stream, name = opened.enter_context(open_image(source, animated=True))
    try:
        try:
            animation = _start(image, stream, name, last)
        except Exception as error:
            raise explain(error, f"'{name}'", image.size) from error
        yield animation
    finally:
        # Without the error that may be passing: one of whoever takes the frames is not one of this file.
        opened.close()


def _start(image: ImageFile.ImageFile, stream: BinaryIO, name: str, last: int | None) -> Animation:
    total, kind = count_frames(image), image.format or ""
    if total > MAX_FRAMES:
        raise ImageError(f"'{name}' holds {total} frames: {MAX_FRAMES} are the most; cut it first.")
    if total * image.width * image.height > MAX_PIXELS_OF_ALL:
        most = MAX_PIXELS_OF_ALL // (image.width * image.height)
        raise ImageError(f"'{name}' holds {total} frames of {image.width}x{image.height} pixels: {most} are the most.")
    damage = find_damage(stream)
    if damage is not None and (last is None or damage.frame <= last):
        # What a file that ends early held is not known, except where its beginning tells.
        known = total if kind == "PNG" else damage.total
        subject = name_frame(name, damage.frame, known) if damage.frame else f"'{name}'"
        raise ImageError(f"{subject} is damaged or incomplete: {damage.reason}.")
    plays = _plays(image, stream)
    return Animation(name, kind, total, plays, _frames(image, stream, name, total))


def _plays(image: ImageFile.ImageFile, stream: BinaryIO) -> int:
    if image.format == "AVIF":
        position = stream.tell()
        stream.seek(0)
        plays = avif_plays(stream.read())
        stream.seek(position)
        return plays
    loop = image.info.get("loop")
    if loop is None:
        return 1
    # A GIF tells how often it is repeated, the others how often it is played; 0 is without end in all of them.
    return int(loop) + 1 if image.format == "GIF" and loop else int(loop)


def _frames(image: ImageFile.ImageFile, stream: BinaryIO, name: str, total: int) -> Iterator[Frame]:
    common: dict[str, Any] = {}
    canvas, elapsed = image.size, 0.0
    bits = sixteen_bit.bits_per_channel(image, stream)
    for number in range(1, total + 1):
        what = name_frame(name, number, total) if total > 1 else f"'{name}'"
        warned: list[str] = []
        try:
            with noted_warnings(warned):
                image.seek(number - 1 + _hidden(image))
                check_pixels(image.size)
                image.load()
                if number == 1:
                    canvas = image.size
                    common = _metadata_of(image, bits)
                levels = _upright_levels(image, canvas)
                duration = float(image.info.get("duration") or 0)
                if image.format == "AVIF":
                    # The times of its frames are rounded to milliseconds each; the sum is right that way.
                    duration = image.info["timestamp"] + image.info["duration"] - elapsed
                elapsed += duration
                channels = channels_of(levels)
        except Exception as error:
            # Pillow counts the frames of an AVIF from 0.
            text = re.sub(r"^Failed to decode frame \d+: ", "", str(error))
            raise explain(error if text == str(error) else RuntimeError(text), what, image.size) from error
        alpha = channels[:, 3:].contiguous() if channels.shape[1] == 4 else None
        common["notes"] += tuple(warned)
        yield Frame(Photo(channels[:, :3].contiguous(), alpha, **common), duration)
        common["notes"] = ()


def _hidden(image: Image.Image) -> int:
    """How many pictures come before the first frame: that of an APNG for programs that show no animation."""
    return int(bool(getattr(image, "default_image", False)))


def _metadata_of(image: ImageFile.ImageFile, bits: int) -> dict[str, Any]:
    """The fields of a photograph that all frames have in common, and notes on the first one."""
    notes = [f"{bits}-bit image: only 8 bits are kept"] if bits > 8 else []
    exif, icc, xmp = metadata.read_exif(image, notes), metadata.read_profile(image, notes), metadata.read_xmp(image)
    return {"exif": exif, "icc": icc, "xmp": xmp, "format": image.format or "", "notes": tuple(notes)}


def _upright_levels(image: ImageFile.ImageFile, canvas: tuple[int, int]) -> Image.Image:
    """A loaded frame as RGB, or as RGBA where a pixel is transparent; cut to the canvas, as some GIFs go beyond it."""
    if image.mode.startswith("I"):  # gray of 16 bits
        levels = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    else:
        levels = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if levels.size != canvas:
        levels = levels.crop((0, 0, *canvas))
    if exif := image.info.get("exif"):
        levels.info["exif"] = exif
    turn_upright(levels)
    opaque = levels.mode == "RGB" or levels.getchannel("A").getextrema() == (255, 255)
    return levels.convert("RGB") if opaque else levels
