"""Autoencoders: images to a small convolutional code and back (Dosovitskiy & Brox 2016, section 4.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.inversion import SLOPE, Inverter, LeakyBlock, create_lean_layers

STRIDE = 8
WIDTHS = (32, 64, 128)
# Of log variances: an untrained encoder must not make infinite ones.
LARGEST = 10.0


class Autoencoder(Generator):
    """Images (N, 3, H, W) in [0, 1] to a code (N, channels, ⌈H/8⌉, ⌈W/8⌉) and back; 8 channels in the paper.

    The decoder is a `lean` inverter of that code. variational: the code is a Gaussian (Kingma & Welling 2014), whose
    mean is the code in evaluation mode; pictures are drawn by decoding values of a standard normal distribution.
    width: channels of the layers as a share of the usual.
    """

    stride = STRIDE

    def __init__(self, channels: int = 8, variational: bool = False, width: float = 1.0):
        super().__init__()
        self.arguments = {"channels": channels, "variational": variational, "width": width}
        self.channels, self.variational = channels, variational
        layers: list[nn.Module] = []
        here = 3
        for outputs in (max(4, round(width * count)) for count in WIDTHS):
            layers += [nn.Conv2d(here, outputs, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
            here = outputs
        layers += [LeakyBlock(here), LeakyBlock(here), nn.Conv2d(here, channels * (2 if variational else 1), 1)]
        for part in layers:
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, a=SLOPE)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]
        self.encoder = nn.Sequential(*layers)
        self.decoder = Inverter(create_lean_layers, channels, stride=STRIDE, width=width)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The code of images, and the logarithm of its variance where it is a Gaussian; float32."""
        height, width = images.shape[-2:]
        # The last row and column are repeated until the code covers them.
        padded = F.pad(2 * images - 1, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        code = self.encoder(padded).float()
        if not self.variational:
            return code, None
        mean, spread = code.chunk(2, dim=1)
        return mean, spread.clamp(-LARGEST, LARGEST)

    def decode(self, code: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The image of a code, not clamped; size: its height and width, by default 8 times the code's."""
        images: Tensor = self.decoder(code, size)
        return images

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The image again, the code's mean and its log variance; in training a Gaussian code is drawn."""
        mean, spread = self.encode(images)
        code = mean
        if spread is not None and self.training:
            code = mean + (spread / 2).exp() * torch.randn_like(mean)
        height, width = images.shape[-2:]
        return self.decode(code, (height, width)), mean, spread


def divergence(mean: Tensor, spread: Tensor) -> Tensor:
    """KL divergence of a Gaussian from the standard one, in nats a value: mean and log variance of any shape.

    ½ (μ² + σ² − log σ² − 1) (Kingma & Welling 2014, appendix B; the mean over values, where theirs is the sum).
    """
    return 0.5 * (mean.square() + spread.exp() - spread - 1).mean()
