"""Too little memory fails one picture, with a size that would do; in any of the spellings of the libraries."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, smooth_picture
from PIL import Image

from percept_cli.core.generators.base import Generator
from percept_cli.core.images import decode
from percept_cli.core.images.decode import load_image
from percept_cli.core.losses.style import LONGEST, load_styles
from percept_cli.core.runtime import CPU, fitting_size, is_out_of_memory, memory_errors, size_advice
from percept_cli.errors import ImageError, MemoryShortage
from tests.conftest import pictures_in

SPELLINGS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not execute a primitive"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.13 GB)"),
    RuntimeError("Invalid buffer size: 23.00 GB"),
    RuntimeError("std::bad_alloc"),
    OSError(12, "Cannot allocate memory"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
    RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    OSError(28, "No space left on device"),
    ImageError("'out of memory.png' does not exist."),
    KeyError("out of memory"),
]


@pytest.mark.parametrize("error", SPELLINGS, ids=str)
def test_every_spelling_of_too_little_memory_counts(error: Exception) -> None:
    """One class of error with advice, in place of an internal error."""
    assert is_out_of_memory(error)
    with (
        pytest.raises(MemoryShortage, match=r"Not enough (GPU )?memory for a mural\. Use --size 64"),
        memory_errors("a mural", "Use --size 64"),
    ):
        raise error


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_do_not_count(error: Exception) -> None:
    """Faults of the program, full disks, and files of odd names."""
    assert not is_out_of_memory(error)


def test_the_advised_size_fits_and_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the free memory at most, half the picture at most, and never less than the option takes."""
    from percept_cli.core import runtime

    for free in (10**6, 10**8, 10**10):
        monkeypatch.setattr(runtime, "free_memory", lambda device, free=free: free)
        height, width = fitting_size(3000, 4000, 2000, free)
        assert height * width * 2000 <= free / 2 and height <= 1500 and abs(width / height - 4 / 3) < 0.1
        advice = size_advice(3000, 4000, 2000, CPU, least=16)
        side = re.search(r"--size (\d+)", advice)
        if side is None:
            assert advice == "Close other programs" and min(height, width) < 16
        else:
            assert 16 <= int(side[1]) <= min(height, width)


