"""A patch is nearer to itself later than to patches of other clips: the pairs, and the loss by known answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.training.extractors.ranking import (
    FramePairs,
    find_clips,
    patch_distances,
    ranking_errors,
    ranking_loss,
)
from percept_cli.errors import UsageError

EAST, NORTH, WEST = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([-3.0, 0.0])


def frame(path: Path, level: int = 0, size: tuple[int, int] = (80, 64), spot: tuple[int, int] | None = None) -> None:
    """A flat frame, with a spot of 8 by 8 black or white pixels at (left, top) that depend on the level."""
    path.parent.mkdir(exist_ok=True)
    levels = np.full((size[1], size[0], 3), level, dtype=np.uint8)
    if spot:
        levels[spot[1] : spot[1] + 8, spot[0] : spot[0] + 8] = 255 * (level % 2)
    Image.fromarray(levels).save(path)


@pytest.fixture
def two_clips(tmp_path: Path) -> list[Path]:
    """Two folders of 12 flat frames, whose level is 3 times their number, and 100 more in the second."""
    for clip in range(2):
        for number in range(12):
            frame(tmp_path / f"clip{clip}" / f"frame{number}.png", 100 * clip + 3 * number)
    return list(tmp_path.rglob("*.png"))


def test_frames_come_in_the_order_of_their_numbers(two_clips: list[Path]) -> None:
    clips = find_clips(two_clips, gap=2)
    assert [[path.name for path in clip] for clip in clips.frames] == [[f"frame{n}.png" for n in range(12)]] * 2
    assert str(clips) == "2 clips with 24 frames"


def test_what_is_no_clip_is_photographs(two_clips: list[Path], tmp_path: Path) -> None:
    """A gap of 0 says so; a folder of several sizes cannot be a clip; a lone folder has nothing to be ranked against."""
    assert {len(clip) for clip in find_clips(two_clips, gap=0).frames} == {1}
    assert len(find_clips(two_clips[:12], gap=2).frames) == 12
    frame(two_clips[0].parent / "portrait.png", size=(64, 80))
    mixed = find_clips(list(tmp_path.rglob("*.png")), gap=2)
    assert sorted(map(len, mixed.frames)) == [1] * 13 + [12]
    assert str(mixed) == (
        "1 clip with 12 frames; 13 photographs, whose later frame is an overlapping crop of the same photograph"
    )
    with pytest.raises(UsageError, match="two clips or photographs"):
        find_clips(two_clips[:1], gap=2)


def test_unreadable_frames_are_left_out_and_named(two_clips: list[Path]) -> None:
    two_clips[0].write_bytes(b"no picture")
    clips = find_clips(two_clips, gap=2)
    assert sorted(map(len, clips.frames)) == [11, 12] and list(clips.left_out) == [two_clips[0]]
    assert list(FramePairs(clips, 32, 2, 0, 1).unreadable) == [two_clips[0]]


def test_a_clip_that_breaks_off_gives_way_to_another(two_clips: list[Path]) -> None:
    """Its frames have heads but no pixels: the pair is of the other clip, and says so."""
    for path in two_clips:
        if path.parent.name == "clip0":
            Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)).save(path)
            path.write_bytes(path.read_bytes()[:2000])
    pairs = FramePairs(find_clips(two_clips, gap=2), 32, 2, 0, 8)
    assert all(pairs[number].mean() > 0.3 for number in range(8))
    assert {pairs.clip(number) for number in range(8)} == {1}


def test_the_later_patch_is_of_the_frame_a_gap_away(two_clips: list[Path]) -> None:
    """The levels tell the frames; a gap longer than the clip is as long as that."""
    for gap, apart in ((4, 12), (99, 33)):
        pairs = FramePairs(find_clips(two_clips, gap), 32, gap, 0, 20)
        for number in range(20):
            first, later = (pairs[number] * 255).round()
            assert first.shape == (3, 32, 32) and first.std() == 0 == later.std()
            assert later[0, 0, 0] - first[0, 0, 0] == apart
            assert pairs.clip(number) == int(first[0, 0, 0] >= 100)
    assert {pairs.clip(number) for number in (0, 1)} == {0, 1} == {pairs.clip(number) for number in (2, 3)}


def test_same_seed_same_pairs(photos: Path) -> None:
    clips = find_clips(sorted(photos.rglob("*.*g")), gap=8)
    first, again, other = (FramePairs(clips, 32, 8, seed, 9) for seed in (1, 1, 2))
    assert torch.equal(first[5], again[5]) and not torch.equal(first[5], other[5])


def test_patches_are_where_something_moves(tmp_path: Path) -> None:
    """Nothing but a blinking spot: each patch holds some of it."""
    for clip in range(2):
        for number in range(2):
            frame(tmp_path / f"clip{clip}" / f"{number}.png", 100 + number, (128, 100), spot=(90, 70))
    pairs = FramePairs(find_clips(list(tmp_path.rglob("*.png")), gap=1), 32, 1, 0, 40)
    assert all(pairs[number][0].std() > 0 for number in range(40))


def test_of_a_photograph_the_later_frame_is_an_overlapping_crop(tmp_path: Path) -> None:
    """Red and green are the pixel's column and row, so that the crops tell where they lie."""
    columns, rows = np.meshgrid(np.arange(128), np.arange(128))
    for name in ("a", "b"):
        Image.fromarray(np.stack([columns, rows, rows], axis=2).astype(np.uint8)).save(tmp_path / f"{name}.png")
    pairs = FramePairs(find_clips(sorted(tmp_path.iterdir()), gap=0), 32, 0, 0, 60)
    sides = []
    for number in range(60):
        first, later = pairs[number].double() * 255
        side = [32 * (crop[1, -2, 16] - crop[1, 1, 16]).item() / 29.0 for crop in (first, later)]
        apart = (first - later).mean(dim=(1, 2))[:2].abs().max().item()
        assert side[0] / 1.3 < side[1] < side[0] * 1.3
        # Within 0.25 sides, and what the border of the photograph pushes a larger crop inwards.
        assert apart < (0.25 + 0.125) * side[0] + 1
        sides.append(side[1] / side[0])
    assert max(sides) > 1.1 and min(sides) < 0.9


