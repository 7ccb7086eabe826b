"""Parametrizations of an optimized image: its pixels, or its frequencies with decorrelated colors."""

from typing import Protocol

import torch
from torch import Tensor

# Columns are the principal axes of the colors of photographs, with lengths in proportion to the deviation along them:
# brightness, blue against orange, green against magenta (Olah et al. 2017, Feature Visualization).
COLOR_AXES = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
GRAY = 0.5


class Parametrization(Protocol):
    """A map from images (N, 3, H, W) to parameters, and back."""

    def encode(self, images: Tensor) -> Tensor:
        """The parameters of images (N, 3, H, W)."""
        ...

    def decode(self, parameters: Tensor) -> Tensor:
        """The images of parameters, differentiable; not clamped."""
        ...

    @property
    def clamps(self) -> bool:
        """Whether clamping the parameters to [0, 1] clamps the image."""
        ...


class Pixels:
    """The image itself as parameters."""

    clamps = True

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, parameters: Tensor) -> Tensor:
        return parameters


class Frequencies:
    """The spectrum of an image divided by f to the power of -`exponent`, on decorrelated color axes.

    A photograph's amplitudes decrease as 1/f, so with an exponent of 1 its parameters have about one size, and one step
    changes shapes as much as fine texture. Optimizers then need far fewer steps and make no high-frequency noise (Olah et
    al. 2017). With a smaller exponent, steps change fine texture more; 0 is a white spectrum.
    """

    clamps = False

    def __init__(self, height: int, width: int, exponent: float = 1.0, device: torch.device | str = "cpu"):
        self.height, self.width = height, width
        down = torch.fft.fftfreq(height)[:, None]
        across = torch.fft.rfftfreq(width)[None]
        # The mean, of frequency 0, is treated as the lowest other frequency.
        frequencies = (down.square() + across.square()).sqrt().clamp_min(1 / max(height, width))
        amplitudes = frequencies**-exponent
        self.amplitudes = (amplitudes / amplitudes.square().mean().sqrt()).to(device)
        axes = torch.tensor(COLOR_AXES)
        self.axes = (axes / axes.norm(dim=0).max()).to(device)
        self.inverse_axes = torch.linalg.inv(self.axes.cpu()).to(device)

    def encode(self, images: Tensor) -> Tensor:
        """Spectra (N, 3, H, W // 2 + 1, 2), real and imaginary parts."""
        colored = torch.einsum("ij,njhw->nihw", self.inverse_axes, images.float() - GRAY)
        return torch.view_as_real(torch.fft.rfft2(colored, norm="ortho") / self.amplitudes).contiguous()

    def decode(self, parameters: Tensor) -> Tensor:
        """Images (N, 3, H, W)."""
        spectrum = torch.view_as_complex(parameters) * self.amplitudes
        colored = torch.fft.irfft2(spectrum, s=(self.height, self.width), norm="ortho")
        return GRAY + torch.einsum("ij,njhw->nihw", self.axes, colored)

    def noise(self, count: int, contrast: float, generator: torch.Generator) -> Tensor:
        """Images (count, 3, H, W) of Gaussian noise whose parameters have the standard deviation `contrast`."""
        shape = (count, 3, self.height, self.width // 2 + 1, 2)
        return self.decode(contrast * torch.randn(shape, generator=generator).to(self.amplitudes.device))


class Bounded:
    """Another parametrization followed by a sigmoid, which keeps pixels within (0, 1) with a gradient (Olah et al. 2017).

    Its slope at `GRAY` is 1, so that learning rates have the same meaning as without it.
    """

    clamps = False

    def __init__(self, inner: Parametrization):
        self.inner = inner

    def encode(self, images: Tensor) -> Tensor:
        """The parameters of images in the open interval (0, 1)."""
        return self.inner.encode(GRAY + torch.logit(images) / 4)

    def decode(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid(4 * (self.inner.decode(parameters) - GRAY))
