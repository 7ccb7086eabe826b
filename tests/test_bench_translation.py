"""The figures and baselines of the experiments on translations, by known answers."""

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """bench/translation.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        import translation

        yield translation


def test_holes_are_filled_with_the_mean_of_what_is_seen(bench: ModuleType) -> None:
    hidden = torch.rand(4, 6, 6)
    hidden[3] = 0
    hidden[3, 2:4, 2:4] = 1
    filled = bench.mean_fill(hidden)
    seen = hidden[:3, hidden[3] == 0]
    assert torch.allclose(filled[:, 2, 3], seen.mean(dim=1))
    assert torch.equal(filled[:, hidden[3] == 0], seen)


def test_the_smoothest_fill_goes_on_with_a_ramp(bench: ModuleType) -> None:
    ramp = torch.linspace(0.2, 0.8, 12).expand(3, 12, 12)
    hidden = torch.cat([ramp, torch.zeros(1, 12, 12)])
    hidden[:, 4:7, 4:7] = torch.tensor([0.5, 0.5, 0.5, 1.0])[:, None, None]
    assert (bench.biharmonic(hidden) - ramp).abs().max() < 0.02


def test_palettes_are_as_far_apart_as_their_levels(bench: ModuleType) -> None:
    """The same values in another order are at no distance; ten levels brighter is ten."""
    style = torch.rand(1, 3, 70, 70) * 0.5
    shuffled = style.flatten(2)[..., torch.randperm(4900)].view(1, 3, 70, 70)
    assert bench.palette_distance(shuffled, style) < 3
    assert bench.palette_distance(style + 10 / 255, style) == pytest.approx(10, abs=0.01)


def test_the_middle_is_not_resized(bench: ModuleType) -> None:
    image = torch.arange(30.0).view(1, 1, 5, 6)
    assert bench.middle(image, 2).flatten().tolist() == [8, 9, 14, 15]
