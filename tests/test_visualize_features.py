"""`percept visualize features`: the channels shown are the strongest, lie where their units look, and come as numbers."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.drawing.canvas import LINES, WIDTH, Scale, color_bar, format_number, outline
from percept_cli.core.drawing.records import encode_records
from percept_cli.core.extractors import create_architecture
from percept_cli.core.extractors.geometry import activation_pair
from percept_cli.core.extractors.graph import FeatureExtractor, Grid
from percept_cli.core.visualization.features import (
    channel_figures,
    evenly_sampled,
    lay_over_pixels,
    principal_components,
    strongest_channels,
)

CPU = ("--device", "cpu", "--threads", 1)


def test_channels_are_ranked_by_their_root_mean_square() -> None:
    """Of equal ones the first comes first; figures are those of the values."""
    features = torch.zeros(1, 4, 1, 2)
    features[0, 1] = torch.tensor([[3.0, -4.0]])
    features[0, 2] = torch.tensor([[5.0, 0.0]])
    figures = channel_figures(features)
    assert strongest_channels(figures, 3) == [1, 2, 0]
    assert (figures[2].mean, figures[2].low, figures[2].high, figures[2].zeros) == (2.5, 0.0, 5.0, 0.5)
    assert figures[1].rms == pytest.approx(12.5**0.5)


def test_principal_components_are_those_that_the_features_were_made_of() -> None:
    """Three orthogonal directions of variances 9, 4 and 1, in turn: their shares, and their ranks as colors."""
    random = torch.Generator().manual_seed(0)
    planes = torch.randn(3, 400, generator=random, dtype=torch.float64)
    planes = torch.linalg.qr((planes - planes.mean(1, keepdim=True)).T)[0].T * torch.tensor([[3.0], [2.0], [1.0]])
    directions = torch.linalg.qr(torch.randn(8, 3, generator=random, dtype=torch.float64))[0]
    found = principal_components((directions @ planes).view(1, 8, 20, 20))
    assert found.shares == pytest.approx((9 / 14, 4 / 14, 1 / 14))
    for color, plane in zip(found.image[0].flatten(1).double(), planes, strict=True):
        assert abs(torch.corrcoef(torch.stack((color, plane)))[0, 1]) > 0.98  # all but what the ends clamp


def test_features_that_do_not_vary_are_gray() -> None:
    """No direction is better than another."""
    assert torch.equal(principal_components(torch.ones(1, 2, 3, 3)).image, torch.full((1, 3, 3, 3), 0.5))


def test_percentiles_of_very_many_values_are_those_of_a_sample_over_all_columns() -> None:
    """Small maps are taken whole; a large one keeps the shares of its values, and no column is left out."""
    assert torch.equal(evenly_sampled(torch.arange(10.0), 20), torch.arange(10.0))
    rows = torch.arange(1000.0).repeat(1000)
    sample = evenly_sampled(rows, 10_000)
    assert 9_000 < len(sample) < 10_100 and len(sample.unique()) == 1000
    assert sample.quantile(0.9).item() == pytest.approx(899, abs=2)


def test_a_unit_lies_over_the_pixels_that_it_stands_for() -> None:
    """Two units of four pixels from pixel 1 on; pixels beyond them have the nearest one's."""
    units = torch.tensor([10.0, 20.0]).view(1, 1, 1, 2)
    row = lay_over_pixels(units, Grid(4, 0, 2), (1, 11), 1, 11).flatten().tolist()
    assert row == [10] * 5 + [20] * 6
    assert lay_over_pixels(units, Grid(4), (4, 8), 2, 4)[0, 0, 1].tolist() == [10, 10, 20, 20]


def test_both_sides_of_an_activation_by_either_name() -> None:
    """In every network; what is no activation is refused by name."""
    for name, before, after in (
        ("compact", "conv3_3", "relu3_3"), ("vgg19", "conv5_4", "relu5_4"), ("alexnet", "conv5", "relu5"),
        ("squeezenet1_0", "fire4_expand", "fire4"),
    ):  # fmt: skip
        architecture = create_architecture(name)
        assert activation_pair(architecture, before) == activation_pair(architecture, after) == (before, after)
    with pytest.raises(Exception, match="pool2 of compact stands on neither side of a ReLU"):
        activation_pair(create_architecture("compact"), "pool2")


