"""Adversarial losses as pure functions of a discriminator's logits: any shapes, above 0 means real; float32 scalars.

σ is the sigmoid, E the mean over all logits, C(x) the logit of x. A discriminator that cannot tell real from fake, all
logits equal, makes each of the first four log 2.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.losses.functional import at_least_float32


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """The generator's loss, −E[log σ(C(fake))] (Ledig et al. 2017, eq. 6): small when the fakes pass for real.

    The non-saturating form: its gradient is large where the discriminator is sure, which log(1 − σ)'s is not.
    """
    return F.softplus(-at_least_float32(fake_logits)).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, ½(−E[log σ(C(real))] − E[log(1 − σ(C(fake)))]) (Ledig et al. 2017, eq. 2, negated)."""
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    # Departs from the paper, which takes the sum: half of it is the mean loss of a judgement (Isola et al. 2017 halve
    # it too, to slow the discriminator).
    return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())


def relativistic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss with a relativistic average judgement (Wang et al. 2018, ESRGAN, eq. 1).

    ½(−E[log D(real, fake)] − E[log(1 − D(fake, real))]) with D(a, b) = σ(C(a) − E[C(b)]): is a more real than b is on
    average? Both means pass their gradients on.
    """
    real, fake = at_least_float32(real_logits), at_least_float32(fake_logits)
    # Departs from the paper, whose equations are sums, and agrees with its authors' code, which halves them: the
    # published weight of 5e-3 goes with the half.
    return 0.5 * (F.softplus(-(real - fake.mean())).mean() + F.softplus(fake - real.mean()).mean())


def relativistic_adversarial_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The generator's loss with a relativistic average judgement (Wang et al. 2018, ESRGAN, eq. 2).

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
