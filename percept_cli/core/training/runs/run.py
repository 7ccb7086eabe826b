"""A training run: its files (model, checkpoint, log, preview strip), its lock, and how it is resumed."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from percept_cli.core.data.batches import Examples, batches_from
from percept_cli.core.files.atomic import atomic_write_bytes, sync_file
from percept_cli.core.files.locks import FolderLock
from percept_cli.core.files.outputs import check_model_output
from percept_cli.core.pretrained.files import in_16_bits, save_weights
from percept_cli.core.runtime import Runtime, memory_errors
from percept_cli.core.training.loop import (
    ComputeLoss,
    Training,
    TrainingStep,
    check_weights,
    cosine_schedule,
    create_accelerator,
    create_average,
    seed_each,
    spread,
    train,
    unwrap,
)
from percept_cli.core.training.optimizers import create_optimizer
from percept_cli.core.training.runs.agreement import agree, load_for_all
from percept_cli.core.training.runs.checkpoints import encode_checkpoint, restore_training
from percept_cli.core.training.runs.folder import (
    CHECKPOINT,
    LOG,
    PREVIEW,
    is_own_model,
    lock_folder,
    note_model,
    run_folder,
)
from percept_cli.core.training.runs.log import TrainingLog, begin_log
from percept_cli.core.training.runs.previews import place_preview, render_preview
from percept_cli.errors import DivergenceError, ImageError, UsageError

CHECKPOINT_SECONDS = 60.0
PREVIEWS = 8
# Gradients of one batch may be a thousand times as large as usual and stay in Muon's momentum for dozens of steps: the
# loss of a run without this limit rose from 0.03 to 37.
CLIP_NORM = 1.0


@dataclass
class Run:
    """One training run: the files that it writes and the device that it runs on.

    The folder `starry.run/` beside the model `starry.safetensors` holds `checkpoint.pt`, `log.jsonl` and `preview.png`;
    it is locked for this process until the steps end. A run trains one network: `train` returns its steps and logs each;
    a checkpoint is written every minute and by `save_checkpoint`. ema: the decay of the average of its weights that is
    saved and previewed; 0 for the last weights. announce, warn: called with each message and each warning for the user.
    figures: what was measured after the last step, by name. saved_step: that of the checkpoint. settings: of the training.

        run = Run.open(Path("starry.safetensors"), choose_runtime(), resume=True)
    """

    output: Path
    runtime: Runtime
    accelerator: Accelerator
    resume: bool = False
    announce: Callable[[str], None] = lambda message: None
    figures: dict[str, float] = field(default_factory=dict)
    warn: Callable[[str], None] = lambda message: None
    overwrite: bool = False
    ema: float = 0.0
    saved_step: int | None = None
    _lock: FolderLock | None = None
    _training: Training | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    _examples: Examples | None = None

    @classmethod
    def open(
        cls,
        output: Path,
        runtime: Runtime,
        *,
        resume: bool = False,
        overwrite: bool = False,
        ema: float = 0.0,
        announce: Callable[[str], None] = lambda message: None,
        warn: Callable[[str], None] = lambda message: None,
    ) -> "Run":
        """Checks what the run would write, makes its folder and locks it.

        resume: continue from the checkpoint if there is one; a finished run, with more steps, replaces its own model. Raises
        UsageError if another model exists and `overwrite` is False, if the folder holds a checkpoint and both `resume` and
        `overwrite` are False, if nothing can be written there, and if another process trains there.
        """
        folder = run_folder(output)
        checkpoint = folder / CHECKPOINT
        overwrite = overwrite or (resume and is_own_model(output))
        check_model_output(output, overwrite)
        run = cls(
            output, runtime, create_accelerator(runtime), resume, announce, warn=warn, overwrite=overwrite, ema=ema
        )
        if run.is_main:
            run._lock = lock_folder(folder)
        try:
            if checkpoint.exists() and not (resume or overwrite):
                raise UsageError(f"{folder} holds a run already: --resume continues it, --overwrite begins anew.")
            if run.is_main and not resume:
                checkpoint.unlink(missing_ok=True)
        except BaseException:
            run.close()
            raise
        return run

    def close(self) -> None:
        """Unlocks the folder, as the end of the steps does."""
        if self._lock:
            self._lock.release()

    @property
    def folder(self) -> Path:
        """The folder of the checkpoint, the log and the preview strip."""
        return run_folder(self.output)

    @property
    def checkpoint(self) -> Path:
        """The file of the checkpoint."""
        return self.folder / CHECKPOINT

    @property
    def preview(self) -> Path:
        """The file of the preview strip: results for one photograph in the course of the training."""
        return self.folder / PREVIEW

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes files and reports."""
        return self.accelerator.is_main_process

    @property
    def shard(self) -> tuple[int, int]:
        """The number of this process, from 0, and the number of processes."""
        return self.accelerator.process_index, self.accelerator.num_processes

    @property
    def training(self) -> Training:
        """The network in training and its progress; only after `train` was called."""
        assert self._training is not None
        return self._training

    @property
    def unreadable(self) -> Mapping[Path, str]:
        """The files of the training data that could not be read so far, and why."""
        return self._examples.unreadable if self._examples is not None else {}

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, spread over the processes."""
        return spread(self.runtime.place_network(network), self.accelerator)

    def create_training(self, network: nn.Module, optimizer: str, steps: int) -> Training:
        """The training of a network, which is placed, with an optimizer by name. Raises as `create_optimizer`."""
        placed = self.place(network)
        return Training(placed, create_optimizer(optimizer, placed), steps)

    def train(
        self,
        training: Training,
        examples: Examples,
        batch: int,
        compute_loss: ComputeLoss,
        learning_rate: float,
        settings: dict[str, Any],
        *,
        warmup: int = 50,
        clip_norm: float | None = None,
        shown: tuple[Tensor, Tensor | tuple[Any, ...]] | None = None,
        finish: Callable[[], None] | None = None,
    ) -> Iterator[TrainingStep]:
        """Restores the checkpoint of a resumed run, and returns the remaining steps on a cosine schedule.

        settings: must be the same in a resumed run. shown: the first picture (1, 3, H, W) of the preview strip, and the
        input, or a tuple of all inputs, from which the network makes the others. finish: called after the last step on
        the main process, to measure and to save. Raises as `load_checkpoint`.
        """
        if self.ema:
            training.average = create_average(training.network, self.ema)
            settings = {**settings, "ema": self.ema}
        self._training, self._examples = training, examples
        self.settings = settings = agree(settings, self.accelerator)
        state = load_for_all(self.checkpoint, settings, self.accelerator, self.announce) if self.resume else None
        if state is not None:
            restore_training(training, state, self.checkpoint)
            self.saved_step = training.step
            self.announce(f"resumed at step {training.step} of {training.steps}")
            if training.step == training.steps:
                self.announce("all steps are done: give more --steps to go on")
        elif self.resume:
            self.announce(f"{self.folder} has no checkpoint: starting from the beginning")
        if shown and self.is_main and training.step == 0:
            self.preview.unlink(missing_ok=True)
            self._place_preview(shown[0], 0, 0)
        batches = batches_from(examples, batch, training.step, *self.shard)
        batches = seed_each(batches, settings.get("seed", 0), self.shard, training.step)
        schedule = cosine_schedule(learning_rate, training.steps, warmup=min(warmup, training.steps // 10))
        loop = train(training, batches, compute_loss, schedule, self.runtime, self.accelerator, clip_norm)
        log = begin_log(self.folder / LOG, training.step) if self.is_main else None
        return self._record(loop, log, shown[1] if shown else None, finish)

    def _record(
        self,
        loop: Iterator[TrainingStep],
        log: TrainingLog | None,
        given: Tensor | tuple[Any, ...] | None,
        finish: Callable[[], None] | None,
    ) -> Iterator[TrainingStep]:
        """The steps of the loop. Each is logged, some add a picture to the preview; every minute a checkpoint is written."""
        saved = time.monotonic()
        try:
            with memory_errors("training", "Use a smaller --batch or smaller crops"):
                for step in loop:
                    if log is not None:
                        log.append(step, self.warn)
                        position, rest = divmod(step.index, max(1, self.training.steps // PREVIEWS))
                        if given is not None and rest == 0:
                            made = render_preview(self.training.result, given, self.runtime)
                            self._place_preview(made, position, step.index)
                    if time.monotonic() - saved > CHECKPOINT_SECONDS:
                        self._save_if_possible()
                        saved = time.monotonic()
                    yield step
            if finish is not None and self.is_main:
                self._finish(finish)
        except DivergenceError as error:
            raise DivergenceError(f"{error} {self.kept()}") from error
        finally:
            self.close()

    def _place_preview(self, picture: Tensor, position: int, step: int) -> None:
        try:
            place_preview(self.preview, picture, position, step)
        except ImageError as error:
            self.warn(str(error))

    def _save_if_possible(self) -> None:
        """Writes a checkpoint; where that fails, warns and goes on, as the training is worth more."""
        try:
            self.save_checkpoint()
        except ImageError as error:
            self.warn(
                f"{error} The training goes on after step {self.training.step} and tries it again in a minute. {self.kept()}"
            )

    def kept(self) -> str:
        """A sentence that says which checkpoint is there."""
        written = self.saved_step is not None
        return f"{self.checkpoint} holds step {self.saved_step}." if written else "No checkpoint has been written."

    def save_checkpoint(self) -> None:
        """Writes the checkpoint, on the main process; to be called between two steps.

        Raises ImageError where it cannot be written, DivergenceError for weights that are not finite; the checkpoint
        before it is then as it was.
        """
        if self.is_main:
            check_weights(self.training)
            self._write_checkpoint(encode_checkpoint(self.training.state(), self.settings))

    def _write_checkpoint(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the log, which is to reach as far
            sync_file(self.folder / LOG)
        atomic_write_bytes(self.checkpoint, data, overwrite=True)
        self.saved_step = self.training.step

    def _finish(self, finish: Callable[[], None]) -> None:
        """Measures and saves, and writes the checkpoint of the last step, from which more steps may go on."""
        check_weights(self.training)
        # Of before, as measuring may change the weights.
        data = encode_checkpoint(self.training.state(), self.settings)
        if self.training.average:
            unwrap(self.training.network).load_state_dict(self.training.average.module.state_dict())
        try:
            finish()
        except BaseException as error:
            with contextlib.suppress(ImageError):
                self._write_checkpoint(data)
            if isinstance(error, ImageError):
                advice = " Repeat the command with --resume once it can be written." if self.saved_step else ""
                raise ImageError(f"{error} {self.kept()}{advice}") from error
            raise
        with contextlib.suppress(ImageError):
            self._write_checkpoint(data)
            note_model(self.output)

    def save(self, weights: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
        """Writes the model, in 16 bits where its values are not too large for them.

        Raises PlaceTakenError where another model appeared under its name, unless the run may overwrite it.
        """
        save_weights(self.output, in_16_bits(weights), {"percept.format": "1", **metadata}, overwrite=self.overwrite)

    def save_generator(self, role: str, architecture: str, **further: Any) -> None:
        """Writes the trained generator as `save` does, with the arguments that recreate it and the settings of the run."""
        generator = unwrap(self.training.network)
        metadata = {"role": role, "architecture": architecture, "arguments": generator.arguments, **further}
        self.save(generator.state_dict(), {**metadata, "recipe": self.settings})
