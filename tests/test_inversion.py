"""Images from features: the priors, the spaces an optimiser moves in, the preset, and what is found."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from percept_cli.core import inversion
from percept_cli.core.contact_sheet import GAP, LINE, Tile, contact_sheet, wrap
from percept_cli.core.dataset import load_square, sample_photos
from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.extractors.loading import create_extractor
from percept_cli.core.images import middle_square
from percept_cli.core.inversion import (
    USUAL_SIDE,
    InversionOptions,
    check_options,
    feature_error,
    fixed_side,
    for_sample,
    image_error,
    mahendran_vedaldi,
    mahendran_vedaldi_rates,
    reconstruct,
    shallow_to_deep,
)
from percept_cli.core.losses.functional import alpha_norm, relative_feature_loss, total_variation
from percept_cli.core.optimization import optimize_image
from percept_cli.core.parametrisation import Frequencies, Pixels
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
    target = extractor(original, [layer])[layer]
    asked = InversionOptions(**{"steps": 40, **given})  # type: ignore[arg-type]
    *_, last = reconstruct(target, layer, SIDE, extractor, RUNTIME, asked)
    return last.image


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
    """An image has no error against itself; a step of 10 grey levels everywhere is an image error of 10."""
    assert feature_error(original, original, LAYER, extractor) == 0
    assert feature_error(1 - original, original, LAYER, extractor) > 0.1
    assert image_error(original + 10 / 255, original) == pytest.approx(10, rel=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (16, 5)])
def test_frequencies_are_another_way_to_write_an_image(size: tuple[int, int]) -> None:
    """There and back is the same image, odd sizes too; grey is all zeros; moving one frequency moves every pixel."""
    space = Frequencies(*size)
    images = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.decode(space.encode(images)), images, atol=1e-5, rtol=0)
    grey = space.encode(torch.full((1, 3, *size), 0.5))
    assert grey.abs().max() < 1e-5
    grey[0, 0, 1, 1, 0] = 1.0
    assert (space.decode(grey) - 0.5).abs().amax(dim=1).gt(1e-6).float().mean() > 0.7


def test_steeper_frequencies_make_smoother_noise() -> None:
    """White noise of parameters is white at exponent 0 and the smoother the larger the exponent."""
    roughness = []
    for exponent in (0.0, 0.5, 1.0):
        space = Frequencies(64, 64, exponent)
        spectrum = space.encode(torch.zeros(1, 3, 64, 64))
        picture = space.decode(noise(*spectrum.shape))
        # Of white noise neighbours differ by 2 variances, across and down: 4.
        roughness.append((total_variation(picture) / picture.var(dim=(2, 3)).mean()).item())
    assert roughness[0] == pytest.approx(4, rel=0.05)
    assert roughness[0] > 1.2 * roughness[1] > 2 * roughness[2]


@pytest.mark.parametrize(
    ("optimizer", "space"),
    [
        ("adam", Pixels()),
        ("lbfgs", Pixels()),
        ("sgd", Pixels()),
        ("adam", Frequencies(8, 8)),
        ("lbfgs", Frequencies(8, 8)),
    ],
    ids=["adam", "lbfgs", "sgd", "adam-frequencies", "lbfgs-frequencies"],
)
def test_an_image_becomes_what_the_loss_asks_for(optimizer: str, space: Pixels | Frequencies) -> None:
    """In both spaces, by every optimiser, without touching the image it began with."""
    start, target = torch.rand((2, 1, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    before = start.clone()

    def distance(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (image - target).square().sum()
        return loss, {"distance": loss}

    # A spectrum's numbers are larger than pixels: they are of size 1.
    size = 0.1 if isinstance(space, Pixels) else 0.5
    rates = None if optimizer == "lbfgs" else [size * (1 - step / 60) for step in range(60)]
    steps = list(optimize_image(start, distance, 60, optimizer, parametrisation=space, rates=rates))
    assert steps[-1].total < 0.03 * steps[0].total
    assert steps[0].parts["distance"] == pytest.approx(steps[0].total)
    assert torch.equal(start, before)


def test_lbfgs_does_not_compute_a_place_twice() -> None:
    """The line search ends where the next step begins: hardly more evaluations than steps."""
    places: list[Tensor] = []
    target = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(0))

    def distance(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        places.append(image.detach().clone())
        return ((image - target) ** 4).sum(), {}

    list(optimize_image(torch.full((1, 3, 8, 8), 0.5), distance, 30, "lbfgs"))
    assert len(places) <= 40
    assert all(not torch.equal(place, other) for place, other in itertools.pairwise(places))


def test_sgd_forgets_its_momentum_where_the_rate_changes() -> None:
    """Down a slope of 1 steps grow by momentum, 1, 1.9, ..., until another rate begins with a bare step again."""

    def slope(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return image.sum(), {}

    rates = [0.01, 0.01, 0.001, 0.001]
    values = [step.image[0, 0, 0, 0].item() for step in optimize_image(
        torch.full((1, 3, 2, 2), 0.9), slope, 4, "sgd", rates=rates)]  # fmt: skip
    moves = [before - after for before, after in zip([0.9, *values], values, strict=False)]
    assert moves == pytest.approx([0.01, 0.019, 0.001, 0.0019], rel=1e-3)
    with pytest.raises(UsageError, match="rate for each step"):
        next(optimize_image(torch.zeros(1, 3, 2, 2), slope, 1, "sgd"))


# --- the preset


def test_the_preset_has_the_papers_values() -> None:
    """Total variation by thirds of the depth, α = 6 in effect, 400 steps of three rates in the ratio 1 : 2 : 1."""
    squeezenet = create_architecture("squeezenet1_0")
    weights = [mahendran_vedaldi(squeezenet, layer).total_variation_weight for layer in squeezenet.layer_names]
    assert weights == sorted(weights) and set(weights) == {0.5, 5.0, 50.0}
    alexnet = create_architecture("alexnet")
    asked = {layer: mahendran_vedaldi(alexnet, layer) for layer in ("conv1", "relu3", "fc6", "fc8")}
    assert [each.total_variation_weight for each in asked.values()] == [0.5, 5.0, 50.0, 50.0]
    assert {(each.steps, each.optimizer, each.parametrisation) for each in asked.values()} == {(400, "sgd", "pixels")}

    rates = mahendran_vedaldi_rates(400)
    assert [rates.count(rate) for rate in dict.fromkeys(rates)] == [100, 200, 100]
    assert list(dict.fromkeys(rates)) == pytest.approx([4e-3, 4e-4, 4e-5])


def test_the_presets_alpha_weight_is_theirs_on_their_scale() -> None:
    """4e-10 · Σ x⁶ / ‖σ‖² over grey levels, ‖σ‖² being their number times their variance, is what is computed here."""
    deviation = 0.226
    normalised = noise(1, 3, 6, 7)
    grey = 255 * deviation * normalised
    theirs = 4e-10 * (grey.double() ** 6).sum() / (grey.numel() * (255 * deviation) ** 2)
    weight = mahendran_vedaldi(create_architecture("alexnet"), "conv1").alpha_weight
    assert weight * alpha_norm(normalised).item() == pytest.approx(theirs.item(), rel=1e-4)


# --- what is found


def test_a_shallow_layer_gives_the_image_back(extractor: FeatureExtractor, original: Tensor) -> None:
    """From noise, 40 steps leave 6 % of the features and ten grey levels, without more noise than the image has."""
    image = found(extractor, original)
    assert feature_error(image, original, LAYER, extractor) < 0.06
    assert image_error(image, original) < 10
    assert total_variation(image) < 1.5 * total_variation(original)
    assert image.shape == original.shape and image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "auto"},
        {"optimizer": "lbfgs"},
        {"optimizer": "adam"},
        {"optimizer": "adam", "jitter": 1},
        {"optimizer": "adam", "parametrisation": "pixels"},
        {"optimizer": "lbfgs", "parametrisation": "pixels"},
    ],
    ids=str,
)
def test_every_way_brings_the_error_down(
    given: dict[str, object], extractor: FeatureExtractor, original: Tensor
) -> None:
    """The squared error falls to a tenth of the start's; to a third where the picture is never twice at one place."""
    target = extractor(original, [LAYER])[LAYER]
    asked = InversionOptions(steps=40, **given)  # type: ignore[arg-type]
    steps = list(reconstruct(target, LAYER, SIDE, extractor, RUNTIME, asked))
    assert [step.index for step in steps] == list(range(1, 41))
    share = 1 / 3 if asked.jitter else 0.1
    assert min(step.parts["feature"] for step in steps) < share * steps[0].parts["feature"]


