"""Style transfer by optimization: the loss falls, the same seed gives the same picture, the size is the photo's."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.extractors.tiled import TiledExtractor
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.losses.style_losses import STYLE_BALANCE
from percept_cli.core.optimization import style_transfer
from percept_cli.core.optimization.loop import OptimizationStep
from percept_cli.core.optimization.style_transfer import (
    COARSEST,
    StyleOptions,
    optimize_style,
    scales,
    split_steps,
    stylize,
)
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ImageError, UsageError

pytestmark = pytest.mark.numerical
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
CONTENT_LAYERS, STYLE_LAYERS = ("relu2_2",), ("relu1_1", "relu2_1")


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return RUNTIME.freeze(create_extractor("compact", [*CONTENT_LAYERS, *STYLE_LAYERS], "random"))


@pytest.fixture(scope="module")
def content(photos: Path) -> Tensor:
    return load_image(photos / "hill.png").pixels[..., :41, :51]


@pytest.fixture(scope="module")
def style(style_picture: Path) -> Tensor:
    return load_image(style_picture).pixels[..., :40, :44]


def options(**given: object) -> StyleOptions:
    defaults = {"steps": 4, "content_layers": CONTENT_LAYERS, "style_layers": STYLE_LAYERS}
    return StyleOptions(**{**defaults, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(("optimizer", "init"), [("adam", "content"), ("lbfgs", "noise"), ("lbfgs", "style")])
def test_the_loss_of_a_style_falls(
    optimizer: str, init: str, extractor: FeatureExtractor, content: Tensor, style: Tensor
) -> None:
    """From every start, with both optimizers; the parts carry the names of terms and layers and add up."""
    asked = options(steps=12, optimizer=optimizer, init=init)
    steps = list(optimize_style(content, [style], extractor, RUNTIME, asked))
    assert steps[-1].total < 0.8 * steps[0].total
    assert set(steps[0].parts) == {
        "content.relu2_2", "style.relu1_1", "style.relu2_1", "style.half.relu1_1", "style.half.relu2_1", "tv"
    }  # fmt: skip
    assert math.isclose(sum(steps[0].parts.values()), steps[0].total, rel_tol=1e-4)


def test_a_photographs_style_costs_1_at_the_start(extractor: FeatureExtractor, content: Tensor, style: Tensor) -> None:
    """With typical scaling an untouched photograph is at style distance 1 and content distance 0, by definition."""
    first = next(optimize_style(content, [style], extractor, RUNTIME, options()))
    of_style = sum(value for name, value in first.parts.items() if name.startswith("style"))
    assert math.isclose(of_style, STYLE_BALANCE, rel_tol=1e-3)
    assert first.parts["content.relu2_2"] == 0


def test_a_seed_fixes_the_picture(extractor: FeatureExtractor, content: Tensor, style: Tensor) -> None:
    """From noise, the same seed gives the same bits and another one another picture."""

    def last(seed: int) -> OptimizationStep:
        *_, step = optimize_style(content, [style], extractor, RUNTIME, options(init="noise", seed=seed))
        return step

    first, again, other = last(1), last(1), last(2)
    assert torch.equal(first.image, again.image) and first.total == again.total
    assert not torch.equal(first.image, other.image)


def test_the_last_picture_has_the_photographs_size(
    extractor: FeatureExtractor, content: Tensor, style: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coarse to fine, the sizes grow, the steps are numbered through, and the end is 41 x 51 as the photograph is."""
    monkeypatch.setattr(style_transfer, "COARSEST", 24)
    steps = list(optimize_style(content, [style], extractor, RUNTIME, options(steps=6)))
    sizes = [tuple(step.image.shape[-2:]) for step in steps]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 2
    assert sizes[-1] == (41, 51)
    assert [step.index for step in steps] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("size", [(64, 64), (192, 300), (271, 500), (333, 250), (1000, 777), (4000, 3000), (301, 40)])
def test_sizes_double_from_the_coarsest_to_the_photographs(size: tuple[int, int]) -> None:
    """The last is exact, the first lays strokes near 192 px, none more than doubles, and the shape is kept."""
    sizes = scales(*size)
    assert sizes[-1] == size
    if min(size) >= COARSEST:
        assert COARSEST <= min(sizes[0]) <= COARSEST * math.sqrt(2)
    else:
        assert len(sizes) == 1
    for coarse, fine in itertools.pairwise(sizes):
        assert coarse < fine
        assert min(fine) / min(coarse) <= 2.01
    for height, width in sizes:
        assert abs(height / width - size[0] / size[1]) < 0.02 * size[0] / size[1]


def test_steps_are_split_without_loss() -> None:
    """They add up to what was asked for, each size gets one, and the coarsest, which costs least, the most."""
    for count, share in itertools.product(range(1, 7), (0.5, 1.0)):
        for steps in range(count, 80):
            split = split_steps(steps, count, share)
            assert len(split) == count and sum(split) == steps and min(split) >= 1
            if steps >= 4 * count and share < 1:
                assert split == sorted(split, reverse=True)
    assert split_steps(70, 3) == [40, 20, 10]
    assert split_steps(60, 3, 1.0) == [20, 20, 20]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_picture_in_its_own_style_stays_as_it_is(
    optimizer: str, extractor: FeatureExtractor, content: Tensor
) -> None:
    """Content and style are reached already, so without smoothing nothing moves."""
    asked = options(steps=5, optimizer=optimizer, tv_weight=0.0)
    *_, last = optimize_style(content, [content], extractor, RUNTIME, asked)
    torch.testing.assert_close(last.image, content, atol=1 / 255, rtol=0)


