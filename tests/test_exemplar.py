"""Surrogate classes are patches with detail; what is done to them is what the paper does, and leaves their class."""

import colorsys
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from percept_cli.core.data.detail import draw_place, draw_side, gradient_energy, patch_energies
from percept_cli.core.training.extractors import exemplar
from percept_cli.core.training.extractors.exemplar import PrincipalColors, Transformations
from percept_cli.errors import UsageError

SIZE = 32
GRAY = PrincipalColors(torch.full((3,), 0.5), torch.eye(3))
COLORS = {"red": (1, 0.2, 0.2), "green": (0.2, 1, 0.2), "blue": (0.2, 0.2, 1)}


def nothing(count: int = 1, **changes: float) -> Transformations:
    """The transformation that leaves patches as they are, but for the changes."""
    values = {"zoom": 1.0, "power": 1.0, "factor": 1.0, **changes}
    fields = {
        name: torch.full((count,), values.get(name, 0.0))
        for name in ("shift_x", "shift_y", "zoom", "angle", "power", "factor", "shift", "hue")
    }
    return Transformations(principal_factors=torch.full((count, 3), values.get("principal", 1.0)), **fields)


def seed_patch(count: int = 1) -> Tensor:
    """Noise with its surroundings, (count, 3, 72, 72); the patch is [20:52, 20:52]."""
    return torch.rand(count, 3, 72, 72, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def textured(tmp_path: Path) -> Path:
    """Three photographs, each noise of a color of its own."""
    random = np.random.default_rng(0)
    for name, color in COLORS.items():
        noise = random.random((70, 90, 1)) * np.array(color) * 255
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_the_energy_of_a_ramp_is_its_slope_squared() -> None:
    """A luma that rises by 2 levels a pixel; a patch's energy is the mean over its pixels."""
    ramp = Image.fromarray(np.tile(np.arange(0, 80, 2, dtype=np.uint8), (30, 1)))
    energy = gradient_energy(ramp)
    np.testing.assert_allclose(energy[:, 1:-1], (2 / 255) ** 2)
    spot = np.zeros((6, 7))
    spot[2, 3] = 9.0
    energies = patch_energies(spot, 3)
    assert energies.shape == (4, 5)
    assert energies[0:3, 1:4] == pytest.approx(1.0) and energies[3].max() == 0 and energies[:, 0].max() == 0


def test_patches_are_drawn_where_gradients_are() -> None:
    """On a flat picture with one square of noise, every patch touches it, the more often the more of it it holds."""
    levels = np.full((100, 120), 128, dtype=np.uint8)
    levels[60:76, 80:96] = np.random.default_rng(0).integers(0, 256, (16, 16))
    energy, random = gradient_energy(Image.fromarray(levels)), np.random.default_rng(1)
    places = [draw_place(energy, 16, random) for _ in range(300)]
    assert all(60 - 17 < top < 77 and 80 - 17 < left < 97 for top, left in places)
    close = sum(abs(top - 60) < 8 and abs(left - 80) < 8 for top, left in places)
    assert close > 120  # of the area alone, a fifth


def test_a_flat_picture_has_its_patches_drawn_alike() -> None:
    energy, random = gradient_energy(Image.new("RGB", (20, 20), "teal")), np.random.default_rng(0)
    assert len({draw_place(energy, 16, random) for _ in range(300)}) == 25
    assert all(32 <= draw_side(32, 500, random) <= 64 for _ in range(50))
    assert draw_side(32, 20, random) == 20


def test_same_seed_same_patches_and_all_photographs_in_turn(textured: Path) -> None:
    """Six classes of three photographs are two of each; another seed draws others."""
    photos = sorted(textured.iterdir())
    first, again, other = (exemplar.sample_seed_patches(photos, 6, SIZE, seed, 1).patches for seed in (3, 3, 4))
    assert first.shape == (6, 3, 72, 72)
    assert torch.equal(first, again) and not torch.equal(first, other)
    strongest = first.float().mean(dim=(2, 3)).argmax(dim=1)
    assert sorted(strongest[:3].tolist()) == [0, 1, 2] and torch.equal(strongest[:3], strongest[3:])


def test_an_unreadable_photograph_gives_way_to_the_next(textured: Path) -> None:
    (textured / "red.png").write_bytes(b"no picture")
    photos = sorted(textured.iterdir())
    seeds = exemplar.sample_seed_patches(photos, 4, SIZE, 0, 1)
    assert set(seeds.patches.float().mean(dim=(2, 3)).argmax(dim=1).tolist()) == {1, 2}
    assert list(seeds.unreadable) == [textured / "red.png"]
    for photo in photos:
        photo.write_bytes(b"no picture")
    with pytest.raises(UsageError, match="None of the 3 training images could be read"):
        exemplar.sample_seed_patches(photos, 4, SIZE, 0, 1)


def test_an_example_is_its_class_and_each_class_comes_once_an_epoch(textured: Path) -> None:
    seeds = exemplar.sample_seed_patches(sorted(textured.iterdir()), 5, SIZE, 0, 20)
    labels = seeds.labels(0, 20)
    assert all(sorted(labels[start : start + 5].tolist()) == [0, 1, 2, 3, 4] for start in range(0, 20, 5))
    assert len({tuple(labels[start : start + 5].tolist()) for start in range(0, 20, 5)}) > 1
    for number in range(5):
        assert torch.equal((seeds[number] * 255).round().to(torch.uint8), seeds.patches[labels[number]])


def test_no_transformation_gives_the_patch_itself() -> None:
    seeds = seed_patch()
    torch.testing.assert_close(exemplar.transform_patches(seeds, nothing(), GRAY, SIZE), seeds[..., 20:52, 20:52])


def test_moving_turning_and_scaling_do_just_that() -> None:
    """By whole pixels, a right angle and a factor of 2, whose answers need no interpolation or one that is known."""
    seeds = seed_patch()

    def done(**changes: float) -> Tensor:
        return exemplar.transform_patches(seeds, nothing(**changes), GRAY, SIZE)

    torch.testing.assert_close(done(shift_x=3 / SIZE, shift_y=-5 / SIZE), seeds[..., 15:47, 23:55], atol=1e-4, rtol=0)
    turned = done(angle=math.pi / 2)
    torch.testing.assert_close(turned, seeds[..., 20:52, 20:52].rot90(1, (2, 3)), atol=1e-4, rtol=0)
    halved = seeds[..., 4:68, 4:68].unflatten(3, (32, 2)).unflatten(2, (32, 2)).mean(dim=(3, 5))
    torch.testing.assert_close(done(zoom=0.5), halved, atol=1e-4, rtol=0)


def test_the_surroundings_hold_all_that_a_transformation_reaches() -> None:
    """A corner of the patch at 0.7 times its size, turned by 20 degrees and moved by 0.2."""
    reach = 0.5 / exemplar.SCALING[0] * (math.cos(math.radians(20)) + math.sin(math.radians(20))) + exemplar.TRANSLATION
    assert reach <= exemplar.SURROUNDINGS / 2


def test_principal_components_are_those_of_the_pixels_and_are_multiplied() -> None:
    """Colors along one line: one component has all the variance, and doubling it doubles the distance from the mean."""
    line = torch.tensor([0.6, 0.64, 0.48])  # of length 1
    amounts = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.2 - 0.1
    patches = 0.5 + amounts * line.view(1, 3, 1, 1)
    colors = exemplar.principal_colors(patches)
    torch.testing.assert_close(colors.components[:, -1].abs(), line, atol=1e-3, rtol=0)
    torch.testing.assert_close(colors.mean, patches.mean(dim=(0, 2, 3)))
    seeds, done = patches.repeat(1, 1, 9, 9), nothing(2, principal=2.0)
    changed = exemplar.transform_patches(seeds, done, colors, SIZE)
    expected = colors.mean.view(1, 3, 1, 1) + 2 * (seeds[..., 20:52, 20:52] - colors.mean.view(1, 3, 1, 1))
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=0)


