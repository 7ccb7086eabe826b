"""A checkpoint is whole or refused; a full disk does not end a training; gradients that are not finite change nothing."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from percept_cli.core.data.photos import Crops, find_photos
from percept_cli.core.files import atomic
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.loop import DiscriminatorTraining, Training, TrainingStep, create_accelerator, train
from percept_cli.core.training.runs import run as runs
from percept_cli.core.training.runs.checkpoints import (
    CHECKSUM,
    TOGETHER,
    TRAILER,
    encode_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import DivergenceError, ImageError, ModelError, UsageError

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
STEPS = 5
Begin = Callable[..., tuple[Run, Iterator[TrainingStep]]]


def train_small(run: Run, photos: Path) -> Iterator[TrainingStep]:
    """A training of milliseconds: two convolutions, by Muon and Adam, learn to return their input."""
    torch.manual_seed(0)
    training = run.create_training(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)), "muon", STEPS)
    crops = Crops(find_photos([photos]), 8, 0, 2 * STEPS)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (network(images) - images).square().mean()
        return loss, {"pixel": loss}

    sample = crops[0][None]
    return run.train(
        training, crops, 2, compute_loss, 1e-3, {"steps": STEPS}, shown=(sample, sample),
        finish=lambda: run.save(training.network.state_dict(), {}),
    )  # fmt: skip


@pytest.fixture
def begin(photos: Path, tmp_path: Path) -> Begin:
    """`begin(said, warned, resume=..., overwrite=...)`: the small run of `tmp_path` and its steps."""

    def call(said: list[str] | None = None, warned: list[str] | None = None, **how: Any) -> tuple[Run, Iterator]:
        said, warned = [] if said is None else said, [] if warned is None else warned
        run = Run.open(tmp_path / "model.safetensors", RUNTIME, announce=said.append, warn=warned.append, **how)
        return run, train_small(run, photos)

    return call


@pytest.fixture(scope="module")
def stopped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped after 3 of 5 steps; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("stopped")
    run = Run.open(folder / "model.safetensors", RUNTIME)
    steps = train_small(run, photos)
    for _ in range(3):
        next(steps)
    run.save_checkpoint()
    run.close()
    return folder


@pytest.fixture
def checkpoint(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run in `tmp_path`; its checkpoint."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    return tmp_path / "model.run" / "checkpoint.pt"


def content_of(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)


def rewrite(checkpoint: Path, content: dict[str, Any]) -> None:
    """A checkpoint with another content and a right checksum."""
    checkpoint.write_bytes(encode_checkpoint(content["state"], content["settings"]))


# --- what is refused ---


def test_a_flipped_byte_anywhere_is_found(checkpoint: Path) -> None:
    """In the archive's names, sizes and weights, and in the checksum itself; the whole file is taken."""
    data = checkpoint.read_bytes()
    settings = content_of(checkpoint)["settings"]
    assert load_checkpoint(checkpoint, settings)["step"] == 3
    places = [*range(0, len(data), len(data) // 30), *range(len(data) - TRAILER, len(data)), len(data) - TRAILER - 1]
    for place in places:
        for bit in (1, 128):
            damaged = bytearray(data)
            damaged[place] ^= bit
            checkpoint.write_bytes(damaged)
            with pytest.raises(ModelError, match=r"checkpoint\.pt .*without --resume"):
                load_checkpoint(checkpoint, settings)


def test_one_of_before_checksums_is_resumed_and_said_so_once(checkpoint: Path, begin: Begin) -> None:
    content = content_of(checkpoint) | {"format": 1}
    torch.save(content, checkpoint)
    said: list[str] = []
    _, steps = begin(said, resume=True)
    assert [step.index for step in steps] == [4, 5]
    assert sum("has no checksum" in message for message in said) == 1


def test_a_checksum_cannot_be_cut_off(checkpoint: Path) -> None:
    data = checkpoint.read_bytes()
    assert data[-TRAILER:].startswith(CHECKSUM)
    checkpoint.write_bytes(data[:-TRAILER])
    with pytest.raises(ModelError, match="its checksum is missing"):
        load_checkpoint(checkpoint, {})


def without(key: str) -> Callable[[dict], object]:
    return lambda content: content["state"].pop(key)


def set_step(step: object) -> Callable[[dict], object]:
    return lambda content: content["state"].update(step=step)


def memory_of(content: dict) -> dict:
    return next(known for known in content["state"]["optimizer"]["state"].values() if "momentum" in known)


DAMAGE: dict[str, Callable[[dict], object]] = {
    "no optimizer": without("optimizer"), "no network": without("network"), "no step": without("step"),
    "no random state": without("random"), "a step of -1": set_step(-1), "a step beyond": set_step(6),
    "a step of text": set_step("3"), "a step of 2.5": set_step(2.5), "a step of True": set_step(True),
    "an optimizer without memory": lambda content: content["state"]["optimizer"]["state"].clear(),
    "no groups": lambda content: content["state"]["optimizer"].pop("param_groups"),
    "a list": lambda content: content["state"].update(network=[]),
    "a wrong shape": lambda content: content["state"]["network"].update({"1.bias": torch.zeros(7)}),
    "a missing weight": lambda content: content["state"]["network"].pop("1.bias"),
    "a surplus weight": lambda content: content["state"]["network"].update(other=torch.zeros(1)),
    "NaN weights": lambda content: content["state"]["network"]["1.bias"].fill_(torch.nan),
    "an infinite momentum": lambda content: memory_of(content)["momentum"].fill_(torch.inf),
    "a momentum of another shape": lambda content: memory_of(content).update(momentum=torch.zeros(3)),
    "a momentum of another name": lambda content: memory_of(content).update(speed=memory_of(content).pop("momentum")),
    "a momentum of integers": lambda content: memory_of(content).update(momentum=memory_of(content)["momentum"].long()),
    "a short random state": lambda content: content["state"]["random"].update(torch=torch.zeros(3, dtype=torch.uint8)),
    "no python's random state": lambda content: content["state"]["random"].pop("python"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_that_does_not_fit_is_refused_in_a_sentence(damage: str, checkpoint: Path, begin: Begin) -> None:
    """With a right checksum, as from another program: the model's error, never a crash some steps later."""
    content = content_of(checkpoint)
    DAMAGE[damage](content)
    rewrite(checkpoint, content)
    with pytest.raises(ModelError, match=r"checkpoint\.pt .*Start again without --resume\.$"):
        begin(resume=True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is an empty file, not a checkpoint"),
        (b"\n<!DOCTYPE html><html>", "is a web page .*, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a Git LFS pointer.*, not a checkpoint"),
        (bytes(5000), "is a file of zeros"),
        (b"PK\x03\x04" + bytes(100), "is not a whole archive"),
    ],
)
def test_what_is_no_checkpoint_is_called_what_it_is(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=said):
        load_checkpoint(path, {})


def test_one_of_a_later_version_is_left_to_that(checkpoint: Path) -> None:
    torch.save(content_of(checkpoint) | {"format": 3}, checkpoint)
    with pytest.raises(ModelError, match="has format 3; this version of percept knows formats up to 2"):
        load_checkpoint(checkpoint, {})


@pytest.mark.parametrize("broken", [b'{"step": 2, "tot\n', b"\xff\xfe}\n", b'{"step": "2"}\n', b"[2]}\n", b"\0" * 40])
def test_a_broken_line_of_the_log_is_refused(broken: bytes, checkpoint: Path, begin: Begin) -> None:
    """Among the steps that are kept; what follows them is done again, whatever it is."""
    log = checkpoint.parent / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + broken + lines[2])
    with pytest.raises(ModelError, match=r"log\.jsonl is damaged in line 2"):
        begin(resume=True)
    log.write_bytes(b"".join(lines[:3]) + broken)
    _, steps = begin(resume=True)
    assert [step.index for step in steps] == [4, 5]
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_the_command_line_has_the_exit_code_of_models(checkpoint: Path, percept: Callable, photos: Path) -> None:
    data = bytearray(checkpoint.read_bytes())
    data[len(data) // 2] ^= 4
    checkpoint.write_bytes(data)
    outcome = percept(
        "train", "autoencoder", "--data", photos, "-o", checkpoint.parents[1] / "model.safetensors", "--resume",
        "--device", "cpu", "--loss", "image", "--size", 64, "--batch", 1, "--width", 0.1, "--precision", "fp32",
    )  # fmt: skip
    assert outcome.code == 5 and "its checksum is wrong" in outcome.stderr


# --- a full disk ---


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`full_disk(end)`: from now on no file whose name ends so can be written; "" for none, a rubout for all again."""
    ends = ["\0"]
    real = atomic._sync

    def sync(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if name.endswith(ends[0]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(atomic, "_sync", sync)
    return lambda end: ends.__setitem__(0, end)


def test_a_checkpoint_onto_a_full_disk_does_not_end_the_training(
    begin: Begin, full_disk: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one stays, a warning says so, the next is tried, and the model is that of an undisturbed training."""
    monkeypatch.setattr(runs, "CHECKPOINT_SECONDS", 0.0)
    warned: list[str] = []
    run, steps = begin(warned=warned)
    next(steps)
    next(steps)  # the checkpoint of step 2 is written before the step is handed out
    before = run.checkpoint.read_bytes()
    full_disk(".pt")
    next(steps)
    assert run.checkpoint.read_bytes() == before
    (warning,) = warned
    assert "No space left on device" in warning and "goes on after step 3" in warning and "holds step 2" in warning
    full_disk("\0")
    next(steps)
    assert run.saved_step == 4 and len(warned) == 1
    assert [step.index for step in steps] == [5]
    assert run.output.is_file() and run.saved_step == 5
    assert {path.name for path in run.folder.iterdir()} == {"checkpoint.pt", "log.jsonl", "model.sha256", "preview.png"}


def test_the_end_of_a_training_onto_a_full_disk_keeps_the_checkpoint(begin: Begin, full_disk: Callable) -> None:
    """Of the last step; with room again, --resume writes the model without a step."""
    run, steps = begin()
    full_disk(".safetensors")
    with pytest.raises(
        ImageError, match=r"No space left.*checkpoint\.pt holds step 5\. Repeat the command with --resume"
    ):
        list(steps)
    assert not run.output.exists()
    full_disk("\0")
    resumed, steps = begin(resume=True)
    assert list(steps) == []
    assert resumed.output.is_file()


def test_a_log_that_cannot_be_written_is_written_later(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    warned: list[str] = []
    run, steps = begin(warned=warned)
    next(steps)
    real, full = Path.open, True

    def open_(path: Path, *arguments: Any, **further: Any) -> Any:
        if path.name == "log.jsonl" and full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *arguments, **further)

    monkeypatch.setattr(Path, "open", open_)
    next(steps)
    next(steps)
    full = False
    assert [step.index for step in steps] == [4, 5]
    assert "its lines wait until it can" in warned[0]
    log = run.folder / "log.jsonl"
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4, 5]


# --- one training for each folder ---


def test_a_second_training_of_one_name_is_told_who_holds_it(
    stopped: Path, begin: Begin, tmp_path: Path, percept: Callable, photos: Path
) -> None:
    """With the process id, exit 2; nothing of the first is touched. Its end, also by kill -9, frees the name."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "model.run"
    program = (
        "import sys, pathlib, percept_cli.core.files.locks as locks\n"
        "lock = locks.FolderLock(pathlib.Path(sys.argv[1]))\n"
        "print(lock.take(), flush=True)\n"
        "sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    with first:
        assert first.stdout is not None and first.stdout.readline() == b"None\n"
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(UsageError, match=f"process {first.pid} trains there"):
                begin(**how)
        outcome = percept(
            "train", "autoencoder", "--data", photos, "-o", tmp_path / "model.safetensors", "--device", "cpu",
            "--overwrite",
        )  # fmt: skip
        assert outcome.code == 2 and f"process {first.pid} trains there" in outcome.stderr
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        first.kill()
    assert (folder / "lock").is_file()
    _, steps = begin(resume=True)
    assert [step.index for step in steps] == [4, 5]
    assert not (folder / "lock").exists()


def test_a_model_that_appears_during_a_training_is_not_replaced(begin: Begin) -> None:
    """The training is not lost: its checkpoint is there, and --resume --overwrite writes it."""
    run, steps = begin()
    next(steps)
    run.output.write_bytes(b"another's")
    with pytest.raises(ImageError, match=r"appeared after this work .*--overwrite.*checkpoint\.pt holds step 5"):
        list(steps)
    assert run.output.read_bytes() == b"another's"
    with pytest.raises(UsageError, match="exists"):
        begin(resume=True)
    assert list(begin(resume=True, overwrite=True)[1]) == []
    assert run.output.read_bytes() != b"another's"


# --- what is not finite ---


class BrokenBackward(torch.autograd.Function):
    """Its input, whose gradient is multiplied by a factor that is not finite."""

    @staticmethod
    def forward(context: Any, value: Tensor, factor: float) -> Tensor:
        context.factor = factor
        return value.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * context.factor, None


@pytest.mark.parametrize("factor", [torch.nan, torch.inf])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("of_discriminator", [False, True])
def test_a_gradient_that_is_not_finite_ends_a_training_before_it_changes_weights(
    factor: float, clip_norm: float | None, of_discriminator: bool
) -> None:
    """With a finite loss, of the network or of its discriminator."""
    generator, discriminator = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 1, 1)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        result = network(images)
        if step == 2 and (network is discriminator) == of_discriminator:
            result = BrokenBackward.apply(result, factor)
        return result.square().mean(), {}

    training = Training(generator, torch.optim.Adam(generator.parameters()), steps=4)
    training.discriminator = DiscriminatorTraining(
        discriminator, torch.optim.Adam(discriminator.parameters()), compute_loss
    )
    batches = torch.rand(4, 2, 3, 4, 4)
    loop = train(training, batches, compute_loss, lambda step: 1e-3, RUNTIME, create_accelerator(RUNTIME), clip_norm)
    next(loop)
    next(loop)
    broken = discriminator if of_discriminator else generator
    before = [parameter.clone() for parameter in broken.parameters()]
    with pytest.raises(DivergenceError, match=r"The gradient is not a finite number at step 3\. Lower --learning-rate"):
        next(loop)
    assert all(torch.equal(one, other) for one, other in zip(before, broken.parameters(), strict=True))
    assert training.step == 2


def test_the_last_checkpoint_is_good_and_named(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that an update made infinite never reach a checkpoint or a model."""
    run, steps = begin()
    next(steps)
    run.save_checkpoint()
    before = run.checkpoint.read_bytes()
    next(run.training.network.parameters()).data.fill_(torch.inf)
    with pytest.raises(DivergenceError, match="The largest weight is not a finite number at step 1"):
        run.save_checkpoint()
    with pytest.raises(DivergenceError, match=r"at step 2\. .*checkpoint\.pt holds step 1\.$"):
        list(steps)
    assert run.checkpoint.read_bytes() == before and not run.output.exists()


def test_weights_too_large_for_16_bits_are_kept(begin: Begin) -> None:
    run, steps = begin()
    next(steps)
    run.save({"large": torch.full((2,), 1e5), "small": torch.ones(2)}, {})
    weights = load_weights(run.output)
    assert weights["large"].tolist() == [1e5, 1e5] and weights["small"].dtype == torch.float16


def test_a_run_of_an_earlier_version_in_two_processes_is_refused(tmp_path: Path) -> None:
    """It averaged otherwise: it cannot go on to its own result, and one sentence says so. A run of one process goes on."""
    checkpoint = tmp_path / "checkpoint.pt"
    save_checkpoint(checkpoint, {"step": 3}, {"steps": 6, "processes": 2})
    with pytest.raises(UsageError, match=r"several processes of an earlier version .* Resume it with that version"):
        load_checkpoint(checkpoint, {"steps": 6, "processes": 2, TOGETHER: True})
    with pytest.raises(UsageError, match="processes was 2, now 3"):
        load_checkpoint(checkpoint, {"steps": 6, "processes": 3, TOGETHER: True})
    save_checkpoint(checkpoint, {"step": 3}, {"steps": 6, "processes": 1})
    assert load_checkpoint(checkpoint, {"steps": 6, "processes": 1}) == {"step": 3}
