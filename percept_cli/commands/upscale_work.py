"""The work of `percept upscale` on one photograph, with the networks that it needs."""

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from percept_cli import options
from percept_cli.conditions import refuse
from percept_cli.console import Console
from percept_cli.core.batches.pictures import Foreseen, Made, Operation
from percept_cli.core.files.outputs import Job
from percept_cli.core.generators.ensemble import EnsembleGenerator
from percept_cli.core.images.encode import check_size
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.tiles import AUTO
from percept_cli.core.inference.colors import match_colors
from percept_cli.core.inference.compression import FILE, PIXELS, Compression, find_compression
from percept_cli.core.inference.enlargement import Enlargement
from percept_cli.core.inference.memory import comfortable_memory
from percept_cli.core.inference.upscale import TileStep, Upscaler
from percept_cli.core.pretrained.blending import load_shipped_upscaler, photo_share
from percept_cli.core.pretrained.generators import LoadedGenerator, load_generator
from percept_cli.core.pretrained.manifest import find_upscaler, upscaler_scales
from percept_cli.core.runtime import CPU, Runtime, fitting_size, free_memory, memory_errors
from percept_cli.errors import VerificationError

if TYPE_CHECKING:
    from percept_cli.core.generators import Generator

RESULT_BYTES = 40  # of memory for a pixel of the result, with its copies for the file
PHOTO_BYTES = 40  # the same for a pixel of the photograph
WHOLE_BYTES = 1800  # the same for a pixel of the photograph in `swift`


@dataclass(frozen=True)
class Enlarging:
    """What `percept upscale` is asked for, by the names of its options.

    looks: of the shipped networks that are taken, empty for the usual one. todo: how many pictures there are.
    """

    wanted: Enlargement
    looks: tuple[str, ...]
    look: str | None
    blend: float | None
    ensemble: bool
    compression: int | str
    model: str | None
    label: str
    tile: int | str
    verify_tiles: bool
    histogram: bool
    todo: int
    compute: options.Compute

    def start(self, console: Console) -> Operation:
        """The operation, whose networks are loaded when the first picture needs them. Raises as `load_generator`."""
        return _Started(self, console).operation()


