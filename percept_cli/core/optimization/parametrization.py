"""Parametrizations of an image that is optimized: its pixels, or its frequencies with decorrelated colors."""

from typing import Protocol

import torch
from torch import Tensor

# Principal axes of the colors of photographs in columns, each as long as colors spread along it, the longest 1:
# brightness, blue against orange, green against magenta (the figures of Olah et al. 2017, Feature Visualization).
COLOR_AXES = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
GRAY = 0.5


class Parametrization(Protocol):
    """Images (N, 3, H, W) as other numbers, and back."""

    def encode(self, images: Tensor) -> Tensor:
        """The parameters of images (N, 3, H, W)."""
        ...

    def decode(self, parameters: Tensor) -> Tensor:
        """The images of parameters, differentiable; not clamped."""
        ...

    @property
    def clamps(self) -> bool:
        """Whether parameters clamped to [0, 1] are those of a clamped image."""
        ...


class Pixels:
    """The image itself."""

    clamps = True

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, parameters: Tensor) -> Tensor:
        return parameters


class Frequencies:
    """The spectrum of an image in units of what photographs have at each frequency, on decorrelated color axes.

    A photograph's amplitudes fall as 1/f, so with an `exponent` of 1 all its parameters are about equally large, and one
    step changes its shapes as much as its grain. Optimizers then reach features in far fewer steps, and without
    high-frequency noise (Olah et al. 2017). A smaller exponent lets steps change the grain more; 0 is white.
    """

    clamps = False

    def __init__(self, height: int, width: int, exponent: float = 1.0, device: torch.device | str = "cpu"):
        self.height, self.width = height, width
        down = torch.fft.fftfreq(height)[:, None]
        across = torch.fft.rfftfreq(width)[None]
        # The mean, of frequency 0, counts as the lowest frequency there is.
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


class Bounded:
    """Another parametrization followed by a sigmoid, which keeps every pixel within (0, 1) with a gradient (Olah et al. 2017).

    The slope at `GRAY` is 1, so that rates mean what they do without it.
    """

    clamps = False

    def __init__(self, inner: Parametrization):
        self.inner = inner

    def encode(self, images: Tensor) -> Tensor:
        """The parameters of images in the open interval (0, 1)."""
        return self.inner.encode(GRAY + torch.logit(images) / 4)

    def decode(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid(4 * (self.inner.decode(parameters) - GRAY))
