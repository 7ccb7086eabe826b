"""Training an autoencoder: a network that keeps an image as a small code (Dosovitskiy & Brox 2016, section 4.1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from percept_cli.core.data.photos import Crops, fingerprint
from percept_cli.core.generators.autoencoder import Autoencoder, divergence
from percept_cli.core.losses.adversarial import LossAndParts
from percept_cli.core.runtime import seed_everything
from percept_cli.core.training.deepsim import DeepsimOptions, create_loss, loss_settings
from percept_cli.core.training.loop import Training, TrainingStep, unwrap
from percept_cli.core.training.optimizers import create_optimizer
from percept_cli.core.training.run import Run


@dataclass(frozen=True, kw_only=True)
class AutoencoderTraining(DeepsimOptions):
    """How an autoencoder is trained; names and meanings as in `percept train autoencoder`.

    channels: of the code, on an eighth of each side. variational: the code is a Gaussian, of whose divergence from the
    standard one `kl_weight` times is added to the loss. width: channels of the layers as a share of the usual.
    """

    channels: int = 8
    variational: bool = False
    kl_weight: float = 0.01
    steps: int = 2000
    batch: int = 16
    size: int = 64


def train_autoencoder(photos: Sequence[Path], run: Run, options: AutoencoderTraining) -> Iterator[TrainingStep]:
    """Trains an autoencoder on photographs, step by step; the model is written after the last step.

    Raises UsageError for networks and optimizers that are not there, and as `Run.train`.
    """
    runtime, processes = run.runtime, run.shard[1]
    seed_everything(options.seed)
    autoencoder = Autoencoder(options.channels, options.variational, options.width)
    network = run.place(autoencoder)
    training = Training(network, create_optimizer(options.optimizer, network), options.steps)
    loss = create_loss(run, training, options, options.channels)
    settings = {
        "arguments": autoencoder.arguments, **loss_settings(options, loss),
        "kl_weight": options.kl_weight if options.variational else 0.0, "steps": options.steps, "batch": options.batch,
        "size": options.size, "learning_rate": options.peak_rate, "optimizer": options.optimizer, "photos": len(photos),
        "photos_digest": fingerprint(photos), "seed": options.seed, "precision": runtime.precision,
        "processes": processes,
    }  # fmt: skip
    crops = Crops(photos, options.size, options.seed, options.steps * options.batch * processes)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> LossAndParts:
        with runtime.autocast():
            result, code, spread = network(images)
        # The discriminator sees the code; no gradient goes from it into the code.
        total, parts = loss(result, images, code.detach())
        if spread is not None and options.kl_weight:
            parts["kl"] = options.kl_weight * divergence(code, spread)
            total = total + parts["kl"]
        return total, parts

    def save() -> None:
        metadata = {
            "role": "autoencoder", "architecture": "lean", "arguments": autoencoder.arguments, "recipe": settings
        }  # fmt: skip
        run.save(unwrap(network).state_dict(), metadata)

    sample = crops[0][None]
    return run.train(
        training, crops, options.batch, compute_loss, options.peak_rate, settings, clip_norm=options.clip_norm,
        shown=(sample, sample), finish=save,
    )  # fmt: skip