class _Started:
    """The networks that are in place; each thread has its own tiles."""

    def __init__(self, asked: Enlarging, console: Console):
        self.asked, self.console = asked, console
        self.runtime: Runtime = asked.compute.runtime()
        self.loaded: LoadedGenerator | None = None
        wanted = asked.wanted
        if asked.model is not None:
            factor = int(wanted.factor) if wanted.exact and wanted.factor else None
            self.loaded = load_generator(asked.model, "upscaler", factor)
        console.say(self.runtime.reason)
        self.scales = upscaler_scales(asked.looks)
        if self.loaded is not None:
            self.scales = [self.loaded.scale]
            if wanted.factor is not None:
                wanted.network_scale(wanted.factor, self.scales)
        self.networks: dict[tuple[int, float], Generator] = {}  # by their scale, and a share in quarters
        self.loading = threading.Lock()
        self.of_thread = threading.local()

    def operation(self) -> Operation:
        return Operation(self.apply, self.runtime, self.foresee, self.count_tiles, of_frames=self.of_frames)

    def of_frames(self, photos: Iterator[Photo]) -> Callable[[Photo, Job], Made]:
        """All frames of an animation by one network, which the first one decides."""
        if self.loaded is not None:
            return self.apply
        found = find_compression(next(photos), self.asked.compression)
        return lambda photo, job: self.apply(photo, job, found)

    def foresee(self, height: int, width: int) -> Foreseen:
        size = self.asked.wanted.size(height, width)
        network = WHOLE_BYTES * height * width
        if self.asked.tile == AUTO:
            network = min(network, comfortable_memory(self.runtime.device))
        return Foreseen(*size, PHOTO_BYTES * height * width + RESULT_BYTES * size[0] * size[1] + network)

    def count_tiles(self, height: int, width: int) -> int:
        wanted = self.asked.wanted
        scale = wanted.network_scale(wanted.factor_for(height, width), self.scales)
        return self.upscaler(scale, 0.0).count_tiles(height, width)

    def upscaler(self, scale: int, share: float) -> Upscaler:
        """The upscaler of this thread for a scale, and a share of the network for photographs."""
        own: dict[tuple[int, float], Upscaler] = self.of_thread.__dict__.setdefault("upscalers", {})
        with self.loading:
            if (scale, share) not in self.networks:
                asked = self.asked
                chosen = self.loaded or load_shipped_upscaler(scale, asked.look, asked.blend, photo_share=share)
                self.console.say(f"network: {chosen.name}{': ' if chosen.note else ''}{chosen.note}")
                network = EnsembleGenerator(chosen.network) if asked.ensemble else chosen.network
                self.networks[scale, share] = self.runtime.place_network(network)
        if (scale, share) not in own:
            own[scale, share] = Upscaler(self.networks[scale, share], self.runtime, self.asked.tile)
        return own[scale, share]

    def apply(self, photo: Photo, job: Job, known: Compression | None = None) -> Made:
        """The enlarged photograph. known: what it lost, for a frame whose animation was looked at before."""
        asked, wanted = self.asked, self.asked.wanted
        factor, size = wanted.factor_for(photo.height, photo.width), wanted.size(photo.height, photo.width)
        if job.destination is not None:
            check_size(job.destination.suffix, *size)
        scale = wanted.network_scale(factor, self.scales)
        fields: dict[str, object] = {"model": asked.label}
        remarks: list[str] = []
        upscaler = self.upscaler(scale, self._share_for(photo, job, known, scale, fields, remarks))
        fitting = fitting_size(photo.height, photo.width, int(RESULT_BYTES * factor**2) + 1, free_memory(CPU))
        advice = f"Give a smaller factor, or shrink the photograph to {fitting[1]}x{fitting[0]} pixels or less"
        warnings: list[str] = []
        with memory_errors(f"{size[1]}x{size[0]} pixels", advice):
            steps = upscaler.enlarge(photo, *size, verify=asked.verify_tiles)
            step = next(steps)
            if asked.verify_tiles and asked.todo == 1 and step.total == 1:
                refuse(
                    f"{job.label} is computed as a whole, there are no tiles to verify with this --tile", "verify_tiles"
                )
            last = _follow(itertools.chain([step], steps), self.console, warnings)
        fields["scale"] = upscaler.scale  # with --width or --height photographs may need different networks
        if asked.verify_tiles:
            fields["tile_difference"] = _verified(last, job, remarks)
        assert last.photo is not None
        result = match_colors(last.photo, photo) if asked.histogram else last.photo
        return Made(result, fields, tuple(remarks), tuple(warnings))

    def _share_for(
        self,
        photo: Photo,
        job: Job,
        known: Compression | None,
        scale: int,
        fields: dict[str, object],
        remarks: list[str],
    ) -> float:
        """The share of the network for photographs, by what the picture lost; which is told."""
        if self.loaded is not None:
            return 0.0
        found, share = Compression(photo.compression), 0.0
        if _has_photo_network(scale, self.asked.looks):
            found = known or find_compression(photo, self.asked.compression)
            share = photo_share(found.quality)
            if found.quality is not None:
                remarks.append(_tell_choice(found, share, photo, job))
        fields.update(compression=found.quality, photo_share=share)
        return share


def _has_photo_network(scale: int, looks: tuple[str, ...]) -> bool:
    return any(find_upscaler(scale, each, "photo").input == "photo" for each in looks or (None,))


def _tell_choice(found: Compression, share: float, photo: Photo, job: Job) -> str:
    """The network that is taken for a compressed picture, and why."""
    jpeg = f"JPEG of quality {found.quality}"
    if found.source == PIXELS:
        reason = f"blocks of a JPEG of about quality {found.quality} found"
    elif found.source == FILE:
        reason = jpeg if photo.format == "JPEG" else f"WebP like a {jpeg}"
    else:
        reason = f"taken as a {jpeg}"
    network = "network for photographs" if share else "network for clean pictures"
    network = network if share in (0, 1) else f"{100 * share:.0f} % of the network for photographs"
    return f"{job.label}: {reason}: {network}"


def _follow(steps: Iterator[TileStep], console: Console, warnings: list[str]) -> TileStep:
    """The last of the steps, which a progress bar follows."""
    step = next(steps)
    with console.progress(step.total, "tile", shown=step.total > 1) as progress:
        for following in itertools.chain([step], steps):
            if following.note:
                warnings.append(following.note)
            progress.total = following.total  # more where the memory allows only smaller tiles
            progress.advance(following.done - step.done)
            step = following
    return step


def _verified(last: TileStep, job: Job, remarks: list[str]) -> float | None:
    """The largest difference of the tiles from the whole, in gray levels; None for a picture of one tile."""
    found = last.verification
    if found is None:
        remarks.append(f"{job.label}: computed as a whole, there are no tiles to verify")
        return None
    where = "everywhere" if found.whole else f"at {found.places} places"
    finding = f"{found.difference:.2g} gray levels at most, compared {where}"
    if not found.passed:
        raise VerificationError(f"{job.label}: the tiles differ from the whole by {finding}. Use --tile off.")
    remarks.append(f"{job.label}: the tiles differ from the whole by {finding}")
    return found.difference
