"""A linear probe: the mathematics by other means, the folds, and `percept compare --probe`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.files.folders import check_folds, find_labeled
from percept_cli.core.measures.probe import (
    PENALTIES,
    check_scikit_learn,
    classify,
    pool_features,
    probe,
    stratified_folds,
)
from percept_cli.errors import UsageError
from tests.test_invert_autoencoder import save_autoencoder

CPU = ("--device", "cpu")
QUICK = (*CPU, "--size", 32, "--extractor-weights", "random", "--layers", "relu1_1,relu2_1")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures of fine and 10 of coarse noise, of one mean: pixels alone tell them badly, convolutions well."""
    folder, random = tmp_path_factory.mktemp("labeled"), np.random.default_rng(0)
    for name, cells, count in (("fine", 40, 20), ("coarse", 10, 10)):
        (folder / name / "deeper").mkdir(parents=True)
        for number in range(count):
            noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
            place = folder / name / "deeper" if number % 2 else folder / name
            noise.resize((40, 40), Image.Resampling.NEAREST).save(place / f"{number}.png")
    return folder


# The classifier


@pytest.mark.parametrize("values", [3, 30], ids=["more pictures than values", "more values than pictures"])
def test_the_classifier_is_ridge_regression_whose_penalty_leaves_each_picture_out_best(values: int) -> None:
    """Parity with as many fits without each row: the penalty of the least squared error of the rows left out is taken."""
    features = np.random.default_rng(0).normal(size=(12, values)) + 3
    labels = np.array(["a", "b", "c"] * 4)
    unknown = np.random.default_rng(1).normal(size=(40, values)) + 3
    mean, std = features.mean(0), features.std(0)
    rows, asked = (features - mean) / std, (unknown - mean) / std
    targets = (labels[:, None] == np.array(["a", "b", "c"])).astype(float)
    unit = np.linalg.eigvalsh(rows @ rows.T).sum() / min(11, values)

    def fit(known: np.ndarray, wanted: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        centered, offset = known - known.mean(0), wanted.mean(0)
        products = centered.T @ centered + penalty * unit * np.eye(values)
        weights = np.linalg.solve(products, centered.T @ (wanted - offset))
        return weights, offset - known.mean(0) @ weights

    def left_out(penalty: float) -> float:
        errors = []
        for row in range(12):
            rest = np.arange(12) != row
            weights, offset = fit(rows[rest], targets[rest], penalty)
            errors.append(targets[row] - rows[row] @ weights - offset)
        return float(np.square(errors).sum())

    weights, offset = fit(rows, targets, min(PENALTIES, key=left_out))
    assert np.array_equal(
        classify(features, labels, unknown), np.array(list("abc"))[(asked @ weights + offset).argmax(1)]
    )


def test_scale_and_shift_of_a_value_change_nothing() -> None:
    """Features are standardized; a constant one is left out, and of nothing but constants the largest class is told."""
    random = np.random.default_rng(0)
    features, labels, unknown = random.normal(size=(30, 5)), np.arange(30) % 3, random.normal(size=(20, 5))
    scale, shift = np.array([1.0, 10, 100, 0.1, 0]), np.array([0.0, 5, -5, 2, 7])
    predicted = classify(features[:, :4], labels, unknown[:, :4])
    assert np.array_equal(classify(features * scale + shift, labels, unknown * scale + shift), predicted)
    assert classify(np.ones((5, 2)), np.array([0, 1, 1, 0, 1]), np.zeros((2, 2))).tolist() == [1, 1]


def test_three_clusters_are_told_and_noise_is_not() -> None:
    """All of the one, about a third of the other: no picture is in its own classifier."""
    classes = [name for name in "abc" for _ in range(40)]
    centers = torch.eye(3).repeat_interleave(40, 0)
    result = probe(5 * centers + 0.3 * torch.randn(120, 3), classes, 5)
    assert result.accuracy == 1 and result.standard_error == 0 and result.correct == {"a": 40, "b": 40, "c": 40}
    noise = probe(torch.randn(120, 300), classes, 5)
    assert abs(noise.accuracy - 1 / 3) < 4 * noise.standard_error


# Folds and pooling


def test_folds_are_even_in_every_class_and_fixed_by_the_seed() -> None:
    """Every picture is unknown once; each class is spread over the folds evenly; a seed gives the same folds again."""
    classes = ["a"] * 13 + ["b"] * 7 + ["c"] * 11
    folds = [unknown for _, unknown in stratified_folds(classes, 5, 3)]
    assert sorted(np.concatenate(folds)) == list(range(31))
    for name in "abc":
        counts = [sum(classes[number] == name for number in fold) for fold in folds]
        assert max(counts) - min(counts) <= 1

    def drawn(seed: int) -> list[list[int]]:
        return [list(unknown) for _, unknown in stratified_folds(classes, 5, seed)]

    assert drawn(3) == [list(fold) for fold in folds] != drawn(4)


def test_without_scikit_learn_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(UsageError, match="pip install 'percept\\[probe\\]'"):
        check_scikit_learn()


@pytest.mark.parametrize(
    ("shape", "pooled"),
    [((8, 8, 8), (8, 8, 8)), ((3, 96, 96), (3, 36, 36)), ((256, 24, 24), (256, 4, 4)), ((5000, 2, 2), (5000, 1, 1)),
     ((5000,), (5000,))],
)  # fmt: skip
def test_only_what_is_large_is_pooled(shape: tuple[int, ...], pooled: tuple[int, ...]) -> None:
    features = torch.rand(2, *shape)
    assert pool_features(features).shape == (2, *pooled)
    if len(shape) == 3:
        assert torch.allclose(pool_features(features).mean((2, 3)), features.mean((2, 3)), atol=0.01)


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (["a"] * 9, "Only one class"),
        (["a"] * 9 + ["b"] * 3, "Class 'b' has 3 of the 5 pictures that 5 folds need: add some, or --folds 3."),
        (["a"] * 9 + ["b"], "Class 'b' has 1 of the 5 pictures that 5 folds need: add some."),
    ],
)
def test_too_few_pictures_are_refused(classes: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check_folds(classes, 5)


def test_classes_are_folders_links_to_them_too(labeled: Path, tmp_path: Path) -> None:
    """Searched through, hidden ones left out; an empty one is a mistake and no class."""
    (tmp_path / "one").symlink_to(labeled / "fine")
    (tmp_path / "two").symlink_to(labeled / "coarse")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "list.txt").write_text("mine")
    found = find_labeled(tmp_path)
    assert found.classes == ("one",) * 20 + ("two",) * 10
    assert found.files[0].is_relative_to(tmp_path / "one") and found.unlabeled == (tmp_path / "list.txt",)
    (tmp_path / "three").mkdir()
    with pytest.raises(UsageError, match="three' holds no image"):
        find_labeled(tmp_path)


