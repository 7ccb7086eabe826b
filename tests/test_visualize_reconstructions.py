"""`percept visualize reconstructions`: style is what Gram matrices hold, and both rows come nearer to the image."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from percept_cli.core.images.photo import middle_square
from percept_cli.core.optimization.textures import gram_matrices, relative_gram_losses, style_error, synthesize_texture
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.runtime import Runtime

CPU = ("--device", "cpu", "--threads", 1)
FP32 = Runtime(torch.device("cpu"), torch.float32, "")


def test_relative_gram_losses_by_hand() -> None:
    """0 of the same matrix, 1 of no features, 4 of three times the matrix."""
    target = {"a": torch.tensor([[[3.0, 1.0], [1.0, 2.0]]])}
    for factor, loss in ((1.0, 0.0), (0.0, 1.0), (3.0, 4.0)):
        assert relative_gram_losses({"a": factor * target["a"]}, target)["a"].item() == pytest.approx(loss)


def test_a_texture_is_found_whose_gram_matrices_are_those_of_the_image(photos: Path) -> None:
    """From noise, at every layer asked for; the same seed finds the same, another another; the image itself has no error."""
    from percept_cli.core.images.decode import load_image

    extractor = create_extractor("compact", ["relu1_1", "relu2_1"])
    image = middle_square(load_image(photos / "lake.jpg").pixels, 32)
    targets = gram_matrices(image, ["relu1_1", "relu2_1"], extractor)
    assert style_error(image, targets, extractor) < 1e-3

    def synthesize(seed: int, steps: int = 3) -> torch.Tensor:
        *_, last = synthesize_texture(targets, 32, extractor, FP32, steps, seed)
        assert set(last.parts) == {*targets, "range"}
        return last.image

    found = synthesize(0, 25)
    assert style_error(found, targets, extractor) < 0.15 < style_error(torch.full_like(found, 0.5), targets, extractor)
    assert (found - image).abs().mean() > 0.05  # not the image, its style
    assert torch.equal(synthesize(0), synthesize(0)) and not torch.equal(synthesize(1), synthesize(0))


def test_the_sheet_has_a_row_for_content_and_one_for_style(percept: Callable, photos: Path, tmp_path: Path) -> None:
    """Each picture of the style has all layers up to its own; errors fall from step to step; same command, same file."""
    arguments = (
        "visualize", "reconstructions", photos / "hill.png", "--layers", "relu2_1", "--style-layers", "relu2_1,relu1_1",
        "--size", 32, "--steps", 5, "--data", tmp_path / "n.csv", "--json", *CPU,
    )  # fmt: skip
    outcome = percept(*arguments, "-o", tmp_path / "a.png")
    assert outcome.code == 0, outcome.stderr
    pictures = json.loads(outcome.stdout)["reconstructions"]
    assert [(each["row"], each["layers"]) for each in pictures] == [
        ("content", ["relu2_1"]), ("style", ["relu1_1"]), ("style", ["relu1_1", "relu2_1"]),
    ]  # fmt: skip
    with (tmp_path / "n.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, layers in (("content", "relu2_1"), ("style", "relu1_1"), ("style", "relu1_1 relu2_1")):
        errors = [float(each["error"]) for each in rows if (each["row"], each["layers"]) == (row, layers)]
        assert len(errors) == 5 and errors[-1] < errors[0]
    assert percept(*arguments, "--overwrite", "-o", tmp_path / "b.png").code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--layers", "relu9_9"], 2, "Unknown layer of compact 'relu9_9'"),
        (["--layers", "relu5_2", "--size", "8"], 2, "give --size 16 or more"),
        (
            ["--extractor", "squeezenet1_1", "--extractor-weights", "random", "--layers", "relu1", "--style-layers", "prob"],
            2, "prob of squeezenet1_1 is a code of the whole image and has no Gram matrix",
        ),
        (["-o", "{photo}", "--overwrite"], 2, "is an input and would be written over"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], code: int, message: str, percept: Callable, photos: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    photo = photos / "hill.png"
    outcome = percept("visualize", "reconstructions", photo, *[word.format(photo=photo) for word in arguments], *CPU)
    assert outcome.code == code and message in outcome.stderr, outcome.stderr
    assert not list(tmp_path.iterdir())
