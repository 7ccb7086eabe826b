"""The training of an autoencoder: image to a small code and back (Dosovitskiy & Brox 2016, section 4.1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from percept_cli.core.data.photos import Crops
from percept_cli.core.generators.autoencoder import Autoencoder, divergence
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.deepsim import create_loss, loss_settings, run_settings
from percept_cli.core.training.deepsim_options import DeepsimOptions
from percept_cli.core.training.loop import TrainingStep
from percept_cli.core.training.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining(DeepsimOptions):
    """The options of the training of an autoencoder; names and meanings as in `percept train autoencoder`.

    channels: of the code (N, channels, H / 8, W / 8). variational: the code is a Gaussian, and `kl_weight` times its
    divergence from the standard Gaussian is added to the loss.
    """

    channels: int = 8
    variational: bool = False
    kl_weight: float = 0.01
    steps: int = 2000
    batch: int = 16
    size: int = 64


def train_autoencoder(photos: Sequence[Path], run: Run, options: AutoencoderTraining) -> Iterator[TrainingStep]:
    """Trains an autoencoder on photographs, step by step; the model is written after the last step.

    Raises UsageError for unknown networks and optimizers, and as `Run.train`.
    """
    seed_everything(options.seed)
    autoencoder = Autoencoder(options.channels, options.variational, options.width)
    training = run.create_training(autoencoder, options.optimizer, options.steps)
    loss = create_loss(run, training, options, options.channels)
    settings = {
        "arguments": autoencoder.arguments, **loss_settings(options, loss),
        "kl_weight": options.kl_weight if options.variational else 0.0, **run_settings(options, run, photos),
    }  # fmt: skip
    crops = Crops(photos, options.size, options.seed, options.steps * options.batch * run.shard[1])

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        with run.runtime.autocast():
            result, code, spread = network(images)
        # The code is an input of the discriminator, which sends no gradient back into it.
        total, parts = loss(result, images, code.detach())
        if spread is not None and options.kl_weight:
            parts["kl"] = options.kl_weight * divergence(code, spread)
            total = total + parts["kl"]
        return total, parts

    sample = crops[0][None]
    return run.train(
        training, crops, options.batch, compute_loss, options.peak_rate, settings, clip_norm=options.clip_norm,
        shown=(sample, sample), finish=lambda: run.save_generator("autoencoder", "lean"),
    )  # fmt: skip
