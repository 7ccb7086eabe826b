"""When a generator or its discriminator stands still, so that neither outgrows the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.discriminators import MultiscaleDiscriminator
from percept_cli.core.losses.functional import at_least_float32
from percept_cli.core.runtime import Runtime

# Of the discriminator's loss to the generator's adversarial one: Dosovitskiy & Brox 2016, section 3.2, has the first;
# the others are those of their training code.
TOO_GOOD = 0.1
GOOD_AGAIN = 0.5
TOO_BAD = 10.0


@dataclass
class Freezing:
    """Which of a generator and its discriminator learn in the next step (Dosovitskiy & Brox 2016), by their losses.

    With r = (loss on real + loss on generated images) / the generator's adversarial loss, all of them unweighted means:
    r < 0.1 stops the discriminator; r > 0.5 lets one that stands go on; r > 10 stops the generator until r < 0.1.
    """

    generator_learns: bool = True
    discriminator_learns: bool = True

    def judge(self, discriminator_loss: float, adversarial_loss: float) -> None:
        """Decides for the next step. discriminator_loss: the sum of its losses on real and on generated images."""
        ratio = discriminator_loss / max(adversarial_loss, 1e-12)
        if ratio < TOO_GOOD and self.discriminator_learns:
            self.generator_learns, self.discriminator_learns = True, False
        elif ratio > GOOD_AGAIN and not self.discriminator_learns:
            self.generator_learns, self.discriminator_learns = True, True
        # Not `elif`: a discriminator that slept until it was hopeless wakes and stops the generator at once.
        if ratio > TOO_BAD and self.generator_learns:
            self.generator_learns, self.discriminator_learns = False, True

    def restore(self, state: Mapping[str, bool]) -> None:
        """Puts back what `dataclasses.asdict` gave."""
        self.generator_learns, self.discriminator_learns = state["generator_learns"], state["discriminator_learns"]


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """The generator's loss, −E[log σ(C(fake))] (Ledig et al. 2017, eq. 6): small when the fakes pass for real.

    The non-saturating form: its gradient is large where the discriminator is sure, which log(1 − σ)'s is not.
    """
    return F.softplus(-at_least_float32(fake_logits)).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, ½(−E[log σ(C(real))] − E[log(1 − σ(C(fake)))]) (Ledig et al. 2017, eq. 2, negated)."""
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    # Departs from the paper, which takes the sum: half of it is the mean loss of a judgment (Isola et al. 2017 halve
    # it too, to slow the discriminator).
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def relativistic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss with a relativistic average judgment (Wang et al. 2018, ESRGAN, eq. 1).

    ½(−E[log D(real, fake)] − E[log(1 − D(fake, real))]) with D(a, b) = σ(C(a) − E[C(b)]): is a more real than b is on
    average? Both means pass their gradients on.
    """
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    # Departs from the paper, whose equations are sums, and agrees with its authors' code, which halves them: the
    # published weight of 5e-3 goes with the half.
    return 0.5 * (F.softplus(-(real - fake.mean())).mean() + F.softplus(fake - real.mean()).mean())


def relativistic_adversarial_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The generator's loss with a relativistic average judgment (Wang et al. 2018, ESRGAN, eq. 2).

    ½(−E[log(1 − D(real, fake))] − E[log D(fake, real)]), D as in `relativistic_discriminator_loss`: that loss with real
    and fake exchanged. The real logits are constants to it, as the generator has no part in them.
    """
    return relativistic_discriminator_loss(fake_logits, real_logits.detach())


def least_squares_adversarial_loss(fake_logits: Tensor) -> Tensor:
    """The generator's loss, E[(C(fake) − 1)²] (Mao et al. 2017, eq. 9, as pix2pixHD and CycleGAN have it)."""
    return (at_least_float32(fake_logits) - 1).square().mean()


def least_squares_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, ½(E[(C(real) − 1)²] + E[C(fake)²]) (Mao et al. 2017, eq. 9)."""
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def feature_matching_loss(fake_features: Sequence[Tensor], real_features: Sequence[Tensor]) -> Tensor:
    """Mean over a discriminator's layers of the mean absolute difference there (Wang et al. 2018, pix2pixHD, eq. 4).

    The real features are constants to it. Layers of any equal shapes; the sum over several discriminators is theirs.
    """
    distances = [
        F.l1_loss(at_least_float32(fake), at_least_float32(real.detach()))
        for fake, real in zip(fake_features, real_features, strict=True)
    ]
    return torch.stack(distances).mean()


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


LossAndParts = tuple[Tensor, dict[str, Tensor]]
