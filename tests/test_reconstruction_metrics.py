"""Measures of pictures made from codes: known answers."""

import math

import pytest
import torch
from reconstruction_metrics import gradient_energy, high_frequency_share, mean_pair_distance, normalized_errors
from torch import Tensor

from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical


def wave(period: float, side: int = 64) -> Tensor:
    """Gray stripes (1, 3, side, side) of a period in pixels."""
    rows = 0.5 + 0.4 * torch.sin(2 * math.pi * torch.arange(side) / period + 0.3)
    return rows.view(1, 1, side, 1).expand(1, 3, side, side)


def test_the_mean_distance_is_of_different_pairs_only() -> None:
    """A 3-4-5 triangle: 4, not the 8/3 that pairs of a point with itself would make of it."""
    assert mean_pair_distance(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])) == pytest.approx(4)


def test_another_photograph_is_at_an_error_of_1() -> None:
    """By definition, for whatever scale the values have; the photograph itself is at 0."""
    originals = 37 * torch.rand(2, 3, 5, 5)
    assert normalized_errors(originals, originals).tolist() == [0, 0]
    assert normalized_errors(originals.flip(0), originals).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("samples", [torch.rand(1, 4), torch.ones(3, 4)], ids=["one", "all the same"])
def test_no_pair_to_compare_with(samples: Tensor) -> None:
    with pytest.raises(UsageError):
        normalized_errors(samples, samples)


def test_gradient_energy_goes_with_the_square_of_contrast() -> None:
    """A quarter for half the contrast; 0 for one color."""
    image = torch.rand(2, 3, 8, 8)
    assert gradient_energy(0.5 * image + 0.1, image) == pytest.approx(0.25)
    assert gradient_energy(torch.full_like(image, 0.4), image) == 0


@pytest.mark.parametrize(("period", "share"), [(2, 1), (3, 1), (6, 0), (16, 0)])
def test_stripes_are_of_high_frequency_below_4_pixels(period: float, share: float) -> None:
    assert high_frequency_share(wave(period)).item() == pytest.approx(share, abs=1e-3)


def test_high_frequencies_of_noise_and_of_one_color() -> None:
    """Noise has 1 - π/16, the part of the square of frequencies that is outside the circle; one color has none."""
    noise = 0.5 + 0.1 * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0)).expand(1, 3, -1, -1)
    assert high_frequency_share(noise).item() == pytest.approx(1 - math.pi / 16, abs=0.02)
    assert high_frequency_share(torch.full((1, 3, 64, 64), 0.3)).item() == 0
