"""Losses give the figures that their formulas give by hand, and gradients that lead downhill."""

import math

import pytest
import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.inference.colors import match_histogram
from percept_cli.core.losses import (
    ConsistencyTerm,
    ContextualTerm,
    FeatureTerm,
    FourierTerm,
    LowFrequencyTerm,
    PerceptualLoss,
    PixelTerm,
    StyleTerm,
    TextureTerm,
    TotalVariationTerm,
    contextual_loss,
)
from percept_cli.core.losses.functional import (
    charbonnier_loss,
    feature_cosine_loss,
    feature_l1_loss,
    feature_reconstruction_loss,
    gram_matrix,
    low_frequency_loss,
    mean_one_gram_loss,
    patch_gram_loss,
    patch_grams,
    pixel_loss,
    style_reconstruction_loss,
    total_variation,
    typical_gram_distance,
    typical_square,
)
from percept_cli.core.losses.style_losses import STYLE_LOSSES
from percept_cli.core.losses.terms import FEATURE_DISTANCES, remember_last
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.training.translation_data import PIX2PIXHD_WEIGHTS
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_3")


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def noise_images(count: int = 1, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(seed))


def photographs(count: int = 3) -> Tensor:
    """Smooth pictures, as different from noise and from each other as photographs are."""
    return torch.nn.functional.interpolate(noise_images(count, 6, seed=9), size=32, mode="bicubic").clamp(0, 1)


def call(
    term: torch.nn.Module, features: dict[str, Tensor], targets: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """A term on features alone, the images being of no concern to it."""
    nothing = torch.empty(0)
    return term(nothing, features, nothing, targets or {})


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return create_extractor("compact", LAYERS, weights="random")


# --- known answers


def test_gram_of_a_constant_map():
    levels = torch.tensor([1.0, -2.0, 3.0])
    features = levels.view(1, 3, 1, 1).expand(1, 3, 5, 7)

    # Every pixel gives the same product, and the sum over H·W pixels is divided by C·H·W.
    torch.testing.assert_close(gram_matrix(features), torch.outer(levels, levels)[None] / 3)


def test_gram_does_not_depend_on_the_memory_layout():
    features = noise(2, 5, 6, 7)

    torch.testing.assert_close(gram_matrix(features), gram_matrix(features.to(memory_format=torch.channels_last)))


def test_total_variation_of_a_checkerboard():
    squares = (torch.arange(6).view(-1, 1) + torch.arange(8)) % 2
    board = squares.float().expand(2, 3, 6, 8)

    # Every pixel differs by 1 across and down: dx² + dy² = 2.
    assert total_variation(board).item() == 2
    assert total_variation(0.5 * board).item() == 0.5
    assert total_variation(board, exponent=1.0).item() == pytest.approx(math.sqrt(2 + 1e-8))
    assert total_variation(board, exponent=3.0).item() == pytest.approx((2 + 1e-8) ** 1.5)


def test_total_variation_of_a_ramp():
    ramp = 0.1 * torch.arange(5.0).expand(1, 3, 4, 5)

    assert total_variation(ramp).item() == pytest.approx(0.01)
    assert total_variation(ramp, exponent=1.0).item() == pytest.approx(0.1)
    assert total_variation(torch.full((1, 3, 4, 4), 0.3)).item() == 0


def test_total_variation_has_a_finite_gradient_on_a_plain():
    images = torch.full((1, 3, 4, 4), 0.3, requires_grad=True)

    total_variation(images, exponent=1.0).backward()

    assert images.grad is not None and torch.equal(images.grad, torch.zeros_like(images))


def test_distances_by_hand():
    ones, threes = torch.ones(2, 4, 3, 3), torch.full((2, 4, 3, 3), 3.0)

    assert feature_reconstruction_loss(threes, ones).item() == 4
    assert feature_l1_loss(threes, ones).item() == 2
    assert pixel_loss(threes, ones).item() == 4
    assert pixel_loss(threes, ones, "l1").item() == 2
    # A sum over the 4·4 entries, a mean over the images.
    assert style_reconstruction_loss(torch.full((2, 4, 4), 3.0), torch.ones(2, 4, 4)).item() == 16 * 4
    assert style_reconstruction_loss(torch.full((2, 4, 4), 3.0), torch.ones(1, 4, 4)).item() == 16 * 4


def test_identity_costs_nothing():
    features = noise(2, 4, 5, 5)

    assert feature_reconstruction_loss(features, features).item() == 0
    assert feature_l1_loss(features, features).item() == 0
    assert style_reconstruction_loss(gram_matrix(features), gram_matrix(features)).item() == 0
    assert pixel_loss(features, features).item() == 0


def test_typical_square_ignores_the_level_of_a_channel():
    target = torch.tensor([[[[1.0, 3.0]], [[101.0, 103.0]]]])

    assert typical_square(target).item() == pytest.approx(2.0)  # twice the variance 1


def test_gram_forgets_where_things_are_and_features_do_not():
    features = noise(1, 6, 8, 8)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = features.flatten(2)[..., order].view_as(features)

    assert style_reconstruction_loss(gram_matrix(shuffled), gram_matrix(features)).item() < 1e-10
    assert feature_reconstruction_loss(shuffled, features).item() > 1


def test_charbonnier_by_hand():
    images, target = torch.tensor([[[[0.0, 3.0]]]]), torch.tensor([[[[0.0, 0.0]]]])

    assert charbonnier_loss(images, target, epsilon=4.0).item() == pytest.approx((4 + 5) / 2)
    assert pixel_loss(images, target, "charbonnier").item() == pytest.approx((1e-3 + math.sqrt(9 + 1e-6)) / 2)
    assert charbonnier_loss(target, target).item() == pytest.approx(1e-3)


def test_patch_grams_are_those_of_the_cut_out_patches():
    features = noise(2, 3, 9, 11)

    grams = patch_grams(features, 4)

    # Two rows of two patches in each image; the last row and the last three columns fill none.
    corners = [(0, 0), (0, 4), (4, 0), (4, 4)]
    expected = [gram_matrix(image[..., y : y + 4, x : x + 4]) for image in features.split(1) for y, x in corners]
    torch.testing.assert_close(grams, torch.cat(expected))
    torch.testing.assert_close(patch_grams(features[:1], 9), gram_matrix(features[:1, :, :, :9]))
    torch.testing.assert_close(grams, patch_grams(features.to(memory_format=torch.channels_last), 4))
    with pytest.raises(UsageError, match="patch of 10 feature pixels does not fit into 11x9"):
        patch_grams(features, 10)


def test_patch_gram_loss_by_hand():
    # One channel, patches of one pixel: the Gram matrix is the square of the value.
    features, target = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[1.0, 1.0]]]])

    assert patch_gram_loss(features, target, patch=1).item() == pytest.approx(((4 - 1) ** 2 + 0) / 2)
    assert patch_gram_loss(features, features, patch=1).item() == 0


