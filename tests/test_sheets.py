"""Contact sheets: where pictures and captions lie, and how rows are broken."""

import torch

from percept_cli.core.drawing.sheets import GAP, LINE, Panel, contact_sheet, wrap


def test_a_sheet_keeps_pixels_and_has_captions_below_them() -> None:
    """Two pictures of different sizes and an empty place: where they lie, and what lies around them."""
    red, blue = torch.zeros(1, 3, 60, 80), torch.zeros(1, 3, 30, 90)
    red[:, 0], blue[:, 2] = 1, 1
    sheet = contact_sheet([[Panel(red, ("red", "60")), Panel(blue, ("a",))], [Panel(None), Panel(blue)]])
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
    narrow = contact_sheet([[Panel(picture), Panel(picture)]])
    wide = contact_sheet([[Panel(picture, ("fire5_squeeze_relu",)), Panel(picture)]])
    assert wide.shape[-1] > narrow.shape[-1] + 50
    assert wide[..., GAP : GAP + 8, :].eq(0).sum() == 2 * 3 * 8 * 8


def test_long_rows_are_wrapped_evenly() -> None:
    """15 tiles at most 6 wide are three rows of 5; few stay one row."""
    tiles = [Panel(None, (str(number),)) for number in range(15)]
    assert [len(row) for row in wrap(tiles, 6)] == [5, 5, 5]
    assert [len(row) for row in wrap(tiles[:7], 6)] == [4, 3]
    assert wrap(tiles[:3], 6) == [tiles[:3]]
