"""Tiles: every pixel of the result once, enough of the picture around each, clipped where the picture ends."""

import numpy as np
import pytest

from percept_cli.core.images.tiles import Region, Tile, parse_tile, plan_tiles
from percept_cli.errors import UsageError

SIZES = [(1, 1), (7, 50), (8, 8), (31, 32), (32, 33), (33, 64), (100, 67)]


@pytest.mark.parametrize("tile", [1, 31, 32, 33, 1000])
@pytest.mark.parametrize(("halo", "multiple"), [(0, 1), (5, 1), (5, 4)])
def test_tiles_cover_every_pixel_once(tile: int, halo: int, multiple: int) -> None:
    """Pictures of 1, tile - 1, tile and tile + 1 pixels among them; no tile is larger than asked for."""
    for height, width in SIZES:
        covered = np.zeros((height, width), int)
        for each in plan_tiles(height, width, tile, halo, multiple=multiple):
            covered[each.target.slices] += 1
            assert max(each.target.height, each.target.width) <= max(tile, multiple)
        assert (covered == 1).all()


@pytest.mark.parametrize(("halo", "multiple"), [(0, 1), (3, 1), (9, 4)])
def test_every_tile_sees_its_halo_or_the_edge(halo: int, multiple: int) -> None:
    """Inside the picture a source ends at a multiple, at least the halo away; it never leaves the picture."""
    planned = [
        (height, width, tile)
        for height, width in SIZES
        for tile in plan_tiles(height, width, 16, halo, multiple=multiple)
    ]
    for height, width, tile in planned:
        source, target = tile.source, tile.target
        for far, near in ((source.top, target.top), (source.left, target.left)):
            assert far == 0 or (near - far >= halo and far % multiple == 0)
        for far, near, limit in ((source.bottom, target.bottom, height), (source.right, target.right, width)):
            assert far == limit or (far - near >= halo and far % multiple == 0)
            assert far <= limit


def test_tiles_are_of_nearly_equal_size() -> None:
    """33 pixels in tiles of 32 are 16 and 17, not 32 and 1."""
    assert {tile.target.height for tile in plan_tiles(33, 10, 32, 0)} == {16, 17}
    heights = {tile.target.height for tile in plan_tiles(1001, 10, 64, 0)}
    assert max(heights) - min(heights) <= 1


@pytest.mark.parametrize(("height", "width", "multiple"), [(20, 30, 1), (21, 31, 2), (22, 37, 4)])
def test_a_picture_within_a_tile_is_one_tile(height: int, width: int, multiple: int) -> None:
    """Its source is the picture itself, also where its sides are no multiples."""
    whole = Region(0, 0, height, width)
    assert plan_tiles(height, width, width, 8, multiple=multiple) == [Tile(whole, whole)]


def test_rows_that_are_done_are_left_out() -> None:
    """From a row on, smaller tiles cover the rest; their halo may lie in the rows that are done."""
    covered = np.zeros((60, 40), int)
    for tile in plan_tiles(60, 40, 11, 4, top=20):
        covered[tile.target.slices] += 1
        assert tile.source.top == max(0, tile.target.top - 4)
    assert (covered[20:] == 1).all() and (covered[:20] == 0).all()


def test_assembled_tiles_are_the_picture() -> None:
    """Each source cut out, its halo cut off, pasted at its target, at 3 times the size."""
    picture = np.arange(50 * 70).reshape(50, 70)
    result = np.full((150, 210), -1)
    for tile in plan_tiles(50, 70, 16, 5):
        enlarged = picture[tile.source.slices].repeat(3, 0).repeat(3, 1)
        result[tile.target.scaled(3).slices] = enlarged[tile.target.within(tile.source).scaled(3).slices]
    assert (result == picture.repeat(3, 0).repeat(3, 1)).all()


@pytest.mark.parametrize(("height", "tile", "halo"), [(0, 8, 0), (8, 0, 0), (8, 8, -1)])
def test_impossible_tiles_are_refused(height: int, tile: int, halo: int) -> None:
    """No pixels, no tile, a negative halo."""
    with pytest.raises(ValueError, match="No tiles"):
        plan_tiles(height, 8, tile, halo)


def test_the_tile_option() -> None:
    """auto, off or a number of pixels."""
    assert [parse_tile(text) for text in ("auto", "off", "256")] == ["auto", "off", 256]
    for text in ("0", "-3", "big", "", "1.5"):
        with pytest.raises(UsageError, match="give auto, off or the side"):
            parse_tile(text)