def test_texture_forgets_the_order_within_a_patch_and_keeps_that_of_the_patches():
    features = noise(1, 6, 8, 8)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    within = features.clone()
    within[..., :4, :4] = features[..., :4, :4].flatten(2)[..., order].view(1, 6, 4, 4)
    exchanged = torch.cat((features[..., 4:, :], features[..., :4, :]), dim=2)

    assert patch_gram_loss(within, features, patch=4).item() < 1e-10
    assert patch_gram_loss(exchanged, features, patch=4).item() > 0.01
    assert patch_gram_loss(exchanged, features, patch=8).item() < 1e-10


def test_typical_gram_distance_is_that_of_all_pairs():
    grams = noise(5, 3, 3)
    pairs = [(grams[i] - grams[j]).square().sum() for i in range(5) for j in range(5) if i != j]

    torch.testing.assert_close(typical_gram_distance(grams), torch.stack(pairs).mean())
    assert typical_gram_distance(grams[:1]).item() == 0


# --- histograms


def test_each_value_goes_to_the_one_of_its_rank():
    images = torch.tensor([0.3, 0.1, 0.2, 0.9]).view(1, 1, 2, 2)
    reference = torch.tensor([40.0, 10.0, 30.0, 20.0]).view(1, 1, 1, 4)

    assert match_histogram(images, reference).flatten().tolist() == [30, 10, 20, 40]


def test_a_reference_of_another_size_is_read_between_its_values():
    four = torch.tensor([10.0, 20.0, 30.0, 40.0]).view(1, 1, 2, 2)
    two = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)

    # The halves of four values have their middles between the first and the last two.
    assert match_histogram(two, four).flatten().tolist() == [15, 35]
    assert match_histogram(four, two).flatten().tolist() == [0, 0.25, 0.75, 1]


def test_equal_values_stay_equal():
    images = torch.tensor([1.0, 5.0, 1.0]).view(1, 1, 1, 3)
    reference = torch.tensor([10.0, 20.0, 30.0]).view(1, 1, 1, 3)

    assert match_histogram(images, reference).flatten().tolist() == [15, 30, 15]