# The command


def test_layers_beside_pixels_and_chance(percept: Callable, labeled: Path) -> None:
    """A row each, with the counts; the noise is told apart by its fineness, which no single pixel knows."""
    outcome = percept("compare", "--probe", labeled, *QUICK, "--json")
    assert outcome.code == 0, outcome.stderr
    rows = {row["features"]: row for row in map(json.loads, outcome.stdout.splitlines())}
    assert list(rows) == ["pixels", "relu1_1", "relu2_1"]
    for row in rows.values():
        assert row["accuracy"] == pytest.approx(row["correct"] / 30, abs=1e-5)
        assert (row["chance"], row["classes"], row["pictures"]) == (0.66667, {"coarse": 10, "fine": 20}, 30)
        assert sum(row["correct_by_class"].values()) == row["correct"]
    assert rows["pixels"]["shape"] == rows["pixels"]["pooled"] == [3, 32, 32]
    assert rows["relu2_1"]["accuracy"] > 0.9 > 0.8 > rows["pixels"]["accuracy"]

    shown = percept("compare", "--probe", labeled, *QUICK, "-v")
    assert "classes: coarse 10, fine 20\n" in shown.stderr and "5 stratified folds, seed 0" in shown.stderr
    table = shown.stdout.splitlines()
    assert table[-4].split() == ["chance", "20", "of", "30", "66.7", "%"]
    told, percent = rows["relu2_1"]["correct"], f"{100 * rows['relu2_1']['accuracy']:.1f}"
    assert table[-1].split()[:7] == ["relu2_1", "128x16x16", "as", "128x5x5", str(told), "of", "30"]
    assert table[-1].split()[7:9] == [percent, "%"]


