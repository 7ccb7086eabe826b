"""`percept invert -m` an autoencoder: photographs to their code and back, of their own size."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.sixteen_bit import ENCODERS
from percept_cli.core.pretrained.files import save_weights
from percept_cli.core.pretrained.manifest import role_of
from percept_cli.errors import ModelError
from tests.conftest import reported

CPU = ("--device", "cpu", "--threads", 1, "--precision", "fp32")


@pytest.fixture
def here(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder but for one photograph, img.jpg of 66 x 97, and an untrained autoencoder, small.safetensors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img.jpg").write_bytes((photos / "lake.jpg").read_bytes())
    save_autoencoder(tmp_path / "small.safetensors")
    return tmp_path


def save_autoencoder(path: Path, variational: bool = False) -> Path:
    """A file as `percept train autoencoder` writes it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Autoencoder(variational=variational, width=0.1)
    metadata = {
        "percept.format": "1", "role": "autoencoder", "architecture": "lean", "arguments": network.arguments,
        "recipe": {"size": 40},
    }  # fmt: skip
    save_weights(path, {name: tensor.half() for name, tensor in network.state_dict().items()}, metadata)
    return path


def levels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def test_a_photograph_comes_back_in_its_own_size(percept: Callable, here: Path) -> None:
    """Without --layer or --method; the figures are those of the file, and what was padded is said."""
    outcome = percept("invert", "img.jpg", "-m", "small.safetensors", *CPU, "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert (report["output"], report["status"], report["model"]) == ("img_small.png", "done", "small")
    assert (report["width"], report["height"]) == (66, 97)
    assert report["code"] == [8, 13, 9]
    assert report["times_fewer"] == pytest.approx(3 * 66 * 97 / (8 * 13 * 9), abs=0.01)
    error = np.sqrt(np.square(levels_of(here / "img_small.png") - levels_of(here / "img.jpg")).mean())
    assert report["image_error"] == pytest.approx(error, abs=0.01)
    assert "img.jpg: the code covers 72x104 pixels, of which the last repeat the edges of 66x97" in outcome.stderr
    assert "a code of 8x13x9, 20.5 times fewer numbers" in outcome.stderr


def test_size_takes_the_middle_square(percept: Callable, here: Path) -> None:
    """As for layers; a multiple of 8 needs no padding and nothing is said of it."""
    outcome = percept("invert", "img.jpg", "-m", "small.safetensors", "--size", 32, *CPU, "--json")
    report = json.loads(outcome.stdout)
    assert (report["width"], report["height"], report["code"], report["times_fewer"]) == (32, 32, [8, 4, 4], 24.0)
    assert "covers" not in outcome.stderr


def test_many_inputs_and_a_bad_one(percept: Callable, photos: Path, here: Path) -> None:
    """A tree of folders keeps its shape; a file that is none fails alone; --method generator may be said."""
    Path("bad.png").write_bytes(b"no picture")
    arguments = ("bad.png", photos, "-r", "-m", "small.safetensors", "--method", "generator", *CPU)
    outcome = percept("invert", *arguments, "-o", "out/", "--json")
    assert outcome.code == 3
    assert [line["status"] for line in reported(outcome.stdout)] == ["failed", *["done"] * 4]
    assert levels_of(here / "out" / "nested" / "deep" / "shore_small_method-generator.png").shape == (70, 81, 3)


def test_transparency_is_kept(percept: Callable, here: Path) -> None:
    """Colors that nobody sees change nothing."""
    results = []
    for name, hidden in (("black", 0), ("pink", 200)):
        levels = np.full((20, 20, 4), (90, 120, 30, 255), dtype=np.uint8)
        levels[:10] = (hidden, hidden // 2, hidden, 0)
        Image.fromarray(levels).save(f"{name}.png")
        assert percept("invert", f"{name}.png", "-m", "small.safetensors", "--strip", *CPU).code == 0
        results.append(Path(f"{name}_small.png").read_bytes())
    assert results[0] == results[1]
    with Image.open("pink_small.png") as image:
        assert image.mode == "RGBA" and np.array_equal(np.asarray(image)[..., 3], levels[..., 3])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--layer", "conv5"], 2, "an autoencoder, which makes its code by itself: leave --layers out."),
        (["--extractor", "vgg16"], 2, "leave --extractor out."),
        (["--method", "optimize"], 2, "-m names a generator"),
        (["--samples", 2], 2, "leave --samples out"),
        (["--steps", 5, "--jitter", 1], 2, "A generator does not search: leave --steps and --jitter out."),
        (["--preset", "mahendran-vedaldi"], 2, "leave --preset out."),
        (["-m", "other.safetensors"], 5, "other.safetensors: there is no such weights file."),
        (["-m", "img.jpg"], 2, "img.jpg is neither an autoencoder nor an inverter. Give --layer"),
        (["-o", "img.jpg", "--overwrite"], 2, "is an input and would be written over"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[object], code: int, message: str, percept: Callable, here: Path
) -> None:
    """With the exit code of its kind, and nothing written."""
    model = [] if "-m" in arguments else ["-m", "small.safetensors"]
    outcome = percept("invert", "img.jpg", *model, *arguments, *CPU)
    assert outcome.code == code, outcome.stderr
    assert message in outcome.stderr
    assert sorted(path.name for path in here.iterdir()) == ["img.jpg", "small.safetensors"]


def test_what_a_file_is_for_is_read_without_its_weights(here: Path, style_model: Path) -> None:
    """Of shipped names and percept's own files; others have none."""
    assert role_of("small.safetensors") == "autoencoder"
    assert role_of(str(style_model)) == role_of("udnie") == "style"
    assert role_of("img.jpg") == role_of("no-such-model") == ""
    with pytest.raises(ModelError, match="no such weights file"):
        role_of("missing.safetensors")


def test_sixteen_bits_stay_sixteen(percept: Callable, here: Path) -> None:
    """And the error is that of the file, to more than 8 bits tell."""
    levels = np.random.default_rng(0).integers(20_000, 50_000, (16, 24, 3)).astype(np.uint16)
    Path("deep.png").write_bytes(ENCODERS["PNG"](levels))
    outcome = percept("invert", "deep.png", "-m", "small.safetensors", *CPU, "--json")
    photo, result = (load_image(Path(name)) for name in ("deep.png", "deep_small.png"))
    assert photo.bits == result.bits == 16
    error = 255 * (photo.pixels - result.pixels).square().mean().sqrt().item()
    assert json.loads(outcome.stdout)["image_error"] == pytest.approx(error, abs=0.006)
