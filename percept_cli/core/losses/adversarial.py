"""Adversarial losses: pure functions of logits, and the losses of a generator and its discriminator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.losses.functional import at_least_float32
from percept_cli.core.losses.terms import Parts
from percept_cli.core.processes import mean_over_processes
from percept_cli.core.runtime import Runtime

LossAndParts = tuple[Tensor, Parts]

# Bounds of r in `Freezing`: the first from Dosovitskiy & Brox 2016, section 3.2, the others from their training code
TOO_GOOD = 0.1
GOOD_AGAIN = 0.5
TOO_BAD = 10.0


@dataclass
class Freezing:
    """Whether a generator and its discriminator are updated in the next step (Dosovitskiy & Brox 2016).

    It depends on r = (discriminator's loss on real images + on generated images) / generator's adversarial loss, all of
    them unweighted means: r < 0.1 stops the discriminator until r > 0.5; r > 10 stops the generator until r < 0.1.
    """

    generator_learns: bool = True
    discriminator_learns: bool = True

    def update(self, discriminator_loss: float, adversarial_loss: float) -> None:
        """Decides about the next step; discriminator_loss: the sum of the losses on real and on generated images."""
        ratio = discriminator_loss / max(adversarial_loss, 1e-12)
        if ratio < TOO_GOOD and self.discriminator_learns:
            self.generator_learns, self.discriminator_learns = True, False
        elif ratio > GOOD_AGAIN and not self.discriminator_learns:
            self.generator_learns, self.discriminator_learns = True, True
        # Not `elif`: a stopped discriminator with r > 10 starts again, and the generator stops in the same step.
        if ratio > TOO_BAD and self.generator_learns:
            self.generator_learns, self.discriminator_learns = False, True

    def restore(self, state: Mapping[str, bool]) -> None:
        """Restores what `dataclasses.asdict` returned."""
        self.generator_learns, self.discriminator_learns = state["generator_learns"], state["discriminator_learns"]


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """The generator's loss, −E[log σ(C(fake))] (Ledig et al. 2017, eq. 6).

    The non-saturating form: where the discriminator is certain, its gradient is large and that of log(1 − σ) is small.
    """
    return F.softplus(-at_least_float32(fake_logits)).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, ½(−E[log σ(C(real))] − E[log(1 − σ(C(fake)))]) (Ledig et al. 2017, eq. 2, negated)."""
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    # Departs from the paper, which has the sum: half of it is the mean loss of an image (as Isola et al. 2017, who slow
    # the discriminator by it).
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def relativistic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss of a relativistic average discriminator (Wang et al. 2018, ESRGAN, eq. 1).

    ½(−E[log D(real, fake)] − E[log(1 − D(fake, real))]) with D(a, b) = σ(C(a) − E[C(b)]), the probability that a is more
    real than b is on average. Gradients pass through both means.
    """
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    # Departs from the paper, whose equations are sums, and agrees with the authors' code, which halves them: the published
    # weight of 5e-3 is for the half.
    usual_real, usual_fake = mean_over_processes(real.mean()), mean_over_processes(fake.mean())
    return 0.5 * (F.softplus(-(real - usual_fake)).mean() + F.softplus(fake - usual_real).mean())


def relativistic_adversarial_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The generator's loss of a relativistic average discriminator (Wang et al. 2018, ESRGAN, eq. 2).

    ½(−E[log(1 − D(real, fake))] − E[log D(fake, real)]), which is `relativistic_discriminator_loss` with real and fake
    exchanged. The real logits, which do not depend on the generator, get no gradient.
    """
    return relativistic_discriminator_loss(fake_logits, real_logits.detach())


def least_squares_adversarial_loss(fake_logits: Tensor) -> Tensor:
    """The generator's loss, E[(C(fake) − 1)²] (Mao et al. 2017, eq. 9, as in pix2pixHD and CycleGAN)."""
    return (at_least_float32(fake_logits) - 1).square().mean()


def least_squares_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, ½(E[(C(real) − 1)²] + E[C(fake)²]) (Mao et al. 2017, eq. 9)."""
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def feature_matching_loss(fake_features: Sequence[Tensor], real_features: Sequence[Tensor]) -> Tensor:
    """The mean absolute difference of a discriminator's features, mean over layers (Wang et al. 2018, pix2pixHD, eq. 4).

    The features of a layer have one shape, of any size. The real features get no gradient.
    """
    distances = [
        F.l1_loss(at_least_float32(fake), at_least_float32(real.detach()))
        for fake, real in zip(fake_features, real_features, strict=True)
    ]
    return torch.stack(distances).mean()


# By name: the generator's and the discriminator's loss, both functions of real and fake logits
ADVERSARIAL_LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "standard": (lambda real, fake: adversarial_loss(fake), discriminator_loss),
    "relativistic": (relativistic_adversarial_loss, relativistic_discriminator_loss),
    "least-squares": (lambda real, fake: least_squares_adversarial_loss(fake), least_squares_discriminator_loss),
}


@dataclass
class AdversarialLoss:
    """The loss of a generator against a discriminator, and the discriminator's own loss on the same results.

    discriminator: called with images (N, 3, H, W) in [0, 1] and, if there is one, their source; returns logits, or for
    each of several scales a list of its features with the logits last. kind: a name of `ADVERSARIAL_LOSSES`. weight: of
    the generator's adversarial loss. matching_weight: of `feature_matching_loss`; 0 leaves it out. freezing: decides
    after each step, by unweighted losses, which network the next step updates. average: their mean over all processes.
    """

    discriminator: nn.Module
    runtime: Runtime
    kind: str = "standard"
    weight: float = 1.0
    matching_weight: float = 0.0
    freezing: Freezing | None = None
    average: Callable[[Tensor], Tensor] = lambda value: value
    _shown: tuple[Tensor, Tensor, Tensor | None] | None = field(default=None, repr=False)
    _adversarial: Tensor | None = field(default=None, repr=False)

    def generator_parts(self, result: Tensor, target: Tensor, source: Tensor | None = None) -> Parts:
        """The generator's weighted losses for its result (N, 3, H, W), `adversarial` and `matching`.

        target: real images of the same shape. source: the generator's input, None if it is not an input of the
        discriminator. `discriminator_loss` uses the same three.
        """
        self._shown = result.detach(), target, source
        loss, _ = ADVERSARIAL_LOSSES[self.kind]
        with self.runtime.autocast():
            fakes = reals = self._outputs(self.discriminator, result, source)
            if self.matching_weight or self.kind == "relativistic":
                with torch.no_grad():
                    reals = self._outputs(self.discriminator, target, source)
            pairs = list(zip(reals, fakes, strict=True))
            # Departs, here and below, from pix2pixHD, which sums over the scales: a mean does not depend on their number.
            adversarial = torch.stack([loss(real[-1], fake[-1]) for real, fake in pairs]).mean()
            parts = {"adversarial": self.weight * adversarial}
            if self.matching_weight:
                matching = [feature_matching_loss(fake[:-1], real[:-1]) for real, fake in pairs]
                parts["matching"] = self.matching_weight * torch.stack(matching).mean()
        self._adversarial = adversarial.detach()
        return parts

    def discriminator_loss(self, discriminator: nn.Module, images: Tensor, step: int) -> LossAndParts:
        """The discriminator's loss on the last target and result; to be called after `generator_parts`."""
        assert self._shown is not None and self._adversarial is not None
        result, target, source = self._shown
        _, loss = ADVERSARIAL_LOSSES[self.kind]
        with self.runtime.autocast():
            reals = self._outputs(discriminator, target, source)
            fakes = self._outputs(discriminator, result, source)
            losses = [loss(real[-1], fake[-1]) for real, fake in zip(reals, fakes, strict=True)]
            total = torch.stack(losses).mean()
        if self.freezing is not None:
            # Twice, since the loss is half the sum of the losses on real and on generated images.
            self.freezing.update(2 * self.average(total.detach()).item(), self.average(self._adversarial).item())
        return total, {"discriminator": total}

    @staticmethod
    def _outputs(discriminator: nn.Module, images: Tensor, source: Tensor | None) -> list[list[Tensor]]:
        outputs = discriminator(images) if source is None else discriminator(images, source)
        return outputs if isinstance(outputs, list) else [[outputs]]
