"""`percept visualize compare`: the places enlarged are those where the pictures differ most, and the figures are theirs."""

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from percept_cli.core.drawing.canvas import LINES, WIDTH
from percept_cli.core.visualization.comparison import comparison_sheet
from percept_cli.core.visualization.differences import Heat, Shown, difference_records, differing_places, spread_map
from tests.conftest import Percept
from tests.test_visualize_report import Page, check_alone

CPU = ("--device", "cpu", "--threads", 1)


def marked_pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Gray and the same with two squares of 16 pixels: strong at (64, 32), half as strong at (8, 80)."""
    plain = torch.full((1, 3, 128, 128), 0.5)
    marked = plain.clone()
    marked[..., 64:80, 32:48] += 0.4
    marked[..., 8:24, 80:96] -= 0.2
    return plain, marked


def test_places_are_the_squares_that_differ_strongest_first() -> None:
    """No two overlap; there are no more of them than differences; the figure is the root mean square in gray levels."""
    places = differing_places(marked_pictures(), side=16, count=5)
    assert [(place.region.top, place.region.left) for place in places[:2]] == [(64, 32), (8, 80)]
    # Two pictures are half their difference away from their mean.
    assert [place.difference for place in places[:2]] == pytest.approx([255 * 0.2, 255 * 0.1], rel=1e-4)
    assert len(places) == 2 and all(place.region.height == place.region.width == 16 for place in places)


def test_places_agree_with_sums_written_out() -> None:
    """On noise, the best square is the one of the largest mean over its pixels, by hand."""
    random = torch.Generator().manual_seed(0)
    pictures = [torch.rand(1, 3, 40, 56, generator=random) for _ in range(3)]
    (place,) = differing_places(pictures, side=8, count=1)
    spread = torch.stack(pictures).var(dim=0, unbiased=False).mean(dim=1)[0]
    torch.testing.assert_close(spread_map(pictures)[0, 0], spread)
    means = F.avg_pool2d(spread[None, None], 8, stride=1)[0, 0]
    assert (place.region.top, place.region.left) == divmod(int(means.argmax()), means.shape[1])


def test_equal_pictures_have_no_place_and_a_square_larger_than_the_picture_is_cut() -> None:
    """The short side is the largest square there is."""
    plain, marked = marked_pictures()
    assert differing_places((plain, plain), 16, 3) == []
    assert [place.region.height for place in differing_places((plain, marked), 999, 3)] == [128]


def test_records_are_the_differences_to_the_first() -> None:
    """Of the whole picture and of every square."""
    plain, marked = marked_pictures()
    places = differing_places((plain, marked), 16, 2)
    rows = difference_records([Shown("a", plain), Shown("b", marked)], places)
    assert [row["place"] for row in rows] == [0, 1, 2] and {row["picture"] for row in rows} == {"b"}
    whole = 255 * ((0.4**2 + 0.2**2) * 256 / 128**2) ** 0.5
    assert [row["rms_difference"] for row in rows] == pytest.approx([whole, 255 * 0.4, 255 * 0.2], rel=1e-4)


def test_a_square_has_its_color_in_the_picture_and_around_its_enlargement() -> None:
    """And pixels are enlarged as they are: no color appears that was not there."""
    plain, marked = marked_pictures()
    places = differing_places((plain, marked), 16, 1)
    sheet = comparison_sheet([Shown("a", plain), Shown("b", marked)], places)
    levels = (sheet[0] * 255).round().permute(1, 2, 0).numpy().astype(int)
    blue = np.all(levels == [int(LINES[0][at : at + 2], 16) for at in (1, 3, 5)], axis=-1)
    side = sheet.shape[-1] // 2
    assert blue[:, :side].sum() == blue[:, side:].sum() > 500
    strong = np.all(levels == round(0.9 * 255), axis=-1)
    assert strong[:, :side].sum() == 0 and strong[:, side:].sum() > 100_000


def test_heat_maps_share_one_scale() -> None:
    """Half as far apart is half way up the bar; the first picture has the bar."""
    plain, marked = marked_pictures()
    maps = {"b": torch.full((1, 1, 8, 8), 1.0), "c": torch.full((1, 1, 8, 8), 2.0)}
    shown = [Shown("a", plain), Shown("b", plain), Shown("c", marked)]
    sheet = (comparison_sheet(shown, [], Heat(maps, "distance")) * 255).round()[0].permute(1, 2, 0).int()
    colors, counts = sheet.view(-1, 3).unique(dim=0, return_counts=True)
    large = {tuple(color) for color, count in zip(colors.tolist(), counts.tolist(), strict=True) if count > 100_000}
    assert {(253, 231, 37), (33, 145, 140)} <= large


@pytest.fixture
def trio(tmp_path: Path) -> Path:
    """A photograph, the same with a dark square, and a small version of it."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    photo = coarse.resize((128, 96), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "a.png")
    photo.resize((43, 32), Image.Resampling.BICUBIC).save(tmp_path / "small.png")
    photo.paste((0, 0, 0), (80, 32, 96, 48))
    photo.save(tmp_path / "b.png")
    return tmp_path


