"""What a translation is trained on: two crops an example, of one place or of none, the same for the same seed and number."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from percept_cli.core.data.corruption import corrupt
from percept_cli.core.data.paired_crops import CorruptedCrops, PairedCrops, UnpairedCrops, split_example
from percept_cli.core.files.folders import match_by_name
from percept_cli.errors import UsageError
from tests.conftest import smooth_picture


def best_shift(first: Tensor, second: Tensor, most: int) -> tuple[int, int]:
    """By how many pixels, down and to the right, the second shows what the first shows, where they agree best."""
    size = first.shape[-1]
    inner = slice(most, size - most)
    candidates = {
        (down, across): (
            first[:, inner, inner] - second[:, most - down : size - most - down, most - across : size - most - across]
        )
        .abs()
        .mean()
        .item()
        for down in range(-most, most + 1)
        for across in range(-most, most + 1)
    }
    return min(candidates, key=candidates.__getitem__)


def paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.*"))


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Three pictures of 90x70."""
    folder = tmp_path / "day"
    folder.mkdir()
    for number in range(3):
        smooth_picture(90, 70, number, cells=20).save(folder / f"p{number}.png")
    return folder


@pytest.fixture
def night(day: Path) -> Path:
    """The negatives of those, at twice the size and under names of their own."""
    folder = day.parent / "night"
    folder.mkdir()
    for path in paths(day):
        picture = Image.fromarray(255 - np.asarray(Image.open(path)))
        picture.resize((180, 140), Image.Resampling.BICUBIC).save(folder / f"{path.stem}_night.png")
    return folder


def test_damage_is_done_to_the_very_target(day: Path) -> None:
    """Without an offset, an example is a crop and what `corrupt` makes of it, amount and all by the example's number."""
    crops = CorruptedCrops(paths(day), 32, seed=4, count=10, kind="noise", amount=(25.0, 25.0))
    source, target = split_example(crops[7][None])
    random = np.random.default_rng((4, 7, 2))
    assert torch.equal(source[0], corrupt(target[0], "noise", random.uniform(25, 25), random))
    assert torch.equal(crops[7], crops[7])
    assert not torch.equal(crops[7], crops[8])


def test_a_mask_makes_a_fourth_channel(day: Path) -> None:
    source, target = split_example(CorruptedCrops(paths(day), 32, 0, 4, "mask", (10.0, 10.0))[0][None])
    assert source.shape == (1, 4, 32, 32)
    assert target.shape == (1, 3, 32, 32)


def test_targets_are_shifted_by_up_to_the_offset(day: Path) -> None:
    """Found again by looking for the shift at which they agree: all within 3 pixels, and not always the same."""
    crops = CorruptedCrops(paths(day), 32, 0, 12, "blur", (0.1, 0.1), offset=3)
    shifts = {best_shift(*(part[0] for part in split_example(crops[number][None])), 4) for number in range(12)}
    assert max(max(abs(step) for step in shift) for shift in shifts) <= 3
    assert len(shifts) > 4


def test_unpaired_crops_are_of_both_sets(tmp_path: Path) -> None:
    """Sources of one color, targets of another; the order of either has every picture once an epoch."""
    for name, colors in (("a", (10, 20, 30)), ("b", (200, 220))):
        (tmp_path / name).mkdir()
        for level in colors:
            Image.new("RGB", (80, 60), (level, level, level)).save(tmp_path / name / f"{level}.png")
    crops = UnpairedCrops(paths(tmp_path / "a"), paths(tmp_path / "b"), 32, 0, 12, short_side=40)
    levels = [[round(255 * part.mean().item()) for part in split_example(crops[number][None])] for number in range(12)]
    assert [sorted(level for level, _ in levels[start : start + 3]) for start in (0, 3, 6, 9)] == [[10, 20, 30]] * 4
    assert [sorted(level for _, level in levels[start : start + 2]) for start in range(0, 12, 2)] == [[200, 220]] * 6


def test_a_single_target_is_a_set_of_one(day: Path) -> None:
    crops = UnpairedCrops(paths(day), paths(day)[:1], 32, 0, 4, short_side=32)
    assert crops[0].shape == (6, 32, 32)
    with pytest.raises(UsageError, match="--short-side 24: give --size 32 or more"):
        UnpairedCrops(paths(day), paths(day), 32, 0, 4, short_side=24)


def test_pairs_are_cropped_and_mirrored_alike_whatever_their_sizes(day: Path, night: Path) -> None:
    """A negative at twice the size, in place: every crop and its partner add up to white."""
    pairs, unmatched = match_by_name(paths(day), paths(night))
    assert not unmatched
    crops = PairedCrops(pairs, 32, seed=1, count=12)
    for number in range(12):
        source, target = split_example(crops[number][None])
        assert (source + target - 1).abs().mean() < 0.02


def test_misaligned_pairs_are_apart_by_up_to_the_offset(day: Path) -> None:
    pairs, _ = match_by_name(paths(day), paths(day))
    crops = PairedCrops(pairs, 32, seed=1, count=12, offset=3, smallest=0.5)
    shifts = {best_shift(*(part[0] for part in split_example(crops[number][None])), 4) for number in range(12)}
    assert max(max(abs(step) for step in shift) for shift in shifts) <= 3
    assert len(shifts) > 4


def test_a_pair_of_two_shapes_is_left_out_and_named(day: Path, night: Path) -> None:
    Image.new("RGB", (140, 140)).save(night / "p1_night.png")
    pairs, _ = match_by_name(paths(day), paths(night))
    crops = PairedCrops(pairs, 32, seed=1, count=12)
    for number in range(12):
        crops[number]
    assert list(crops.unreadable) == [night / "p1_night.png"]
    assert "it is 1.00 times as wide as high and p1.png 1.29 times" in crops.unreadable[night / "p1_night.png"]


def test_none_that_can_be_read_is_an_error(day: Path, night: Path) -> None:
    for path in paths(night):
        path.write_bytes(b"no picture")
    pairs, _ = match_by_name(paths(day), paths(night))
    with pytest.raises(UsageError, match="None of the 3 pairs could be read"):
        PairedCrops(pairs, 32, seed=1, count=2)[0]
