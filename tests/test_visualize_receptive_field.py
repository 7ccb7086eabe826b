"""`percept visualize receptive-field`: what can reach a unit by arithmetic, what does by gradients."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from percept_cli.core.extractors import create_architecture
from percept_cli.core.extractors.architecture import Architecture, Layer
from percept_cli.core.extractors.geometry import theoretical_side
from percept_cli.core.extractors.graph import FeatureExtractor, randomize
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.visualization.receptive_field import measure_receptive_field

CPU = ("--device", "cpu", "--threads", 1)


@pytest.mark.parametrize(
    ("name", "layer", "side"),
    [("vgg19", "relu1_2", 5), ("vgg19", "relu3_1", 24), ("vgg16", "conv5_3", 196), ("alexnet", "conv1", 11),
     ("alexnet", "conv5", 163)],
)  # fmt: skip
def test_what_can_reach_a_unit_is_what_the_literature_says(name: str, layer: str, side: int) -> None:
    """For instance 196 pixels of conv5_3 of VGG-16, and 163 of conv5 of AlexNet."""
    with torch.device("meta"):
        extractor = FeatureExtractor(create_architecture(name), [layer])
    assert theoretical_side(extractor, layer) == side


def averaging(kernel: int) -> FeatureExtractor:
    """A network of one convolution, whose one filter is even but for one pixel of its corner, which is 0."""
    build = lambda: nn.Conv2d(3, 1, kernel, padding=kernel // 2)  # noqa: E731
    extractor = FeatureExtractor(Architecture("one", (Layer("conv1", build, ("image",)),)), ["conv1"])
    weight = torch.ones(1, 3, kernel, kernel)
    weight[..., 0, 0] = 0
    extractor.network["conv1"].weight.data.copy_(weight)
    return extractor


def test_a_single_convolution_looks_at_all_that_its_filter_holds() -> None:
    """The gradients are the filter; the middle squares hold the share of its area."""
    field = measure_receptive_field(averaging(5), "conv1", starts=1)
    expected = torch.ones(5, 5)
    expected[0, 0] = 0
    torch.testing.assert_close(field.gradients, expected)
    assert field.side == 5 and field.effective == 5
    assert field.held[2].item() == pytest.approx(9 / 24)


def test_nothing_outside_the_field_reaches_the_unit_and_its_edge_does() -> None:
    """On untrained AlexNet: the gradient over the whole image is no larger than over the field."""
    extractor = FeatureExtractor(create_architecture("alexnet"), ["conv2"])
    randomize(extractor, 0)
    field = measure_receptive_field(extractor, "conv2", starts=16)
    assert field.gradients[0].max() > 0 and field.gradients[:, -1].max() > 0
    # The unit by hand, in an image with room around it.
    image = torch.rand(1, 3, 131, 131, generator=torch.Generator().manual_seed(3), requires_grad=True)
    (gradient,) = torch.autograd.grad(extractor(image)["conv2"][0, :, 6, 6].sum(), image)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 <= field.side


def test_deeper_layers_see_more_and_the_same_seed_sees_the_same(percept: Callable, tmp_path: Path) -> None:
    """The plot and the numbers come from the same fields; the effective one lies within what can reach."""
    arguments = ("visualize", "receptive-field", "relu2_1,relu1_2", "--starts", 2, *CPU)
    outcome = percept(*arguments, "-o", tmp_path / "a.svg", "--data", tmp_path / "a.csv", "--json")
    assert outcome.code == 0, outcome.stderr
    pixels = json.loads(outcome.stdout)["pixels"]
    assert list(pixels) == ["relu1_2", "relu2_1"]
    assert pixels["relu1_2"]["theoretical"] == 5 and pixels["relu2_1"]["theoretical"] == 10
    assert pixels["relu1_2"]["effective"] <= 5 < pixels["relu2_1"]["effective"] <= 10
    with (tmp_path / "a.csv").open() as file:
        held = [float(row["held"]) for row in csv.DictReader(file) if row["layer"] == "relu2_1"]
    assert held == sorted(held) and held[-1] == pytest.approx(1) and len(held) == 10
    extractor = create_extractor("compact", ["relu2_1"])
    first, same, other = (measure_receptive_field(extractor, "relu2_1", seed, 2).held for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert held == pytest.approx(first.tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv7"], "Unknown layer of compact 'conv7'"),
        (
            ["prob", "--extractor", "squeezenet1_1", "--extractor-weights", "random"],
            "prob of squeezenet1_1 sees the whole",
        ),
        ([",".join(f"relu{block}_1" for block in range(1, 6)) + ",relu1_2,relu2_2"], "7 fields would be too small"),
    ],
    ids=["unknown", "whole", "many"],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], message: str, percept: Callable, tmp_path: Path
) -> None:
    """With exit code 2, and nothing written."""
    outcome = percept("visualize", "receptive-field", *arguments, "-o", tmp_path / "a.svg", *CPU)
    assert outcome.code == 2 and message in outcome.stderr, outcome.stderr
    assert not list(tmp_path.iterdir())
