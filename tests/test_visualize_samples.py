"""`percept visualize samples`: what is drawn is a function of the seed, and goes where every output goes."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.app import app
from percept_cli.core.drawing.sheets import GAP
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.pretrained.generators import load_generator
from tests.test_invert_autoencoder import save_autoencoder

CPU = ("--device", "cpu", "--threads", 1, "--precision", "fp32")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder but for two untrained autoencoders."""
    monkeypatch.chdir(tmp_path)
    save_autoencoder(tmp_path / "vae.safetensors", variational=True)
    save_autoencoder(tmp_path / "plain.safetensors")
    return tmp_path


def tiles_of(path: Path, side: int) -> list[np.ndarray]:
    """The pictures of a sheet, row by row."""
    with Image.open(path) as image:
        sheet = np.asarray(image)
    starts = [range(GAP, length - GAP, side + GAP) for length in sheet.shape[:2]]
    return [sheet[top : top + side, left : left + side] for top in starts[0] for left in starts[1]]


def test_a_sheet_of_sixteen_of_the_size_of_the_training(percept: Callable, here: Path) -> None:
    """Four by four, where and how large is reported; all are different."""
    outcome = percept("visualize", "samples", "-m", "vae.safetensors", *CPU, "--json")
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    side = 4 * (40 + GAP) + GAP
    assert report == {
        "output": "vae_samples.png", "status": "done", "width": side, "height": side, "model": "vae", "count": 16,
        "size": 40, "seed": 0,
    }  # fmt: skip
    assert len({tile.tobytes() for tile in tiles_of(here / "vae_samples.png", 40)}) == 16


def test_pictures_are_decoded_normal_codes(percept: Callable, here: Path) -> None:
    """The first of the sheet by hand, from the code that the data say; odd sizes are cut."""
    draw = ("visualize", "samples", "-m", "vae.safetensors", "--seed", 7, "--size", 30, "-n", 2, *CPU)
    assert percept(*draw, "--data", "codes.json").code == 0
    network = load_generator("vae.safetensors", "autoencoder").network
    assert isinstance(network, Autoencoder)
    code = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = (network.decode(code)[0, :, :30, :30].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(tiles_of(here / "vae_samples_count-2_size-30_seed-7.png", 30)[0] - expected).max() <= 1
    codes = [row["code"] for row in json.loads(Path("codes.json").read_text()) if row["picture"] == 0]
    torch.testing.assert_close(torch.tensor(codes), code.flatten())


def test_more_pictures_begin_with_the_same(percept: Callable, here: Path) -> None:
    """Another seed draws others."""
    for name, seed, count in (("few", 1, 4), ("many", 1, 7), ("others", 2, 4)):
        arguments = ("-m", "vae.safetensors", "-n", count, "--seed", seed, "-o", f"{name}.png", *CPU)
        assert percept("visualize", "samples", *arguments).code == 0
    few, many, others = (tiles_of(here / f"{name}.png", 40) for name in ("few", "many", "others"))
    assert all(np.array_equal(first, second) for first, second in zip(few, many, strict=False))
    assert not any(np.array_equal(first, second) for first, second in zip(few, others, strict=True))


def test_outputs_are_where_and_as_ever(percept: Callable, here: Path) -> None:
    """Into a folder that is made; existing ones are refused, left or replaced."""
    draw = ("visualize", "samples", "-m", "vae.safetensors", "-n", 1, *CPU)
    written = here / "sheets" / "vae_samples_count-1.png"
    assert percept(*draw, "-o", "sheets/").stdout == "sheets/vae_samples_count-1.png\n"
    written.write_text("precious")
    assert percept(*draw, "-o", "sheets/").code == 2
    outcome = percept(*draw, "-o", "sheets/", "--skip-existing", "--json")
    assert json.loads(outcome.stdout)["status"] == "skipped" and written.read_text() == "precious"
    assert percept(*draw, "-o", "sheets/", "--overwrite").code == 0
    assert tiles_of(written, 40)[0].shape == (40, 40, 3)


def test_a_sheet_goes_to_standard_output(here: Path) -> None:
    """Alone, whatever is said goes elsewhere."""
    stdout = io.TextIOWrapper(io.BytesIO())
    arguments = ("visualize", "samples", "-m", "vae.safetensors", "-n", 1, "-o", "-", *CPU)
    with contextlib.redirect_stdout(stdout), contextlib.suppress(SystemExit):
        app([str(word) for word in arguments])
    with Image.open(stdout.buffer) as sheet:  # type: ignore[arg-type]
        assert sheet.format == "PNG" and sheet.size == (40 + 2 * GAP, 40 + 2 * GAP)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-m", "plain.safetensors"], 2, "plain.safetensors was trained without --variational"),
        (["-m", "none.safetensors"], 5, "there is no such weights file"),
        (["-m", "udnie"], 5, "Unknown autoencoder model 'udnie'"),
        (["-m", "vae.safetensors", "-o", "sheet.gif"], 2, "output extension"),
        (["-m", "vae.safetensors", "-n", 0], 2, "--count"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[object], code: int, message: str, percept: Callable, here: Path
) -> None:
    """With the exit code of its kind, and nothing written."""
    outcome = percept("visualize", "samples", *arguments, *CPU)
    assert outcome.code == code, outcome.stderr
    assert message in outcome.stderr
    assert sorted(path.name for path in here.iterdir()) == ["plain.safetensors", "vae.safetensors"]
