"""Plots: the same plot is the same file, text stays text, and without matplotlib it is said what to install."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from percept_cli.core.drawing.plots import Plot, render, render_svg


def line() -> Plot:
    """Clipped and with a legend, which matplotlib names after addresses in memory and by chance."""

    def draw(figure) -> None:  # type: ignore[no-untyped-def]
        axes = figure.subplots()
        axes.plot([1, 2], [3, 4], label="a part")
        figure.legend()

    return Plot("What $x^2$ costs", ["a note"], draw, height=3.0)


def test_the_same_plot_is_the_same_file() -> None:
    """As SVG and as pixels, 1200 wide."""
    assert render_svg(line()) == render_svg(line())
    pixels = render(line())
    assert torch.equal(pixels, render(line())) and pixels.shape == (1, 3, 300, 1200)


def test_text_of_a_plot_can_be_searched() -> None:
    """And a dollar in it is a dollar."""
    drawn = render_svg(line()).decode()
    assert all(text in drawn for text in (">What $x^2$ costs<", ">a note<", ">a part<"))


def test_without_matplotlib_a_plot_says_what_to_install(
    percept: Callable, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work; sheets of pictures need none."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = percept("visualize", "activations", photos, "-o", tmp_path / "a.png", "--device", "cpu")
    assert outcome.code == 2 and "pip install 'percept[plots]'" in outcome.stderr
    assert percept("visualize", "filters", "-o", tmp_path / "b.png").code == 0