@pytest.mark.parametrize("depth", [torch.uint8, torch.uint16])
def test_whole_levels_get_the_nearest_of_the_values_that_floats_get(depth):
    levels = (128 + 40 * noise(2, 3, 9, 7)).round().clamp(0, 255)
    reference = (100 + 20 * noise(2, 3, 5, 5, seed=1)).clamp(0, 255)

    matched = match_histogram(levels.to(depth), reference)

    assert matched.dtype == depth
    assert torch.equal(matched.float(), match_histogram(levels, reference).round())


def test_channels_and_images_are_matched_alone():
    images, reference = noise(2, 3, 16, 16), 5 + 2 * noise(2, 3, 8, 8, seed=1)

    matched = match_histogram(images, reference)

    torch.testing.assert_close(matched[1:, 2:], match_histogram(images[1:, 2:], reference[1:, 2:]))
    assert (matched.mean((2, 3)) - reference.mean((2, 3))).abs().max() < 0.05
    assert (matched.std((2, 3)) - reference.std((2, 3))).abs().max() < 0.1
    assert torch.equal(match_histogram(images, images), images)
    assert match_histogram(images.half(), reference.half()).dtype == torch.float16


# --- gradients


FUNCTIONS = {
    "gram_matrix": gram_matrix,
    "feature_reconstruction_loss": lambda x: feature_reconstruction_loss(x, noise(*x.shape, seed=1, dtype=x.dtype)),
    "feature_l1_loss": lambda x: feature_l1_loss(x, noise(*x.shape, seed=1, dtype=x.dtype)),
    "style_reconstruction_loss": lambda x: style_reconstruction_loss(
        gram_matrix(x), gram_matrix(noise(*x.shape, seed=1, dtype=x.dtype))
    ),
    "total_variation 2": total_variation,
    "total_variation 1": lambda x: total_variation(x, 1.0),
    "total_variation 1.5": lambda x: total_variation(x, 1.5),
    "pixel_loss mse": lambda x: pixel_loss(x, noise(*x.shape, seed=1, dtype=x.dtype)),
    "pixel_loss l1": lambda x: pixel_loss(x, noise(*x.shape, seed=1, dtype=x.dtype), "l1"),
    "pixel_loss charbonnier": lambda x: pixel_loss(x, noise(*x.shape, seed=1, dtype=x.dtype), "charbonnier"),
    "patch_gram_loss": lambda x: patch_gram_loss(x, noise(*x.shape, seed=1, dtype=x.dtype), patch=2),
    "typical_square": typical_square,
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients(function):
    values = noise(2, 3, 4, 4, dtype=torch.float64).requires_grad_()

    assert torch.autograd.gradcheck(FUNCTIONS[function], (values,))


def test_second_gradients_of_the_gram_matrix():
    values = noise(1, 2, 3, 3, dtype=torch.float64).requires_grad_()

    assert torch.autograd.gradgradcheck(gram_matrix, (values,))


def test_gram_and_its_gradient_equal_the_formula():
    features = noise(2, 7, 5, 6).requires_grad_()
    written_out = features.detach().clone().requires_grad_()
    direction = noise(2, 7, 7, seed=1)  # not symmetric, as the gradient of a further function may be

    gram = gram_matrix(features)
    expected = torch.einsum("nchw,ndhw->ncd", written_out, written_out) / (7 * 5 * 6)
    (gram * direction).sum().backward()
    (expected * direction).sum().backward()

    torch.testing.assert_close(gram, expected)
    torch.testing.assert_close(features.grad, written_out.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_summed_in_float32(dtype):
    features = noise(1, 4, 64, 64)
    half = features.to(dtype)

    assert gram_matrix(half).dtype == total_variation(half).dtype == torch.float32
    assert feature_reconstruction_loss(half, half + 1).dtype == feature_l1_loss(half, half + 1).dtype == torch.float32
    torch.testing.assert_close(gram_matrix(half), gram_matrix(features), atol=1e-2, rtol=1e-2)
    assert total_variation(half).item() == pytest.approx(total_variation(features).item(), rel=0.01)


# --- style


def test_untouched_photographs_cost_one_and_the_style_nothing(extractor):
    style, pictures = noise_images(seed=3), photographs()
    term = StyleTerm(LAYERS)
    term.set_target([extractor(style)])
    term.calibrate(extractor(pictures))

    parts = call(term, extractor(pictures))

    assert set(parts) == set(LAYERS)
    assert all(part.item() == pytest.approx(1 / len(LAYERS), rel=1e-4) for part in parts.values())
    assert sum(parts.values()).item() == pytest.approx(1, rel=1e-4)
    assert sum(call(term, extractor(style)).values()).item() < 1e-8


@pytest.mark.parametrize("loss", STYLE_LOSSES)
def test_every_style_loss_is_0_for_the_style_and_1_for_untouched_photographs(loss, extractor):
    style, pictures = extractor(noise_images(seed=3)), extractor(photographs())
    term = StyleTerm(("relu2_1", "relu3_1"), loss=loss)
    term.set_target([style])
    term.calibrate(pictures)

    assert sum(call(term, pictures).values()).item() == pytest.approx(1, rel=1e-4)
    assert sum(call(term, style).values()).item() < 1e-3
    # As a metric it is 0 for the same, whatever the scale of the network.
    kind, (one, other) = STYLE_LOSSES[loss], (style["relu2_1"], pictures["relu2_1"][:1])
    assert kind.distance(one, one).item() == pytest.approx(0, abs=1e-3)
    scaled = kind.distance(1000 * one, 1000 * other).item()
    assert scaled == pytest.approx(kind.distance(one, other).item(), rel=1e-3) and scaled > 0.01


def test_raw_style_is_the_mean_of_squared_gram_distances(extractor):
    """As in Johnson's code; their paper has the sum (eq. 4)."""
    style, picture = extractor(noise_images(seed=3)), extractor(photographs(1))
    term = StyleTerm(LAYERS, typical=False)
    term.set_target([style])

    for layer, part in call(term, picture).items():
        expected = (gram_matrix(picture[layer]) - gram_matrix(style[layer])).square().mean()
        torch.testing.assert_close(part, expected)


def test_a_blend_has_the_gradient_of_the_weighted_distances():
    styles = [{"relu1_1": noise(1, 4, 6, 5, seed=seed)} for seed in (1, 2)]
    features = noise(2, 4, 7, 7, seed=3).requires_grad_()
    blend = StyleTerm(["relu1_1"], typical=False)
    blend.set_target(styles, weights=[3.0, 1.0])
    separate = []
    for style in styles:
        term = StyleTerm(["relu1_1"], typical=False)
        term.set_target([style])
        separate.append(call(term, {"relu1_1": features})["relu1_1"])

    blended = torch.autograd.grad(call(blend, {"relu1_1": features})["relu1_1"], features)[0]
    weighted = torch.autograd.grad(0.75 * separate[0] + 0.25 * separate[1], features)[0]

    torch.testing.assert_close(blended, weighted)
    # and both differ from a single style's
    plain = StyleTerm(["relu1_1"], typical=False)
    plain.set_target(styles)
    even = torch.autograd.grad(call(plain, {"relu1_1": features})["relu1_1"], features)[0]
    assert not torch.allclose(even, weighted)


def test_a_style_of_another_size_than_the_picture(extractor):
    term = StyleTerm(LAYERS, typical=False)
    term.set_target([extractor(noise_images(side=48))])

    assert all(part.item() > 0 for part in call(term, extractor(photographs())).values())


# --- features


def unrelated(seed: int) -> Tensor:
    """An i.i.d. feature map whose channels have levels of their own, shared by all seeds."""
    return noise(4, 16, 24, 24, seed=seed) + noise(1, 16, 1, 1, seed=99)


def test_an_unrelated_picture_costs_one():
    parts = call(FeatureTerm({"relu3_3": 1.0}), {"relu3_3": unrelated(1)}, {"relu3_3": unrelated(2)})

    assert parts["relu3_3"].item() == pytest.approx(1, rel=0.02)


def test_an_unrelated_picture_costs_one_in_l1():
    term = FeatureTerm({"relu3_3": 1.0}, distance="l1")
    parts = call(term, {"relu3_3": unrelated(1)}, {"relu3_3": unrelated(2)})

    assert parts["relu3_3"].item() == pytest.approx(1, rel=0.05)


def test_typical_features_do_not_depend_on_the_scale_of_the_network():
    for distance in FEATURE_DISTANCES:
        term = FeatureTerm({"relu3_3": 1.0}, distance)
        costs = [
            call(term, {"relu3_3": factor * unrelated(1)}, {"relu3_3": factor * unrelated(2)})["relu3_3"].item()
            for factor in (1, 1000)
        ]
        assert costs[0] == pytest.approx(costs[1], rel=1e-4)


def test_typical_features_of_a_plain_are_finite():
    plain = {"relu3_3": torch.ones(1, 4, 3, 3)}

    for distance in FEATURE_DISTANCES:
        assert call(FeatureTerm({"relu3_3": 1.0}, distance), plain, plain)["relu3_3"].item() == 0


def test_an_unrelated_picture_costs_one_in_directions():
    parts = call(FeatureTerm({"relu3_3": 1.0}, "cosine"), {"relu3_3": unrelated(1)}, {"relu3_3": unrelated(2)})

    assert parts["relu3_3"].item() == pytest.approx(1, rel=0.05)


def test_cosine_is_twice_one_minus_the_cosine_and_blind_to_length():
    features, target = noise(2, 8, 5, 5, seed=1), noise(2, 8, 5, 5, seed=2)

    expected = (2 - 2 * torch.cosine_similarity(features, target)).mean()

    torch.testing.assert_close(feature_cosine_loss(features, target), expected)
    torch.testing.assert_close(feature_cosine_loss(3 * features, target), expected)


def test_pix2pixhd_weights_by_the_written_out_formula():
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    extractor = create_extractor("vgg19", layers, weights="random")
    features, targets = extractor(noise_images(seed=1)), extractor(noise_images(seed=2))
    term = FeatureTerm(dict(zip(layers, PIX2PIXHD_WEIGHTS, strict=True)), distance="l1", typical=False)

    total = sum(call(term, features, targets).values())

    # Wang et al. 2018: the mean absolute differences, each twice as heavy as the one before it; the last four times.
    expected = sum(
        weight * (features[layer] - targets[layer]).abs().sum() / features[layer].numel()
        for weight, layer in zip((0.03125, 0.0625, 0.125, 0.25, 1.0), layers, strict=True)
    )
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("create", [lambda name: FeatureTerm({"relu1_1": 1.0}, name), PixelTerm])
def test_an_unknown_distance_is_refused(create):
    with pytest.raises(UsageError, match=r"Unknown distance 'l3'\. Known: mse, l1"):
        create("l3")


# --- texture


def texture(features: Tensor, targets: Tensor, **options: object) -> float:
    """What a texture term makes of features at half the size of their images."""
    images = torch.empty(len(features), 3, 2 * features.shape[-2], 2 * features.shape[-1])
    term = TextureTerm({"relu2_1": 1.0}, **options)  # type: ignore[arg-type]
    return term(images, {"relu2_1": features}, images, {"relu2_1": targets})["relu2_1"].item()


def textured(seed: int, factor: float = 1.0) -> Tensor:
    """A feature map of 6 x 6 patches, the channels of each of its own strength."""
    strength = (0.5 * noise(2, 8, 6, 6, seed=seed)).exp().repeat_interleave(8, 2).repeat_interleave(8, 3)
    return factor * strength * noise(2, 8, 48, 48, seed=seed + 1)


def test_an_unrelated_texture_costs_one():
    for factor in (1e-3, 1.0, 1e3):
        assert texture(textured(10, factor), textured(20, factor)) == pytest.approx(1, rel=0.3)
    assert texture(textured(10), textured(10)) == 0


def test_the_patch_is_measured_in_pixels_of_the_image():
    features, targets = textured(10), textured(20)

    for patch, side in ((16, 8), (1, 1)):
        raw = patch_gram_loss(features, targets, patch=side).item()
        typical = typical_gram_distance(patch_grams(targets, side)).item()
        assert texture(features, targets, patch=patch) == pytest.approx(raw / typical)


def test_the_papers_texture_is_of_plain_grams_and_of_features_with_a_mean_of_one():
    """Two constant channels, 1 and 3, against 3 and 1: their squares differ by (9 - 1) / 4 in each pixel, their product not.

    Four times larger features cost the same; a map smaller than the patch is one patch.
    """
    one, three = torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), 3.0)
    features, targets = torch.cat((one, three), 1), torch.cat((three, one), 1)

    for patch, pixels in ((4, 16), (8, 64), (16, 64)):
        expected = 2 * (2 * pixels) ** 2 / 4  # two of four entries differ
        assert mean_one_gram_loss(features, targets, patch).item() == pytest.approx(expected)
        assert texture(4 * features, 4 * targets, patch=patch, typical=False) == pytest.approx(expected)