def test_a_scale_has_its_colors_at_its_ends_and_clamps_beyond() -> None:
    """White at 0 where it lies about zero; the bar runs through all of it."""
    scale = Scale(0.0, 2.0, "activation")
    painted = (scale.paint(torch.tensor([-1.0, 0.0, 2.0, 9.0]).view(1, 1, 1, 4)) * 255).round()[0, :, 0].T.tolist()
    assert painted == [[68, 1, 84], [68, 1, 84], [253, 231, 37], [253, 231, 37]]
    assert (Scale.about_zero(5.0, "").paint(torch.zeros(1, 1, 1, 1)) > 0.95).all()
    bar = color_bar(scale, 100)
    assert bar.shape[-1] == 100 and torch.equal(bar[..., 0, 99:], scale.paint(torch.full((1, 1, 1, 1), 2.0))[..., 0, :])


def test_numbers_are_short_and_boxes_have_their_color() -> None:
    """Three digits, no exponents before a million."""
    assert [format_number(value) for value in (0.0, 2570.4, -1150.0, 0.01234, 2.5e7)] == [
        "0",
        "2570",
        "-1150",
        "0.0123",
        "2.5e+07",
    ]
    marked = outline(torch.zeros(1, 3, 9, 9), (1, 1, 8, 8), LINES[0], 2)
    assert (
        (marked[0, 2] * 255).round()[1, 1] == 0xB2 and marked[..., 3:6, 3:6].sum() == 0 and marked[..., 0, :].sum() == 0
    )


def test_records_as_json_and_csv_hold_no_infinities() -> None:
    """One column for every name that occurs."""
    rows = [{"layer": "relu1_1", "value": 1.5}, {"value": float("inf"), "note": "a, b"}]
    assert json.loads(encode_records(rows, ".json")) == [rows[0], {"value": None, "note": "a, b"}]
    assert encode_records(rows, ".csv") == b'layer,value,note\nrelu1_1,1.5,\n,,"a, b"\n'


@pytest.fixture(scope="module")
def road(photos: Path) -> Path:
    return photos / "nested" / "road.png"