def test_codes_of_autoencoders(percept: Callable, labeled: Path, tmp_path: Path) -> None:
    """Several, told by their names; the extractor is only asked when its layers are."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_autoencoder(first)
    save_autoencoder(second, variational=True)
    models = ("-m", first, "-m", second)
    outcome = percept("compare", "--probe", labeled, *models, *CPU, "--json", "--folds", 3)
    assert outcome.code == 0, outcome.stderr
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [row["features"] for row in rows] == ["pixels", "code of first", "code of second"]
    assert rows[0]["pooled"] == [3, 36, 36] and rows[1]["shape"] == [8, 12, 12]
    assert "3 stratified folds" in rows[0]["protocol"]["split"]
    outcome = percept("compare", "--probe", labeled, *models, *QUICK, "--json", "--seed", 1)
    assert len(outcome.stdout.splitlines()) == 5


def test_a_bad_file_and_one_without_a_class(percept: Callable, labeled: Path, tmp_path: Path) -> None:
    """Exit code 3, the rest is probed; a file beside the classes is left out and said."""
    for path in labeled.rglob("*.png"):
        target = tmp_path / "all" / path.relative_to(labeled)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (tmp_path / "all" / "fine" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "all" / "notes.txt").write_text("mine")
    outcome = percept("compare", "--probe", tmp_path / "all", *QUICK, "--json")
    assert outcome.code == 3
    first, *rows = map(json.loads, outcome.stdout.splitlines())
    assert (first["status"], Path(first["file"]).name) == ("failed", "bad.png")
    assert [row["pictures"] for row in rows] == [30, 30, 30]
    assert "1 left out" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["LABELED", "LABELED", "--probe", "LABELED"], 2, "--probe looks at one folder: give either"),
        (["LABELED", "--probe", "LABELED"], 2, "give either"),
        ([], 2, "Give two images or two folders to compare with each other, or --probe FOLDER."),
        (["LABELED"], 2, "Give two images or two folders"),
        (["LABELED", "LABELED", "--folds", 3], 2, "That is only for --probe FOLDER: leave --folds out."),
        (["--probe", "LABELED", "--metrics", "psnr", "-o", "x.png"], 2, "leave --metrics and --output out."),
        (["--probe", "LABELED", "-m", "x", "--extractor", "vgg16"], 2, "No --layers were asked for beside -m"),
        (["--probe", "LABELED/fine"], 2, "holds one class, 'deeper'"),
        (["--probe", "LABELED/none"], 2, "there is no such folder"),
        (["--probe", "LABELED", "--folds", 11], 2, "Class 'coarse' has 10 of the 11 pictures"),
        (["--probe", "LABELED", "--layers", "rellu1_2"], 2, "Did you mean 'relu1_2'?"),
        (["--probe", "LABELED", "--layers", "relu5_2", "--size", 8], 2, "too deep for 8x8 pixels: give --size 16"),
        (["--probe", "LABELED", "-m", "udnie"], 5, "Unknown autoencoder model 'udnie'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[object], code: int, message: str, percept: Callable, labeled: Path
) -> None:
    """With the exit code of its kind, and no figure printed."""
    outcome = percept("compare", *(str(each).replace("LABELED", str(labeled)) for each in arguments), *CPU)
    assert (outcome.code, outcome.stdout) == (code, ""), outcome.stderr
    assert message in outcome.stderr
