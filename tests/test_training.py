"""A style is learned; a stopped training goes on to the same bits; a run spread over processes is the same run."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import last_values
from PIL import Image
from torch import Tensor, nn

from percept_cli.core.data.batches import batches_from
from percept_cli.core.data.photos import Crops, find_photos, sample_photos
from percept_cli.core.generators import create_generator
from percept_cli.core.inference.run import run_generator
from percept_cli.core.pretrained.files import load_weights, load_weights_and_metadata
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime, choose_runtime
from percept_cli.core.training import style as style_training
from percept_cli.core.training.loop import (
    DiscriminatorTraining,
    Training,
    TrainingStep,
    cosine_schedule,
    create_accelerator,
    train,
)
from percept_cli.core.training.runs.checkpoints import load_checkpoint, save_checkpoint
from percept_cli.core.training.runs.run import Run
from percept_cli.core.training.style import StyleTraining
from percept_cli.errors import DeviceError, UsageError

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
STEPS = 40
PATIENCE = 300  # seconds for a process of its own; importing torch alone has taken 60 on a busy machine
Command = Callable[..., list[object]]


@pytest.fixture(scope="module")
def command(photos: Path, style_picture: Path) -> Command:
    """`command(output, *further)`: the arguments of the smallest training there is; a further option overrides."""

    def arguments(output: Path, *further: object, style: Path = style_picture, data: Path = photos) -> list[object]:
        return last_values([
            "train-style", "--style", style, "--data", data, "-o", output, "--steps", STEPS, "--batch", 2, "--size", 64,
            "--style-size", 48,
            "--generator", "johnson", "--width", 0.25, "--extractor", "compact", "--extractor-weights", "random",
            "--content-layers", "relu2_2", "--style-layers", "relu1_1,relu2_1", "--device", "cpu",
            "--precision", "fp32", "--threads", 1, *further,
        ])  # fmt: skip

    return arguments


@pytest.fixture(scope="module")
def unbroken(percept: Callable, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training that nothing disturbed."""
    output = tmp_path_factory.mktemp("unbroken") / "model.safetensors"
    outcome = percept(*command(output))
    assert outcome.code == 0, outcome.stderr
    return output


