"""What ships, on a photograph that nothing was trained on."""

import pytest
import torch
import torch.nn.functional as F

from percept_cli.core.dataset import sample_photos
from percept_cli.core.decoding import load_image
from percept_cli.core.generators.loading import load_style_generator, load_upscaler
from percept_cli.core.images import middle_square
from percept_cli.core.manifest import shipped_models
from percept_cli.core.spectrum import THRESHOLD, checkerboard_peaks

UPSCALERS = [model.name for model in shipped_models().values() if model.role == "upscaler"]
STYLES = [model.name for model in shipped_models().values() if model.role == "style"]


def photograph(side: int) -> torch.Tensor:
    """The middle of the sample photograph of an astronaut, (1, 3, side, side)."""
    path = next(path for path in sample_photos() if path.stem == "astronaut")
    return middle_square(load_image(path).pixels, side)


@pytest.mark.parametrize("name", UPSCALERS)
@torch.inference_mode()
def test_an_upscaler_leaves_no_checkerboard(name: str) -> None:
    """Neither of the periods that its sub-pixel convolution could leave stands out of the spectrum."""
    network = load_upscaler(name).network
    peaks = checkerboard_peaks(network(photograph(96)).clamp(0, 1), network.scale)
    assert max(peaks.values()) < THRESHOLD, peaks


@pytest.mark.parametrize("name", STYLES)
@torch.inference_mode()
def test_a_style_leaves_no_white_blotch(name: str) -> None:
    """Squares of 9 pixels that are all white: models whose decoders had instance norm left 0.3 to 1 % of them."""
    result = load_style_generator(name).network(photograph(320)).clamp(0, 1)
    darkest = -F.max_pool2d(-result.amin(1, keepdim=True), 9, 1)
    assert (darkest > 0.97).float().mean() < 0.001
