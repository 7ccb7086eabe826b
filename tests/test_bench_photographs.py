"""The table of enlarged JPEGs: its small pictures are those of files, its figures those of known differences."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.data.compression import compress_jpeg
from percept_cli.core.images.resize import shrink_as_matlab
from percept_cli.core.runtime import Runtime
from tests.conftest import ROOT

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """bench/photographs.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        import photographs

        yield photographs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One noisy photograph of 37x50 pixels."""
    levels = np.random.default_rng(0).integers(256, size=(37, 50, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "photo.png")
    return tmp_path


def test_small_pictures_are_the_fields_and_then_files(bench: ModuleType, folder: Path) -> None:
    """Cut to a multiple of the scale, shrunk as by MATLAB, and without loss or as a JPEG of 4:2:0 has it."""
    (pair,) = bench.pairs_of(folder, 4, bench.LOSSLESS, 10)
    assert pair.photograph.shape == (1, 3, 36, 48)
    assert torch.equal(pair.small, shrink_as_matlab(pair.photograph, 9, 12))
    (lossy,) = bench.pairs_of(folder, 4, 50, 10)
    assert torch.equal(lossy.small, compress_jpeg(pair.small, 50))
    assert not torch.equal(lossy.small, pair.small)


def test_figures_are_of_luma_without_a_border(bench: ModuleType) -> None:
    """A difference of 10 levels of gray is 8.6 of luma (219/255), and one at the border counts for nothing."""
    photograph = torch.full((1, 3, 24, 24), 100 / 255)
    result = photograph + 10 / 255
    judge = bench.Judge(RUNTIME, 4, None)
    decibels, distance = judge.figures(result, photograph)
    assert decibels == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)), abs=1e-3)
    assert np.isnan(distance)
    edged = photograph.clone()
    edged[..., :4, :] = 1.0
    assert judge.figures(edged, photograph)[0] == float("inf")
