"""`percept visualize sweep` and `train style --preview`: each picture is what its own command gives, at its own place."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.visualization.axes import Axis, check_axes, parse_axis, settings
from percept_cli.core.visualization.sweep import Swept, label, sweep_sheet
from percept_cli.errors import UsageError

CPU = ("--device", "cpu", "--threads", 1)


def test_an_axis_is_a_name_and_its_values() -> None:
    """Numbers as numbers, layers joined by +; rows go down, columns across; without an axis there is one of it."""
    rows, columns = parse_axis("--rows", "style-weight=1, 5,20"), parse_axis("--columns", "style-size=64,128")
    assert rows == Axis("style-weight", (1.0, 5.0, 20.0)) and columns == Axis("style-size", (64, 128))
    assert settings(rows, columns)[1] == [
        {"style-weight": 5.0, "style-size": 64},
        {"style-weight": 5.0, "style-size": 128},
    ]
    assert settings(Axis(), columns) == [[{"style-size": 64}, {"style-size": 128}]]
    assert parse_axis("--rows", "style-layers=relu1_1+relu2_1,relu3_1").values == ("relu1_1+relu2_1", "relu3_1")
    assert [label("style-weight", 0.3), label("style-size", 64), label("model", "a/b.safetensors")] == [
        "0.3", "64 pixels", "b.safetensors",
    ]  # fmt: skip


def test_what_is_optimized_and_what_is_trained_do_not_mix() -> None:
    strength, weight, model = Axis("strength", (0.5, 1.0)), Axis("style-weight", (1.0,)), Axis("model", ("wave",))
    assert check_axes(model, strength, style=False, model=False)
    assert check_axes(Axis(), strength, style=False, model=True)
    assert not check_axes(weight, strength, style=True, model=False)
    for rows, columns, style, trained, message in (
        (Axis(), Axis(), True, False, "Give --rows or --columns"),
        (strength, strength, True, False, "are both strength"),
        (model, weight, False, False, "style-weight does not change what a trained model does. Known: model, strength"),
        (model, strength, True, False, "cannot be swept at once"),
        (weight, strength, False, False, "Give --style PICTURE, or -m MODEL"),
        (model, strength, False, True, "-m is an axis already"),
        (Axis("steps", tuple(range(1, 34))), strength, True, False, "33 x 2 are more than the 64 pictures"),
    ):
        with pytest.raises(UsageError, match=message):
            check_axes(rows, columns, style=style, model=trained)


def test_a_sheet_has_every_picture_in_its_row_and_column() -> None:
    """Plain colors: the first row's lie above the second's, the columns side by side in their order."""
    colors = [[(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)], [(0.0, 0.0, 1.0), (1.0, 1.0, 0.0)]]
    pictures = [
        [Swept(torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, 40, 100), {}) for color in row] for row in colors
    ]
    axes = Axis("style-weight", (1.0, 2.0)), Axis("style-size", (64, 128))
    sheet = sweep_sheet("title", ["note"], [], *axes, pictures)
    centers = []
    for color in (color for row in colors for color in row):
        found = (sheet[0] == torch.tensor(color).view(3, 1, 1)).all(0).nonzero()
        assert len(found) == 4000
        centers.append(found.float().mean(0).tolist())
    (top, left), (_, right), (bottom, _) = centers[0], centers[1], centers[2]
    assert top < bottom and left < right and centers[3] == [bottom, right]


def sheet_holds(sheet: Path, picture: np.ndarray) -> bool:
    """Whether the pixels (h, w, 3) stand somewhere on a sheet."""
    pixels = np.asarray(Image.open(sheet))
    places = np.argwhere((pixels[: -picture.shape[0] + 1, : -picture.shape[1] + 1] == picture[0, 0]).all(-1))
    return any(
        np.array_equal(pixels[top : top + picture.shape[0], left : left + picture.shape[1]], picture)
        for top, left in places.tolist()
    )


def test_a_swept_picture_is_what_stylize_gives(
    percept: Callable, photos: Path, style_picture: Path, tmp_path: Path
) -> None:
    """With the same options; the numbers name the setting of each."""
    photo = photos / "hill.png"
    outcome = percept(
        "visualize", "sweep", photo, "--style", style_picture, "--rows", "style-weight=0.5,2", "--columns",
        "strength=0.5,1", "--size", 48, "--steps", 3, "-o", tmp_path / "s.png", "--data", tmp_path / "s.csv", "--json", *CPU,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["pictures"] == 4
    alone = percept(
        "stylize", photo, "--style", style_picture, "--style-weight", 2, "--strength", 0.5, "--size", 48,
        "--init", "content", "--steps", 3, "-o", tmp_path / "a.png", *CPU,
    )  # fmt: skip
    assert alone.code == 0, alone.stderr
    assert sheet_holds(tmp_path / "s.png", np.asarray(Image.open(tmp_path / "a.png")))
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["style-weight"], row["strength"]) for row in rows] == [
        ("0.5", "0.5"), ("0.5", "1.0"), ("2.0", "0.5"), ("2.0", "1.0"),
    ]  # fmt: skip
    assert float(rows[0]["difference"]) < float(rows[1]["difference"])
    assert rows[0]["content.relu3_3"] == rows[1]["content.relu3_3"] != rows[2]["content.relu3_3"]


def test_layers_and_losses_are_swept(percept: Callable, photos: Path, style_picture: Path, tmp_path: Path) -> None:
    """Two losses by two content layers: four pictures, each with its own parts; styles too are an axis."""
    arguments = (
        "visualize",
        "sweep",
        photos / "hill.png",
        "--size",
        48,
        "--steps",
        1,
        "--data",
        tmp_path / "s.json",
        *CPU,
    )
    axes = ("--rows", "loss=gram,contextual", "--columns", "content-layers=relu1_2,relu2_2+relu3_1")
    outcome = percept(*arguments, "--style", style_picture, *axes, "-o", tmp_path / "s.png")
    assert outcome.code == 0, outcome.stderr
    parts = [set(row) for row in json.loads((tmp_path / "s.json").read_text())]
    assert "content.relu1_2" in parts[0] and {"content.relu2_2", "content.relu3_1"} <= parts[1]
    assert "style.relu1_1" in parts[0] and "style.relu1_1" not in parts[2]
    outcome = percept(
        *arguments, "--style", style_picture, "--rows", "style-scales=1,1+2", "-o", tmp_path / "u.png", "--overwrite"
    )
    assert outcome.code == 0, outcome.stderr
    full, half = (set(row) for row in json.loads((tmp_path / "s.json").read_text()))
    assert {name for name in half if name.startswith("style.half.")} and "style.relu1_1" in full
    assert not {name for name in full if "half" in name}
    both = f"style={style_picture},{photos / 'lake.jpg'}"
    outcome = percept(*arguments, "--rows", both, "-o", tmp_path / "t.png", "--overwrite")
    assert outcome.code == 0, outcome.stderr


def test_strokes_are_swept(
    percept: Callable, photos: Path, style_picture: Path, style_model: Path, tmp_path: Path
) -> None:
    """Of a trained model and of the optimization each picture is what stylize --stroke gives; limits are those of it."""
    photo = photos / "hill.png"
    calls = (
        (("-m", style_model), ()),
        (("--style", style_picture, "--steps", 2), ("--init", "content")),
    )
    for network, start in calls:
        common = ("--size", 48, "--overwrite", *CPU)
        sheet, alone = tmp_path / "s.png", tmp_path / "a.png"
        outcome = percept("visualize", "sweep", photo, *network, "--rows", "stroke=0.5,1,2", "-o", sheet, *common)
        assert outcome.code == 0, outcome.stderr
        for stroke in (0.5, 2):
            outcome = percept("stylize", photo, *network, *start, "--stroke", stroke, "-o", alone, *common)
            assert outcome.code == 0, outcome.stderr
            assert sheet_holds(sheet, np.asarray(Image.open(alone)))
    with pytest.raises(UsageError, match=r"stroke=9: give numbers from 0.25 to 8."):
        parse_axis("--rows", "stroke=1,9")


def test_models_are_swept(percept: Callable, photos: Path, style_model: Path, tmp_path: Path) -> None:
    """Each picture is what stylize gives with the model."""
    photo = photos / "nested" / "road.png"
    models = f"model={style_model},udnie"
    outcome = percept("visualize", "sweep", photo, "--rows", models, "--size", 64, "-o", tmp_path / "s.png", *CPU)
    assert outcome.code == 0, outcome.stderr
    for model in (style_model, "udnie"):
        assert percept("stylize", photo, "-m", model, "-o", tmp_path / "a.png", "--overwrite", *CPU).code == 0
        assert sheet_holds(tmp_path / "s.png", np.asarray(Image.open(tmp_path / "a.png")))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--rows", "style-weigth=1,2"], 2, "Unknown option of --rows 'style-weigth'. Did you mean 'style-weight'? Known: style,"),
        (["--rows", "style-weight"], 2, "give values, as in --rows style-weight=A,B,C"),
        (["--rows", "style-weight=1,,2"], 2, "give values"),
        (["--rows", "style-weight=1,-2"], 2, "style-weight=-2: give numbers of 0 or more"),
        (["--rows", "strength=2"], 2, "strength=2: give numbers from 0 to 1"),
        (["--rows", "style-size=64.5"], 2, "style-size=64.5: give whole numbers of 32 or more"),
        (["--rows", "style-scales=1+2,9"], 2, "--style-scales 9: give different whole numbers from 1 to 8"),
        (["--rows", "loss=gramm"], 2, "Did you mean 'gram'?"),
        (["--rows", "steps=3,3"], 2, "one value stands there twice"),
        (["--rows", "steps=1,2", "--steps", "3"], 2, "steps is an axis already: leave --steps out"),
        (["--rows", "content-layers=relu9_1"], 2, "Unknown layer of compact 'relu9_1'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], code: int, message: str, percept: Callable, photos: Path, style_picture: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    outcome = percept("visualize", "sweep", photos / "hill.png", "--style", style_picture, *arguments, *CPU)
    assert outcome.code == code and message in outcome.stderr, outcome.stderr
    assert not list(tmp_path.iterdir())


def test_a_style_and_a_model_that_are_not_there_are_named(percept: Callable, photos: Path, tmp_path: Path) -> None:
    """With the exit codes of a wrong option and of a missing model."""
    arguments = ("visualize", "sweep", photos / "hill.png", "-o", tmp_path / "s.png", *CPU)
    for axis, code, message in (("style=nowhere.jpg", 2, "nowhere.jpg"), ("model=nowhere", 5, "nowhere")):
        outcome = percept(*arguments, "--rows", axis)
        assert outcome.code == code and message in outcome.stderr, outcome.stderr
    outcome = percept(*arguments, "--rows", "strength=0.5,1", "-m", "udnie", "--steps", 3)
    assert outcome.code == 2 and "A trained model is not optimized: leave --steps out" in outcome.stderr


def test_a_training_is_previewed_beside_its_output_and_nothing_is_trained(
    percept: Callable, photos: Path, style_picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine pictures about the weight and size asked for; it is told how to go on; an existing one is not replaced."""
    monkeypatch.setattr("percept_cli.commands.visualize.results.sweep.SIDE", 48)
    monkeypatch.setattr("percept_cli.commands.visualize.results.sweep.STEPS", 1)
    arguments = (
        "train-style", "--style", style_picture, "--data", photos, "--style-size", 64, "-o", tmp_path / "m.safetensors",
        "--preview", *CPU,
    )  # fmt: skip
    outcome = percept(*arguments)
    assert outcome.code == 0, outcome.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.preview.png"]
    assert "nothing was trained" in outcome.stderr and "--style-weight W --style-size N" in outcome.stderr
    refused = percept(*arguments)
    assert refused.code == 2 and "exists already" in refused.stderr
    assert "--preview trains nothing: leave --resume out" in percept(*arguments, "--resume").stderr