def test_typical_texture_of_one_patch_or_of_a_plain_is_finite():
    plain = torch.ones(1, 4, 8, 8)

    assert texture(plain, plain) == 0
    assert 0 < texture(2 * plain, plain) < math.inf
    assert texture(plain, 0 * plain) < math.inf
    assert texture(noise(1, 4, 8, 8), noise(1, 4, 8, 8, seed=1)) < math.inf
    with pytest.raises(UsageError, match="patch of 0 pixels"):
        TextureTerm({"relu2_1": 1.0}, patch=0)


# --- total variation and pixels


def test_a_picture_is_as_rough_as_itself():
    pictures = photographs()
    term = TotalVariationTerm()

    assert term(pictures, {}, pictures, {})[""].item() == pytest.approx(1)
    assert term(noise_images(3), {}, pictures, {})[""].item() > 5
    raw = TotalVariationTerm(typical=False)(pictures, {}, noise_images(3), {})[""]
    torch.testing.assert_close(raw, total_variation(pictures))
    bent = TotalVariationTerm(exponent=1.0, typical=False)(pictures, {}, pictures, {})[""]
    torch.testing.assert_close(bent, total_variation(pictures, 1.0))


def test_pixels_are_compared_raw():
    images, pictures = noise_images(3), photographs()

    torch.testing.assert_close(PixelTerm()(images, {}, pictures, {})[""], (images - pictures).square().mean())
    torch.testing.assert_close(PixelTerm("l1")(images, {}, pictures, {})[""], (images - pictures).abs().mean())
    rounded = ((images - pictures).square() + 1e-6).sqrt().mean()
    torch.testing.assert_close(PixelTerm("charbonnier")(images, {}, pictures, {})[""], rounded)