def test_a_picture_too_large_fails_alone(
    percept: Callable, photos: Path, style_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named with a size; the others are written, exit 3. Alone, it is exit 6."""
    forward = Generator.__call__

    def limited(network: Generator, images: torch.Tensor, *more: object) -> torch.Tensor:
        if max(images.shape[-2:]) > 100:
            raise RuntimeError("could not create a primitive")
        return forward(network, images, *more)

    monkeypatch.setattr(Generator, "__call__", limited)
    large = tmp_path / "large.png"
    smooth_picture(200, 150, seed=0, cells=6).save(large)
    arguments = ("-m", style_model, "-o", f"{tmp_path}/out/", "--device", "cpu")
    outcome = percept("stylize", photos / "hill.png", large, photos / "lake.jpg", *arguments)
    assert outcome.code == 3, outcome.stderr
    found = re.search(r"large\.png: Not enough memory for 200x150 pixels\. Use --size (\d+) or less\.", outcome.stderr)
    assert found and 16 <= int(found[1]) <= 75
    assert sorted(path.name for path in pictures_in(tmp_path / "out")) == ["hill_blobs.png", "lake_blobs.jpg"]
    outcome = percept("stylize", large, *arguments)
    assert outcome.code == 6 and "large.png: Not enough memory for 200x150" in outcome.stderr
    assert percept("stylize", large, "--size", found[1], *arguments).code == 0


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory error when reading image file")], ids=str)
def test_memory_that_is_missing_while_decoding_names_the_picture_and_a_size(
    error: Exception, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not "damaged": the picture is whole."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(decode, "load_pixels", fail)
    with pytest.raises(ImageError, match=r"hill\.png' of 75x61 pixels does not fit in memory: shrink it to 37x30"):
        load_image(photos / "hill.png")


def test_setting_up_a_training_without_memory_is_exit_6(
    percept: Callable, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while it trains."""
    from percept_cli.core.training import style

    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    monkeypatch.setattr(style, "create_style_loss", fail)
    outcome = percept(
        "train",
        "style",
        "--style",
        photos / "hill.png",
        "--data",
        photos,
        "-o",
        tmp_path / "a.safetensors",
        "--device",
        "cpu",
    )
    assert outcome.code == 6 and "Use a smaller --size or --style-size." in outcome.stderr, outcome.stderr


def test_a_line_of_pixels_is_no_style_of_gigabytes(tmp_path: Path) -> None:
    """3,000 x 2 pixels: the middle is taken, which is said. What is transparent in a style is not seen."""
    line, glass = tmp_path / "line.png", tmp_path / "glass.png"
    Image.effect_noise((3000, 2), 60).convert("RGB").save(line)
    Image.new("RGBA", (20, 16), (255, 0, 0, 0)).save(glass)
    said: list[str] = []
    styles = load_styles([line, glass], 32, said.append)
    assert styles[0].shape == (1, 3, 32, 32 * LONGEST)
    assert styles[1].shape == (1, 3, 32, 40) and not styles[1].any()
    assert len(said) == 1 and "3000x2 pixels are too long" in said[0] and "16x2" in said[0]


def test_a_photograph_too_small_is_given_a_size_that_the_option_takes(
    percept: Callable, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--size refuses less than 16, though the layers would take 8."""
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((60, 2), 60).convert("RGB").save("thin.png")
    arguments = (
        "stylize",
        "thin.png",
        "--style",
        photos / "hill.png",
        "--style-size",
        32,
        "--steps",
        1,
        "--device",
        "cpu",
    )
    outcome = percept(*arguments)
    assert outcome.code == 4 and "give --size 16." in outcome.stderr, outcome.stderr
    assert percept(*arguments, "--size", 16).code == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a limit of the address space")
def test_under_a_real_limit_the_small_pictures_are_written(tmp_path: Path, surroundings: dict[str, str]) -> None:
    """With 1.2 GB: a photograph that cannot be restyled, and one that cannot even be decoded; the sizes that are named do."""
    for name, size in {"a": (200, 150), "big": (4000, 3000), "huge": (9000, 9000), "z": (120, 150)}.items():
        Image.effect_noise(size, 60).convert("RGB").save(tmp_path / f"{name}.png", compress_level=1)
    program = (
        "import resource, sys, psutil, percept_cli.commands.batch, percept_cli.core.pretrained.generators\n"
        "limit = psutil.Process().memory_info().vms + 1_200_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "from percept_cli.app import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )

    def limited(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments, "--device", "cpu"],
            cwd=tmp_path, env={**os.environ, **surroundings, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip

    pictures = ("a.png", "big.png", "huge.png", "z.png")
    outcome = limited("stylize", *pictures, "-m", "wave", "-o", "out/")
    assert outcome.returncode == 3, outcome.stderr
    assert sorted(path.name for path in pictures_in(tmp_path / "out")) == ["a_wave.png", "z_wave.png"]
    assert "'huge.png' of 9000x9000 pixels does not fit in memory: shrink it to" in outcome.stderr
    side = re.search(r"big\.png: Not enough memory for 4000x3000 pixels\. Use --size (\d+) or less", outcome.stderr)
    assert side, outcome.stderr
    assert limited("stylize", "big.png", "-m", "wave", "--size", side[1]).returncode == 0
    outcome = limited("upscale", "a.png", "big.png", "z.png", "--x8", "-o", "large/")
    assert outcome.returncode == 3 and "big.png: Not enough memory for 32000x24000 pixels" in outcome.stderr
    assert len(pictures_in(tmp_path / "large")) == 2
