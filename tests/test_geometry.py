"""Which image sizes layers take, and in which order they come."""

import torch

from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.extractors.geometry import USUAL_SIDE, fixed_side, shallow_to_deep
from percept_cli.core.images.photo import middle_square


def test_layers_are_ordered_as_the_network_has_them() -> None:
    """From shallow to deep, by their full names, each once."""
    architecture = create_architecture("compact")
    assert shallow_to_deep(architecture, ["conv5", "relu1_2", "conv3", "conv5_2"]) == ["relu1_2", "conv3_4", "conv5_2"]


def test_fully_connected_layers_take_one_size() -> None:
    """224 pixels where a linear layer leads to a tap, any where none does."""
    with torch.device("meta"):
        alexnet, convolutions = (FeatureExtractor(create_architecture("alexnet"), [tap]) for tap in ("fc6", "conv5"))
    assert fixed_side(convolutions) is None
    assert fixed_side(alexnet) == USUAL_SIDE


def test_the_middle_square_is_the_middle() -> None:
    """Of 4 x 8 pixels the columns 2 to 5."""
    columns = torch.arange(8.0).expand(1, 3, 4, 8) / 8
    assert torch.equal(middle_square(columns, 4)[0, 0, 0], torch.arange(2.0, 6.0) / 8)
    assert middle_square(columns, 7).shape == (1, 3, 7, 7)