# --- context


def test_untouched_photographs_cost_one_in_context_and_the_style_nothing(extractor):
    term = contextual_style_term(extractor)

    parts = call(term, extractor(photographs()))
    assert set(parts) == {"relu3_1", "relu3_3"}
    assert all(part.item() == pytest.approx(0.5, rel=1e-4) for part in parts.values())
    assert sum(call(term, extractor(noise_images(seed=3))).values()).item() < 1e-4


def test_raw_context_is_the_contextual_loss_with_the_style_as_target(extractor):
    style, picture = extractor(noise_images(seed=3)), extractor(photographs(1))

    for layer, part in call(contextual_style_term(extractor, typical=False), picture).items():
        torch.testing.assert_close(part, contextual_loss(picture[layer], style[layer], 0.5))
        assert not torch.allclose(part, contextual_loss(style[layer], picture[layer], 0.5))


def test_a_contextual_blend_is_the_weighted_mean():
    styles = [{"relu1_1": noise(1, 4, 6, 5, seed=seed)} for seed in (1, 2)]
    features = noise(2, 4, 7, 7, seed=3)
    term = StyleTerm(["relu1_1"], typical=False, loss="contextual", bandwidth=0.5)
    term.set_target(styles, weights=[3.0, 1.0])

    first, second = (contextual_loss(features, style["relu1_1"], 0.5) for style in styles)
    torch.testing.assert_close(call(term, {"relu1_1": features})["relu1_1"], 0.75 * first + 0.25 * second)


