"""What the trainings of extractors have in common, and the network with `compact`'s layers that needs no teacher."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from percept_cli.core.data.batches import Examples, first_examples
from percept_cli.core.data.photos import Crops, photo_settings
from percept_cli.core.drawing.sheets import Panel, contact_sheet
from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.extractors.compact import BLOCKS, teacher_layers
from percept_cli.core.pretrained.extractors import COMPACT
from percept_cli.core.training.loop import ComputeLoss, Training, TrainingStep
from percept_cli.core.training.runs.previews import place_preview
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import UsageError

DEEPEST = "relu5_2"
DEEPEST_CHANNELS = BLOCKS[-1][-1][-1]
# The layers before their activations, and after them
CONVOLUTIONS = tuple(teacher_layers())
ACTIVATIONS = tuple(layer.replace("conv", "relu") for layer in CONVOLUTIONS)
# The number and the side in pixels of the crops on which `match_scales` measures features
SCALE_CROPS, SCALE_SIZE = 8, 96
WARMUP, CLIP_NORM, ADAM_BETAS = 200, 1.0, (0.9, 0.99)
# The head's learning rate over the trunk's: with equal rates the head does not follow the changes of the trunk.
HEAD_SHARE = 20.0


@dataclass(frozen=True, kw_only=True)
class ExtractorTraining:
    """The options of every method; names and meanings as in `percept train extractor`.

    Raises UsageError for a size that is not a multiple of 16.
    """

    steps: int = 10_000
    batch: int = 64
    size: int = 32
    learning_rate: float = 1.5e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size % 16:
            raise UsageError(f"--size {self.size}: give a multiple of 16.")

    def settings(self, photos: Sequence[Path], **own: Any) -> dict[str, Any]:
        """Settings that must be the same in a resumed run; own: those of the method."""
        return {
            "steps": self.steps, "batch": self.batch, "size": self.size, "learning_rate": self.learning_rate,
            "seed": self.seed, **own, **photo_settings(photos),
        }  # fmt: skip


def create_learner() -> FeatureExtractor:
    """An untrained network with `compact`'s layers, all tapped; its trunk and its deepest layer are trainable.

    The other layers are fixed linear maps of the trunk's features with orthonormal columns, so that distances before
    the activation are those of the trunk's features; `match_scales` sets their scales.
    """
    learner = FeatureExtractor(create_architecture("compact"), [*CONVOLUTIONS, DEEPEST])
    for name, module in learner.network.items():
        if isinstance(module, nn.Conv2d):
            module.requires_grad_(not is_readout(name))
            if is_readout(name):
                nn.init.orthogonal_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return learner


def is_readout(name: str) -> bool:
    """Whether a layer of `create_learner` is a fixed linear map."""
    return name in CONVOLUTIONS[:-1]


class Headed(nn.Module):
    """An extractor with the head that it is trained with: a linear map of the spatial means of its deepest features.

    Departs from the papers, whose heads are fully connected layers on the features of all positions. The means are
    normalized over the batch: otherwise what all patches have in common is much larger than their differences, and for
    many steps the output is almost constant.
    """

    def __init__(self, extractor: FeatureExtractor, outputs: int):
        super().__init__()
        self.extractor = extractor
        self.head = nn.Sequential(
            nn.BatchNorm1d(DEEPEST_CHANNELS, affine=False), nn.Linear(DEEPEST_CHANNELS, outputs, bias=False)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] to (N, outputs)."""
        outputs: Tensor = self.head(self.extractor(images, (DEEPEST,))[DEEPEST].mean(dim=(2, 3)))
        return outputs


@torch.no_grad()
def match_scales(learner: FeatureExtractor, reference: FeatureExtractor, photographs: Tensor) -> None:
    """Scales each layer so that the mean square of its activation is that of a reference with the same layers.

    photographs (N, 3, H, W) in [0, 1], on the networks' device; reference: tapped at all `ACTIVATIONS`. Raw losses, as
    with `--scaling paper`, then have the size for which their weights were chosen; losses with typical scaling do not
    depend on it. Before that, each channel of a fixed map gets a mean of 0, so that no channel is always or never active.
    """
    features, references = learner(photographs, CONVOLUTIONS), reference(photographs, ACTIVATIONS)
    for layer, activation in zip(CONVOLUTIONS, ACTIVATIONS, strict=True):
        module, values = learner.network[layer], features[layer].float()
        assert isinstance(module, nn.Conv2d) and module.bias is not None
        if is_readout(layer):
            mean = values.mean(dim=(0, 2, 3))
            module.bias.sub_(mean)
            values = values - mean.view(1, -1, 1, 1)
        square = values.relu().square().mean().clamp_min(1e-20)
        factor = (references[activation].float().square().mean() / square).sqrt()
        module.weight.mul_(factor)
        module.bias.mul_(factor)


def train_headed(
    run: Run,
    options: ExtractorTraining,
    network: Headed,
    examples: Examples,
    compute_loss: ComputeLoss,
    settings: dict[str, Any],
    finish: Callable[[], None],
) -> Iterator[TrainingStep]:
    """Trains an extractor and its head with Adam, step by step; finish as for `Run.train`."""
    placed = run.place(network)
    trunk = [parameter for parameter in network.extractor.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trunk}, {"params": network.head.parameters(), "share": HEAD_SHARE}]
    training = Training(placed, torch.optim.Adam(groups, betas=ADAM_BETAS), options.steps)
    return run.train(
        training, examples, options.batch, compute_loss, options.learning_rate, settings, warmup=WARMUP,
        clip_norm=CLIP_NORM, finish=finish,
    )  # fmt: skip


def save_learner(
    photos: Sequence[Path], run: Run, learner: FeatureExtractor, settings: dict[str, Any], figures: dict[str, float]
) -> None:
    """Writes the extractor without its head, its layers scaled like those of `compact` (see `match_scales`).

    figures: what was measured, for the file and for the run.
    """
    crops = Crops(photos, SCALE_SIZE, settings["seed"], SCALE_CROPS)
    photographs = run.runtime.place(first_examples(crops, SCALE_CROPS))
    match_scales(learner, COMPACT.create(ACTIVATIONS).to(run.runtime.device), photographs)
    run.figures = figures
    run.save(
        learner.named_weights(), {"role": "extractor", "architecture": "compact", "recipe": run.settings, **figures}
    )


def show_examples(run: Run, rows: Sequence[Sequence[Tensor]]) -> None:
    """Writes a sheet of patches (3, H, W) or (1, 3, H, W) as the preview of a run; the patches of a row belong together."""
    if run.is_main:
        sheet = contact_sheet([[Panel(patch.view(1, *patch.shape[-3:])) for patch in row] for row in rows])
        run.preview.unlink(missing_ok=True)
        place_preview(run.preview, sheet, 0)
