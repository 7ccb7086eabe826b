"""DeePSiM's experiment: what is finished is not done again, and the paper's order is read off the figures."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT, smooth_picture

Bench = Callable[..., int]


@pytest.fixture(scope="module")
def deepsim() -> Iterator[ModuleType]:
    """bench/deepsim.py, which finds its neighbor as a script does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        import deepsim

        yield deepsim
        del sys.modules["deepsim"]


@pytest.fixture
def bench(deepsim: ModuleType, photos: Path, tmp_path: Path, surroundings: dict[str, str]) -> Iterator[Bench]:
    """`bench(*options)`: the smallest experiment, two held-out pictures and one layer, into tmp_path/out."""
    (tmp_path / "held").mkdir()
    for seed in (50, 51):
        smooth_picture(70, 66, seed, cells=6).save(tmp_path / "held" / f"{seed}.png")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    tiny = ["--", "--width", "0.1", "--discriminator-channels", "2", "--comparator-layers", "relu1_1"]

    def call(*options: object) -> int:
        return deepsim.main(
            [
                "--data", str(photos), "--held-out", str(tmp_path / "held"), "--out", str(tmp_path / "out"), "--layers",
                "conv2", "--ablate", "none", "--extractor-weights", "random", "--steps", "1", "--batch", "1", "--device",
                "cpu", "--precision", "fp32", "--threads", "1", "--optimize-steps", "1", *map(str, options), *tiny,
            ]
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        for name, value in surroundings.items():
            patch.setenv(name, value)
        yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


def written(folder: Path) -> dict[str, int]:
    """When each picture, model and row of a folder was written."""
    return {
        str(file.relative_to(folder)): os.stat(file).st_mtime_ns for file in sorted(folder.rglob("*")) if file.is_file()
    }


def test_a_stopped_experiment_does_only_what_is_missing(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a kill leaves it, in the middle of one cell, it ends with the same figures; the other cells are not touched."""
    assert bench() == 0
    cells, results = tmp_path / "out" / "conv2_2", tmp_path / "out" / "results.json"
    assert capsys.readouterr().out.count("| `conv2_2` |") == 3
    before, figures = written(cells), results.read_bytes()

    (cells / "deepsim.json").unlink()
    (cells / "deepsim" / "002-51.png").unlink()
    (cells / "image.json").unlink()
    (cells / "image.safetensors").unlink()
    shutil.rmtree(cells / "image")
    assert bench() == 0

    assert results.read_bytes() == figures
    after = written(cells)
    anew = {name for name in after if after[name] != before.get(name)}
    assert after.keys() == before.keys()
    assert {name for name in anew if not name.startswith("image")} == {"deepsim.json", "deepsim/002-51.png"}

    # A table whose rows were trained differently would say nothing.
    capsys.readouterr()
    assert bench("--steps", 2) == 2
    assert "holds an experiment with steps 1, not 2: give another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--held-out", "{photos}"), "is held out but is also trained on"),
        (("--size", 48), "need 63 or more pixels"),
        (("--ablate", "conv3"), "give one of --layers, conv2_2, or none"),
        (("--images", 1), "2 images or more"),
        (("--layers", "conv7"), "Unknown layer of compact 'conv7'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    bench: Bench, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple, sentence: str
) -> None:
    assert bench(*(str(option).format(photos=photos) for option in options)) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def rows_in_the_papers_order() -> list[dict[str, object]]:
    """Figures as the paper has them, at a shallow layer and, with ablations, at a deep one."""
    names = ("image_error", "feature_error", "gradient_energy", "high_frequencies", "perceptual")
    figures = {
        "optimize": (0.71, 0.19, 0.8, 1.0, 0.6),
        "image": (0.40, 0.70, 0.2, 0.2, 0.7),
        "deepsim": (0.43, 0.37, 0.7, 0.7, 0.4),
        "no-feature": (0.50, 0.90, 0.7, 0.7, 0.9),
        "no-adversarial": (0.42, 0.36, 0.7, 1.5, 0.5),
        "no-image": (0.60, 0.38, 0.7, 0.7, 0.5),
    }
    rows = [
        {"layer": "deep", "method": method, **dict(zip(names, values, strict=True))}
        for method, values in figures.items()
    ]
    return rows + [{**row, "layer": "shallow"} for row in rows[:3]]


def test_the_papers_order(deepsim: ModuleType) -> None:
    """All of it holds on figures like the paper's; that optimization is far in pixels is not asked of the shallow layer."""
    claims = deepsim.paper_order(rows_in_the_papers_order(), ["shallow", "deep"])
    assert all(claim.holds for claim in claims)
    assert [claim.layer for claim in claims] == ["shallow"] * 5 + ["deep"] * 10
    assert not any("farther in pixels than DeePSiM" in claim.finding for claim in claims if claim.layer == "shallow")


def test_a_blurred_deepsim_is_said_to_be_so(deepsim: ModuleType) -> None:
    """One figure turned about turns one finding, and the line has both figures."""
    rows = rows_in_the_papers_order()
    next(row for row in rows if row["method"] == "deepsim")["gradient_energy"] = 0.1
    broken = [claim for claim in deepsim.paper_order(rows, ["shallow", "deep"]) if not claim.holds]
    assert [str(claim) for claim in broken] == [
        "does not hold  deep: DeePSiM is sharper than the image loss (gradient energy 0.200 >= 0.100)"
    ]