def test_context_is_asked_of_the_compared_images():
    features, targets = {"relu2_1": noise(2, 4, 6, 6)}, {"relu2_1": noise(2, 4, 6, 6, seed=1)}

    part = call(ContextualTerm({"relu2_1": 0.5}, 0.1), features, targets)["relu2_1"]
    torch.testing.assert_close(part, 0.5 * contextual_loss(features["relu2_1"], targets["relu2_1"], 0.1))


def test_low_frequencies_by_hand():
    """A difference of one level counts in full, a checkerboard's hardly, and a dot as the square of the kernel."""
    images = torch.zeros(1, 3, 64, 64)
    board = ((torch.arange(64).view(-1, 1) + torch.arange(64)) % 2).float().expand(1, 3, 64, 64) - 0.5
    dot = images.clone()
    dot[..., 32, 32] = 1

    middle = low_frequency_loss(images + 0.5, images).item()
    assert 0.8 * 0.25 < middle < 0.25  # beyond the edge there is no difference
    assert low_frequency_loss(board, images).item() < 1e-3 * 0.25
    kernel = torch.exp(-0.5 * (torch.arange(-10.0, 11) / 3).square())
    kernel /= kernel.sum()
    assert low_frequency_loss(dot, images).item() == pytest.approx(kernel.square().sum().item() ** 2 / 64**2, rel=1e-4)
    assert low_frequency_loss(dot, images, sigma=1.0) > low_frequency_loss(dot, images)


