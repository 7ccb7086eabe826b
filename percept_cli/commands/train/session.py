"""What every training command does around its loop: progress, log, checkpoints, interruptions."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from percept_cli.console import Console, JsonLinesLog
from percept_cli.core.data.photos import Examples, batches_from, find_photos, sample_photos
from percept_cli.core.files.outputs import check_model_output
from percept_cli.core.pretrained.files import save_weights
from percept_cli.core.runtime import Runtime, choose_runtime, memory_errors
from percept_cli.core.training.loop import (
    Parts,
    Training,
    TrainingStep,
    cosine_schedule,
    create_accelerator,
    train,
    unwrap,
)
from percept_cli.core.training.run import load_checkpoint, place_preview, render_preview, save_checkpoint
from percept_cli.errors import ExitCode, Interrupted, UsageError

CHECKPOINT_SECONDS = 60.0
PREVIEWS = 8
# One batch with gradients a thousand times the usual would rule Muon's momentum for dozens of steps: a run without
# this went from a loss of 0.03 to 37.
CLIP_NORM = 1.0


def training_photos(data: list[Path] | None, product: str, console: Console) -> list[Path]:
    """The photographs under the folders given, or the sample ones, and says so; product: what more of them improve."""
    if data:
        return find_photos(data)
    photos = sample_photos()
    console.say(
        f"no --data: training on {len(photos)} sample photographs of scikit-image; more give a better {product}"
    )
    return photos


@dataclass(frozen=True)
class TrainingRun:
    """Where a training writes, what it runs on and whom it tells."""

    output: Path
    folder: Path
    resume: bool
    runtime: Runtime
    accelerator: Accelerator
    console: Console

    @classmethod
    def open(
        cls,
        output: Path,
        overwrite: bool,
        resume: bool,
        device: str,
        precision: str,
        threads: int | None,
        console: Console,
    ) -> "TrainingRun":
        """Checks the output, makes the run folder and chooses the runtime. Raises UsageError as `prepare_output`."""
        folder = prepare_output(output, overwrite, resume)
        runtime = choose_runtime(device, precision, threads)
        console.say(runtime.reason)
        return cls(output, folder, resume, runtime, create_accelerator(runtime), console)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.accelerator.is_main_process

    @property
    def shard(self) -> tuple[int, int]:
        """The number of this process and how many there are."""
        return self.accelerator.process_index, self.accelerator.num_processes

    @property
    def preview(self) -> Path:
        """The strip of what the network makes of one photograph as it learns."""
        return self.folder / "preview.png"

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, spread over the processes."""
        placed: nn.Module = self.accelerator.prepare_model(self.runtime.prepare(network))
        return placed

    def train(
        self,
        training: Training,
        examples: Examples,
        batch: int,
        compute_loss: Callable[[nn.Module, Tensor, int], tuple[Tensor, Parts]],
        learning_rate: float,
        settings: dict[str, Any],
        *,
        warmup: int = 50,
        clip_norm: float | None = None,
        shown: tuple[Tensor, Tensor | tuple[Any, ...]] | None = None,
    ) -> None:
        """The whole training: resumed when asked, on a cosine schedule, reported, logged and checkpointed.

        settings: what must be the same for a run to be resumed. shown: a picture (1, 3, H, W) for the preview strip and
        what the network gets to make it from (one tensor, or all it is called with).
        """
        resume_training(training, self.folder, settings, self.resume, self.console)
        if shown and self.is_main and training.step == 0:
            self.preview.unlink(missing_ok=True)
            place_preview(self.preview, shown[0], 0, 0)

        def look(step: TrainingStep) -> None:
            position, rest = divmod(step.index, max(1, training.steps // PREVIEWS))
            if shown and rest == 0:
                made = render_preview(unwrap(training.network), shown[1], self.runtime)
                place_preview(self.preview, made, position, step.index)

        batches = batches_from(examples, batch, training.step, *self.shard)
        schedule = cosine_schedule(learning_rate, training.steps, warmup=min(warmup, training.steps // 10))
        loop = train(training, batches, compute_loss, schedule, self.runtime, self.accelerator, clip_norm)
        with memory_errors("training; a smaller --batch or smaller crops help too"):
            report_training(loop, training, self.folder, settings, self.console, self.is_main, look)
        for path, reason in examples.unreadable.items():
            self.console.warn(f"{path} could not be read and was left out: {reason}")

    def save(self, weights: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
        """Writes the model, in 16 bits, and drops the checkpoint that a finished run needs no more."""
        half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
        save_weights(self.output, half, {"percept.format": "1", **metadata})
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)


def run_folder(output: Path) -> Path:
    """Where a training keeps its checkpoint, log and previews: `starry.run/` for `starry.safetensors`."""
    return output.with_suffix(".run")


def prepare_output(output: Path, overwrite: bool, resume: bool) -> Path:
    """Checks what a training would write before it begins, makes its run folder and returns that.

    Raises UsageError when the output exists, or an unfinished run lies there that was not asked to go on.
    """
    check_model_output(output, overwrite)
    folder = run_folder(output)
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