@pytest.fixture(scope="module")
def stopped(start_percept: Callable, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was stopped by SIGTERM in its middle; copy it before going on."""
    folder = tmp_path_factory.mktemp("stopped")
    outcome = stop_in_the_middle(start_percept(*command(folder / "model.safetensors")), folder, signal.SIGTERM)
    assert outcome == 143
    return folder


def stop_in_the_middle(process: subprocess.Popen[bytes], folder: Path, number: signal.Signals) -> int:
    """Sends a signal when a few steps are logged, and returns the exit code."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if is_logged(folder):
            process.send_signal(number)
            break
        time.sleep(0.002)
    process.communicate(timeout=PATIENCE)
    return process.returncode


def is_logged(folder: Path) -> bool:
    """Whether a few steps of the training in a folder are logged."""
    log = folder / "model.run" / "log.jsonl"
    return log.exists() and log.read_bytes().count(b"\n") >= 4


def assert_same_bits(first: Path, second: Path) -> None:
    one, other = load_weights(first), load_weights(second)
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


def assert_resumes_to_the_same_bits(
    stop_percept: Callable, percept: Callable, arguments: Callable[[Path], list[object]], steps: int, unbroken: Path
) -> None:
    """Stopped in its middle and resumed: the weights and the log of the unbroken training.

    arguments: those of a training of `steps` steps that writes a model; unbroken: what it wrote. Beside that, in a
    folder of its own, the stopped one is written.
    """
    folder = unbroken.parent / "stopped"
    folder.mkdir()
    model = folder / "model.safetensors"
    assert stop_percept(signal.SIGTERM, lambda: is_logged(folder), *arguments(model)).code == 143
    assert 4 <= len(read_log(model)) < steps
    outcome = percept(*arguments(model), "--resume")
    assert outcome.code == 0, outcome.stderr
    assert_same_bits(model, unbroken)
    assert read_log(model) == read_log(unbroken)


def read_log(model: Path) -> list[dict]:
    return [json.loads(line) for line in model.with_suffix(".run").joinpath("log.jsonl").read_text().splitlines()]


@pytest.mark.numerical
def test_a_stopped_training_goes_on_to_the_same_bits(
    stopped: Path, unbroken: Path, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """Stopped by SIGTERM between two steps, resumed in another process: the same weights, each step logged once."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    model = tmp_path / "model.safetensors"
    assert not model.exists()
    before = len(read_log(model))
    assert 4 <= before < STEPS
    outcome = percept(*command(model, "--resume"))
    assert outcome.code == 0, outcome.stderr
    assert f"resumed at step {before} of {STEPS}" in outcome.stderr
    assert_same_bits(model, unbroken)
    assert [entry["step"] for entry in read_log(model)] == list(range(1, STEPS + 1))
    assert read_log(model) == read_log(unbroken)


def test_ctrl_c_keeps_a_checkpoint_too(stop_percept: Callable, command: Command, tmp_path: Path) -> None:
    """The exit code is 130, the message says how to go on, nothing half-written lies about."""
    outcome = stop_percept(signal.SIGINT, lambda: is_logged(tmp_path), *command(tmp_path / "model.safetensors"))
    assert outcome.code == 130 and "repeat the command with --resume" in outcome.stderr
    assert {path.name for path in (tmp_path / "model.run").iterdir()} == {"checkpoint.pt", "log.jsonl", "preview.png"}
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_second_signal_stops_at_once(start_percept: Callable, command: Command, tmp_path: Path) -> None:
    """Whoever will not wait for the end of a step gets out with the exit code of an interruption all the same."""
    log = tmp_path / "model.run" / "log.jsonl"
    with start_percept(*command(tmp_path / "model.safetensors", "--steps", 100_000)) as process:
        deadline = time.monotonic() + PATIENCE
        while not log.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        # While it stands still, both wait for it; then both come within one step.
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            process.send_signal(number)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, 143), stderr
    assert b"Traceback" not in stderr


@pytest.mark.numerical
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_killed_training_goes_on_from_its_last_checkpoint(norm: str, photos: Path, tmp_path: Path) -> None:
    """What a SIGKILL leaves is a file of an earlier step; weights, statistics, optimizer and random sources are in it."""
    crops = Crops(find_photos([photos]), 64, seed=3, count=12)
    accelerator = create_accelerator(RUNTIME)

    def begin(seed: int) -> Training:
        torch.manual_seed(seed)
        network = create_generator("style", "johnson", width=0.25, norm=norm)
        return Training(network, torch.optim.Adam(network.parameters(), betas=(0.9, 0.99)), steps=6)

    def compute_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        # Noise, so that a random source that is not restored would show.
        loss = (network(images) - (1 - images) + 0.1 * torch.randn_like(images)).square().mean()
        return loss, {"negative": loss}

    def go_on(training: Training, count: int) -> None:
        schedule = cosine_schedule(2e-3, training.steps, warmup=2)
        loop = train(training, batches_from(crops, 2, training.step), compute_loss, schedule, RUNTIME, accelerator)
        for _ in range(count):
            next(loop)

    whole = begin(0)
    go_on(whole, 6)
    killed = begin(0)
    go_on(killed, 3)
    save_checkpoint(tmp_path / "checkpoint.pt", killed.state(), {})
    go_on(killed, 1)  # a step that the kill loses
    resumed = begin(1)
    resumed.restore(load_checkpoint(tmp_path / "checkpoint.pt", {}))
    assert resumed.step == 3
    go_on(resumed, 3)
    expected, found = whole.network.state_dict(), resumed.network.state_dict()
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.mark.parametrize(
    ("option", "value", "setting"),
    [("--seed", 5, "seed"), ("--style-weight", 2.0, "style_weight")],
)
def test_resuming_with_other_settings_is_refused(
    option: str, value: object, setting: str, stopped: Path, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """It could not end at the same bits; the message names the setting, with what it was."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    outcome = percept(*command(tmp_path / "model.safetensors", "--resume", option, value))
    assert outcome.code == 2
    assert re.search(rf"\b{setting} was ", outcome.stderr)


def test_a_run_that_ended_goes_on_with_more_steps(
    unbroken: Path, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """From its last step, and its model is replaced; the same steps again change nothing, fewer are refused."""
    shutil.copytree(unbroken.parent, tmp_path, dirs_exist_ok=True)
    model = tmp_path / "model.safetensors"
    outcome = percept(*command(model, "--resume", "--steps", STEPS + 4))
    assert outcome.code == 0, outcome.stderr
    assert f"resumed at step {STEPS} of {STEPS + 4}" in outcome.stderr
    assert read_log(model)[:STEPS] == read_log(unbroken)
    assert [entry["step"] for entry in read_log(model)[STEPS:]] == list(range(STEPS + 1, STEPS + 5))
    longer = model.read_bytes()
    assert longer != unbroken.read_bytes()
    outcome = percept(*command(model, "--resume", "--steps", STEPS + 4))
    assert outcome.code == 0 and "all steps are done: give more --steps to go on" in outcome.stderr
    assert model.read_bytes() == longer
    outcome = percept(*command(model, "--resume"))
    assert outcome.code == 2 and f"has {STEPS + 4} steps already: --steps {STEPS} is less" in outcome.stderr
    assert model.read_bytes() == longer


def test_fast_is_fewer_steps(
    percept: Callable, style_picture: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the usual generator, and chosen by nothing else beside it; johnson has steps of its own."""
    asked: list[StyleTraining] = []

    def stop(styles: object, photos: object, run: object, options: StyleTraining) -> None:
        asked.append(options)
        raise UsageError("That is enough.")

    monkeypatch.setattr(style_training, "train_style", stop)
    command = ("train-style", "--style", style_picture, "--data", photos, "--device", "cpu")
    for further in ((), ("--fast",), ("--generator", "johnson")):
        percept(*command, "-o", tmp_path / f"{len(further)}.safetensors", *further)
    usual, fast, johnson = asked
    assert 3 < usual.steps / fast.steps < 4 and 1 < usual.style_weight / fast.style_weight < 2
    assert replace(fast, steps=usual.steps, style_weight=usual.style_weight) == usual
    assert (usual.generator, johnson.generator) == ("transport", "johnson")
    assert (johnson.steps, johnson.size, johnson.learning_rate) == (1200, 224, 5e-3)
    # The library's own defaults are those of the command.
    defaults = StyleTraining()
    assert usual == replace(usual, steps=defaults.steps, size=defaults.size, learning_rate=defaults.learning_rate)
    outcome = percept(*command, "-o", tmp_path / "x.safetensors", "--fast", "--steps", 224)
    assert outcome.code == 2 and "--fast chooses it: leave --steps out" in outcome.stderr


def test_resuming_with_other_photographs_is_refused(
    stopped: Path, percept: Callable, command: Command, photos: Path, tmp_path: Path
) -> None:
    """As many, but others: the run would go on, to other bits."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    others = tmp_path / "others"
    for number, photo in enumerate(find_photos([photos])):
        others.mkdir(exist_ok=True)
        with Image.open(photo) as image:
            image.rotate(180).save(others / f"{number}.png")
    outcome = percept(*command(tmp_path / "model.safetensors", "--resume", data=others))
    assert outcome.code == 2
    assert "other settings" in outcome.stderr


def test_a_setting_of_an_earlier_version_that_was_not_used_does_not_stop_a_run(tmp_path: Path) -> None:
    """One that was used does: the run would go on without it."""
    checkpoint = tmp_path / "checkpoint.pt"
    for unused in (0.0, "", False):
        save_checkpoint(checkpoint, {"step": 3}, {"steps": 6, "phase_weight": unused})
        assert load_checkpoint(checkpoint, {"steps": 6}) == {"step": 3}
    save_checkpoint(checkpoint, {"step": 3}, {"steps": 6, "phase_weight": 20.0})
    with pytest.raises(UsageError, match=r"phase_weight was 20\.0, now None"):
        load_checkpoint(checkpoint, {"steps": 6})


def test_an_unfinished_run_is_not_lost_by_mistake(
    stopped: Path, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """Started again without --resume or --overwrite, the command refuses and the checkpoint stays."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    checkpoint = tmp_path / "model.run" / "checkpoint.pt"
    before = checkpoint.read_bytes()
    outcome = percept(*command(tmp_path / "model.safetensors"))
    assert outcome.code == 2
    assert "--resume" in outcome.stderr and "--overwrite" in outcome.stderr
    assert checkpoint.read_bytes() == before


def test_overwrite_begins_anew(
    stopped: Path, unbroken: Path, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """The unfinished run is forgotten: all steps are done again and logged."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    outcome = percept(*command(tmp_path / "model.safetensors", "--overwrite"))
    assert outcome.code == 0, outcome.stderr
    assert len(read_log(tmp_path / "model.safetensors")) == STEPS
    assert_same_bits(tmp_path / "model.safetensors", unbroken)


def test_a_damaged_checkpoint_is_refused(stopped: Path, percept: Callable, command: Command, tmp_path: Path) -> None:
    """Half a file, as a full disk leaves it, is told as such."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    checkpoint = tmp_path / "model.run" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    outcome = percept(*command(tmp_path / "model.safetensors", "--resume"))
    assert outcome.code == 5
    assert "without --resume" in outcome.stderr


def test_resume_with_nothing_to_resume_begins(percept: Callable, command: Command, tmp_path: Path) -> None:
    """A script may always say --resume."""
    outcome = percept(*command(tmp_path / "model.safetensors", "--resume", "--steps", 2))
    assert outcome.code == 0
    assert "starting from the beginning" in outcome.stderr


def test_an_existing_model_is_not_trained_over(
    percept: Callable, command: Command, tmp_path: Path, style_model: Path
) -> None:
    """Refused before any work without --overwrite, and then its bytes are as they were."""
    model = tmp_path / "model.safetensors"
    shutil.copy(style_model, model)
    outcome = percept(*command(model))
    assert outcome.code == 2
    assert "--overwrite" in outcome.stderr
    assert model.read_bytes() == style_model.read_bytes()
    assert not (tmp_path / "model.run").exists()


@pytest.mark.parametrize("output", ["model.pth", "no/such/folder/model.safetensors"])
def test_an_output_that_cannot_be_is_refused(output: str, percept: Callable, command: Command, tmp_path: Path) -> None:
    """Another suffix than .safetensors, or a folder that is not there, before minutes of training."""
    outcome = percept(*command(tmp_path / output))
    assert outcome.code == 2
    assert "--output" in outcome.stderr


def test_the_loss_falls(unbroken: Path) -> None:
    """Forty steps are enough to see it, and the parts that the log names add up to the total."""
    log = read_log(unbroken)
    quarter = STEPS // 4
    totals = [entry["total"] for entry in log]
    assert sum(totals[-quarter:]) < 0.7 * sum(totals[:quarter])
    assert set(log[0]["parts"]) == {
        "content.relu2_2", "style.relu1_1", "style.relu2_1", "style.half.relu1_1", "style.half.relu2_1", "tv"
    }  # fmt: skip
    for entry in log:
        assert sum(entry["parts"].values()) == pytest.approx(entry["total"], rel=1e-4)


def test_the_seed_decides_the_bits(percept: Callable, command: Command, tmp_path: Path) -> None:
    """The same seed gives the same file twice, another seed another model."""
    for name, seed in (("one", 4), ("two", 4), ("other", 5)):
        assert percept(*command(tmp_path / f"{name}.safetensors", "--seed", seed, "--steps", 4)).code == 0
    assert_same_bits(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    one, other = load_weights(tmp_path / "one.safetensors"), load_weights(tmp_path / "other.safetensors")
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_negative_seed_is_no_internal_error(percept: Callable, command: Command, tmp_path: Path) -> None:
    """It is a seed like others, or refused in one sentence."""
    assert percept(*command(tmp_path / "model.safetensors", "--seed", -1, "--steps", 1)).code in (0, 2)


def test_the_model_says_how_it_was_made(unbroken: Path, style_picture: Path, percept: Callable) -> None:
    """Role, architecture and the whole recipe are in the metadata of the one file, and `models inspect` shows them."""
    _, metadata = load_weights_and_metadata(unbroken)
    recipe = json.loads(metadata["recipe"])
    assert (metadata["role"], metadata["architecture"]) == ("style", "johnson")
    assert json.loads(metadata["styles"]) == [style_picture.name]
    expected = {"steps": STEPS, "batch": 2, "size": 64, "style_size": 48, "seed": 0, "extractor": "compact"}
    assert expected.items() <= recipe.items()
    assert recipe["style_layers"] == ["relu1_1", "relu2_1"]
    outcome = percept("models", "inspect", unbroken, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.stdout)["architecture"] == "johnson"


def test_the_model_restyles(unbroken: Path, photos: Path, percept: Callable, tmp_path: Path) -> None:
    """What training wrote, stylize reads: a picture of the photograph's size, and not the photograph."""
    result = tmp_path / "restyled.png"
    outcome = percept("stylize", photos / "hill.png", "-m", unbroken, "-o", result, "--precision", "fp32")
    assert outcome.code == 0, outcome.stderr
    with Image.open(result) as image, Image.open(photos / "hill.png") as photo:
        assert image.size == photo.size
        assert image.tobytes() != photo.convert("RGB").tobytes()


def test_the_preview_grows_with_the_training(unbroken: Path) -> None:
    """The photograph and then one picture at each of eight looks, in one strip."""
    with Image.open(unbroken.with_suffix(".run") / "preview.png") as strip:
        assert strip.height == 64
        assert strip.width == 9 * 64 + 8 * 4
        assert len(json.loads(strip.info["percept.steps"])) == 9


def test_an_unreadable_photograph_is_left_out_and_named(
    photos: Path, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """Even when it comes first; the training ends, and the others are used."""
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    (data / "a-broken.jpg").write_bytes(b"not a photograph")
    outcome = percept(*command(tmp_path / "model.safetensors", "--steps", 4, data=data))
    assert outcome.code == 0, outcome.stderr
    assert "a-broken.jpg could not be read" in outcome.stderr
    assert (tmp_path / "model.safetensors").exists()


def test_data_without_one_readable_photograph_is_an_error_of_the_user(
    percept: Callable, command: Command, tmp_path: Path
) -> None:
    """One sentence, exit code 2, no model."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "broken.jpg").write_bytes(b"not a photograph")
    outcome = percept(*command(tmp_path / "model.safetensors", data=data))
    assert outcome.code == 2, outcome.stderr
    assert "broken.jpg" in outcome.stderr
    assert not (tmp_path / "model.safetensors").exists()


def test_two_styles_are_blended(
    percept: Callable, command: Command, photos: Path, style_picture: Path, tmp_path: Path
) -> None:
    """All the weight on the first is the first alone, to the bit; shared out it is another model."""
    second = ("--style", photos / "lake.jpg", "--steps", 4)
    for name, further in (
        ("alone", ("--steps", 4)),
        ("first", (*second, "--blend", "1,0")),
        ("both", (*second, "--blend", "0.7,0.3")),
    ):
        outcome = percept(*command(tmp_path / f"{name}.safetensors", *further))
        assert outcome.code == 0, outcome.stderr
    assert_same_bits(tmp_path / "alone.safetensors", tmp_path / "first.safetensors")
    with pytest.raises(AssertionError):
        assert_same_bits(tmp_path / "alone.safetensors", tmp_path / "both.safetensors")
    _, metadata = load_weights_and_metadata(tmp_path / "both.safetensors")
    assert json.loads(metadata["styles"]) == [style_picture.name, "lake.jpg"]
    assert json.loads(metadata["recipe"])["blend"] == [0.7, 0.3]


def test_a_training_begins_from_a_trained_style(
    unbroken: Path, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """With a learning rate of next to nothing the trained style comes back; another width is refused."""
    model = tmp_path / "again.safetensors"
    outcome = percept(*command(model, "--start", unbroken, "--steps", 1, "--learning-rate", 1e-9))
    assert outcome.code == 0, outcome.stderr
    for name, tensor in load_weights(unbroken).items():
        torch.testing.assert_close(load_weights(model)[name].float(), tensor.float(), atol=2e-3, rtol=2e-3)
    outcome = percept(*command(tmp_path / "wide.safetensors", "--start", unbroken, "--width", 0.5))
    assert outcome.code == 2 and "leave --width out" in outcome.stderr


@pytest.mark.parametrize("blend", ["1", "1,2,3", "1,-1", "0,0", "a,b", "nan,1"])
def test_a_blend_that_does_not_fit_is_refused(
    blend: str, percept: Callable, command: Command, photos: Path, tmp_path: Path
) -> None:
    """One number for each style, none negative, not all zero."""
    outcome = percept(*command(tmp_path / "model.safetensors", "--style", photos / "lake.jpg", f"--blend={blend}"))
    assert outcome.code == 2
    assert "--blend" in outcome.stderr


@pytest.mark.parametrize("generator", ["johnson", "johnson-2016"])
def test_both_generators_train_with_either_norm(
    generator: str, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """And the file says which it is."""
    for norm in ("instance", "batch"):
        model = tmp_path / f"{norm}.safetensors"
        outcome = percept(*command(model, "--generator", generator, "--norm", norm, "--steps", 2))
        assert outcome.code == 0, outcome.stderr
        loaded = load_generator(str(model), "style")
        assert loaded.architecture == generator
        assert sum(isinstance(module, nn.BatchNorm2d) for module in loaded.network.modules()) == 15 * (norm == "batch")


def test_a_crop_is_a_function_of_seed_and_number(photos: Path) -> None:
    """Whatever was drawn before, and in whichever process; another seed or number is another crop."""
    files = find_photos([photos])
    forwards, backwards = Crops(files, 32, seed=1, count=20), Crops(files, 32, seed=1, count=99)
    found = {number: backwards[number] for number in reversed(range(20))}
    assert all(torch.equal(forwards[number], found[number]) for number in range(20))
    assert forwards[0].shape == (3, 32, 32)
    assert forwards[0].min() >= 0 and forwards[0].max() <= 1
    assert not any(torch.equal(forwards[0], found[number]) for number in range(1, 20))
    assert not torch.equal(forwards[0], Crops(files, 32, seed=2, count=20)[0])


def test_every_photograph_comes_once_before_any_comes_twice(tmp_path: Path) -> None:
    """Each epoch is a shuffle of its own, so that a short training has seen all of a small folder."""
    for gray in range(6):
        Image.new("RGB", (40, 40), (40 * gray, 0, 0)).save(tmp_path / f"{gray}.png")
    crops = Crops(find_photos([tmp_path]), 32, seed=0, count=30)
    reds = [round(crops[number][0].mean().item() * 255) // 40 for number in range(30)]
    epochs = [reds[start : start + 6] for start in range(0, 30, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_smallest_crop_says_how_smooth_crops_may_be(
    percept: Callable, command: Command, unbroken: Path, tmp_path: Path
) -> None:
    """A crop shows at least that share of the short side, enlarged or shrunk to one size; the option trains so."""
    column = torch.arange(0, 240, dtype=torch.uint8)[:, None, None].expand(240, 240, 3).contiguous().numpy()
    Image.fromarray(column).save(tmp_path / "ramp.png")
    slopes = {}
    for smallest in (0.15, 1.0):
        crops = Crops(find_photos([tmp_path]), 32, seed=0, count=50, smallest=smallest)
        slopes[smallest] = [(crops[n][0].amax() - crops[n][0].amin()).item() * 255 / 31 for n in range(50)]
    assert min(slopes[1.0]) == pytest.approx(max(slopes[1.0])) == pytest.approx(7.5, abs=0.3)
    assert 1 < min(slopes[0.15]) < 2 and max(slopes[0.15]) > 6.5
    model = tmp_path / "model.safetensors"
    outcome = percept(*command(model, "--smallest-crop", 0.15, "--steps", 1))
    assert outcome.code == 0, outcome.stderr
    assert read_log(model)[0]["total"] != read_log(unbroken)[0]["total"]


def test_native_crops_are_the_files_own_pixels(tmp_path: Path) -> None:
    """An upscaler learns from pixels as they are: a crop as large as its file is that file, mirrored or turned."""
    random = torch.Generator().manual_seed(0)
    levels = torch.randint(256, (24, 24, 3), generator=random, dtype=torch.uint8)
    Image.fromarray(levels.numpy()).save(tmp_path / "noise.png")
    picture = levels.permute(2, 0, 1).float() / 255
    turned = [picture.rot90(turns, (1, 2)) for turns in range(4)]
    all_ways = [*turned, *(way.flip(2) for way in turned)]
    crops = Crops(find_photos([tmp_path]), 24, seed=0, count=60, native=True)
    found = [next((k for k, way in enumerate(all_ways) if torch.equal(crops[n], way)), None) for n in range(60)]
    assert set(found) == set(range(8))


def test_native_crops_are_never_enlarged(tmp_path: Path) -> None:
    """Larger photographs are shrunk to twice at most, in half of the crops; smaller ones are mirrored at their edges."""
    column = torch.arange(0, 240, dtype=torch.uint8)
    Image.fromarray(column[:, None, None].expand(240, 240, 3).contiguous().numpy()).save(tmp_path / "ramp.png")
    crops = Crops(find_photos([tmp_path]), 32, seed=0, count=200, native=True)
    # A ramp of one level a pixel: its slope tells how much it was shrunk.
    slopes = [(crops[n][0].amax() - crops[n][0].amin()).item() * 255 / 31 for n in range(200)]
    assert min(slopes) > 0.95 and max(slopes) < 2.1
    assert 60 < sum(slope < 1.01 for slope in slopes) < 140
    small = tmp_path / "small"
    small.mkdir()
    Image.fromarray(column[:10, None, None].expand(10, 10, 3).contiguous().numpy()).save(small / "small.png")
    crop = Crops(find_photos([small]), 16, seed=0, count=1, native=True)[0] * 255
    line = max((crop[0].mean(0), crop[0].mean(1)), key=lambda values: values.std().item()).round().int().tolist()
    assert line in ([*range(10), *range(9, 3, -1)], [*range(4, 10), *range(9, -1, -1)])


def test_two_networks_go_on_to_the_same_bits(photos: Path, tmp_path: Path) -> None:
    """Generator, discriminator and both optimizers are in the checkpoint; the one's gradients never move the other."""
    crops = Crops(find_photos([photos]), 16, seed=3, count=24)
    accelerator = create_accelerator(RUNTIME)

    def begin(seed: int) -> Training:
        torch.manual_seed(seed)
        generator, discriminator = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 1, 3)
        shown: list[Tensor] = []

        def discriminator_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            loss = (network(images) - 1).square().mean() + network(shown.pop()).square().mean()
            return loss, {"discriminator": loss}

        training = Training(generator, torch.optim.Adam(generator.parameters()), steps=6)
        training.discriminator = DiscriminatorTraining(
            discriminator, torch.optim.Adam(discriminator.parameters()), discriminator_loss
        )
        training.shown = shown  # type: ignore[attr-defined]
        return training

    def go_on(training: Training, count: int) -> list[TrainingStep]:
        assert training.discriminator is not None
        discriminator = training.discriminator.network

        def compute_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
            result = network(images)
            training.shown.append(result.detach())  # type: ignore[attr-defined]
            loss = (discriminator(result) - 1).square().mean()
            return loss, {"adversarial": loss}

        batches = batches_from(crops, 2, training.step)
        loop = train(training, batches, compute_loss, lambda step: 1e-3, RUNTIME, accelerator)
        return [next(loop) for _ in range(count)]

    whole = begin(0)
    assert whole.discriminator is not None
    before = [parameter.clone() for parameter in whole.discriminator.network.parameters()]
    steps = go_on(whole, 6)
    assert steps[0].parts.keys() == {"adversarial", "discriminator"}
    assert all(parameter.requires_grad for parameter in whole.discriminator.network.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, whole.discriminator.network.parameters(), strict=True))
    stopped = begin(0)
    go_on(stopped, 3)
    save_checkpoint(tmp_path / "checkpoint.pt", stopped.state(), {})
    resumed = begin(1)
    resumed.restore(load_checkpoint(tmp_path / "checkpoint.pt", {}))
    go_on(resumed, 3)
    assert resumed.discriminator is not None
    for one, other in ((whole.network, resumed.network), (whole.discriminator.network, resumed.discriminator.network)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_two_processes_see_what_one_with_double_batch_sees(photos: Path) -> None:
    """Step for step the two batches of 2 are the one batch of 4; a resumed run begins with the batch it stopped at."""
    crops = Crops(find_photos([photos]), 32, seed=1, count=24)
    whole = list(batches_from(crops, 4, 0))
    halves = [list(batches_from(crops, 2, 0, rank, 2)) for rank in range(2)]
    assert len(whole) == len(halves[0]) == len(halves[1]) == 6
    for batch, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(batch, torch.cat((first, second)))
    assert all(torch.equal(late, batch) for late, batch in zip(batches_from(crops, 4, 4), whole[4:], strict=True))


def test_photographs_are_found_in_any_tree(photos: Path, tmp_path: Path) -> None:
    """Sorted, without hidden files; a folder without images is an error that names it."""
    names = [path.relative_to(photos).as_posix() for path in find_photos([photos])]
    assert names == ["hill.png", "lake.jpg", "nested/deep/shore.jpg", "nested/road.png"]
    with pytest.raises(UsageError, match="no images found"):
        find_photos([tmp_path])
    with pytest.raises(UsageError, match="no such file or folder"):
        find_photos([tmp_path / "nowhere"])


def test_the_sample_photographs_are_there() -> None:
    """scikit-image packages enough of them for a first run without data."""
    samples = sample_photos()
    assert len(samples) >= 8
    assert all(sample.is_file() for sample in samples)


def test_the_schedule_rises_and_falls() -> None:
    """Linearly to its peak, then half a cosine, and every step has a rate above zero."""
    schedule = cosine_schedule(2.0, 100, warmup=10)
    rates = [schedule(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == pytest.approx(2.0) and rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert min(rates) > 0
    assert [cosine_schedule(1.0, 1, warmup=0)(0)] == [1.0]


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(
    percept: Callable, command: Command, surroundings: dict[str, str], photos: Path, tmp_path: Path
) -> None:
    """Under torchrun, with gloo: one model and one log are written, and the model is that of a double batch.

    With raw losses, which are means over images: typical ones are ratios of such means, and those of halves differ. The
    weights are averaged over the steps, in each process alike.
    """
    common = ("--scaling", "paper", "--steps", 4, "--learning-rate", 1e-3, "--ema", 0.9)
    spread, single = tmp_path / "spread.safetensors", tmp_path / "single.safetensors"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "percept_cli"]
    root = str(Path(__file__).parent.parent)
    finished = subprocess.run(
        [*launch, *map(str, command(spread, *common))],
        env={**os.environ, **surroundings, "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == [str(spread)]
    assert [entry["step"] for entry in read_log(spread)] == [1, 2, 3, 4]
    assert {path.name for path in tmp_path.iterdir()} == {"spread.safetensors", "spread.run"}
    outcome = percept(*command(single, *common, "--batch", 4))
    assert outcome.code == 0, outcome.stderr
    _, metadata = load_weights_and_metadata(spread)
    assert json.loads(metadata["recipe"])["processes"] == 2
    with Image.open(photos / "hill.png") as image:
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, 61, 75, 3).permute(0, 3, 1, 2)
    results = [
        run_generator(load_generator(str(path), "style").network, pixels.float() / 255, RUNTIME)
        for path in (spread, single)
    ]
    torch.testing.assert_close(results[0], results[1], atol=2 / 255, rtol=0)


def test_a_network_stays_on_its_device(tmp_path: Path) -> None:
    """It is not moved to another one of its kind, as accelerate would: here to none at all, for a cuda:1 of a machine."""
    elsewhere = Runtime(torch.device("meta"), torch.float32, "")
    run = Run(tmp_path / "model.safetensors", elsewhere, create_accelerator(RUNTIME))
    assert {parameter.device.type for parameter in run.place(nn.Conv2d(3, 3, 1)).parameters()} == {"meta"}


def test_a_gpu_by_its_number_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks for a GPU without a number gets that one; of several processes each has its own."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert choose_runtime("cuda:1", "fp32").device == torch.device("cuda", 1)
    assert chosen == [torch.device("cuda", 1)]
    with pytest.raises(DeviceError, match="cuda:0 to cuda:1"):
        choose_runtime("cuda:2", "fp32")