def test_ranking_loss_by_known_answers() -> None:
    """Cosine distances are 0, 1 and 2 for vectors the same way, at a right angle and opposite, whatever their lengths."""
    clips = torch.tensor([0, 1])
    right = patch_distances(torch.stack([EAST, NORTH]), torch.stack([3 * EAST, NORTH]), clips)
    assert right.later.tolist() == [0, 0] and ranking_loss(right, 0.5).item() == 0 and ranking_errors(right).item() == 0
    assert ranking_loss(right, margin=1.25).item() == pytest.approx(0.25)
    collapsed = patch_distances(torch.stack([EAST, EAST]), torch.stack([EAST, EAST]), clips)
    assert ranking_loss(collapsed, 0.5).item() == pytest.approx(0.5) and ranking_errors(collapsed).item() == 1
    # EAST's later is opposite, at 2; the others are NORTH and NORTH, at 1. NORTH's own is at 0, the others at 1.
    wrong = patch_distances(torch.stack([EAST, NORTH]), torch.stack([WEST, NORTH]), clips)
    assert ranking_loss(wrong, 0.5).item() == pytest.approx((1.5 + 0) / 2)
    assert ranking_errors(wrong).item() == 0.5


def test_ranking_loss_is_the_written_out_one() -> None:
    """Eq. 2 over the patches of other clips, the hardest few of them or all; patches of one clip are never ranked."""
    torch.manual_seed(0)
    embedded, later, clips = torch.randn(6, 5), torch.randn(6, 5), torch.tensor([0, 1, 1, 2, 3, 0])
    distances = patch_distances(embedded, later, clips)
    for hardest in (1, 4, None):
        expected = []
        for index in range(6):
            own = 1 - torch.cosine_similarity(embedded[index], later[index], dim=0)
            costs = [
                max(0.0, (own - (1 - torch.cosine_similarity(embedded[index], patch[other], dim=0)) + 0.5).item())
                for patch in (embedded, later)
                for other in range(6)
                if clips[other] != clips[index]
            ]
            costs = sorted(costs, reverse=True)[:hardest]
            expected.append(sum(costs) / len(costs))
        assert ranking_loss(distances, 0.5, hardest).item() == pytest.approx(sum(expected) / 6, rel=1e-5)


def test_a_batch_of_one_clip_costs_nothing() -> None:
    alone = patch_distances(torch.randn(3, 4), torch.randn(3, 4), torch.zeros(3))
    assert ranking_loss(alone).item() == 0 == ranking_errors(alone).item()


def test_more_hard_negatives_than_there_are_others_are_all_of_them() -> None:
    torch.manual_seed(0)
    distances = patch_distances(torch.randn(2, 4), torch.randn(2, 4), torch.tensor([0, 1]))
    torch.testing.assert_close(ranking_loss(distances, hardest=4), ranking_loss(distances, hardest=None))