def test_hsv_is_pythons() -> None:
    pixels = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    pixels[..., 0, 0], pixels[..., 0, 1], pixels[..., 0, 2] = 0.0, 1.0, 0.4  # grays have no hue
    hsv = exemplar.rgb_to_hsv(pixels)
    for color, found in zip(pixels.flatten(2)[0].T.tolist(), hsv.flatten(2)[0].T.tolist(), strict=True):
        assert found == pytest.approx(colorsys.rgb_to_hsv(*color), abs=1e-5)
    torch.testing.assert_close(exemplar.hsv_to_rgb(hsv), pixels)


def test_saturation_and_value_go_to_a_power_times_a_factor_plus_a_shift_and_the_hue_turns() -> None:
    pixel = torch.tensor([0.6, 0.4, 0.3]).view(1, 3, 1, 1).expand(1, 3, 72, 72)
    done = nothing(power=2.0, factor=1.2, shift=0.05, hue=0.1)
    changed = exemplar.transform_patches(pixel, done, GRAY, SIZE)[0, :, 5, 5].tolist()
    hue, saturation, value = colorsys.rgb_to_hsv(0.6, 0.4, 0.3)
    assert changed == pytest.approx(
        colorsys.hsv_to_rgb(hue + 0.1, saturation**2 * 1.2 + 0.05, value**2 * 1.2 + 0.05), abs=1e-4
    )


