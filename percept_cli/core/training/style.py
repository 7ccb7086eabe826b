"""The training of a style: a network that restyles any photograph in one pass (Johnson et al. 2016)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from percept_cli.core.data.batches import first_examples
from percept_cli.core.data.photos import Crops, photo_settings
from percept_cli.core.generators import Generator
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.losses.scaling import is_typical
from percept_cli.core.losses.style import StyleLossOptions, create_style_loss, load_styles, scales_left_out, style_taps
from percept_cli.core.losses.style_losses import find_style_loss, style_scales
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.pretrained.files import sha256_of
from percept_cli.core.pretrained.generators import start_generator
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.loop import TrainingStep
from percept_cli.core.training.one_style import ONE_STYLE, start_one_style, usual_start
from percept_cli.core.training.recipes import run_settings
from percept_cli.core.training.runs.run import CLIP_NORM, Run
from percept_cli.errors import UsageError

CALIBRATION_CROPS = 32


@dataclass(frozen=True)
class StyleTraining(StyleLossOptions):
    """The options of the training of a style; names and meanings as in `percept train style`.

    The usual generator begins from the network of any style, unless `start` says otherwise. Its crops are nearly whole
    photographs, whose statistics are as those at work, and a style weight of 1.5 is usual, with other losses 1. johnson and
    johnson-2016, which begin from nothing, need more: 1200 steps of 4 crops, a size of 224 from half a photograph on, a
    learning rate of 5e-3, and a style weight of 1 are usual. width, norm: theirs alone; plain_strokes: that of the usual one.
    """

    steps: int = 400
    batch: int = 2
    size: int = 272
    smallest_crop: float = 0.9
    style_size: int = 256
    learning_rate: float = 2e-3
    optimizer: str = "muon"
    generator: str = ONE_STYLE
    width: float | None = None
    norm: str | None = None
    start: str | None = None
    extractor: ExtractorChoice = COMPACT
    seed: int = 0
    plain_strokes: float = 0.0


def train_style(
    styles: Sequence[Path], photos: Sequence[Path], run: Run, options: StyleTraining
) -> Iterator[TrainingStep]:
    """Trains a style on photographs, step by step; the model is written after the last step.

    styles: the style images; several are blended. Raises UsageError for a style image that cannot be read and for
    unknown layers, losses and networks, and as `Run.train`.
    """
    runtime = run.runtime
    pictures = load_styles(styles, options.style_size)
    seed_everything(options.seed)
    content, style = style_taps(
        options.extractor.architecture, options.content_layers, options.style_layers, options.loss
    )
    if options.content_layers or options.style_layers or options.loss != "gram":
        run.announce(f"content at {', '.join(content)}; style at {', '.join(style)} of {options.extractor.name}")
    scales = style_scales(options.style_scales, options.loss, is_typical(options.scaling))
    if options.generator == ONE_STYLE:
        options = replace(options, start=options.start or usual_start())
    options = replace(
        options, content_layers=content, style_layers=style, blend=list(options.blend or [1.0] * len(styles)),
        style_scales=scales,
    )  # fmt: skip
    extractor = runtime.freeze(options.extractor.create([*content, *style], options.seed, run.announce))
    crops = Crops(
        photos, options.size, options.seed, options.steps * options.batch * run.shard[1], options.smallest_crop
    )
    left_out = scales_left_out(scales, extractor, [options.size, *(min(picture.shape[-2:]) for picture in pictures)])
    if left_out:
        run.announce(left_out)
    photographs = first_examples(crops, min(CALIBRATION_CROPS, 4 * len(photos)))
    # The points of a contextual loss are drawn by torch's own generator, whose state the checkpoint holds.
    loss = create_style_loss(
        extractor, [runtime.place(picture) for picture in pictures], runtime.place(photographs), options
    )
    created = _start(options, pictures, photographs)
    training = run.create_training(created, options.optimizer, options.steps)
    settings = _settings(styles, photos, run, options, created.arguments)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        with runtime.autocast():
            restyled = network(images)
        total, parts = loss(restyled, images)
        return total, parts

    sample = photographs[:1]
    return run.train(
        training, crops, options.batch, compute_loss, options.learning_rate, settings, shown=(sample, sample),
        clip_norm=CLIP_NORM if options.generator == ONE_STYLE else None,
        finish=lambda: run.save_generator("style", options.generator, styles=[path.name for path in styles]),
    )  # fmt: skip


def _start(options: StyleTraining, styles: Sequence[Tensor], photographs: Tensor) -> Generator:
    """The generator to train."""
    if options.generator != ONE_STYLE:
        return start_generator(
            "style", options.generator, options.start, photographs=photographs, width=options.width, norm=options.norm
        )
    if options.width is not None or options.norm is not None:
        raise UsageError(f"--generator {ONE_STYLE} has one width and no norms: leave --width and --norm out.")
    return start_one_style(options.start, styles, options.blend, photographs, options.plain_strokes)


def _settings(
    styles: Sequence[Path], photos: Sequence[Path], run: Run, options: StyleTraining, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings that must be the same in a resumed run, in the order of the files of earlier versions."""
    settings = {
        "style_sha256": [sha256_of(path) for path in styles], "blend": options.blend, **photo_settings(photos),
        "steps": options.steps, "batch": options.batch, "size": options.size, "smallest_crop": options.smallest_crop,
        "style_size": options.style_size, "optimizer": options.optimizer,
        "learning_rate": options.learning_rate, "generator": options.generator, "arguments": arguments,
        "start": Path(options.start).stem if options.start else "", "content_weight": options.content_weight,
        "style_weight": options.style_weight, "tv_weight": options.tv_weight, "scaling": options.scaling,
        "content_layers": list(options.content_layers), "style_layers": list(options.style_layers),
        **run_settings(run, options.extractor, options.seed), "style_scales": list(options.style_scales or ()),
    }  # fmt: skip
    # Earlier versions had only the Gram loss, and not these entries.
    if options.loss != "gram":
        settings["loss"] = options.loss
    if options.generator == ONE_STYLE:
        settings["plain_strokes"] = options.plain_strokes
    if find_style_loss(options.loss).sampled:
        settings |= {"bandwidth": options.bandwidth, "points": options.points}
    return settings
