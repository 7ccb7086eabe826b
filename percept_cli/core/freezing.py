"""When a generator or its discriminator stands still, so that neither outgrows the other."""

from collections.abc import Mapping
from dataclasses import dataclass

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
