"""Images as spectra: there and back, and how smooth the noise of an exponent is."""

import pytest
import torch

from percept_cli.core.losses.functional import total_variation
from percept_cli.core.optimization.parametrization import Frequencies


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (16, 5)])
def test_frequencies_are_another_way_to_write_an_image(size: tuple[int, int]) -> None:
    """There and back is the same image, odd sizes too; gray is all zeros; moving one frequency moves every pixel."""
    space = Frequencies(*size)
    images = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.decode(space.encode(images)), images, atol=1e-5, rtol=0)
    gray = space.encode(torch.full((1, 3, *size), 0.5))
    assert gray.abs().max() < 1e-5
    gray[0, 0, 1, 1, 0] = 1.0
    assert (space.decode(gray) - 0.5).abs().amax(dim=1).gt(1e-6).float().mean() > 0.7


def test_steeper_frequencies_make_smoother_noise() -> None:
    """White noise of parameters is white at exponent 0 and the smoother the larger the exponent."""
    roughness = []
    for exponent in (0.0, 0.5, 1.0):
        space = Frequencies(64, 64, exponent)
        spectrum = space.encode(torch.zeros(1, 3, 64, 64))
        picture = space.decode(torch.randn(spectrum.shape, generator=torch.Generator().manual_seed(0)))
        # Of white noise neighbors differ by 2 variances, across and down: 4.
        roughness.append((total_variation(picture) / picture.var(dim=(2, 3)).mean()).item())
    assert roughness[0] == pytest.approx(4, rel=0.05)
    assert roughness[0] > 1.2 * roughness[1] > 2 * roughness[2]
