"""The training of the generator of any style, on photographs and many paintings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.data.batches import first_examples
from percept_cli.core.data.painted_crops import PaintedCrops
from percept_cli.core.data.paired_crops import split_example
from percept_cli.core.data.photos import photo_settings
from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.encoder import ENCODER_CHANNELS
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.losses.any_style import AnyStyleLoss
from percept_cli.core.losses.style import style_taps
from percept_cli.core.losses.style_losses import style_scales
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.pretrained.generators import start_generator
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.loop import TrainingStep
from percept_cli.core.training.recipes import run_settings
from percept_cli.core.training.runs.run import CLIP_NORM, Run

ROLE, ARCHITECTURE = "any-style", "transport"
CALIBRATION_CROPS = 16


@dataclass(frozen=True)
class AnyStyleTraining:
    """The options of the training of any style; names and meanings as in `percept train any-style`.

    content_layers, style_layers, style_scales: if empty or None, the extractor's own and 1, 2, 4.
    """

    steps: int = 3000
    batch: int = 4
    size: int = 192
    smallest_crop: float = 0.5
    smallest_painting: float = 0.6
    content_weight: float = 1.0
    style_weight: float = 1.0
    tv_weight: float = 1.0
    content_layers: Sequence[str] = ()
    style_layers: Sequence[str] = ()
    style_scales: Sequence[int] | None = None
    learning_rate: float = 2e-3
    optimizer: str = "muon"
    start: str | None = None
    extractor: ExtractorChoice = COMPACT
    seed: int = 0


def train_any_style(
    paintings: Sequence[Path], photos: Sequence[Path], run: Run, options: AnyStyleTraining
) -> Iterator[TrainingStep]:
    """Trains a network that restyles photographs after any painting; the model is written after the last step.

    Raises UsageError for unknown layers and networks, and as `Run.train`.
    """
    runtime = run.runtime
    seed_everything(options.seed)
    taps = style_taps(options.extractor.architecture, options.content_layers, options.style_layers)
    scales = style_scales(options.style_scales, "gram", typical=True)
    extractor = runtime.freeze(options.extractor.create([*taps[0], *taps[1]], options.seed, run.announce))
    weights = options.content_weight, options.style_weight, options.tv_weight
    loss = AnyStyleLoss(extractor, taps, scales, weights)
    examples = PaintedCrops(
        photos, paintings, options.size, options.seed, options.steps * options.batch * run.shard[1],
        options.smallest_crop, options.smallest_painting,
    )  # fmt: skip
    shown = split_example(first_examples(examples, CALIBRATION_CROPS))
    network = start_generator(ROLE, ARCHITECTURE, options.start)
    if options.start is None:
        assert isinstance(network, AnyStyleGenerator)
        deepest = f"conv{list(ENCODER_CHANNELS)[-1]}"
        network.encoder.adopt(COMPACT.create([deepest]).named_weights(), shown[0])
    training = run.create_training(network, options.optimizer, options.steps)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        photographs, painted = (runtime.place(each) for each in split_example(images))
        with runtime.autocast():
            restyled = network(photographs, painted)
        total, parts = loss(restyled, photographs, painted)
        return total, parts

    photographs, painted = (each[:1] for each in shown)
    return run.train(
        training, examples, options.batch, compute_loss, options.learning_rate,
        _settings(paintings, photos, run, options, taps, scales),
        clip_norm=CLIP_NORM, shown=(torch.cat([photographs, painted], dim=3), (photographs, painted)),
        finish=lambda: run.save_generator(ROLE, ARCHITECTURE),
    )  # fmt: skip


def _settings(
    paintings: Sequence[Path],
    photos: Sequence[Path],
    run: Run,
    options: AnyStyleTraining,
    taps: tuple[Sequence[str], Sequence[str]],
    scales: Sequence[int],
) -> dict[str, Any]:
    """Settings that must be the same in a resumed run."""
    return {
        **photo_settings(photos), **photo_settings(paintings, "paintings"), "steps": options.steps,
        "batch": options.batch, "size": options.size, "smallest_crop": options.smallest_crop,
        "smallest_painting": options.smallest_painting, "content_weight": options.content_weight,
        "style_weight": options.style_weight, "tv_weight": options.tv_weight, "content_layers": list(taps[0]),
        "style_layers": list(taps[1]), "style_scales": list(scales), "learning_rate": options.learning_rate,
        "optimizer": options.optimizer, "start": Path(options.start).stem if options.start else "",
        **run_settings(run, options.extractor, options.seed),
    }  # fmt: skip
