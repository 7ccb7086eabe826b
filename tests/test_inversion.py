"""Images from features: the priors, the spaces an optimizer moves in, the preset, and what is found."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from percept_cli.core.data.photos import load_square, sample_photos
from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.losses.functional import alpha_norm, relative_feature_loss, total_variation
from percept_cli.core.measures.pixels import image_error
from percept_cli.core.optimization import inversion
from percept_cli.core.optimization.inversion import (
    InversionOptions,
    check_options,
    feature_error,
    invert,
    mahendran_vedaldi,
    mahendran_vedaldi_rates,
    preset_options,
)
from percept_cli.core.optimization.loop import OptimizationStep
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
SIDE = 32
LAYER = "relu2_1"


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return RUNTIME.freeze(create_extractor("compact", [LAYER, "relu5_2"]))


@pytest.fixture(scope="module")
def original() -> Tensor:
    """A photograph."""
    (cat,) = (photo for photo in sample_photos() if photo.name == "chelsea.png")
    return load_square(cat, SIDE)


def found(extractor: FeatureExtractor, original: Tensor, layer: str = LAYER, **given: object) -> Tensor:
    """The picture at the end of an inversion."""
    asked = InversionOptions(**{"steps": 40, **given})  # type: ignore[arg-type]
    *_, last = invert(original, layer, extractor, RUNTIME, asked)
    return last.image


@pytest.fixture(scope="module")
def usual_steps(extractor: FeatureExtractor, original: Tensor) -> list[OptimizationStep]:
    """All steps of an inversion with the usual options."""
    return list(invert(original, LAYER, extractor, RUNTIME, InversionOptions(steps=40)))


# --- the functions


def test_the_alpha_norm_is_the_mean_of_powers() -> None:
    """By hand: 1, 64 and 0 of three values; in double precision its gradient is the derivative."""
    assert alpha_norm(torch.tensor([[[[1.0, -2.0, 0.0]]]])).item() == pytest.approx(65 / 3)
    images = noise(2, 3, 4, 5)
    assert alpha_norm(images, 4.0).item() == pytest.approx((images.double() ** 4).mean().item(), rel=1e-5)
    doubles = noise(1, 3, 4, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(alpha_norm, (doubles,))


def test_the_relative_error_of_known_features() -> None:
    """Itself costs 0, nothing at all costs 1, twice the target 1, and the size of the target does not count."""
    target = noise(1, 4, 3, 3)
    assert relative_feature_loss(target, target).item() == 0
    assert relative_feature_loss(torch.zeros_like(target), target).item() == pytest.approx(1)
    assert relative_feature_loss(2 * target, target).item() == pytest.approx(1)
    assert relative_feature_loss(330 * target, 300 * target).item() == pytest.approx(0.01, rel=1e-4)
    doubles = target.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: relative_feature_loss(x, torch.ones_like(x)), (doubles,))


def test_the_errors_of_an_image(extractor: FeatureExtractor, original: Tensor) -> None:
    """An image has no error against itself; a step of 10 gray levels everywhere is an image error of 10."""
    assert feature_error(original, original, LAYER, extractor) == 0
    assert feature_error(1 - original, original, LAYER, extractor) > 0.1
    assert image_error(original + 10 / 255, original) == pytest.approx(10, rel=1e-4)


# --- the preset


def test_the_preset_has_the_papers_values() -> None:
    """Total variation by thirds of the depth, α = 6 in effect, 400 steps of three rates in the ratio 1 : 2 : 1."""
    squeezenet = create_architecture("squeezenet1_0")
    weights = [mahendran_vedaldi(squeezenet, layer).tv_weight for layer in squeezenet.layer_names]
    assert weights == sorted(weights) and set(weights) == {0.5, 5.0, 50.0}
    alexnet = create_architecture("alexnet")
    asked = {layer: mahendran_vedaldi(alexnet, layer) for layer in ("conv1", "relu3", "fc6", "fc8")}
    assert [each.tv_weight for each in asked.values()] == [0.5, 5.0, 50.0, 50.0]
    assert {(each.steps, each.optimizer, each.parametrization) for each in asked.values()} == {(400, "sgd", "pixels")}

    assert preset_options("mahendran-vedaldi", alexnet, "fc6") == asked["fc6"]
    assert preset_options(None, alexnet, "fc6") == InversionOptions()

    rates = mahendran_vedaldi_rates(400)
    assert [rates.count(rate) for rate in dict.fromkeys(rates)] == [100, 200, 100]
    assert list(dict.fromkeys(rates)) == pytest.approx([4e-3, 4e-4, 4e-5])


def test_the_presets_alpha_weight_is_theirs_on_their_scale() -> None:
    """4e-10 · Σ x⁶ / ‖σ‖² over gray levels, ‖σ‖² being their number times their variance, is what is computed here."""
    deviation = 0.226
    normalized = noise(1, 3, 6, 7)
    gray = 255 * deviation * normalized
    theirs = 4e-10 * (gray.double() ** 6).sum() / (gray.numel() * (255 * deviation) ** 2)
    weight = mahendran_vedaldi(create_architecture("alexnet"), "conv1").alpha_weight
    assert weight * alpha_norm(normalized).item() == pytest.approx(theirs.item(), rel=1e-4)


def test_the_presets_variation_is_theirs_on_their_scale() -> None:
    """½ · λ · Σ (dx² + dy²) / ‖σ‖² over gray levels, with λ of 1 for the first layers, is what is computed here."""
    deviation, side = 0.226, 50
    normalized = noise(1, 3, side, side)
    gray = 255 * deviation * normalized.double()
    squares = (gray[..., 1:, :-1] - gray[..., :-1, :-1]) ** 2 + (gray[..., :-1, 1:] - gray[..., :-1, :-1]) ** 2
    # Their sum has no last row and column, and neither have the pixels that it is divided by here.
    theirs = 0.5 * 1.0 * squares.sum() / (3 * (side - 1) ** 2 * (255 * deviation) ** 2)
    weight = mahendran_vedaldi(create_architecture("alexnet"), "conv1").tv_weight
    assert weight * total_variation(normalized).item() == pytest.approx(theirs.item(), rel=1e-4)


# --- what is found


def test_a_shallow_layer_gives_the_image_back(
    extractor: FeatureExtractor, original: Tensor, usual_steps: list[OptimizationStep]
) -> None:
    """From noise, 40 steps leave 6 % of the features and ten gray levels, without more noise than the image has."""
    assert [step.index for step in usual_steps] == list(range(1, 41))
    assert min(step.parts["feature"] for step in usual_steps) < 0.1 * usual_steps[0].parts["feature"]
    image = usual_steps[-1].image
    assert feature_error(image, original, LAYER, extractor) < 0.06
    assert image_error(image, original) < 10
    assert total_variation(image) < 1.5 * total_variation(original)
    assert image.shape == original.shape and image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "lbfgs"},
        {"optimizer": "adam"},
        {"optimizer": "adam", "jitter": 1},
        {"optimizer": "adam", "parametrization": "pixels"},
        {"optimizer": "lbfgs", "parametrization": "pixels"},
    ],
    ids=str,
)
def test_every_way_brings_the_error_down(
    given: dict[str, object], extractor: FeatureExtractor, original: Tensor
) -> None:
    """The squared error falls to a tenth of the start's; to a third where the picture is never twice at one place."""
    asked = InversionOptions(steps=40, **given)  # type: ignore[arg-type]
    steps = list(invert(original, LAYER, extractor, RUNTIME, asked))
    assert [step.index for step in steps] == list(range(1, 41))
    share = 1 / 3 if asked.jitter else 0.1
    assert min(step.parts["feature"] for step in steps) < share * steps[0].parts["feature"]


