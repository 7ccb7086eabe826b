"""`percept visualize gram`: distances are those of the Gram matrices, and near styles join first."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.visualization.gram import cluster, distance_records, gram_distances, gram_records, strongest_grams

CPU = ("--device", "cpu", "--threads", 1)


def test_equal_grams_are_0_apart_and_orthogonal_ones_by_their_norms() -> None:
    """In closed form: of diag(3, 0) and diag(0, 4) 5/7; of one and its double 1/3."""
    first, second = torch.diag(torch.tensor([3.0, 0.0])), torch.diag(torch.tensor([0.0, 4.0]))
    distances = gram_distances([{"relu": first}, {"relu": second}, {"relu": 2 * first}])["relu"]
    np.testing.assert_allclose(distances, [[0, 5 / 7, 1 / 3], [5 / 7, 0, 0.72111], [1 / 3, 0.72111, 0]], atol=1e-5)


def test_a_style_does_not_depend_on_where_things_are() -> None:
    """The same pixels shuffled have the same Gram matrix: a distance of 0, to rounding."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(1, 8, 6, 6, generator=random)
    shuffled = features.flatten(2)[..., torch.randperm(36, generator=random)].view_as(features)
    grams = [{"relu": gram_matrix(each)[0]} for each in (features, shuffled)]
    assert gram_distances(grams)["relu"].max() < 1e-6


def test_the_tree_joins_the_nearest_first_and_groups_at_their_mean_distance() -> None:
    """Four things in two pairs: 0.1 and 0.2 within, 0.8 between on average."""
    distances = np.array([[0, 0.9, 0.1, 0.7], [0.9, 0, 0.8, 0.2], [0.1, 0.8, 0, 0.8], [0.7, 0.2, 0.8, 0]])
    tree = cluster(distances)
    order = list(tree.order)
    assert abs(order.index(0) - order.index(2)) == 1 and abs(order.index(1) - order.index(3)) == 1
    joins = sorted(max(distance for distance, _ in line) for line in tree.lines)
    assert joins == pytest.approx([0.1, 0.2, (0.9 + 0.7 + 0.8 + 0.8) / 4])
    ends = {place for line in tree.lines for distance, place in line if distance == 0}
    assert ends == {0.0, 1.0, 2.0, 3.0}


def test_records_have_every_pair_once_a_layer_and_the_mean() -> None:
    """Three styles are three pairs."""
    distances = {"a": np.full((3, 3), 0.2), "b": np.full((3, 3), 0.4)}
    rows = distance_records(["x", "y", "z"], distances)
    assert len(rows) == 9
    assert [row["distance"] for row in rows if row["layer"] == "mean"] == pytest.approx([0.3] * 3)


def test_matrices_show_the_same_channels_of_all_pictures_strongest_first() -> None:
    """By the mean of their squares; rows of the data hold what is drawn, each pair of channels once."""
    first = torch.tensor([[1.0, 2, 3], [2, 9, 4], [3, 4, 5]])
    grams = [{"relu": first}, {"relu": torch.tensor([[8.0, 0, 1], [0, 1, 0], [1, 0, 6]])}]
    channels, matrices = strongest_grams(grams, "relu", 2)
    assert channels == [2, 1]  # means of 5.5 and 5 before 4.5
    assert [matrix.tolist() for matrix in matrices] == [[[5, 4], [4, 9]], [[6, 0], [0, 1]]]
    rows = list(gram_records(["a", "b"], grams, 2))
    assert [(row["style"], row["channel"], row["other"], row["gram"]) for row in rows] == [
        ("a", 2, 2, 5.0), ("a", 2, 1, 4.0), ("a", 1, 1, 9.0), ("b", 2, 2, 6.0), ("b", 2, 1, 0.0), ("b", 1, 1, 1.0),
    ]  # fmt: skip


def test_one_picture_has_matrices_and_no_distances(percept: Callable, photos: Path, tmp_path: Path) -> None:
    """A panel for its picture, each of two layers and their color bars; before an activation there are negative entries."""
    outcome = percept(
        "visualize", "gram", photos / "hill.png", "--layer", "conv1_2,relu2_1", "--size", 48, "-o", tmp_path / "a.svg",
        "--data", tmp_path / "a.csv", *CPU,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    drawn = (tmp_path / "a.svg").read_text()
    assert (
        "Gram matrices in compact" in drawn and "Which belong together" not in drawn and drawn.count("Gram entry") == 2
    )
    draw = ("visualize", "gram", photos / "hill.png", "--layer", "conv1_2", "--size", 48, *CPU)
    assert (
        percept(*draw, "-o", tmp_path / "b.jpg").code
        == percept(*draw, "-o", tmp_path / "c.jpg", "--quality", 30).code
        == 0
    )
    assert (tmp_path / "c.jpg").stat().st_size < (tmp_path / "b.jpg").stat().st_size
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    least = {
        layer: min(float(row["gram"]) for row in rows if row["layer"] == layer) for layer in ("conv1_2", "relu2_1")
    }
    assert least["conv1_2"] < 0 <= least["relu2_1"]


def test_textures_of_one_kind_belong_together(
    percept: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two stripes and two noises as files: the pairs are nearer to each other than across."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(2):
        stripes = np.where((np.arange(64) + 3 * number) // 4 % 2, 255, 0).astype(np.uint8)
        Image.fromarray(np.broadcast_to(stripes, (64, 64)).copy()).save(f"stripes{number}.png")
        Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(f"noise{number}.png")
    arguments = ("visualize", "gram", ".", "--layer", "relu1_1,relu2_1", "--size", 64, *CPU)
    outcome = percept(*arguments, "-o", "plots.svg", "--data", "d.csv")
    assert outcome.code == 0, outcome.stderr
    with Path("d.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == "mean"]
    apart = {frozenset((row["a"], row["b"])): float(row["distance"]) for row in rows}
    within = [apart.pop(frozenset((f"{kind}0", f"{kind}1"))) for kind in ("stripes", "noise")]
    assert max(within) < 0.5 * min(apart.values())
    drawn = Path("plots.svg").read_text()
    assert all(text in drawn for text in ("Which belong together", "Mean over layers", ">noise1<", "relu2_1"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "No image was given"),
        (["hill.png", "lake.jpg", "--layer", "conv9"], 2, "Unknown layer of compact 'conv9'"),
        (["hill.png", "none.png"], 4, "does not exist"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], code: int, message: str, percept: Callable, photos: Path, tmp_path: Path
) -> None:
    """With the exit code of its kind, and nothing written."""
    named = [str(photos / word) if "." in word else word for word in arguments]
    outcome = percept("visualize", "gram", *named, "-o", tmp_path / "a.svg", *CPU)
    assert outcome.code == code and message in outcome.stderr, outcome.stderr
    assert not list(tmp_path.iterdir())