def test_three_files_of_two_sizes_end_to_end(percept: Callable, trio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the square is, is found and reported; the small picture is enlarged and that is said; numbers as CSV."""
    monkeypatch.chdir(trio)
    outcome = percept(
        "visualize", "compare", "a.png", "b.png", "small.png", "--crop-size", 16, "--crops", 1, "--heat", "--layers",
        "relu2_2", "--data", "n.csv", "--labels", "photo,hole,small", "--json", *CPU,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert (
        report["output"].startswith("a_compared_labels-photo+hole+small_crops-1_crop-size-16_heat_layers-relu2_2")
        and report["width"] == WIDTH
    )
    assert report["places"] == [{"top": 32, "left": 80, "side": 16}]
    with (trio / "n.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["picture"], row["place"]) for row in rows] == [
        ("hole", "0"), ("hole", "1"), ("small", "0"), ("small", "1")
    ]  # fmt: skip
    assert float(rows[1]["rms_difference"]) > 5 * float(rows[3]["rms_difference"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.png"], 2, "a.png alone has nothing to be compared with"),
        (["a.png", "b.png", "--labels", "one"], 2, "give 2 different names"),
        (["a.png", "b.png", "--labels", "one,one"], 2, "give 2 different names"),
        (["a.png", "b.png", "--layers", "relu2_2"], 2, "There is no --heat map: leave --layers out"),
        (["a.png", "b.png", "-o", "b.png", "--overwrite"], 2, "is an input and would be written over"),
        (["a.png", "tall.png"], 4, "pictures of another shape cannot be laid over each other"),
        (["a.png", "none.png"], 4, "'none.png' does not exist"),
        (["a.png", "b.png", "--heat", "--layers", "relu9"], 2, "Unknown layer of compact 'relu9'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], code: int, message: str, percept: Callable, trio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exit code of its kind, and nothing written."""
    monkeypatch.chdir(trio)
    Image.new("RGB", (50, 90)).save("tall.png")
    outcome = percept("visualize", "compare", *arguments, *CPU)
    assert outcome.code == code and message in outcome.stderr, outcome.stderr
    assert len(list(trio.iterdir())) == 4


def test_a_page_holds_every_picture_once_under_the_slider_and_the_squares_pixel_by_pixel(
    tmp_path: Path, percept: Percept
) -> None:
    """Three pictures: two choices of three, three squares as they are; names of files are only text."""
    plain, marked = marked_pictures()
    names = ["plain", "<b>marked", "half"]
    for name, pixels in zip(names, (plain, marked, plain.lerp(marked, 0.5)), strict=True):
        levels = (pixels[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
    out = tmp_path / "page.html"
    outcome = percept(
        "visualize",
        "compare",
        *[tmp_path / f"{name}.png" for name in names],
        "--crop-size",
        16,
        "--crops",
        1,
        "-o",
        out,
        *CPU,
    )
    assert outcome.code == 0, outcome.stderr
    page = Page(out.read_text(encoding="utf-8"))
    check_alone(page)
    assert len(page.all("option")) == 6 and len(page.all("select")) == 2 and "<b>marked" in page.text
    crops = [image for image in page.all("img") if image.get("class") == "crop"]
    assert [image["alt"] for image in crops][1].startswith(
        "<b>marked, place 1: 16 pixels a side, from row 64 and column 32"
    )
    with Image.open(io.BytesIO(base64.b64decode(str(crops[1]["src"]).split(",")[1]))) as crop:
        assert np.array_equal(np.asarray(crop), np.full((16, 16, 3), round(255 * 0.9)))
