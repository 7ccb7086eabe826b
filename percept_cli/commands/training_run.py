"""What every training command does around its loop: progress, log, checkpoints, interruptions."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from percept_cli.console import Console, JsonLinesLog
from percept_cli.core.checkpoint import load_checkpoint, save_checkpoint
from percept_cli.core.training import Training, TrainingStep
from percept_cli.errors import ExitCode, Interrupted, UsageError

CHECKPOINT_SECONDS = 60.0


def run_folder(output: Path) -> Path:
    """Where a training keeps its checkpoint, log and previews: `starry.run/` for `starry.safetensors`."""
    return output.with_suffix(".run")


def prepare_output(output: Path, overwrite: bool, resume: bool) -> Path:
    """Checks what a training would write before it begins, makes its run folder and returns that.

    Raises UsageError when the output exists, or an unfinished run lies there that was not asked to go on.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: a model is a .safetensors file; give a name that ends so.")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: the folder {output.parent} does not exist. Create it first.")
    folder = run_folder(output)
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists. Give --overwrite to replace it, or another --output.")
    if (folder / "checkpoint.pt").exists() and not (resume or overwrite):
        raise UsageError(
            f"{folder} holds an unfinished run. Give --resume to continue it or --overwrite to start anew."
        )
    folder.mkdir(exist_ok=True)
    if not resume:
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    return folder


def resume_training(training: Training, folder: Path, settings: dict[str, Any], resume: bool, console: Console) -> None:
    """Continues from the run folder's checkpoint when asked to; a run that has none yet begins at its beginning."""
    checkpoint = folder / "checkpoint.pt"
    if not resume:
        return
    if checkpoint.exists():
        training.restore(load_checkpoint(checkpoint, settings))
        console.say(f"resumed at step {training.step} of {training.steps}")
    else:
        console.say(f"{folder} has no checkpoint: starting from the beginning")


def code_of(number: int) -> ExitCode:
    """The exit code of a signal."""
    return ExitCode.TERMINATED if number == signal.SIGTERM else ExitCode.INTERRUPTED


def report_training(
    steps: Iterator[TrainingStep],
    training: Training,
    folder: Path,
    settings: dict[str, Any],
    console: Console,
    is_main: bool,
    every: Callable[[TrainingStep], None] | None = None,
) -> None:
    """Runs the loop to its end: shows and logs every step, saves a checkpoint each minute and on Ctrl-C or SIGTERM.

    Raises Interrupted after a signal, with the step finished and its checkpoint on disk.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if received:  # the second Ctrl-C means now
            raise Interrupted(
                "stopped at once; repeat the command with --resume to go on from the last checkpoint", code_of(number)
            )
        received.append(number)

    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    log = JsonLinesLog(folder / "log.jsonl", keep_steps=training.step) if is_main else None
    saved = time.monotonic()
    quiet = console if is_main else Console(quiet=True)
    try:
        with quiet.progress(training.steps, "step", training.step) as progress:
            for step in steps:
                progress.advance(1, {"loss": step.total, **step.parts}, step.images)
                if log:
                    log.write(step=step.index, total=step.total, parts=step.parts, learning_rate=step.learning_rate)
                if every is not None and is_main:
                    every(step)
                if is_main and (received or time.monotonic() - saved > CHECKPOINT_SECONDS):
                    save_checkpoint(folder / "checkpoint.pt", training.state(), settings)
                    saved = time.monotonic()
                if received:
                    raise Interrupted(
                        f"stopped at step {step.index} of {training.steps}; repeat the command with --resume to go on",
                        code_of(received[0]),
                    )
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if log:
            log.close()