def test_consistency_sees_what_is_left_after_shrinking():
    """A difference of one level counts in full, a checkerboard that averages to nothing does not."""
    images = torch.full((1, 3, 32, 32), 0.5)
    board = ((torch.arange(32).view(-1, 1) + torch.arange(32)) % 2).float().expand(1, 3, 32, 32) - 0.5

    assert ConsistencyTerm(4)(images + 0.1, {}, images, {})[""].item() == pytest.approx(0.1)
    inside = ConsistencyTerm(4)(images + board, {}, images, {})[""].item()
    assert inside < 0.02  # only the repeated pixels of the edges do not average to nothing
    assert ConsistencyTerm(1)(images + board, {}, images, {})[""].item() == pytest.approx(0.5)


def test_the_spectrum_of_one_wave_has_one_coefficient():
    """A cosine of amplitude 0.3 across 16 columns is 0.15 * 16 in one place of 16x9; a constant is its level * 16 in one."""
    images = torch.zeros(1, 3, 16, 16)
    wave = 0.3 * torch.cos(2 * math.pi * 3 / 16 * torch.arange(16.0)).expand(1, 3, 16, 16)
    places = 2 * 16 * 9  # real and imaginary parts

    assert FourierTerm()(images + wave, {}, images, {})[""].item() == pytest.approx(0.15 * 16 / places, rel=1e-4)
    assert FourierTerm()(images + 0.2, {}, images, {})[""].item() == pytest.approx(0.2 * 16 / places, rel=1e-4)
    noise = 0.1 * torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    # Its real and imaginary parts have half its variance each, and sqrt(2 / pi) is the mean size of a normal variable.
    expected = 0.1 * math.sqrt(0.5) * math.sqrt(2 / math.pi)
    assert FourierTerm()(noise, {}, 0 * noise, {})[""].item() == pytest.approx(expected, rel=0.02)


# --- the weighted sum


TERMS = (
    "content",
    "content_l1",
    "content_raw",
    "style",
    "tv",
    "tv_1",
    "pixels",
    "pixels_l1",
    "pixels_charbonnier",
    "texture",
    "contextual_style",
    "contextual",
    "low_frequency",
    "consistency",
    "fourier",
)


def style_term(extractor: FeatureExtractor, layers: tuple[str, ...] = LAYERS) -> StyleTerm:
    term = StyleTerm(layers)
    term.set_target([extractor(noise_images(seed=3), layers)])
    term.calibrate(extractor(photographs(), layers))
    return term


def contextual_style_term(extractor: FeatureExtractor, typical: bool = True) -> StyleTerm:
    term = StyleTerm(("relu3_1", "relu3_3"), typical, "contextual", bandwidth=0.5)
    term.set_target([extractor(noise_images(seed=3), term.layers)])
    term.calibrate(extractor(photographs(), term.layers))
    return term


def every_term(extractor: FeatureExtractor) -> dict[str, torch.nn.Module]:
    return {
        "content": FeatureTerm({"relu3_3": 1.0}),
        "content_l1": FeatureTerm({"relu1_1": 0.5, "relu3_1": 1.0}, distance="l1"),
        "content_raw": FeatureTerm({"relu2_1": 1.0}, typical=False),
        "style": style_term(extractor),
        "tv": TotalVariationTerm(),
        "tv_1": TotalVariationTerm(exponent=1.0),
        "pixels": PixelTerm(),
        "pixels_l1": PixelTerm("l1"),
        "pixels_charbonnier": PixelTerm("charbonnier"),
        "texture": TextureTerm({"relu1_1": 0.5, "relu2_1": 1.0}, patch=8),
        "contextual_style": contextual_style_term(extractor),
        "contextual": ContextualTerm({"relu2_1": 0.5, "relu3_1": 1.0}, bandwidth=0.5),
        "low_frequency": LowFrequencyTerm(),
        "consistency": ConsistencyTerm(4),
        "fourier": FourierTerm(),
    }


def test_the_total_is_the_sum_of_its_named_parts(extractor):
    loss = PerceptualLoss({name: (term, 0.5) for name, term in every_term(extractor).items()}, extractor)

    total, parts = loss(noise_images(3), photographs())

    assert list(parts) == [
        "content.relu3_3", "content_l1.relu1_1", "content_l1.relu3_1", "content_raw.relu2_1",
        "style.relu1_1", "style.relu2_1", "style.relu3_1", "style.relu3_3", "tv", "tv_1", "pixels", "pixels_l1",
        "pixels_charbonnier", "texture.relu1_1", "texture.relu2_1", "contextual_style.relu3_1",
        "contextual_style.relu3_3", "contextual.relu2_1", "contextual.relu3_1", "low_frequency",
        "consistency", "fourier",
    ]  # fmt: skip
    assert all(part.dim() == 0 and part.item() > 0 for part in parts.values())
    torch.testing.assert_close(total, torch.stack(list(parts.values())).sum())


