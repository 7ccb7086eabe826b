"""`percept train translate` learns from every kind of data, resumes to the same bits, and says what it cannot do."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percept_cli.core.pretrained.files import load_weights_and_metadata
from tests.conftest import fitting
from tests.test_training import assert_resumes_to_the_same_bits, read_log

Command = Callable[..., list[object]]
SMALL = [
    "--batch", 2, "--size", 48, "--width", 0.25, "--extractor-weights", "random", "--discriminator-channels", 4,
    "--device", "cpu", "--precision", "fp32", "--threads", 1,
]  # fmt: skip
STEPS = 12


@pytest.fixture(scope="module")
def negatives(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The negative of every photograph, under its name."""
    folder = tmp_path_factory.mktemp("negatives")
    for path in photos.rglob("*.*"):
        levels = 255 - np.asarray(Image.open(path).convert("RGB"))
        Image.fromarray(levels).save(folder / f"{path.stem}.png")
    return folder


def mean_loss(log: list[dict], part: str, where: slice) -> float:
    return float(np.mean([entry["parts"][part] for entry in log[where]]))


def test_pairs_teach_what_makes_the_one_of_the_other(
    photos: Path, negatives: Path, tmp_path: Path, percept: Callable
) -> None:
    """Forty steps on negatives: their error falls to less than half, and a photograph comes out nearer to its negative."""
    model = tmp_path / "negative.safetensors"
    outcome = percept(
        *fitting("train-translate", "--source", photos, "--target", negatives, "--pairs", "-o", model, "--steps", 40, *SMALL,
        "--learning-rate", 1e-2, "--pixel-weight", 1, "--feature-weight", 0, "--matching-weight", 0, "--adversarial-weight", 0)
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    log = read_log(model)
    assert mean_loss(log, "pixel", slice(-5, None)) < 0.5 * mean_loss(log, "pixel", slice(5))
    result = tmp_path / "result.png"
    outcome = percept("stylize", photos / "hill.png", "-m", model, "-o", result)
    assert outcome.code == 0, outcome.stderr
    before, wanted, after = (
        np.asarray(Image.open(path).convert("RGB")).astype(float)
        for path in (photos / "hill.png", negatives / "hill.png", result)
    )
    assert abs(after - wanted).mean() < 0.5 * abs(before - wanted).mean()


@pytest.mark.parametrize(
    ("further", "parts"),
    [
        (
            ["--source", "PHOTOS", "--target", "NEGATIVES"],
            {"contextual.relu3_2", "contextual.relu4_2", "content.relu4_2"},
        ),
        (
            ["--target", "ONE", "--gram-weight", "1", "--contextual-weight", "0", "--gram-layers", "relu2_1"],
            {"gram.relu2_1", "content.relu4_2"},
        ),
        (
            ["--source", "PHOTOS", "--target", "NEGATIVES", "--pairs", "--feature-layers", "relu2_1"],
            {"feature.relu2_1", "adversarial", "matching", "discriminator"},
        ),
        (
            ["--source", "PHOTOS", "--target", "NEGATIVES", "--match", "source", "--generator", "johnson"],
            {"content.relu4_2", "adversarial", "discriminator"},
        ),
        (["--degrade", "noise", "--data", "PHOTOS", "--amount", "10-20", "--offset", "2"], {"pixel"}),
        (["--degrade", "mask", "--data", "PHOTOS", "--adversarial-weight", "0.1", "--matching-weight", "1",
          "--feature-weight", "0"], {"pixel", "adversarial", "matching", "discriminator"}),
    ],
)  # fmt: skip
def test_each_kind_of_data_has_losses_of_its_own(
    further: list[str], parts: set[str], photos: Path, negatives: Path, tmp_path: Path, percept: Callable
) -> None:
    """By their names in the log; the file says what it is, and how it was made."""
    known = {"PHOTOS": photos, "NEGATIVES": negatives, "ONE": negatives / "hill.png"}
    model = tmp_path / "model.safetensors"
    outcome = percept(
        *fitting("train-translate", *(known.get(word, word) for word in further), "-o", model, "--steps", 1, *SMALL)
    )
    assert outcome.code == 0, outcome.stderr
    assert set(read_log(model)[0]["parts"]) == parts
    _, metadata = load_weights_and_metadata(model)
    assert metadata["role"] == "translation"
    assert json.loads(metadata["recipe"])["mode"] == metadata["mode"]


def test_a_trained_one_is_gone_on_from(photos: Path, negatives: Path, tmp_path: Path, percept: Callable) -> None:
    """`--start` begins where the other ended: its first loss is what the other's last is near, not an untrained one's."""
    arguments = [
        "train-translate", "--source", photos, "--target", negatives, "--pairs", "--learning-rate", 1e-2, "--pixel-weight", 1,
        "--feature-weight", 0, "--matching-weight", 0, "--adversarial-weight", 0, *SMALL,
    ]  # fmt: skip
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert percept(*fitting(*arguments), "-o", first, "--steps", 30).code == 0
    assert percept(*fitting(*arguments), "-o", second, "--steps", 1, "--start", first).code == 0
    assert read_log(second)[0]["total"] < 0.8 * read_log(first)[0]["total"]
    refused = percept(
        "train-translate", "--degrade", "mask", "--data", photos, "-o", tmp_path / "third.safetensors", "--start", first
    )
    assert refused.code == 2
    assert "does not see a mask" in refused.stderr


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_bits(
    photos: Path, negatives: Path, tmp_path: Path, percept: Callable, stop_percept: Callable
) -> None:
    """Discriminators, their spectral norms and the order of the crops included."""

    def arguments(model: Path) -> list[object]:
        return [
            "train-translate", "--source", photos, "--target", negatives, "--pairs", "-o", model, "--steps", STEPS, *SMALL,
        ]  # fmt: skip

    unbroken = tmp_path / "model.safetensors"
    assert percept(*arguments(unbroken)).code == 0
    assert_resumes_to_the_same_bits(stop_percept, percept, arguments, STEPS, unbroken)


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ([], "Say what to learn: --target PICTURES"),
        (["--degrade", "rain"], "Unknown degradation 'rain'"),
        (["--degrade", "noise", "--pairs"], "leave --source, --target, --pairs and --match out"),
        (["--degrade", "jpeg", "--amount", "200"], "give a number from 1 to 95 (quality)"),
        (["--target", "NEGATIVES", "--pairs"], "--pairs needs both --source and --target."),
        (["--target", "NEGATIVES", "--pairs", "--source", "NEGATIVES", "--match", "source"], "give one of them"),
        (["--target", "NEGATIVES", "--match", "target"], "Unknown --match 'target'"),
        (["--target", "NEGATIVES", "--offset", "3"], "have no place to be shifted from"),
        (["--target", "NEGATIVES", "--amount", "3"], "--data and --amount go with --degrade"),
        (["--target", "nowhere/"], "there is no such file or folder"),
        (["--target", "NEGATIVES", "--source", "PHOTOS", "--pairs", "--feature-layers", "relu9_9"], "relu9_9"),
        (["--degrade", "noise", "--pixel", "l3"], "l1, charbonnier"),
        (["--degrade", "noise", "--size", "40", "--adversarial-weight", "1"], "the discriminators need 48 pixels"),
        (["--target", "NEGATIVES", "--size", "32", "--content-layers", "pool5", "--extractor", "alexnet",
          "--extractor-weights", "random"], "--size 32:"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    further: list[str], said: str, photos: Path, negatives: Path, tmp_path: Path, percept: Callable
) -> None:
    """In one sentence, before any work, nothing written."""
    known = {"PHOTOS": photos, "NEGATIVES": negatives}
    model = tmp_path / "model.safetensors"
    outcome = percept("train-translate", *(known.get(word, word) for word in further), "-o", model, "--steps", 1)
    assert outcome.code == 2
    assert said in outcome.stderr
    assert not model.exists()
