"""`percept stylize --mask` changes what is white in it and not a pixel else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.generators.translation import TranslationGenerator
from percept_cli.core.images.masks import NOTHING_SEEN, hide
from percept_cli.core.pretrained.files import save_weights
from tests.conftest import pictures_in

pytestmark = pytest.mark.numerical


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that fills holes, untrained."""
    torch.manual_seed(0)
    network = TranslationGenerator(0.25, inputs=4)
    path = tmp_path_factory.mktemp("models") / "fill.safetensors"
    metadata = {"percept.format": "1", "role": "translation", "architecture": "unet", "arguments": network.arguments}
    save_weights(path, network.state_dict(), metadata)
    return path


@pytest.fixture
def mask(photos: Path, tmp_path: Path) -> Path:
    """Of `hill.png`, 75x61: white in a rectangle, half gray beside it."""
    levels = np.zeros((61, 75), dtype=np.uint8)
    levels[10:30, 20:50] = 255
    levels[10:30, 50:55] = 128
    path = tmp_path / "mask.png"
    Image.fromarray(levels).save(path)
    return path


def levels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_hidden_pixels_are_marked_and_filled_from_around_them() -> None:
    """By the very values of a plain, nearly by those of a ramp; with nothing around, by gray."""
    masks = torch.zeros(1, 1, 33, 47)
    masks[..., 8:25, 10:30] = 0.3
    ramp = torch.linspace(0.2, 0.8, 47).expand(2, 3, 33, 47)
    hidden = hide(ramp, masks)
    assert torch.equal(hidden[:, 3:], (masks > 0).float().expand(2, -1, -1, -1))
    assert torch.equal(hidden[:, :3][(masks == 0).expand(2, 3, -1, -1)], ramp[(masks == 0).expand(2, 3, -1, -1)])
    assert (hidden[:, :3] - ramp).abs().max() < 0.15
    plain = torch.full((1, 3, 33, 47), 0.7)
    assert torch.allclose(hide(plain, masks)[:, :3], plain)
    assert torch.allclose(hide(plain, torch.ones(1, 1, 33, 47))[:, :3], torch.tensor(NOTHING_SEEN))


def test_nothing_of_what_is_hidden_is_left() -> None:
    images, masks = torch.rand(1, 3, 20, 24), torch.zeros(1, 1, 20, 24)
    masks[..., 3:9, 5:20] = 1
    others = torch.where(masks > 0, torch.rand(1, 3, 20, 24), images)
    assert torch.equal(hide(images, masks), hide(others, masks))


@pytest.mark.parametrize("model", ["wave", "fill"])
def test_only_what_is_white_changes(
    model: str, filler: Path, photos: Path, mask: Path, tmp_path: Path, percept: Callable
) -> None:
    """Outside to the bit, half way where the mask is half gray, and inside the model's own."""
    given = filler if model == "fill" else model
    arguments = ["stylize", photos / "hill.png", "-m", given, "--device", "cpu", "--precision", "fp32"]
    outcome = percept(*arguments, "--mask", mask, "-o", tmp_path / "part.png")
    assert outcome.code == 0, outcome.stderr
    before, after, share = levels_of(photos / "hill.png"), levels_of(tmp_path / "part.png"), levels_of(mask)
    assert (before == after)[share == 0].all()
    assert (before != after)[share == 255].mean() > 0.9
    if model == "wave":
        assert percept(*arguments, "-o", tmp_path / "whole.png").code == 0
        whole = levels_of(tmp_path / "whole.png")
        assert (whole == after)[share == 255].all()
        halves = before + (whole - before) * 128 / 255
        assert abs(halves - after)[share == 128].max() <= 1


def test_what_is_hidden_is_not_seen(filler: Path, photos: Path, mask: Path, tmp_path: Path, percept: Callable) -> None:
    """A hole of another color is filled to the same bits."""
    levels = np.asarray(Image.open(photos / "hill.png").convert("RGB")).copy()
    results = []
    for name, color in (("a", 0), ("b", 255)):
        levels[levels_of(mask)[..., 0] == 255] = color
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
        hole = Image.open(mask).point(lambda level: 255 * (level == 255))
        hole.save(tmp_path / "hole.png")
        arguments = ["-m", filler, "--mask", tmp_path / "hole.png", "-o", tmp_path / f"{name}_filled.png"]
        assert percept("stylize", tmp_path / f"{name}.png", *arguments).code == 0
        results.append(levels_of(tmp_path / f"{name}_filled.png"))
    assert (results[0] == results[1]).all()


def test_a_folder_of_masks_has_one_for_each(photos: Path, mask: Path, tmp_path: Path, percept: Callable) -> None:
    """The photograph without one fails alone."""
    masks = tmp_path / "masks"
    masks.mkdir()
    mask.rename(masks / "hill.png")
    outcome = percept(
        "stylize", photos / "hill.png", photos / "lake.jpg", "-m", "wave", "--mask", masks, "-o", f"{tmp_path}/out/"
    )
    assert outcome.code == 3
    assert "no picture called 'lake' lies there" in outcome.stderr
    assert [path.name for path in pictures_in(tmp_path / "out")] == ["hill_wave_mask-masks.png"]


@pytest.mark.parametrize(
    ("name", "further", "warned"),
    [("a.jpg", [], True), ("a.png", [], False), ("a.webp", [], True), ("a.webp", ["--quality", 100], False)],
)
def test_a_format_that_cannot_keep_the_rest_says_so(
    name: str, further: list[object], warned: bool, photos: Path, mask: Path, tmp_path: Path, percept: Callable
) -> None:
    """And does not where every pixel outside is kept, which is looked at."""
    output = tmp_path / name
    outcome = percept("stylize", photos / "hill.png", "-m", "wave", "--mask", mask, "-o", output, *further)
    assert outcome.code == 0
    assert ("changes pixels outside the mask" in outcome.stderr) == warned
    kept = (levels_of(output) == levels_of(photos / "hill.png"))[levels_of(mask) == 0].all()
    assert kept != warned


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-m", "FILL"], 2, "fill fills holes: give --mask PICTURE, white where they are."),
        (["-m", "wave", "--mask", "MISSING"], 2, "there is no such file or folder"),
        (["-m", "wave", "--mask", "MASK", "--size", "40"], 2, "--size resizes them all"),
        (["-m", "wave", "--mask", "SMALL"], 4, "has 8x8 pixels and the photograph 75x61: give one of its size."),
        (["-m", "wave", "--mask", "BLACK"], 4, "is black all over: white marks what to change."),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    arguments: list[str],
    code: int,
    said: str,
    filler: Path,
    photos: Path,
    mask: Path,
    tmp_path: Path,
    percept: Callable,
) -> None:
    Image.new("L", (8, 8), 255).save(tmp_path / "small.png")
    Image.new("L", (75, 61), 0).save(tmp_path / "black.png")
    known = {"FILL": filler, "MASK": mask, "SMALL": tmp_path / "small.png", "BLACK": tmp_path / "black.png",
             "MISSING": tmp_path / "missing.png"}  # fmt: skip
    words = [known.get(word, word) for word in arguments]
    outcome = percept("stylize", photos / "hill.png", *words, "-o", tmp_path / "result.png")
    assert outcome.code == code
    assert said in outcome.stderr
    assert not (tmp_path / "result.png").exists()
