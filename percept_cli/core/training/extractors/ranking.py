"""The training of an extractor by ranking: a patch is nearer to itself later than to others (Wang & Gupta 2015)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from percept_cli.core.data.batches import first_examples
from percept_cli.core.data.detail import draw_place, draw_side, gradient_energy
from percept_cli.core.data.photos import PhotoReader, find_photos, scale_crop, shuffled
from percept_cli.core.images.decode import read_size
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.processes import gather_over_processes
from percept_cli.core.runtime import Runtime, seed_everything
from percept_cli.core.training.extractors.learner import (
    ExtractorTraining,
    Headed,
    create_learner,
    save_learner,
    show_examples,
    train_headed,
)
from percept_cli.core.training.loop import TrainingStep
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import ImageError, UsageError

# Wang & Gupta 2015, section 4.2: the length of fc7, the margin of eq. 2, and the hard negatives of a patch
EMBEDDING = 1024
MARGIN = 0.5
HARDEST = 4
# The share of the steps that compare with all negatives; the later ones compare with hard negatives.
RANDOM_SHARE = 0.4
# Overlapping crops of one photograph: the largest displacement in sides, and the largest ratio of their sides
DISPLACEMENT = 0.25
ZOOM = 1.25
# The number of pairs on the sheet of examples, and in the measurement
SHOWN, MEASURED_PAIRS = 8, 128

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, kw_only=True)
class RankingTraining(ExtractorTraining):
    """The options of ranking; names and meanings as in `percept train extractor --method video`.

    margin: of `ranking_loss`. gap: frames between the patches of a pair. held_out: clips, or folders of them, for the
    measurement at the end. Raises UsageError as `ExtractorTraining`, and for a batch of 1.
    """

    batch: int = 32
    size: int = 64
    margin: float = MARGIN
    gap: int = 8
    held_out: Sequence[Path] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch < 2:
            raise UsageError("--batch 1: patches are ranked against others of their batch. Give 2 or more.")


def train_by_ranking(photos: Sequence[Path], run: Run, options: RankingTraining) -> Iterator[TrainingStep]:
    """Trains an extractor on frames, step by step; its weights are written after the last step.

    `run.figures` then has `ranking_loss` and `ranking_errors`, on the held-out clips, or on other places of the same
    clips. Raises UsageError for fewer than two clips or photographs, and as `Run.train`.
    """
    runtime, (rank, world) = run.runtime, run.shard
    clips = find_clips(photos, options.gap)
    run.announce(f"--data: {clips}")
    pairs = FramePairs(clips, options.size, options.gap, options.seed, options.steps * options.batch * world)
    seed_everything(options.seed)
    network = Headed(create_learner(), EMBEDDING)
    random_steps = round(RANDOM_SHARE * options.steps)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        first = (step * world + rank) * options.batch
        found = _distances(network, images, pairs, first, runtime, apart=False)
        loss = ranking_loss(found, options.margin, None if step < random_steps else HARDEST)
        return loss, {"errors": ranking_errors(found).detach()}

    def measure_and_save() -> None:
        others = find_clips(find_photos(options.held_out), options.gap) if options.held_out else clips
        # Another seed draws other places.
        measured = FramePairs(others, options.size, options.gap, options.seed + 1, MEASURED_PAIRS)
        network.eval()
        with torch.no_grad():
            found = _distances(network, first_examples(measured, MEASURED_PAIRS), measured, 0, runtime)
        figures = {
            "ranking_loss": ranking_loss(found, options.margin, None).item(),
            "ranking_errors": ranking_errors(found).item(),
        }
        save_learner(photos, run, network.extractor, settings, figures)

    show_examples(run, [pairs[number].split(1) for number in range(SHOWN)])
    settings = options.settings(
        photos, method="video", clips=len(clips.frames), margin=options.margin, gap=options.gap,
        precision=runtime.precision, processes=world,
    )  # fmt: skip
    return train_headed(run, options, network, pairs, compute_loss, settings, measure_and_save)


def _distances(
    network: nn.Module, examples: Tensor, pairs: "FramePairs", first: int, runtime: Runtime, apart: bool = True
) -> "Distances":
    """The distances of the examples (N, 2, 3, H, W) from number `first` on; apart: as for `patch_distances`."""
    both = runtime.place(examples.transpose(0, 1).flatten(0, 1))
    with runtime.autocast():
        embedded, later = network(both).chunk(2)
    clips = [pairs.clip(first + number) for number in range(len(examples))]
    return patch_distances(embedded, later, torch.tensor(clips, device=embedded.device), apart)


@dataclass(frozen=True)
class Clips:
    """The frames of each clip, in order of time; a single photograph is a clip of one frame.

    left_out: the files that are in no clip, and why.
    """

    frames: tuple[tuple[Path, ...], ...]
    left_out: dict[Path, str]

    def __str__(self) -> str:
        moving = [clip for clip in self.frames if len(clip) > 1]
        alone = len(self.frames) - len(moving)
        parts = [f"{len(moving)} clip{'s' * (len(moving) > 1)} with {sum(map(len, moving))} frames"] if moving else []
        if alone:
            parts.append(f"{alone} photographs, whose later frame is an overlapping crop of the same photograph")
        return "; ".join(parts)


def find_clips(files: Sequence[Path], gap: int) -> Clips:
    """The clips among image files: every folder whose images have the same size; its frames are ordered by name.

    Numbers in names are compared as numbers: frame 10 comes after frame 9. The images of other folders are single
    photographs, and so are all images if the gap is 0 or there is only one folder. Raises UsageError for fewer than two
    clips.
    """
    left_out: dict[Path, str] = {}
    clips: list[tuple[Path, ...]] = []
    for _, folder in groupby(sorted(files, key=lambda file: file.parent), key=lambda file: file.parent):
        sizes: dict[Path, tuple[int, int]] = {}
        for file in sorted(folder, key=_with_numbers):
            try:
                sizes[file] = read_size(file)
            except ImageError as error:
                left_out[file] = str(error)
        of_one_size = len(set(sizes.values())) == 1
        clips += [tuple(sizes)] if of_one_size and gap > 0 else [(file,) for file in sizes]
    if len(clips) == 1:
        clips = [(file,) for file in clips[0]]
    if len(clips) < 2:
        raise UsageError("Patches are ranked against those of other clips: --data must hold two clips or photographs.")
    return Clips(tuple(clips), left_out)


def _with_numbers(file: Path) -> list[str | int]:
    # Every second part is a number, so text is compared with text and a number with a number.
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", file.name)]


@dataclass
class FramePairs:
    """Pairs of a patch and itself some frames later, (2, 3, size, size) RGB in [0, 1]; pair n depends only on (seed, n).

    Departs from the paper, which tracks a patch for 30 frames: the later patch is at the same place, `gap` frames later,
    or fewer in a shorter clip. The place is drawn in proportion to the squared gradient of the frame plus the squared
    difference of the two frames, instead of by the motion of SURF points. The later patch of a single photograph is a
    crop displaced and scaled at random. Half of the pairs are mirrored.
    """

    clips: Clips
    size: int
    gap: int
    seed: int
    count: int
    _reader: PhotoReader = field(init=False)
    _first_frame: list[int] = field(init=False)
    _taken: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = PhotoReader([frame for clip in self.clips.frames for frame in clip], 4 * self.size)
        self._reader.unreadable.update(self.clips.left_out)
        ends = np.cumsum([len(clip) for clip in self.clips.frames])
        self._first_frame = [0, *ends.tolist()]

    @property
    def unreadable(self) -> dict[Path, str]:
        """The frames that could not be read so far, and why."""
        return self._reader.unreadable

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Tensor:
        random = np.random.default_rng((self.seed, number))
        planned = self._planned(number)
        for offset in range(len(self.clips.frames)):
            clip = (planned + offset) % len(self.clips.frames)
            frames = self._read(clip, random)
            if frames is not None:
                if offset:
                    self._taken[number] = clip
                return self._cut(*frames, random)
        raise UsageError(f"None of the {len(self._reader.photos)} frames could be read: {self._reader.photos[0]}, ….")

    def clip(self, number: int) -> int:
        """The clip of pair `number`, which must have been read before."""
        return self._taken.get(number, self._planned(number))

    def _planned(self, number: int) -> int:
        order, position = shuffled(len(self.clips.frames), self.seed, number)
        return int(order[position])

    def _read(self, clip: int, random: np.random.Generator) -> tuple[Image.Image, Image.Image] | None:
        length = len(self.clips.frames[clip])
        gap = min(self.gap, length - 1)
        index = self._first_frame[clip] + int(random.integers(length - gap))
        frame = self._reader.read(index)
        later = self._reader.read(index + gap) if gap else frame
        return None if frame is None or later is None else (frame, later)

    def _cut(self, frame: Image.Image, later: Image.Image, random: np.random.Generator) -> Tensor:
        side = draw_side(self.size, min(frame.size), random)
        energy = gradient_energy(frame)
        if later is not frame:
            change = np.asarray(frame.convert("L"), dtype=np.float64) - np.asarray(later.convert("L"))
            energy += np.square(change / 255)
        top, left = draw_place(energy, side, random)
        box: Box = (left, top, left + side, top + side)
        boxes = [box, _nearby(box, frame.size, random) if later is frame else box]
        mirrored = random.random() < 0.5
        pictures = zip((frame, later), boxes, strict=True)
        return torch.stack([scale_crop(picture, box, self.size, mirrored) for picture, box in pictures])


def _nearby(box: Box, extent: tuple[int, int], random: np.random.Generator) -> Box:
    """A random square near another one, within a picture of (width, height)."""
    own = box[2] - box[0]
    side = min(own * ZOOM ** random.uniform(-1, 1), *extent)
    corner = []
    for start, length in zip(box[:2], extent, strict=True):
        center = start + own * (0.5 + random.uniform(-DISPLACEMENT, DISPLACEMENT))
        corner.append(min(max(center - side / 2, 0.0), length - side))
    return corner[0], corner[1], corner[0] + side, corner[1] + side


@dataclass(frozen=True)
class Distances:
    """Cosine distances, 0 to 2: of N patches to themselves later, (N,), and to all 2N patches of the batch, (N, 2N).

    foreign: whether these are of other clips, (N, 2N).
    """

    later: Tensor
    others: Tensor
    foreign: Tensor


def patch_distances(embedded: Tensor, later: Tensor, clips: Tensor, apart: bool = True) -> Distances:
    """The distances of embedded patches (N, C), themselves later (N, C) and their clips (N,); eq. 1: 1 - cosine.

    apart: the others are those of this process alone; else of all processes, each of which calls this.
    """
    embedded, later = F.normalize(embedded.float(), dim=1), F.normalize(later.float(), dim=1)
    all_embedded, all_later, all_clips = (
        each if apart else gather_over_processes(each) for each in (embedded, later, clips.to(embedded.dtype))
    )
    others = 1 - embedded @ torch.cat([all_embedded, all_later]).T
    foreign = clips[:, None].to(all_clips) != all_clips.round().repeat(2)[None]
    return Distances(1 - (embedded * later).sum(dim=1), others, foreign)


def ranking_loss(distances: Distances, margin: float = MARGIN, hardest: int | None = HARDEST) -> Tensor:
    """max(0, D(patch, later) - D(patch, other) + margin) (Wang & Gupta 2015, eq. 2), mean over patches and others.

    others: the `hardest` patches of other clips, those with the largest loss, or all of them for None. The loss of a
    patch without any is 0.
    """
    losses = (distances.later[:, None] - distances.others + margin).clamp_min(0) * distances.foreign
    counted = distances.foreign.sum(dim=1)
    if hardest is not None:
        losses = losses.topk(min(hardest, losses.shape[1]), dim=1).values
        counted = counted.clamp_max(hardest)
    return (losses.sum(dim=1) / counted.clamp_min(1)).mean()


def ranking_errors(distances: Distances) -> Tensor:
    """The share of patches of other clips that are nearer than, or as near as, the patch itself later; a scalar."""
    nearer = (distances.others <= distances.later[:, None]) & distances.foreign
    return nearer.sum() / distances.foreign.sum().clamp_min(1)
