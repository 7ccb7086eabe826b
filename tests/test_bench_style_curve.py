"""The curves of style against time: their points are means over photographs and paintings, and the plot shows each."""

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """bench/style_curve.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        import style_curve

        yield style_curve


class Subject:
    """A photograph whose results have the mean of their steps, after as many seconds times `slowness`."""

    photograph = painting = torch.zeros(1, 3, 2, 2)

    def __init__(self, bench: ModuleType, slowness: float):
        self.bench, self.slowness = bench, slowness

    def run(self, curve: str) -> Iterator[tuple[int, float, Tensor]]:
        for steps in self.bench.STEPS[curve]:
            yield steps, self.slowness * steps, torch.full((1, 3, 2, 2), steps / 1000)


class Judge:
    """Finds the brightness of results, as a file of 8 bits has it, at full size, twice and four times it at the others."""

    def judge(self, result: Tensor, photograph: Tensor, painting: Tensor) -> SimpleNamespace:
        level = result.mean().item()
        return SimpleNamespace(style=level, half=2 * level, quarter=4 * level, content=0.5)


def test_a_point_is_the_mean_over_pictures(bench: ModuleType) -> None:
    """Of VGG-19, which takes minutes, the first alone."""
    subjects = [Subject(bench, 1.0), Subject(bench, 3.0)]
    rows = bench.measure(subjects, bench.PHOTOGRAPH, Judge())
    assert [row.steps for row in rows] == list(bench.STEPS[bench.PHOTOGRAPH])
    assert [row.seconds / row.steps for row in rows] == [2.0] * len(rows)
    for row in rows:
        assert row.style == pytest.approx(row.steps / 1000, abs=0.5 / 255)
        assert row.quarter == pytest.approx(2 * row.half) == pytest.approx(4 * row.style)
    assert all(row.seconds == row.steps for row in bench.measure(subjects, bench.VGG19, Judge()))
    assert len(bench.table(rows).splitlines()) == 2 + len(rows)


def test_each_curve_is_in_each_panel(bench: ModuleType) -> None:
    rows = [row for curve in bench.STEPS for row in bench.measure([Subject(bench, 1.0)], curve, Judge())]
    figure = Figure()
    bench.plot(rows, "").draw(figure)
    assert len(figure.axes) == 3
    for axes, name in zip(figure.axes, ("style", "half", "quarter"), strict=True):
        assert [line.get_label() for line in axes.get_lines()] == list(bench.STEPS)
        drawn = [value for line in axes.get_lines() for value in line.get_ydata()]
        assert drawn == [getattr(row, name) for row in rows]
