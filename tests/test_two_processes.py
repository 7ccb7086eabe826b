"""Trainings under torchrun with gloo: two processes are one with the double batch, and are resumed to the same bits."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.pretrained.files import save_weights
from percept_cli.core.training.extractors.distillation import teacher_taps
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
PATIENCE = 300  # seconds

RANDOM = ("--extractor-weights", "random")
ADVERSARY = ("--adversarial-weight", 0.5, "--discriminator-channels", 4)
SMALL_STYLE = ("--size", 64, "--content-layers", "relu2_2", "--style-layers", "relu1_1,relu2_1", "--style-scales", 1)
TRAININGS: dict[str, tuple[object, ...]] = {
    "style": ("style", *SMALL_STYLE, "--style-size", 48, *RANDOM),
    "style, batch norm": (
        "style", *SMALL_STYLE, "--style-size", 48, "--generator", "johnson", "--width", 0.25, "--norm", "batch", *RANDOM,
    ),
    "any style": ("any-style", *SMALL_STYLE, *RANDOM),
    "upscale": ("upscale", "--patch", 16, "--scale", 2),
    "upscale, adversarial": (
        "upscale", "--preset", "swift-natural", "--patch", 16, "--scale", 2, "--discriminator-channels", 4, *RANDOM,
    ),
    "upscale, relativistic": (
        "upscale", "--patch", 16, "--scale", 2, "--adversarial", "relativistic", "--discriminator", "srgan", *ADVERSARY,
    ),
    "translate": ("translate", "--degrade", "jpeg", "--size", 64, "--feature-weight", 1, *RANDOM, *ADVERSARY),
    "translate, unpaired": ("translate", "--size", 48, *RANDOM),
    "invert": (
        "invert", "--layer", "conv2_2", "--size", 64, "--comparator-weights", "random", *RANDOM, *ADVERSARY
    ),
    "autoencoder": ("autoencoder", "--size", 64, "--comparator-weights", "random", *ADVERSARY),
    "extractor, exemplar": ("extractor", "--method", "exemplar", "--classes", 6),
    "extractor, video": ("extractor", "--method", "video"),
    "extractor, of one teacher": ("extractor", "--size", 64),
}  # fmt: skip

STEPS = 3
# Of the losses of the first step, which the weights of the start give, and of later ones: small differences grow.
FIRST, LATER = 1e-4, 2e-2
# The dropout of this discriminator draws other numbers in each process.
DROPOUT = ("invert", "autoencoder")
# Reads command lines from a file and runs each: one start of torch for all.
RUN_ALL = """
import json, sys
from percept_cli.app import run
for line in json.load(open(sys.argv[1])):
    print("exit", run(line), "of", line, file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module")
def torchrun(surroundings: dict[str, str]) -> Callable[..., subprocess.Popen]:
    """`torchrun(*arguments)` begins `python ...` in two processes on the processor."""

    def begin(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        environment = {**os.environ, **surroundings, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.Popen(
            [*command, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return begin


def end(process: subprocess.Popen) -> tuple[int, str]:
    """The exit code of a process and what it wrote on standard error."""
    try:
        _, stderr = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, stderr


@pytest.fixture(scope="module")
def lines(photos: Path, style_picture: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The command line of each training, without its batch and its output."""
    teacher = FeatureExtractor(create_architecture("vgg19"), teacher_taps("vgg19"))
    weights = tmp_path_factory.mktemp("teacher") / "vgg19.safetensors"
    save_weights(weights, teacher.named_weights(), {})
    found = {}
    for name, (kind, *own) in TRAININGS.items():
        line = ["train", kind, *own, "--steps", STEPS, "--device", "cpu", "--precision", "fp32", "--threads", 1]
        line += ["--style", style_picture] if kind == "style" else []
        line += ["--paintings", photos] if kind == "any-style" else []
        line += ["--source", photos, "--target", photos] if name == "translate, unpaired" else ["--data", photos]
        line += ["--teacher", f"vgg19={weights}"] if name == "extractor, of one teacher" else []
        found[name] = list(map(str, line))
    return found


@pytest.fixture(scope="module")
def spread(
    torchrun: Callable, lines: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The models of all trainings in two processes, with a batch of two in each."""
    folder = tmp_path_factory.mktemp("spread")
    models = {name: folder / f"{number}.safetensors" for number, name in enumerate(lines)}
    (folder / "lines.json").write_text(
        json.dumps([[*lines[name], "--batch", "2", "-o", str(models[name])] for name in lines])
    )
    (folder / "run.py").write_text(RUN_ALL)
    code, stderr = end(torchrun(folder / "run.py", folder / "lines.json"))
    assert code == 0 and stderr.count("exit 0 of") == 2 * len(lines), stderr
    return models


def read_log(model: Path) -> list[dict]:
    return [json.loads(line) for line in model.with_suffix(".run").joinpath("log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_have_the_losses_of_one_with_the_double_batch(
    name: str, spread: dict[str, Path], lines: dict[str, list[str]], percept: Callable, tmp_path: Path
) -> None:
    """Every part of the log is the mean over both, with norms, usual sizes and negatives of the whole batch."""
    outcome = percept(*lines[name], "--batch", 4, "-o", tmp_path / "one.safetensors")
    assert outcome.code == 0, outcome.stderr
    logs = read_log(spread[name]), read_log(tmp_path / "one.safetensors")
    assert [entry["step"] for entry in logs[0]] == list(range(1, STEPS + 1))
    for two, one in zip(*logs, strict=True):
        parts = {**one["parts"], "total": one["total"]}
        near = dict.fromkeys(parts, FIRST if one["step"] == 1 else LATER)
        if name in DROPOUT:
            near |= dict.fromkeys(("adversarial", "discriminator", "total"), LATER)
        for part, loss in {**two["parts"], "total": two["total"]}.items():
            assert loss == pytest.approx(parts[part], rel=near[part], abs=1e-6), (one["step"], part)
    assert load_file(spread[name]).keys() == load_file(tmp_path / "one.safetensors").keys()


def test_two_processes_that_are_stopped_go_on_to_the_same_bits(
    torchrun: Callable, photos: Path, tmp_path: Path
) -> None:
    """Torchrun passes a SIGTERM on; both end after one step. Noise and dropout differ in each, and are drawn again alike."""
    steps = 40
    command = (
        "-m", "percept_cli", "train", "autoencoder", "--variational", "--comparator-weights", "random", *ADVERSARY,
        "--size", 64, "--batch", 2, "--steps", steps, "--data", photos, "--device", "cpu", "--threads", 1, "-o",
    )  # fmt: skip
    unbroken, stopped = tmp_path / "unbroken.safetensors", tmp_path / "stopped.safetensors"
    first, second = torchrun(*command, unbroken), torchrun(*command, stopped)
    log = stopped.with_suffix(".run") / "log.jsonl"
    deadline = time.monotonic() + PATIENCE
    while not (log.exists() and log.read_bytes().count(b"\n") >= 4) and time.monotonic() < deadline:
        time.sleep(0.005)
    second.terminate()
    code, stderr = end(second)
    assert code != 0 and "repeat the command with --resume to go on" in stderr, stderr
    before = len(read_log(stopped))
    assert 4 <= before < steps and not stopped.exists()
    assert end(first)[0] == 0
    code, stderr = end(torchrun(*command, stopped, "--resume"))
    assert code == 0 and f"resumed at step {before} of {steps}" in stderr, stderr
    assert read_log(stopped) == read_log(unbroken)
    one, other = load_file(unbroken), load_file(stopped)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_processes_with_other_photographs_are_refused(torchrun: Callable, photos: Path, tmp_path: Path) -> None:
    """As on two machines with different data: each is told which setting differs, and none waits for the other."""
    (tmp_path / "run.py").write_text(
        "import os, sys\nfrom percept_cli.app import run\n"
        "sys.exit(run([*sys.argv[2:], '--data', sys.argv[1] if os.environ['RANK'] == '1' else sys.argv[1] + '/nested']))\n"
    )
    command = (tmp_path / "run.py", photos, "train", "upscale", "--steps", 2, "--device", "cpu")
    code, stderr = end(torchrun(*command, "-o", tmp_path / "a.safetensors"))
    assert code != 0 and "photos is 2 in process 0, 4" in stderr, stderr
    assert "Give each the same command, and the same files by name and size." in stderr
