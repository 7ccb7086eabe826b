"""A translation against its discriminators: adversarial loss and feature matching, at several sizes of the image."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from percept_cli.core.generators.discriminator import MultiscaleDiscriminator
from percept_cli.core.losses.adversarial import (
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    least_squares_adversarial_loss,
    least_squares_discriminator_loss,
)
from percept_cli.core.runtime import Runtime

Parts = dict[str, Tensor]
ADVERSARIES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "least-squares": (least_squares_adversarial_loss, least_squares_discriminator_loss),
    "standard": (adversarial_loss, discriminator_loss),
}


@dataclass
class TranslationDuel:
    """Losses against a `MultiscaleDiscriminator`, which is shown the results that the generator was judged on.

    adversarial: `least-squares` (pix2pixHD) or `standard`. paired: the discriminator sees the source before what it judges
    (Isola et al. 2017), and the target is the result's own; else it only knows what targets look like.
    """

    discriminator: nn.Module
    adversarial: str
    adversarial_weight: float
    matching_weight: float
    paired: bool
    runtime: Runtime
    _generated: list[Tensor] = field(default_factory=list)

    @classmethod
    def create(
        cls, channels: int, inputs: int, adversarial: str, weights: tuple[float, float], paired: bool, runtime: Runtime
    ) -> "TranslationDuel":
        """A duel with an untrained discriminator; inputs: channels of the source; weights: adversarial, matching."""
        network = MultiscaleDiscriminator(channels, inputs=3 + inputs if paired else 3)
        return cls(network, adversarial, *weights, paired, runtime)

    def generator_parts(self, result: Tensor, source: Tensor, target: Tensor) -> Parts:
        """The generator's weighted losses for its result, which is kept for `discriminator_part`."""
        self._generated = [result.detach(), source, target]
        with self.runtime.autocast():
            fakes = self.discriminator(self._shown(result, source))
            judge = ADVERSARIES[self.adversarial][0]
            # Departs from pix2pixHD, here and below, which sums over the sizes: a mean does not depend on how many there are.
            parts = {"adversarial": self.adversarial_weight * torch.stack([judge(fake[-1]) for fake in fakes]).mean()}
            if self.matching_weight:
                with torch.no_grad():
                    reals = self.discriminator(self._shown(target, source))
                matching = [
                    feature_matching_loss(fake[:-1], real[:-1]) for fake, real in zip(fakes, reals, strict=True)
                ]
                parts["matching"] = self.matching_weight * torch.stack(matching).mean()
        return parts

    def discriminator_part(self, discriminator: nn.Module, images: Tensor, step: int) -> tuple[Tensor, Parts]:
        """The discriminator's own loss on targets and on the last result."""
        result, source, target = self._generated
        with self.runtime.autocast():
            reals, fakes = discriminator(self._shown(target, source)), discriminator(self._shown(result, source))
            judge = ADVERSARIES[self.adversarial][1]
            loss = torch.stack([judge(real[-1], fake[-1]) for real, fake in zip(reals, fakes, strict=True)]).mean()
        return loss, {"discriminator": loss}

    def _shown(self, images: Tensor, source: Tensor) -> Tensor:
        return torch.cat([source, images], dim=1) if self.paired else images
