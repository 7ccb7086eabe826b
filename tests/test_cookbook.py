"""The README's commands run from top to bottom in one folder, as a reader types them: only sizes and steps are smaller."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import last_values, smooth_picture
from PIL import Image
from spandrel.architectures.ESRGAN import ESRGAN
from test_docs import README, ROOT, blocks
from test_foreign_styles import HALF, PytorchExamples, randomized

pytestmark = pytest.mark.slow
LINES = [
    line
    for language, block in blocks(README)
    if language == "sh"
    for line in block.splitlines()
    if re.search(r"\bpercept(_cli)? [a-z]", line.split("#")[0])
]
# LPIPS and DISTS need networks that percept does not download.
NETWORKS_NEEDED = "lpips"
TRAINING = ["--batch", "1", "--threads", "1"]
SMALLER = {
    "train style": [*TRAINING, "--steps", "2", "--size", "64", "--style-size", "48"],
    "train upscale": [*TRAINING, "--steps", "2", "--patch", "12"],
    "train translate": [*TRAINING, "--steps", "2", "--size", "48", "--width", "0.25"],
    "train invert": [*TRAINING, "--steps", "2", "--size", "64", "--width", "0.1"],
    "train autoencoder": [*TRAINING, "--steps", "2", "--width", "0.1"],
    "stylize --style": ["--steps", "10", "--style-size", "48"],
    "invert": ["--steps", "3", "--size", "64"],
    "visualize sweep": ["--steps", "2", "--size", "48"],
    "visualize reconstructions": ["--steps", "2", "--size", "48"],
    "visualize objective": ["--steps", "2"],
}


def smaller(words: list[str]) -> list[str]:
    """The words of a command line with smaller sizes and fewer steps, and random weights for networks that are not shipped."""
    name = " ".join(words[:2] if words[0] in ("train", "visualize") else words[:1]).replace("-", " ", 1)
    options = list(SMALLER.get("stylize --style" if name == "stylize" and "--style" in words else name, []))
    if "--preview" in words and name == "train style":
        options = ["--style-size", "48"]
    if "--fast" in words:
        options = [*TRAINING, "--style-size", "48"]
    if "--start" in words and name == "train style":
        options = [*TRAINING, "--steps", "2", "--size", "64", "--style-size", "48"]  # the width is that of its start
    if "--method" in words or "autoencoder.safetensors" in words:
        options = []  # a generator makes no steps, and has its own size
    if any(name in words for name in ("vgg16", "vgg19", "alexnet", "squeezenet1_0")):
        options += ["--extractor-weights", "random"]
    if "--resume" in words and "--steps" in words:
        options = ["3" if option == "2" else option for option in options]
    return last_values([*words, *options])


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures and the foreign networks that the README's commands name."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(
        ("photo", "painting", "starry", "a", "b", "portrait", "other-portrait", "other", "new", "camera")
    ):
        smooth_picture(384, 256, seed=seed, cells=9).save(f"{name}.jpg")
    smooth_picture(384, 256, seed=1, cells=9).save("photo.png")
    smooth_picture(300, 280, seed=2, cells=9).save("huge.tif")
    smooth_picture(90, 60, seed=3, cells=9).save("screenshot.png")
    frames = [smooth_picture(60, 40, seed=seed, cells=5) for seed in range(3)]
    frames[0].save("clip.gif", save_all=True, append_images=frames[1:], duration=80, loop=0)
    Image.fromarray((np.indices((256, 384)).sum(0) < 90).astype(np.uint8) * 255).save("holes.png")
    for name, size in {"original": (96, 64), "bicubic": (96, 64), "upscaled": (96, 64)}.items():
        smooth_picture(*size, seed=len(name), cells=6).save(f"{name}.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "original.png").read_bytes())
    (tmp_path / "b.png").write_bytes((tmp_path / "upscaled.png").read_bytes())
    folders = (
        "holiday/day",
        "photos",
        "sketches",
        "paintings",
        "originals",
        "upscaled",
        "labeled/fine",
        "labeled/coarse",
    )
    for folder in folders:
        Path(folder).mkdir(parents=True)
        for number in range(6):
            cells = 20 if folder == "labeled/fine" else 5
            smooth_picture(100, 80, seed=number, cells=cells).save(Path(folder, f"{number}.jpg"))
    torch.save(randomized(PytorchExamples(HALF)).state_dict(), "mosaic.pth")
    torch.save(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), "RealESRGAN_x4plus.pth")
    return tmp_path


def run(line: str, percept: Callable, surroundings: dict[str, str]) -> tuple[int, str]:
    """The exit code and the messages of a line; one with pipes or another program goes through a shell."""
    words = shlex.split(line, comments=True)
    if words[0] == "percept" and not {"|", ">"} & set(words):
        expanded = [
            found for word in words[1:] for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
        ]
        outcome = percept(*smaller(expanded))
        return outcome.code, outcome.stderr
    if words[0] == "torchrun":
        place = words.index("percept_cli") + 1
        line = shlex.join(["torchrun", "--standalone", *words[1:place], *smaller(words[place:])])
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, **surroundings, "PATH": programs, "PYTHONPATH": str(ROOT)}
    line = re.sub(r"(?<!-m )\bpercept ", "python -m percept_cli ", line)
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stderr


def test_the_readme_runs_from_top_to_bottom(kitchen: Path, percept: Callable, surroundings: dict[str, str]) -> None:
    """No command is refused, fails, or finds its output taken by one before it."""
    failed = {}
    for line in LINES:
        if NETWORKS_NEEDED in line:
            continue
        code, messages = run(line, percept, surroundings)
        if code:
            failed[line] = f"{code}: {messages}"
    assert not failed, "\n".join(f"{line}\n    {reason}" for line, reason in failed.items())
    assert len(LINES) > 70
    for name in (
        "photo_starry-night.jpg",
        "photo_x4.jpg",
        "photo_x4_faithful.jpg",
        "photo_the-scream_strength-0.6.jpg",
    ):
        assert (kitchen / name).is_file()
