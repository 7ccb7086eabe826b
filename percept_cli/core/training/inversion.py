"""The training of an inverter: features of a layer to the image that has them (Dosovitskiy & Brox 2016)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from percept_cli.core.data.batches import first_examples
from percept_cli.core.data.photos import Crops
from percept_cli.core.generators.inversion import Inverter
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.pretrained.generators import start_generator
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.deepsim import create_loss, loss_settings, run_settings
from percept_cli.core.training.deepsim_options import DeepsimOptions
from percept_cli.core.training.loop import TrainingStep
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import UsageError

# The number of photographs on which the scales of an untrained inverter are measured
CALIBRATION_CROPS = 64


@dataclass(frozen=True, kw_only=True)
class InverterTraining(DeepsimOptions):
    """The options of the training of an inverter; names and meanings as in `percept train invert`.

    layer: of the extractor. generator: `lean`, `deepsim-2016` or `deepsim-2016-linear`. start: a trained inverter of the
    same layer, whose weights the training begins with. Raises UsageError as `DeepsimOptions`, and for an unknown layer.
    """

    layer: str
    extractor: ExtractorChoice = COMPACT
    generator: str = "lean"
    start: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.extractor.architecture.resolve(self.layer)


def train_inverter(photos: Sequence[Path], run: Run, options: InverterTraining) -> Iterator[TrainingStep]:
    """Trains an inverter on photographs, step by step; the model is written after the last step.

    Raises UsageError for a layer that has a height and a width but whose units have no fixed place in the image, for a
    `start` of another layer, and as `Run.train`.
    """
    runtime, size, extractor = run.runtime, options.size, options.extractor
    seed_everything(options.seed)
    frozen = extractor.create([options.layer], options.seed, run.announce)
    (layer,) = frozen.layers
    digest = frozen.fingerprint(layer)
    runtime.freeze(frozen)
    crops = Crops(photos, size, options.seed, options.steps * options.batch * run.shard[1])
    photographs = first_examples(crops, min(CALIBRATION_CROPS, 4 * len(photos)))
    with torch.no_grad():
        features = torch.cat([frozen(runtime.place(few))[layer].float() for few in photographs.split(8)])
    grid = frozen.grid(layer)
    if grid is None and features[0, 0].numel() > 1:
        raise UsageError(
            f"{layer} of {extractor.name} has no fixed place in the image: invert the layer before or after it."
        )
    inverter = start_generator(
        "inverter", options.generator, options.start, layer=layer, extractor=extractor.name,
        channels=features.shape[1], stride=grid.stride if grid else 0, offset=grid.offset if grid else 0.0,
        side=0 if grid else size, width=options.width,
    )  # fmt: skip
    assert isinstance(inverter, Inverter)
    if options.start is None:
        inverter.calibrate(features.cpu())
    training = run.create_training(inverter, options.optimizer, options.steps)
    loss = create_loss(run, training, options, features.shape[1])
    settings = {
        "extractor": extractor.name, "layer": layer, "fingerprint": digest, **loss_settings(options, loss),
        "generator": options.generator, "arguments": inverter.arguments,
        **run_settings(options, run, photos, start=Path(options.start).stem if options.start else ""),
    }  # fmt: skip

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        with torch.no_grad():
            code = frozen(images)[layer]
        with runtime.autocast():
            result = network(code, (size, size))
        return loss(result, images, inverter.normalize(code))

    return run.train(
        training, crops, options.batch, compute_loss, options.peak_rate, settings, clip_norm=options.clip_norm,
        shown=(photographs[:1], (features[:1], (size, size))),
        finish=lambda: run.save_generator(
            "inverter", options.generator, extractor=extractor.name, layer=layer, fingerprint=digest
        ),
    )  # fmt: skip