@pytest.mark.parametrize("name", TERMS)
def test_twice_the_weight_is_twice_the_part(name, extractor):
    terms = every_term(extractor)
    images, pictures = noise_images(3), photographs()

    def parts(weight: float) -> dict[str, Tensor]:
        weights = {other: weight if other == name else 1.0 for other in terms}
        loss = PerceptualLoss({other: (terms[other], weights[other]) for other in terms}, extractor)
        return loss(images, pictures)[1]

    once, twice = parts(1.0), parts(2.0)

    for part in once:
        factor = 2 if part.split(".")[0] == name else 1
        torch.testing.assert_close(twice[part], factor * once[part])


def test_a_term_of_weight_zero_is_left_out_and_its_layers_do_not_run(extractor):
    ran = set()
    hooks = [
        module.register_forward_hook(lambda *_, layer=layer: ran.add(layer))
        for layer, module in extractor.network.items()
    ]
    content, style = FeatureTerm({"relu3_3": 1.0}), style_term(extractor, ("relu1_1", "relu2_1"))
    loss = PerceptualLoss({"content": (content, 0.0), "style": (style, 1.0)}, extractor)
    ran.clear()

    _, parts = loss(noise_images(), photographs(1))
    for hook in hooks:
        hook.remove()

    assert set(parts) == {"style.relu1_1", "style.relu2_1"}
    assert "relu2_1" in ran
    assert not {layer for layer in ran if "3_" in layer}


def test_the_compared_images_run_no_deeper_than_their_terms(extractor):
    batches: list[tuple[str, bool]] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output, layer=layer: batches.append((layer, output.requires_grad)))
        for layer, module in extractor.network.items()
    ]
    terms = {"content": (FeatureTerm({"relu1_1": 1.0}), 1.0), "style": (style_term(extractor, ("relu2_1",)), 1.0)}
    loss = PerceptualLoss(terms, extractor)
    batches.clear()

    loss(noise_images().requires_grad_(), photographs(1))
    for hook in hooks:
        hook.remove()

    assert ("relu2_1", True) in batches and ("relu2_1", False) not in batches
    assert ("relu1_1", True) in batches and ("relu1_1", False) in batches


def test_no_extractor_is_needed_without_layers():
    loss = PerceptualLoss({"pixels": (PixelTerm(), 1.0), "tv": (TotalVariationTerm(), 0.1)})

    total, parts = loss(noise_images(), photographs(1))

    assert loss.extractor is None
    assert set(parts) == {"pixels", "tv"}
    assert total.item() > 0


@pytest.mark.parametrize("name", TERMS)
def test_every_term_goes_down(name, extractor):
    loss = PerceptualLoss({name: (every_term(extractor)[name], 1.0)}, extractor)
    pictures = photographs(1)
    images = noise_images(seed=7).requires_grad_()
    optimizer = torch.optim.Adam([images], lr=0.02)
    costs = []

    for _ in range(6):
        optimizer.zero_grad()
        total, _ = loss(images, pictures)
        total.backward()
        optimizer.step()
        costs.append(total.item())

    assert costs[-1] < 0.97 * costs[0]


def test_the_target_gets_no_gradient(extractor):
    loss = PerceptualLoss({"content": (FeatureTerm({"relu3_1": 1.0}), 1.0)}, extractor)
    images, pictures = noise_images().requires_grad_(), photographs(1).requires_grad_()

    loss(images, pictures)[0].backward()

    assert images.grad is not None and images.grad.abs().sum() > 0
    assert pictures.grad is None


def test_a_fixed_target_is_measured_once() -> None:
    """Another tensor, or the same one after it was written to, is measured again; one that needs gradients, always."""
    measured = []

    def measure(target: Tensor) -> Tensor:
        measured.append(target.sum().item())
        return target.sum()

    remembered, one, two = remember_last(measure), torch.ones(3), torch.ones(4)
    assert [remembered(target).item() for target in (one, one, two, two, one)] == [3, 3, 4, 4, 3]
    assert measured == [3, 4, 3]
    one.add_(1)
    assert remembered(one) == 6
    trained = torch.ones(5, requires_grad=True)
    assert remembered(trained) == remembered(trained) == 5
    assert measured == [3, 4, 3, 6, 5, 5]
    with torch.inference_mode():
        assert remembered(torch.ones(2)) == 2