def test_the_sheet_shows_the_strongest_channels_of_each_layer(percept: Callable, road: Path, tmp_path: Path) -> None:
    """The numbers are those of the extractor by hand; layers come in the order of the network; nothing else is written."""
    from percept_cli.core.images.decode import load_image
    from percept_cli.core.pretrained.extractors import create_extractor

    outcome = percept(
        "visualize", "features", road, "--layer", "relu3_3,conv1_2", "-n", 3, "-o", tmp_path / "s.png",
        "--data", tmp_path / "s.csv", "--json", *CPU,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["layers"] == ["conv1_2", "relu3_3"] and report["width"] == WIDTH
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    with torch.no_grad():
        features = create_extractor("compact", ["relu3_3"])(load_image(road).pixels)["relu3_3"]
    own = [row for row in rows if row["layer"] == "relu3_3"]
    expected = features[0].flatten(1).square().mean(1).sqrt()
    np.testing.assert_allclose([float(row["rms"]) for row in own], expected, rtol=1e-4)
    assert {int(row["channel"]) for row in own if row["shown"] == "True"} == set(expected.topk(3).indices.tolist())


def test_the_same_command_gives_the_same_file_and_overlay_another(
    percept: Callable, road: Path, tmp_path: Path
) -> None:
    """And an untrained network by its seed."""

    def draw(name: str, *more: object) -> bytes:
        path = tmp_path / f"{name}.png"
        outcome = percept(
            "visualize", "features", road, "--layer", "relu2_1", "--channel", "5,0", "-o", path, *more, *CPU
        )
        assert outcome.code == 0, outcome.stderr
        return path.read_bytes()

    untrained = ("--extractor", "alexnet", "--extractor-weights", "random")
    plain = draw("a")
    assert plain == draw("b") != draw("c", "--overlay")

    def untrained_sheet(name: str, seed: int) -> bytes:
        path = tmp_path / f"{name}.png"
        arguments = (
            "visualize",
            "features",
            road,
            "--layer",
            "conv2",
            "--seed",
            seed,
            "-n",
            1,
            "-o",
            path,
            *untrained,
            *CPU,
        )
        assert percept(*arguments).code == 0
        return path.read_bytes()

    assert untrained_sheet("e", 1) == untrained_sheet("f", 1) != untrained_sheet("g", 2)


def test_a_large_photograph_is_scaled_and_that_is_said(percept: Callable, tmp_path: Path) -> None:
    """A small one is left as it is, but for --size."""
    Image.linear_gradient("L").resize((390, 500)).save(tmp_path / "tall.png")
    arguments = ("visualize", "features", tmp_path / "tall.png", "--layer", "relu1_1", "-n", 1, *CPU)
    outcome = percept(*arguments, "-o", tmp_path / "a.png")
    assert outcome.code == 0 and "scaled from 390x500 to 384x492 pixels" in outcome.stderr
    assert "scaled" not in percept(*arguments, "--size", 64, "-o", tmp_path / "b.png").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--layer", "relu9_9"], 2, "Unknown layer of compact 'relu9_9'"),
        (["--layer", "relu2_1", "--channel", "128"], 2, "relu2_1 has the channels 0 to 127, not 128"),
        (["--layer", "relu2_1", "--channel", "first"], 2, "--channel first: give numbers from 0"),
        (["--layer", "relu2_1", "--channel", "1", "--components"], 2, "leave --channel or --components out"),
        (["--layer", "pool1", "--before-after"], 2, "stands on neither side of a ReLU"),
        (["--data", "numbers.txt"], 2, "Unknown extension of --data '.txt'"),
        (["--data", "nowhere/numbers.csv"], 2, "does not exist: make it first"),
        (["-o", "sheet.gif"], 2, "Unknown output extension"),
        (["-o", "{photo}", "--overwrite"], 2, "is an input and would be written over"),
        (["--layer", "relu5_2", "--size", "8"], 2, "needs at least 16x16"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], code: int, message: str, percept: Callable, road: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With the exit code of its kind, and nothing written."""
    monkeypatch.chdir(tmp_path)
    outcome = percept("visualize", "features", road, *[word.format(photo=road) for word in arguments], *CPU)
    assert outcome.code == code and message in outcome.stderr, outcome.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_photograph_fails_and_a_code_has_no_map(percept: Callable, road: Path, tmp_path: Path) -> None:
    """A file that is not there is exit code 4; a fully connected layer is refused by name."""
    assert percept("visualize", "features", tmp_path / "none.jpg", "-o", tmp_path / "a.png", *CPU).code == 4
    untrained = ("--extractor", "squeezenet1_1", "--extractor-weights", "random", "--layer", "prob")
    outcome = percept("visualize", "features", road, *untrained, "-o", tmp_path / "a.png", *CPU)
    assert outcome.code == 2 and "prob of squeezenet1_1 is a code of the whole picture and has no map" in outcome.stderr


def test_the_grid_of_a_layer_is_where_its_units_answer() -> None:
    """A point of light through an untrained AlexNet: the unit that answers most lies over it."""
    from percept_cli.core.extractors.graph import randomize

    extractor = FeatureExtractor(create_architecture("alexnet"), ["conv1"])
    randomize(extractor, 0)
    image = torch.zeros(1, 3, 67, 67)
    dark = extractor(image)["conv1"]
    image[..., 30:34, 42:46] = 1.0
    answer = (extractor(image)["conv1"] - dark).square().sum(1, keepdim=True)
    grid = extractor.grid("conv1")
    assert grid is not None
    shown = lay_over_pixels(answer, grid, (67, 67), 67, 67)[0, 0]
    row, column = divmod(int(shown.argmax()), 67)
    assert abs(row + 1.5 - 31.5) <= 4 and abs(column + 1.5 - 43.5) <= 4