def test_a_style_at_no_distance_has_a_readable_loss(extractor: FeatureExtractor, content: Tensor) -> None:
    """Nothing can be measured in units of zero: a photograph in its own style does not start a loss of 10^19."""
    steps = list(optimize_style(content, [content], extractor, RUNTIME, options(steps=8)))
    assert max(step.total for step in steps) < 1000


def test_more_style_weight_is_more_style(extractor: FeatureExtractor, content: Tensor, style: Tensor) -> None:
    """The content loss at the end rises with the weight of the style."""

    def content_loss(weight: float) -> float:
        asked = options(steps=10, style_weight=weight)
        *_, last = optimize_style(content, [style], extractor, RUNTIME, asked)
        return last.parts["content.relu2_2"]

    assert content_loss(0.01) < content_loss(1.0)


def test_blending_all_of_one_style_is_that_style(extractor: FeatureExtractor, content: Tensor, style: Tensor) -> None:
    """Weights 1,0 give the bits of the first style alone; weights 1,1 do not."""

    def last(styles: list[Tensor], blend: list[float]) -> Tensor:
        *_, step = optimize_style(content, styles, extractor, RUNTIME, options(blend=blend))
        return step.image

    alone = last([style], [1.0])
    assert torch.equal(last([style, content.flip(1)], [1.0, 0.0]), alone)
    assert not torch.equal(last([style, content.flip(1)], [1.0, 1.0]), alone)


def test_contextual_style_is_its_own_loss(extractor: FeatureExtractor, content: Tensor, style: Tensor) -> None:
    """It starts at the balance of an untouched photograph, falls, and ends in another picture than Gram's."""
    asked = options(steps=5, loss="contextual", style_layers=("relu2_1",))
    steps = list(optimize_style(content, [style], extractor, RUNTIME, asked))
    *_, gram = optimize_style(content, [style], extractor, RUNTIME, replace(asked, loss="gram"))
    *_, wide = optimize_style(content, [style], extractor, RUNTIME, replace(asked, bandwidth=1.0))

    assert steps[0].parts["style.relu2_1"] == pytest.approx(STYLE_BALANCE, rel=1e-3)
    assert steps[-1].total < 0.8 * steps[0].total
    assert not torch.allclose(steps[-1].image, gram.image, atol=0.01)
    assert not torch.allclose(steps[-1].image, wide.image, atol=0.01)


@pytest.mark.parametrize("loss", ["gram", "contextual"])
def test_features_in_tiles_give_the_same_picture(
    loss: str, extractor: FeatureExtractor, content: Tensor, style: Tensor
) -> None:
    """Step by step, within a fiftieth of how far the picture has come.

    To rounding is not to be had: where two points of the style are as near, the contextual loss takes either, and Adam
    makes a whole step of any gradient. Gradients alone are compared in float64 by the tests of tiled features.
    """
    asked = options(steps=3, loss=loss, style_layers=("relu2_1",))
    tiled = TiledExtractor(extractor, 32)
    for whole, part in zip(
        *(optimize_style(content, [style], e, RUNTIME, asked) for e in (extractor, tiled)), strict=True
    ):
        assert part.total == pytest.approx(whole.total, rel=1e-3)
        assert (part.image - whole.image).abs().mean() < 0.02 * (whole.image - content).abs().mean()


def test_a_photograph_is_restyled_in_a_few_lines(
    extractor: FeatureExtractor, content: Tensor, style: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photo to photo: its size or the one asked for, its transparency, its pixels where a mask is black or strength is 0."""
    monkeypatch.setattr(style_transfer, "COARSEST", 24)
    height, width = content.shape[-2:]
    alpha = torch.linspace(0.5, 1, width).expand(1, 1, height, width)
    photo = Photo(content, alpha=alpha, icc=b"profile")
    mask = torch.zeros(1, 1, height, width)
    mask[..., : width // 2] = 1

    def restyled(**given: object) -> Photo:
        for step in stylize(photo, [style], extractor, RUNTIME, options(steps=3), **given):  # type: ignore[arg-type]
            assert step.photo.width in (width, 25), "the full size, whatever size the optimization has reached"
        return step.photo

    changed, partly = restyled(), restyled(mask=mask)
    assert changed.pixels.shape == content.shape and changed.icc == b"profile"
    assert torch.equal(changed.alpha, alpha)  # type: ignore[arg-type]
    assert not torch.allclose(changed.pixels, content, atol=0.02)
    assert torch.equal(partly.pixels[..., width // 2 :], content[..., width // 2 :])
    assert torch.equal(partly.pixels[..., : width // 2], changed.pixels[..., : width // 2])
    torch.testing.assert_close(restyled(strength=0.0).pixels, content)
    small = restyled(size=20)
    assert min(small.height, small.width) == 20
    with pytest.raises(ImageError, match="1x1 pixels are too few for compact: give --size 2"):
        next(stylize(photo, [style], extractor, RUNTIME, options(), size=1))


def test_unknown_names_get_a_suggestion(extractor: FeatureExtractor, content: Tensor, style: Tensor) -> None:
    """Of an optimizer, a start, a scaling, a loss."""
    for name, wrong, right in (
        ("optimizer", "adm", "adam"),
        ("init", "nose", "noise"),
        ("scaling", "papers", "paper"),
        ("loss", "contextul", "contextual"),
    ):
        with pytest.raises(UsageError, match=f"'{wrong}'. Did you mean '{right}'"):
            next(optimize_style(content, [style], extractor, RUNTIME, options(**{name: wrong})))
