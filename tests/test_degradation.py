"""Low-resolution images as the field makes them: MATLAB's bicubic, Johnson's blur, and a cheap camera's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from percept_cli.core.data.compression import FULL_COLOR, HALF_COLOR, compress_at_random, compress_jpeg, compress_webp
from percept_cli.core.data.degradation import add_sensor_noise, blur_along, degrade
from percept_cli.core.images.resize import bicubic_weights, gaussian_blur, resize_bicubic, shrink_as_matlab, to_levels
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(*size: int) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))


def test_halving_weighs_eight_pixels() -> None:
    """Keys's cubic (a = -1/2) at 0.25, 0.75, 1.25 and 1.75 output pixels, halved as two input pixels share one."""
    expected = [-0.01171875, -0.03515625, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875]
    row = bicubic_weights(32, 16)[8]
    assert row[13:21].tolist() == expected
    assert row.abs().sum() == sum(map(abs, expected))


def test_an_edge_pixel_is_repeated() -> None:
    """What falls beyond an edge is weighed on its last pixel, so rows still sum to 1."""
    weights = bicubic_weights(8, 4)
    torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))
    assert weights[0, 0].item() == pytest.approx(-0.01171875 - 0.03515625 + 0.11328125 + 0.43359375)


@pytest.mark.parametrize("size", [(12, 10), (24, 33), (50, 61)])
def test_inside_it_is_the_antialiased_resize_of_torch(size: tuple[int, int]) -> None:
    """Away from the edges, which torch weighs otherwise, two independent codes agree, shrinking and enlarging."""
    pictures = images(36, 40).double()
    ours = resize_bicubic(pictures, *size)
    theirs = F.interpolate(pictures, size=size, mode="bicubic", antialias=True)
    edge = -(-2 * size[0] // 12)
    torch.testing.assert_close(ours[..., edge:-edge, edge:-edge], theirs[..., edge:-edge, edge:-edge])


def test_matlab_rounds_after_each_direction() -> None:
    """Rows first, then to levels, then columns: the test images of the field cannot be had otherwise."""
    pictures = images(16, 24)
    rows, columns = (bicubic_weights(length, length // 4).float() for length in (16, 24))
    between = (rows @ (pictures * 255) + 0.5).floor().clamp(0, 255)
    expected = (between @ columns.T + 0.5).floor().clamp(0, 255)
    torch.testing.assert_close(shrink_as_matlab(pictures, 4, 6) * 255, expected)


@pytest.mark.parametrize("scale", [2, 4])
def test_matlabs_levels_are_those_of_whole_numbers(scale: int) -> None:
    """Of 8-bit images to the bit on every processor: sums of integers, whose halves are exact and go up."""
    size = 16 * scale
    levels = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0))
    weights = bicubic_weights(size, 16) * 4096
    assert (weights == weights.round()).all()
    rows = ((weights.long() @ levels + 2048) // 4096).clamp(0, 255)
    expected = ((rows @ weights.long().T + 2048) // 4096).clamp(0, 255)
    assert torch.equal((shrink_as_matlab(levels / 255, 16, 16) * 255).round().long(), expected)


def test_levels_round_halves_up() -> None:
    """0.5 goes to 1 and 2.5 to 3, as in MATLAB; Python and torch would round both to the even neighbor."""
    levels = torch.tensor([0.5, 1.5, 2.5, 300.0, -3.0], dtype=torch.float64)
    assert (to_levels(levels / 255) * 255).round().tolist() == [1, 2, 3, 255, 0]


@pytest.mark.parametrize("kind", ["bicubic", "johnson", "photo"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_a_degraded_image_is_small_and_of_levels(kind: str, scale: int) -> None:
    """Its size is the image's by `scale`; every value is one of 256."""
    small = degrade(images(48, 72), scale, kind, random())
    assert small.shape == (2, 3, 48 // scale, 72 // scale)
    assert torch.equal(small, to_levels(small))


@pytest.mark.parametrize("kind", ["bicubic", "johnson"])
def test_a_flat_image_stays_flat(kind: str) -> None:
    """Weights sum to 1, at the edges too."""
    flat = torch.full((1, 3, 24, 24), 100 / 255)
    assert torch.equal(degrade(flat, 4, kind, random()), torch.full((1, 3, 6, 6), 100 / 255))


def test_johnsons_is_blurred_before() -> None:
    """A Gaussian of sigma 1, then bicubic: section 4.2 of the paper."""
    pictures = images(32, 32)
    blurred = gaussian_blur(pictures, 1.0)
    assert torch.equal(degrade(pictures, 4, "johnson", random()), degrade(blurred, 4, "bicubic", random()))
    assert blurred.var() < 0.5 * pictures.var()


def test_a_blur_keeps_the_light_of_a_spot() -> None:
    """One bright pixel is spread with Gaussian weights: exp(-1/2) as much beside it as at its place."""
    spot = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    spot[..., 7, 7] = 1
    blurred = gaussian_blur(spot, 1.0)
    assert blurred.sum().item() == pytest.approx(1)
    assert (blurred[0, 0, 7, 8] / blurred[0, 0, 7, 7]).item() == pytest.approx(np.exp(-0.5))


def test_the_real_one_is_drawn_from_its_source() -> None:
    """The same random source gives the same image, another one another: a resumed training sees what it would have."""
    pictures = images(48, 48)
    assert torch.equal(degrade(pictures, 4, "photo", random(1)), degrade(pictures, 4, "photo", random(1)))
    assert not torch.equal(degrade(pictures, 4, "photo", random(1)), degrade(pictures, 4, "photo", random(2)))


def test_an_unknown_degradation_is_named() -> None:
    with pytest.raises(UsageError, match="Did you mean 'bicubic'"):
        degrade(images(8, 8), 2, "bicubc", random())


@pytest.mark.parametrize("kind", ["bicubic", "johnson", "photo"])
def test_half_precision_around_it_changes_nothing(kind: str) -> None:
    """A training loop's autocast once brightened low-resolution images by a level, and networks learned to darken."""
    crops = images(32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = degrade(crops, 2, kind, random())
    assert torch.equal(inside, degrade(crops, 2, kind, random()))


def test_a_wide_blur_is_wide_in_its_direction() -> None:
    """A spot becomes an ellipse: the second moments along and across it are the squares of the two deviations."""
    spot = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    spot[..., 20, 20] = 1
    spread = blur_along(spot, along=4.0, across=2.0, angle=np.pi / 6)[0, 0]
    offsets = torch.arange(41, dtype=torch.float64) - 20
    columns, rows = offsets, -offsets[:, None]
    direction = columns * np.cos(np.pi / 6) + rows * np.sin(np.pi / 6)
    right_angle = rows * np.cos(np.pi / 6) - columns * np.sin(np.pi / 6)
    # The kernel is cut at 3 deviations, which takes some percent of the second moment.
    assert (spread * direction**2).sum().item() == pytest.approx(16, rel=0.06)
    assert (spread * right_angle**2).sum().item() == pytest.approx(4, rel=0.06)
    assert (spread * direction * right_angle).sum().item() == pytest.approx(0, abs=0.05)


def test_a_blur_of_two_equal_deviations_has_no_direction() -> None:
    """It is the Gaussian blur along rows and columns, whatever the angle."""
    pictures = images(30, 34).double()
    torch.testing.assert_close(
        blur_along(pictures, 1.5, 1.5, angle=0.7), gaussian_blur(pictures, 1.5), atol=2e-3, rtol=0
    )


def test_sensor_noise_grows_with_light() -> None:
    """Black has less of it than white, and a flat gray keeps its mean."""
    flat = torch.full((1, 3, 64, 64), 0.5)
    flat[..., :32] = 0.02
    noises = [add_sensor_noise(flat, random(seed)) - flat for seed in range(20)]
    dark, light = (
        torch.stack([noise[..., half].std() for noise in noises]).mean() for half in (slice(32), slice(32, 64))
    )
    assert dark < 0.9 * light
    assert abs(torch.stack(noises).mean()) < 1e-3


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_compression_leaves_blocks_on_any_grid(kind: str) -> None:
    """Coded at a low quality, an image has its steps between blocks at a place that differs from draw to draw."""
    ramp = F.interpolate(images(9, 9)[:1], size=(72, 72), mode="bilinear")
    code = compress_jpeg if kind == "JPEG" else compress_webp
    assert (code(ramp, 20) - ramp).abs().mean() > (code(ramp, 90) - ramp).abs().mean()
    results = [compress_at_random(ramp, random(seed)) for seed in range(6)]
    assert all(result.shape == ramp.shape for result in results)
    assert all(not torch.equal(result, results[0]) for result in results[1:])


def test_half_color_loses_more_color_than_brightness() -> None:
    """4:2:0 halves the colors of a JPEG: red stripes on gray of the same luma blur, 4:4:4 keeps them."""
    stripes = torch.full((1, 3, 32, 32), 0.5)
    stripes[:, 0, :, ::2], stripes[:, 2, :, ::2] = 0.9, 0.5 - 0.4 * 0.299 / 0.114 * 0.3
    errors = [(compress_jpeg(stripes, 95, kind) - stripes).abs().mean() for kind in (FULL_COLOR, HALF_COLOR)]
    assert errors[1] > 3 * errors[0]


@pytest.mark.parametrize("size", [(70, 66), (50, 61), (300, 400)])
def test_resizing_by_bands_is_that_by_whole_matrices(size: tuple[int, int]) -> None:
    """Of more rows than a band has, shrunk and enlarged, with the same gradient."""
    pictures = images(140, 201).double().requires_grad_()
    rows, columns = (bicubic_weights(*pair) for pair in zip((140, 201), size, strict=True))
    weights = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    resized = resize_bicubic(pictures, *size)
    torch.testing.assert_close(resized, rows @ pictures @ columns.T)
    (gradient,) = torch.autograd.grad((resized * weights).sum(), pictures)
    torch.testing.assert_close(gradient, rows.T @ weights @ columns)


def test_the_gradient_of_resizing_has_a_gradient() -> None:
    """As penalties on gradients need it."""
    small = torch.rand(1, 2, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda values: resize_bicubic(values, 5, 12).square(), small)
