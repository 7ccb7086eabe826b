"""A training run: where it writes, how it is resumed, its log, its checkpoints, its preview strip and its model."""

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
from percept_cli.errors import ModelError, UsageError

CHECKPOINT, LOG, PREVIEW = "checkpoint.pt", "log.jsonl", "preview.png"
CHECKPOINT_SECONDS = 60.0
PREVIEWS = 8
# One batch with gradients a thousand times the usual would rule Muon's momentum for dozens of steps: a run without
# this went from a loss of 0.03 to 37.
CLIP_NORM = 1.0
FORMAT = 1  # of a checkpoint
# The preview strip: pixels between its pictures, and the field of the file that holds their steps
GAP = 4
STEPS = "percept.steps"


@dataclass
class Run:
    """One training run: where it writes, what it runs on and whom it tells.

    Beside a model `starry.safetensors` lies the folder `starry.run/` with `checkpoint.pt`, `log.jsonl` and
    `preview.png`. A run trains one network: `train` gives its steps, each logged; a checkpoint is written every minute
    and by `save_checkpoint`. announce: is called with each message for a person. figures: what was measured after the
    last step, by name.

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

        resume: go on from the checkpoint where there is one. Raises UsageError when the model exists and is not to be
        overwritten, or an unfinished run lies there that is neither to be resumed nor to be overwritten.
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
        """Where the checkpoint, the log and the preview lie."""
        return run_folder(self.output)

    @property
    def preview(self) -> Path:
        """The strip of what the network makes of one photograph as it learns."""
        return self.folder / PREVIEW

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.accelerator.is_main_process

    @property
    def shard(self) -> tuple[int, int]:
        """The number of this process and how many there are."""
        return self.accelerator.process_index, self.accelerator.num_processes

    @property
    def training(self) -> Training:
        """The network in training, with its finished steps and how many there will be; only once `train` was called."""
        assert self._training is not None
        return self._training

    @property
    def unreadable(self) -> Mapping[Path, str]:
        """Which files of the training data could not be read so far, and why."""
        return self._examples.unreadable if self._examples is not None else {}

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, spread over the processes."""
        placed: nn.Module = self.accelerator.prepare_model(self.runtime.place_network(network))
        return placed

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
        """Resumes the training where that was asked for, and returns its further steps on a cosine schedule.

        settings: what must be the same for a run to be resumed. shown: a picture (1, 3, H, W) for the preview strip and
        what the network gets to make it from (one tensor, or all it is called with). finish: called after the last step
        on the main process, to measure and to save. Raises as `load_checkpoint`.
        """
        self._training, self._settings, self._examples = training, settings, examples
        if self.resume:
            self._restore()
        if shown and self.is_main and training.step == 0:
            self.preview.unlink(missing_ok=True)
            place_preview(self.preview, shown[0], 0, 0)
        batches = batches_from(examples, batch, training.step, *self.shard)
        schedule = cosine_schedule(learning_rate, training.steps, warmup=min(warmup, training.steps // 10))
        loop = train(training, batches, compute_loss, schedule, self.runtime, self.accelerator, clip_norm)
        return self._record(loop, shown[1] if shown else None, finish)

    def _restore(self) -> None:
        checkpoint = self.folder / CHECKPOINT
        if not checkpoint.exists():
            self.announce(f"{self.folder} has no checkpoint: starting from the beginning")
            return
        self.training.restore(load_checkpoint(checkpoint, self._settings))
        self.announce(f"resumed at step {self.training.step} of {self.training.steps}")

    def _record(
        self, loop: Iterator[TrainingStep], given: Tensor | tuple[Any, ...] | None, finish: Callable[[], None] | None
    ) -> Iterator[TrainingStep]:
        """Passes the steps on, each logged before; some with a preview, and with a checkpoint every minute."""
        log, saved = self.folder / LOG, time.monotonic()
        if self.is_main:
            begin_log(log, self.training.step)
        with memory_errors("training; a smaller --batch or smaller crops help too"):
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
        """Writes what a later run with `resume` goes on from, on the main process; to be called between two steps."""
        if self.is_main:
            save_checkpoint(self.folder / CHECKPOINT, self.training.state(), self._settings)

    def save(self, weights: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
        """Writes the model, in 16 bits, and removes the checkpoint, which a finished run does not need."""
        half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
        save_weights(self.output, half, {"percept.format": "1", **metadata})
        (self.folder / CHECKPOINT).unlink(missing_ok=True)


def run_folder(output: Path) -> Path:
    """Where a run keeps its checkpoint, log and preview: `starry.run/` for `starry.safetensors`."""
    return output.with_suffix(".run")


def begin_log(path: Path, keep_steps: int) -> None:
    """Begins a run's log: of an earlier one, the lines of the first `keep_steps` steps are kept.

    A resumed run writes its steps anew from the checkpoint on; what a killed run wrote after that would be there twice.
    """
    # The last line of a killed run may be cut short.
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if keep_steps and path.is_file() else []
    kept = [line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= keep_steps]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def log_step(path: Path, step: TrainingStep) -> None:
    """Appends a step to a log as one JSON object on a line, on disk at once: a killed run keeps all that it wrote."""
    line = {"step": step.index, "total": step.total, "parts": step.parts, "learning_rate": step.learning_rate}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def save_checkpoint(path: Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Writes the state of a run (`Training.state`) and the settings it must be resumed with, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "state": state, "settings": settings}, temporary)


def load_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The state of a run to resume. Raises ModelError for a damaged file, UsageError for a run with other settings."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state, saved = content["state"], content["settings"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not a checkpoint that can be read. Start again without --resume.") from error
    different = [name for name in {**settings, **saved} if saved.get(name) != settings.get(name)]
    if different:
        changes = ", ".join(f"{name} was {saved.get(name)!r}, now {settings.get(name)!r}" for name in different)
        raise UsageError(
            f"{path} is of a run with other settings ({changes}). Give the same ones, or another --output."
        )
    return state


@torch.no_grad()
def render_preview(network: nn.Module, given: Tensor | tuple[Any, ...], runtime: Runtime) -> Tensor:
    """What a generator in training makes of a photograph (1, 3, H, W), in evaluation mode for just that long.

    given: the photograph, or all that the network is called with.
    """
    arguments = given if isinstance(given, tuple) else (given,)
    network.eval()
    with runtime.autocast():
        result = network(*(runtime.place(value) if isinstance(value, Tensor) else value for value in arguments))
    network.train()
    if isinstance(result, tuple):  # an autoencoder's, whose image is the first
        result = result[0]
    return result.float().clamp(0, 1).cpu()


def place_preview(path: Path, picture: Tensor, position: int, step: int | None = None) -> None:
    """Puts a picture (1, 3, H, W) in [0, 1] at its place, from 0, in the strip at `path`, which grows as needed.

    step: that of the training at which it was made, 0 for the photograph; the strip keeps it (see `preview_steps`).
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
    notes = PngImagePlugin.PngInfo()
    if step is not None and len(steps) == position:
        notes.add_text(STEPS, json.dumps([*steps, step]))
    with atomic_path(path) as temporary:
        strip.save(temporary, format="PNG", pnginfo=notes)


def preview_steps(path: Path) -> list[int]:
    """The step of every picture in a strip from left to right, 0 being the photograph; empty where it does not say."""
    try:
        with Image.open(path) as file:
            return [int(step) for step in json.loads(file.info.get(STEPS, "[]"))]
    except (OSError, ValueError, TypeError):
        return []