def test_adam_ends_the_search_where_little_is_missing(
    extractor: FeatureExtractor, original: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no error small enough the search is L-BFGS to the bit; else it parts from it in its last third."""

    def images(optimizer: str) -> list[Tensor]:
        asked = InversionOptions(steps=9, optimizer=optimizer)
        return [step.image for step in invert(original, LAYER, extractor, RUNTIME, asked)]

    alone = images("lbfgs")
    monkeypatch.setattr(inversion, "ADAM_BELOW", 0.0)
    assert all(torch.equal(one, other) for one, other in zip(images("auto"), alone, strict=True))
    monkeypatch.setattr(inversion, "ADAM_BELOW", 10.0)
    same = [torch.equal(one, other) for one, other in zip(images("auto"), alone, strict=True)]
    assert same == [True] * 6 + [False] * 3


def test_the_preset_brings_the_error_down(extractor: FeatureExtractor, original: Tensor) -> None:
    """SGD on pixels from white noise, with the priors in the sum."""
    asked = replace(mahendran_vedaldi(create_architecture("compact"), LAYER), steps=60)
    steps = list(invert(original, LAYER, extractor, RUNTIME, asked))
    assert set(steps[0].parts) == {"feature", "tv", "alpha"}
    assert steps[0].total == pytest.approx(sum(steps[0].parts.values()), rel=1e-4)
    assert steps[-1].total < 0.2 * steps[0].total
    assert math.isfinite(steps[-1].total)


def test_the_deepest_layer_and_priors(extractor: FeatureExtractor, original: Tensor) -> None:
    """The last layer is matched too, and total variation makes the picture smoother."""
    plain = found(extractor, original, "relu5_2", steps=20)
    smooth = found(extractor, original, "relu5_2", steps=20, tv_weight=5.0)
    assert feature_error(plain, original, "relu5_2", extractor) < 0.4
    assert total_variation(smooth) < 0.5 * total_variation(plain)


def test_a_softmax_code_is_inverted() -> None:
    """(1, C) codes are targets like any other, and the image need not be a square."""
    squeezenet = RUNTIME.freeze(create_extractor("squeezenet1_1", ["prob"], "random"))
    photo = torch.rand(1, 3, 32, 40)
    assert squeezenet(photo, ["prob"])["prob"].ndim == 2
    asked = InversionOptions(steps=15)
    steps = list(invert(photo, "prob", squeezenet, RUNTIME, asked))
    assert steps[-1].image.shape == photo.shape
    assert steps[-1].parts["feature"] < 0.5 * steps[0].parts["feature"]


def test_a_seed_fixes_the_picture(extractor: FeatureExtractor, original: Tensor) -> None:
    """The same seed gives the same bits, the next one another picture."""
    first, again, other = (found(extractor, original, steps=4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "adma"}, "adam"),
        ({"parametrization": "pixel"}, "pixels"),
        ({"jitter": 2}, "--jitter"),
        ({"jitter": 2, "optimizer": "lbfgs"}, "--jitter"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(given: dict[str, object], message: str) -> None:
    """With the name that was meant, or the reason."""
    with pytest.raises(UsageError, match=message):
        check_options(InversionOptions(**given))  # type: ignore[arg-type]