def test_every_patch_of_a_batch_keeps_its_place_and_so_its_class() -> None:
    """Transformed together, each is what it is transformed alone, and in [0, 1] in the whole range of transformations."""
    seeds = seed_patch(24)
    done = exemplar.draw_transformations(24, np.random.default_rng(0))
    together = exemplar.transform_patches(seeds, done, GRAY, SIZE)
    assert together.shape == (24, 3, SIZE, SIZE) and together.min() >= 0 and together.max() <= 1
    for index in (0, 11, 23):
        own = Transformations(**{name: value[index : index + 1] for name, value in vars(done).items()})
        alone = exemplar.transform_patches(seeds[index : index + 1], own, GRAY, SIZE)
        torch.testing.assert_close(alone, together[index : index + 1])


def test_transformations_have_the_papers_ranges() -> None:
    done = exemplar.draw_transformations(4000, np.random.default_rng(0))
    ranges = {
        "shift_x": (-0.2, 0.2), "shift_y": (-0.2, 0.2), "zoom": (0.7, 1.4), "angle": (-math.pi / 9, math.pi / 9),
        "principal_factors": (0.5, 2), "power": (0.25, 4), "factor": (0.7, 1.4), "shift": (-0.1, 0.1), "hue": (-0.1, 0.1),
    }  # fmt: skip
    for name, (least, most) in ranges.items():
        values, slack = getattr(done, name), 0.01 * (most - least)
        assert least - 1e-6 <= values.min() < least + slack and most - slack < values.max() <= most + 1e-6
    assert done.power.log().mean().abs() < 0.05


def test_held_out_transformations_are_none_of_the_training() -> None:
    drawn = [exemplar.training_random(0, number).random() for number in range(500)]
    drawn += [exemplar.held_out_random(0, draw, first).random() for draw in range(4) for first in range(0, 512, 128)]
    assert len(set(drawn)) == len(drawn)


def test_undecided_logits_cost_the_logarithm_of_the_classes() -> None:
    loss, parts = exemplar.surrogate_loss(torch.zeros(4, 50), torch.tensor([0, 1, 2, 3]))
    assert loss.item() == pytest.approx(math.log(50))
    assert parts["errors"].item() == 0.75