def test_adam_ends_the_search_where_little_is_missing(
    extractor: FeatureExtractor, original: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no error small enough the search is L-BFGS to the bit; else it parts from it in its last third."""
    target = extractor(original, [LAYER])[LAYER]

    def images(optimizer: str) -> list[Tensor]:
        asked = InversionOptions(steps=9, optimizer=optimizer)
        return [step.image for step in reconstruct(target, LAYER, SIDE, extractor, RUNTIME, asked)]

    alone = images("lbfgs")
    monkeypatch.setattr(inversion, "POLISHED_BELOW", 0.0)
    assert all(torch.equal(one, other) for one, other in zip(images("auto"), alone, strict=True))
    monkeypatch.setattr(inversion, "POLISHED_BELOW", 10.0)
    same = [torch.equal(one, other) for one, other in zip(images("auto"), alone, strict=True)]
    assert same == [True] * 6 + [False] * 3


def test_the_preset_brings_the_error_down(extractor: FeatureExtractor, original: Tensor) -> None:
    """SGD on pixels from white noise, with the priors in the sum."""
    target = extractor(original, [LAYER])[LAYER]
    asked = replace(mahendran_vedaldi(create_architecture("compact"), LAYER), steps=60)
    steps = list(reconstruct(target, LAYER, SIDE, extractor, RUNTIME, asked))
    assert set(steps[0].parts) == {"feature", "tv", "alpha"}
    assert steps[0].total == pytest.approx(sum(steps[0].parts.values()), rel=1e-4)
    assert steps[-1].total < 0.2 * steps[0].total
    assert math.isfinite(steps[-1].total)


def test_the_deepest_layer_and_priors(extractor: FeatureExtractor, original: Tensor) -> None:
    """The last layer is matched too, and total variation makes the picture smoother."""
    plain = found(extractor, original, "relu5_2", steps=25)
    smooth = found(extractor, original, "relu5_2", steps=25, total_variation_weight=5.0)
    assert feature_error(plain, original, "relu5_2", extractor) < 0.4
    assert total_variation(smooth) < 0.5 * total_variation(plain)


def test_a_softmax_code_is_inverted() -> None:
    """(1, C) codes are targets like any other, whatever the size of the image."""
    squeezenet = RUNTIME.freeze(create_extractor("squeezenet1_1", ["prob"], "random"))
    target = squeezenet(torch.rand(1, 3, 40, 40), ["prob"])["prob"]
    assert target.ndim == 2
    asked = InversionOptions(steps=15)
    steps = list(reconstruct(target, "prob", 40, squeezenet, RUNTIME, asked))
    assert steps[-1].parts["feature"] < 0.5 * steps[0].parts["feature"]


def test_a_seed_fixes_the_picture(extractor: FeatureExtractor, original: Tensor) -> None:
    """The same seed gives the same bits, the next sample another picture."""
    asked = InversionOptions(seed=3)
    assert (for_sample(asked, 0).seed, for_sample(asked, 2).seed) == (3, 5)
    first, again, other = (found(extractor, original, "relu5_2", steps=6, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "adma"}, "adam"),
        ({"parametrisation": "pixel"}, "pixels"),
        ({"jitter": 2}, "--jitter"),
        ({"jitter": 2, "optimizer": "lbfgs"}, "--jitter"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(given: dict[str, object], message: str) -> None:
    """With the name that was meant, or the reason."""
    with pytest.raises(UsageError, match=message):
        check_options(InversionOptions(**given))  # type: ignore[arg-type]


def test_layers_are_ordered_as_the_network_has_them() -> None:
    """From shallow to deep, by their full names, each once."""
    architecture = create_architecture("compact")
    assert shallow_to_deep(architecture, ["conv5", "relu1_2", "conv3", "conv5_2"]) == ["relu1_2", "conv3_4", "conv5_2"]


def test_fully_connected_layers_take_one_size(extractor: FeatureExtractor) -> None:
    """224 pixels where a linear layer leads to a tap, any where none does."""
    assert fixed_side(extractor) is None
    with torch.device("meta"):
        alexnet = FeatureExtractor(create_architecture("alexnet"), ["fc6"])
    assert fixed_side(alexnet) == USUAL_SIDE


def test_the_middle_square_is_the_middle() -> None:
    """Of 4 x 8 pixels the columns 2 to 5."""
    columns = torch.arange(8.0).expand(1, 3, 4, 8) / 8
    assert torch.equal(middle_square(columns, 4)[0, 0, 0], torch.arange(2.0, 6.0) / 8)
    assert middle_square(columns, 7).shape == (1, 3, 7, 7)


# --- sheets


def test_a_sheet_keeps_pixels_and_has_captions_below_them() -> None:
    """Two pictures of different sizes and an empty place: where they lie, and what lies around them."""
    red, blue = torch.zeros(1, 3, 60, 80), torch.zeros(1, 3, 30, 90)
    red[:, 0], blue[:, 2] = 1, 1
    sheet = contact_sheet([[Tile(red, ("red", "60")), Tile(blue, ("a",))], [Tile(None), Tile(blue)]])
    width = GAP + 80 + GAP + 90 + GAP
    assert sheet.shape == (1, 3, GAP + 60 + 2 * LINE + GAP + 30 + GAP, width)
    assert torch.equal(sheet[..., GAP : GAP + 60, GAP : GAP + 80], red)
    assert torch.equal(sheet[..., GAP : GAP + 30, 2 * GAP + 80 : -GAP], blue)
    below = sheet[..., GAP + 60 : GAP + 60 + 2 * LINE, GAP : GAP + 80]
    assert below.min() < 0.2 and below.mean() > 0.7  # ink on paper
    assert sheet[..., -30:, : GAP + 80].min() == 1  # the empty place
    assert sheet.amin(dim=1)[0, :, :GAP].min() == 1


def test_a_long_caption_widens_its_column() -> None:
    """Small pictures do not make captions run into each other."""
    picture = torch.zeros(1, 3, 8, 8)
    narrow = contact_sheet([[Tile(picture), Tile(picture)]])
    wide = contact_sheet([[Tile(picture, ("fire5_squeeze_relu",)), Tile(picture)]])
    assert wide.shape[-1] > narrow.shape[-1] + 50
    assert wide[..., GAP : GAP + 8, :].eq(0).sum() == 2 * 3 * 8 * 8


def test_long_rows_are_wrapped_evenly() -> None:
    """15 tiles at most 6 wide are three rows of 5; few stay one row."""
    tiles = [Tile(None, (str(number),)) for number in range(15)]
    assert [len(row) for row in wrap(tiles, 6)] == [5, 5, 5]
    assert [len(row) for row in wrap(tiles[:7], 6)] == [4, 3]
    assert wrap(tiles[:3], 6) == [tiles[:3]]
