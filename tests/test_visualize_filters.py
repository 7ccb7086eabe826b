"""`percept visualize filters`: what is drawn are the weights of the first layer, in the colors of the image."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from percept_cli.core.extractors import create_architecture
from percept_cli.core.extractors.graph import FeatureExtractor, randomize
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.visualization.filters import first_layer, image_filters
from percept_cli.errors import UsageError


def test_the_filters_of_a_plain_first_layer_are_its_weights() -> None:
    """AlexNet's 11x11 with their stride of 4, and SqueezeNet's, which has no padding."""
    for name in ("alexnet", "squeezenet1_0"):
        extractor = FeatureExtractor(create_architecture(name), ["conv1"])
        randomize(extractor, 0)
        assert first_layer(extractor.architecture) == "conv1"
        weight = extractor.network["conv1"].weight
        torch.testing.assert_close(image_filters(extractor, "conv1"), weight, rtol=1e-4, atol=1e-6)


def test_the_filters_of_compact_are_the_product_of_its_two_convolutions() -> None:
    """A convolution with them gives the layer's features, but for one constant a channel."""
    extractor = create_extractor("compact", ["conv1_1"])
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    normalized = (image - extractor.mean) / extractor.std
    found = extractor(image)["conv1_1"][..., 1:-1, 1:-1] - F.conv2d(normalized, image_filters(extractor, "conv1_1"))
    assert found.shape[1] == 64
    assert (found - found.mean((2, 3), keepdim=True)).abs().max() < 1e-3


def test_a_deeper_layer_has_no_filter_of_the_image() -> None:
    """The message names the one that has."""
    extractor = FeatureExtractor(create_architecture("vgg16"), ["conv1_2"])
    with pytest.raises(UsageError, match="Only conv1_1 of vgg16 is a filter of the image: conv1_2 stands behind"):
        image_filters(extractor, "conv1_2")


def test_each_filter_is_a_tile_and_its_weights_are_listed(percept: Callable, tmp_path: Path) -> None:
    """Gray is 0 and the strongest weight of each filter is at the end of the range."""
    outcome = percept("visualize", "filters", "-o", tmp_path / "f.png", "--data", tmp_path / "f.csv", "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["filters"] == 64 and report["layer"] == "conv1_1" and report["width"] == 1200
    with (tmp_path / "f.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 64 * 3 * 9
    first = np.array([float(row["weight"]) for row in rows[:27]]).reshape(3, 3, 3)
    middle = 0.5 + 0.5 * first[:, 1, 1] / np.abs(first).max()
    with Image.open(tmp_path / "f.png") as sheet:
        colors = {color for _, color in sheet.getcolors(1 << 20) or ()}
    assert tuple((255 * middle).round().astype(int).tolist()) in colors
    assert percept("visualize", "filters", "-o", tmp_path / "f.png").code == 2
