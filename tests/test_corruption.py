"""Self-made damage: of the kind and amount asked for, in whole gray levels, the same for the same random source."""

import numpy as np
import pytest
import torch
from torch import Tensor

from percept_cli.core.data.amounts import CORRUPTIONS, parse_amount
from percept_cli.core.data.compression import compress_jpeg
from percept_cli.core.data.corruption import corrupt, draw_holes
from percept_cli.core.images.masks import hide
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical


@pytest.fixture
def image() -> Tensor:
    ramp = torch.linspace(0.3, 0.7, 48)
    return torch.stack([ramp[None, :].expand(48, 48), ramp[:, None].expand(48, 48), ramp.flip(0)[None].expand(48, 48)])


def spoilt(image: Tensor, kind: str, amount: float, seed: int = 0) -> Tensor:
    return corrupt(image, kind, amount, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_whole_levels_and_the_same_for_the_same_seed(image: Tensor, kind: str) -> None:
    first = spoilt(image, kind, CORRUPTIONS[kind].high)
    assert torch.equal(first, spoilt(image, kind, CORRUPTIONS[kind].high))
    assert first.shape == (4 if kind == "mask" else 3, 48, 48)
    if kind != "mask":  # what a mask leaves is the image's own, and an image's levels are whole before
        assert torch.allclose(first * 255, (first * 255).round(), atol=1e-4)
        assert not torch.equal(first, image)


def test_noise_has_the_deviation_asked_for(image: Tensor) -> None:
    difference = (spoilt(image, "noise", 10) - image) * 255
    assert difference.std().item() == pytest.approx(10, rel=0.03)
    assert difference.mean().abs() < 0.5


def test_gray_is_luma_three_times(image: Tensor) -> None:
    gray = spoilt(image, "gray", 0)
    red, green, blue = image
    assert torch.allclose(gray[0], 0.299 * red + 0.587 * green + 0.114 * blue, atol=0.5 / 255 + 1e-6)
    assert torch.equal(gray[0], gray[1])
    assert torch.equal(gray[1], gray[2])


def test_jpeg_is_pillows(image: Tensor) -> None:
    assert torch.equal(spoilt(image, "jpeg", 20), compress_jpeg(image[None], 20)[0])


def test_what_is_smooth_survives_blur_and_downscale(image: Tensor) -> None:
    """A ramp but for its edges; a checkerboard of single pixels does not."""
    board = (torch.arange(48)[:, None] + torch.arange(48)).remainder(2).float().expand(3, -1, -1)
    for kind, amount in (("blur", 2.0), ("downscale", 4.0)):
        assert (spoilt(image, kind, amount) - image)[..., 12:-12, 12:-12].abs().max() < 0.01
        assert (spoilt(board, kind, amount) - 0.5)[..., 12:-12, 12:-12].abs().max() < 0.02


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5])
def test_holes_take_at_least_their_share(share: float) -> None:
    """And not much more: the last hole may be the largest, three tenths of each side."""
    masks = [draw_holes(96, 128, share, np.random.default_rng(seed)) for seed in range(8)]
    assert all(share <= mask.mean().item() <= share + 0.1 for mask in masks)
    assert all(set(mask.unique().tolist()) == {0.0, 1.0} for mask in masks)
    assert not torch.equal(masks[0], masks[1])


def test_a_hole_hides_what_was_there(image: Tensor) -> None:
    hidden = spoilt(image, "mask", 20)
    hole = hidden[3] > 0
    assert torch.equal(hidden[:3, ~hole], image[:, ~hole])
    assert torch.equal(hidden, hide(image[None], hidden[None, 3:])[0])
    assert not torch.equal(hidden[:3, hole], image[:, hole])


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [("noise", "25", (25, 25)), ("noise", "5-50", (5, 50)), ("blur", "0.5-1.5", (0.5, 1.5)), ("jpeg", None, (8, 50))],
)
def test_an_amount_is_a_number_or_a_range(kind: str, given: str | None, expected: tuple[float, float]) -> None:
    assert parse_amount(kind, given) == expected


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("noise", "50-5", "number from 0 to 255 (standard deviation in gray levels of 255), or two as in 5-50"),
        ("jpeg", "0", "number from 1 to 95 (quality)"),
        ("mask", "lots", "percent of the image"),
        ("nosie", None, "Did you mean 'noise'?"),
    ],
)
def test_what_cannot_be_is_refused(kind: str, given: str | None, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_amount(kind, given)
    assert said in str(caught.value)
