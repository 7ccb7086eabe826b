"""Autoencoders: images to a small convolutional code and back (Dosovitskiy & Brox 2016, section 4.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.generators.base import Generator
from percept_cli.core.generators.inversion import SLOPE, Inverter, create_lean_layers, leaky_block

STRIDE = 8
WIDTHS = (32, 64, 128)
LARGEST_LOG_VARIANCE = 10.0  # so that the variances of an untrained encoder are finite


class Autoencoder(Generator):
    """A network from images (N, 3, H, W) in [0, 1] to a code (N, channels, ⌈H/8⌉, ⌈W/8⌉) and back.

    channels: 8 in the paper. variational: the code is Gaussian (Kingma & Welling 2014); its mean is the code in
    evaluation mode, and decoded values of a standard normal distribution are new images. width: multiplies the channels
    of all layers. The decoder is a `lean` inverter of the code.
    """

    stride = STRIDE

    def __init__(self, channels: int = 8, variational: bool = False, width: float = 1.0):
        super().__init__()
        self.arguments = {"channels": channels, "variational": variational, "width": width}
        self.channels, self.variational = channels, variational
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in (max(4, round(width * count)) for count in WIDTHS):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
            inputs = outputs
        layers += [leaky_block(inputs), leaky_block(inputs), nn.Conv2d(inputs, channels * (2 if variational else 1), 1)]
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.encoder = nn.Sequential(*layers)
        self.decoder = Inverter(create_lean_layers, channels, stride=STRIDE, width=width)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The code of images in float32, and the logarithm of its variance, None where it is not variational."""
        height, width = images.shape[-2:]
        padded = F.pad(2 * images - 1, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        code = self.encoder(padded).float()
        if not self.variational:
            return code, None
        mean, log_variance = code.chunk(2, dim=1)
        return mean, log_variance.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)

    def decode(self, code: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """The image of a code, not clamped; size: its height and width, by default 8 times the code's."""
        images: Tensor = self.decoder(code, size)
        return images

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The decoded images, the code's mean and its log variance; in training a variational code is sampled."""
        mean, log_variance = self.encode(images)
        code = mean
        if log_variance is not None and self.training:
            code = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        height, width = images.shape[-2:]
        return self.decode(code, (height, width)), mean, log_variance


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of a Gaussian from the standard normal distribution, in nats per value; arguments of any one shape.

    ½ (μ² + σ² − log σ² − 1) (Kingma & Welling 2014, appendix B; the mean over values, where theirs is the sum).
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()
