"""A training run: its files (model, checkpoint, log, preview strip), and how it is resumed."""

import json
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image, PngImagePlugin
from torch import Tensor, nn

from percept_cli.core.data.photos import Examples, batches_from
from percept_cli.core.files.atomic import atomic_path
from percept_cli.core.files.outputs import check_model_output
from percept_cli.core.pretrained.files import save_weights
from percept_cli.core.runtime import Runtime, memory_errors
from percept_cli.core.training.loop import (
    ComputeLoss,
    Training,
    TrainingStep,
    cosine_schedule,
    create_accelerator,
    train,
    unwrap,
)
from percept_cli.core.training.optimizers import create_optimizer
from percept_cli.errors import ModelError, UsageError

CHECKPOINT, LOG, PREVIEW = "checkpoint.pt", "log.jsonl", "preview.png"
CHECKPOINT_SECONDS = 60.0
PREVIEWS = 8
# Gradients of one batch may be a thousand times as large as usual and stay in Muon's momentum for dozens of steps: the
# loss of a run without this limit rose from 0.03 to 37.
CLIP_NORM = 1.0
FORMAT = 1  # of a checkpoint
# Pixels between the pictures of the preview strip, and the field of its file that holds their steps
GAP = 4
STEPS = "percept.steps"


@dataclass
class Run:
    """One training run: the files that it writes and the device that it runs on.

    The folder `starry.run/` beside the model `starry.safetensors` holds `checkpoint.pt`, `log.jsonl` and `preview.png`.
    A run trains one network: `train` returns its steps and logs each; a checkpoint is written every minute and by
    `save_checkpoint`. announce: called with each message for the user. figures: what was measured after the last step,
    by name.

        run = Run.open(Path("starry.safetensors"), choose_runtime(), resume=True)
    """

    output: Path
    runtime: Runtime
    accelerator: Accelerator
    resume: bool = False
    announce: Callable[[str], None] = lambda message: None
    figures: dict[str, float] = field(default_factory=dict)
    _training: Training | None = None
    _settings: dict[str, Any] = field(default_factory=dict)
    _examples: Examples | None = None

    @classmethod
    def open(
        cls,
        output: Path,
        runtime: Runtime,
        *,
        resume: bool = False,
        overwrite: bool = False,
        announce: Callable[[str], None] = lambda message: None,
    ) -> "Run":
        """Checks what the run would write and makes its folder.

        resume: continue from the checkpoint if there is one. Raises UsageError if the model exists and `overwrite` is
        False, or if the folder holds a checkpoint and both `resume` and `overwrite` are False.
        """
        check_model_output(output, overwrite)
        folder = run_folder(output)
        checkpoint = folder / CHECKPOINT
        if checkpoint.exists() and not (resume or overwrite):
            raise UsageError(
                f"{folder} holds an unfinished run. Give --resume to continue it or --overwrite to start anew."
            )
        folder.mkdir(exist_ok=True)
        if not resume:
            checkpoint.unlink(missing_ok=True)
        return cls(output, runtime, create_accelerator(runtime), resume, announce)

    @property
    def folder(self) -> Path:
        """The folder of the checkpoint, the log and the preview."""
        return run_folder(self.output)

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
        placed: nn.Module = self.accelerator.prepare_model(self.runtime.place_network(network))
        return placed

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
        self._training, self._settings, self._examples = training, settings, examples
        checkpoint = self.folder / CHECKPOINT
        if self.resume and checkpoint.exists():
            training.restore(load_checkpoint(checkpoint, settings))
            self.announce(f"resumed at step {training.step} of {training.steps}")
        elif self.resume:
            self.announce(f"{self.folder} has no checkpoint: starting from the beginning")
        if shown and self.is_main and training.step == 0:
            self.preview.unlink(missing_ok=True)
            place_preview(self.preview, shown[0], 0, 0)
        batches = batches_from(examples, batch, training.step, *self.shard)
        schedule = cosine_schedule(learning_rate, training.steps, warmup=min(warmup, training.steps // 10))
        loop = train(training, batches, compute_loss, schedule, self.runtime, self.accelerator, clip_norm)
        return self._record(loop, shown[1] if shown else None, finish)

    def _record(
        self, loop: Iterator[TrainingStep], given: Tensor | tuple[Any, ...] | None, finish: Callable[[], None] | None
    ) -> Iterator[TrainingStep]:
        """The steps of the loop. Each is logged, some add a picture to the preview; every minute a checkpoint is written."""
        log, saved = self.folder / LOG, time.monotonic()
        if self.is_main:
            begin_log(log, self.training.step)
        with memory_errors("training", "Use a smaller --batch or smaller crops"):
            for step in loop:
                if self.is_main:
                    log_step(log, step)
                    position, rest = divmod(step.index, max(1, self.training.steps // PREVIEWS))
                    if given is not None and rest == 0:
                        made = render_preview(unwrap(self.training.network), given, self.runtime)
                        place_preview(self.preview, made, position, step.index)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save_checkpoint()
                    saved = time.monotonic()
                yield step
        if finish is not None and self.is_main:
            finish()

    def save_checkpoint(self) -> None:
        """Writes the checkpoint, on the main process; to be called between two steps."""
        if self.is_main:
            save_checkpoint(self.folder / CHECKPOINT, self.training.state(), self._settings)

    def save(self, weights: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
        """Writes the model, in 16 bits, and removes the checkpoint."""
        half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
        save_weights(self.output, half, {"percept.format": "1", **metadata})
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def save_generator(self, role: str, architecture: str, **further: Any) -> None:
        """Writes the trained generator as `save` does, with the arguments that recreate it and the settings of the run."""
        generator = unwrap(self.training.network)
        metadata = {"role": role, "architecture": architecture, "arguments": generator.arguments, **further}
        self.save(generator.state_dict(), {**metadata, "recipe": self._settings})


def run_folder(output: Path) -> Path:
    """The folder of a run: `starry.run/` for `starry.safetensors`."""
    return output.with_suffix(".run")


def begin_log(path: Path, keep_steps: int) -> None:
    """Begins the log of a run; of an existing log, the lines of the first `keep_steps` steps are kept.

    A resumed run logs the steps after its checkpoint again, so lines of those steps are removed.
    """
    # The last line of a killed run may be incomplete.
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if keep_steps and path.is_file() else []
    kept = [line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= keep_steps]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def log_step(path: Path, step: TrainingStep) -> None:
    """Appends a step to a log as a line with one JSON object, at once on disk: the log of a killed run is complete."""
    line = {"step": step.index, "total": step.total, "parts": step.parts, "learning_rate": step.learning_rate}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def save_checkpoint(path: Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Writes the state of a run (`Training.state`) and the settings it must be resumed with, completely or not at all."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "state": state, "settings": settings}, temporary)


def load_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The state of a run to resume. Raises ModelError for a damaged file, UsageError for a run with other settings.

    A setting that only the checkpoint has must be empty or 0: an option of an earlier version that was not used.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state, saved = content["state"], content["settings"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not a checkpoint that can be read. Start again without --resume.") from error
    different = [name for name in settings if saved.get(name) != settings[name]]
    different += [name for name in saved if name not in settings and saved[name]]
    if different:
        changes = ", ".join(f"{name} was {saved.get(name)!r}, now {settings.get(name)!r}" for name in different)
        raise UsageError(
            f"{path} is of a run with other settings ({changes}). Give the same ones, or another --output."
        )
    return state


@torch.no_grad()
def render_preview(network: nn.Module, given: Tensor | tuple[Any, ...], runtime: Runtime) -> Tensor:
    """The result (1, 3, H, W) of a generator in training, in evaluation mode; given: its input, or a tuple of all inputs."""
    arguments = given if isinstance(given, tuple) else (given,)
    network.eval()
    with runtime.autocast():
        result = network(*(runtime.place(value) if isinstance(value, Tensor) else value for value in arguments))
    network.train()
    image: Tensor = result[0] if isinstance(result, tuple) else result  # an autoencoder also returns its code
    return image.float().clamp(0, 1).cpu()


def place_preview(path: Path, picture: Tensor, position: int, step: int | None = None) -> None:
    """Puts a picture (1, 3, H, W) in [0, 1] at a position, from 0, of the strip at `path`, which grows as needed.

    step: of the training when it was made, 0 for the photograph; the file stores it (see `preview_steps`).
    """
    tile = Image.fromarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    left = position * (tile.width + GAP)
    strip = Image.new("RGB", (left + tile.width, tile.height), "white")
    steps: list[int] = []
    if path.exists():
        steps = preview_steps(path)[:position]
        with Image.open(path) as file:
            strip.paste(file.convert("RGB").crop((0, 0, min(file.width, left), file.height)), (0, 0))
    strip.paste(tile, (left, 0))
    fields = PngImagePlugin.PngInfo()
    if step is not None and len(steps) == position:
        fields.add_text(STEPS, json.dumps([*steps, step]))
    with atomic_path(path) as temporary:
        strip.save(temporary, format="PNG", pnginfo=fields)


def preview_steps(path: Path) -> list[int]:
    """The step of every picture in a strip from left to right, 0 for the photograph; empty for a strip without steps."""
    try:
        with Image.open(path) as file:
            return [int(step) for step in json.loads(file.info.get(STEPS, "[]"))]
    except (OSError, ValueError, TypeError):
        return []
