"""Checkpoints: files that hold all of a training, with a checksum, and what is checked before one is resumed."""

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from percept_cli.core.files.atomic import atomic_write_bytes
from percept_cli.core.pretrained.building import check_fit
from percept_cli.core.pretrained.checks import check_archive, describe_foreign, first_not_finite
from percept_cli.core.training.loop import Training, unwrap
from percept_cli.core.training.optimizers import STATES
from percept_cli.core.training.runs.folder import CHECKPOINT, run_folder
from percept_cli.errors import ModelError, UsageError

# Of a checkpoint. 1: a PyTorch file alone. 2: behind it, CHECKSUM and the sha256 of all bytes before it.
FORMAT = 2
CHECKSUM = b"percept-sha256:"
# Settings that checkpoints of earlier versions or of other trainings do not have, and what they then are
LATER = {"ema": 0.0, "style_scales": [1]}
# The setting of runs of several processes since they average all that depends on a batch, as one process with all does
TOGETHER = "together"
TRAILER = len(CHECKSUM) + hashlib.sha256().digest_size
ADVICE = "Start again without --resume."


def encode_checkpoint(state: dict[str, Any], settings: dict[str, Any]) -> bytes:
    """The bytes of a checkpoint: the state of a run (`Training.state`) and the settings it must be resumed with."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "state": state, "settings": settings}, buffer)
    data = buffer.getvalue()
    return data + CHECKSUM + hashlib.sha256(data).digest()


def save_checkpoint(path: Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Writes a checkpoint (see `encode_checkpoint`) completely or not at all. Raises ImageError where that fails."""
    atomic_write_bytes(path, encode_checkpoint(state, settings), overwrite=True)


def load_checkpoint(
    path: Path, settings: dict[str, Any], announce: Callable[[str], None] = lambda message: None
) -> dict[str, Any]:
    """The state of a run to resume.

    announce: called with a message for a checkpoint of an earlier version, which has no checksum. Raises ModelError for a
    damaged file, UsageError for a run with other settings. Only its number of steps may be another, but not less than are
    done. Settings of later versions have the value of `LATER` where they are missing. A setting that only the checkpoint
    has must be empty or 0: an option of an earlier version that was not used.
    """
    content = _read(path, announce)
    state, saved = content.get("state"), content.get("settings")
    if not isinstance(state, dict) or not isinstance(saved, dict):
        raise ModelError(f"{path} holds no state of a training. {ADVICE}")
    settings, saved = {**LATER, **settings}, {**LATER, **saved}
    if settings.get(TOGETHER) and not saved.get(TOGETHER) and saved.get("processes") == settings.get("processes"):
        raise UsageError(
            f"{path} is of several processes of an earlier version of percept, which averaged and drew otherwise: it cannot "
            f"go on to the same result. Resume it with that version. {ADVICE}"
        )
    different = [name for name in settings if saved.get(name) != settings[name] and name != "steps"]
    different += [name for name in saved if name not in settings and saved[name]]
    if different:
        changes = ", ".join(f"{name} was {saved.get(name)!r}, now {settings.get(name)!r}" for name in different)
        raise UsageError(
            f"{path} is of a run with other settings ({changes}). Give the same ones, or another --output."
        )
    done, steps = state.get("step"), settings.get("steps")
    if isinstance(done, int) and isinstance(steps, int) and steps < done <= saved.get("steps", 0):
        raise UsageError(f"{path} has {done} steps already: --steps {steps} is less. Give {done} or more.")
    return state


def generator_of(output: Path) -> str:
    """The name of the generator of a run that was begun, by its model; empty where none was. Raises as `load_checkpoint`."""
    checkpoint = run_folder(output) / CHECKPOINT
    settings = _read(checkpoint, lambda message: None).get("settings") if checkpoint.exists() else None
    return str(settings.get("generator", "")) if isinstance(settings, dict) else ""


def _read(path: Path, announce: Callable[[str], None]) -> dict[str, Any]:
    """The content of a checkpoint file, whose checksum is right or which is older than checksums."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}. {ADVICE}") from error
    if foreign := describe_foreign(data[:4096]):
        raise ModelError(f"{path} is {foreign}, not a checkpoint. {ADVICE}")
    trailer = data[-TRAILER:]
    if has_checksum := trailer.startswith(CHECKSUM):
        data = data[:-TRAILER]
        if trailer.removeprefix(CHECKSUM) != hashlib.sha256(data).digest():
            raise ModelError(f"{path} is damaged: its checksum is wrong. {ADVICE}")
    check_archive(io.BytesIO(data), len(data), str(path), ADVICE)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is damaged, or holds Python objects beside a training, which percept never runs. {ADVICE}"
        ) from error
    except Exception as error:
        # For a damaged file the reader raises almost any class: RuntimeError, IndexError, struct.error, AssertionError.
        raise ModelError(f"{path} is not a checkpoint that can be read. {ADVICE}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if type(version) is not int or version < 1:
        raise ModelError(f"{path} is not a checkpoint of percept. {ADVICE}")
    if version > FORMAT:
        raise ModelError(
            f"{path} has format {version}; this version of percept knows formats up to {FORMAT}. Resume it with the "
            "version that wrote it."
        )
    if version == FORMAT and not has_checksum:
        raise ModelError(f"{path} is damaged: its checksum is missing. {ADVICE}")
    if not has_checksum:
        announce(f"{path} is of an earlier version of percept and has no checksum: damage in it cannot be found")
    checked: dict[str, Any] = content
    return checked


def restore_training(training: Training, state: dict[str, Any], path: Path) -> None:
    """Restores a training from the state of a checkpoint; path: its file, for messages.

    Raises ModelError where something is missing, has another shape, or is no finite number, and for a step that is not
    one of the training.
    """
    step = state.get("step")
    if type(step) is not int or not 0 <= step <= training.steps:
        raise ModelError(f"{path} is at step {step!r} of a training of {training.steps} steps. {ADVICE}")
    bad = first_not_finite(dict(_named_tensors(state)))
    if bad is not None:
        raise ModelError(f"{path} holds a value that is not a finite number ({bad}). {ADVICE}")
    try:
        for network, key in zip(training.networks, ("network", "rival"), strict=False):
            check_fit(unwrap(network).state_dict(), state[key])
        if training.average:
            check_fit(training.average.state_dict(), state["average"])
        for key in ("optimizer", "rival_optimizer"):
            if any(not tensor.is_floating_point() for _, tensor in _named_tensors(state.get(key))):
                raise ValueError("the memory of its optimizer holds no floating-point numbers")
        training.restore(state)
        for optimizer in training.optimizers:
            check_optimizer(optimizer, step)
    except KeyError as error:
        raise ModelError(f"{path} has no entry {error}, which this training needs. {ADVICE}") from error
    except Exception as error:
        # Entries of wrong types fail anywhere in torch: TypeError, ValueError, RuntimeError, AttributeError.
        reason = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        raise ModelError(f"{path} does not fit this training: {reason.rstrip('.')}. {ADVICE}") from error


def _named_tensors(state: object, name: str = "") -> list[tuple[str, Tensor]]:
    """All tensors in nested dictionaries and lists, with the path to each as its name."""
    if isinstance(state, Tensor):
        return [(name, state)]
    if isinstance(state, dict):
        entries = list(state.items())
    elif isinstance(state, list | tuple):
        entries = list(enumerate(state))
    else:
        return []
    return [found for key, value in entries for found in _named_tensors(value, f"{name}.{key}".lstrip("."))]


def check_optimizer(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Checks what an optimizer restored for each of its weights.

    Raises ValueError where tensors have other shapes than their weight, entries are missing, or nothing is there after
    the first step.
    """
    remembered = [
        (parameter, optimizer.state[parameter])
        for group in optimizer.param_groups
        for parameter in group["params"]
        if optimizer.state.get(parameter)  # nothing for a weight that no loss has reached
    ]
    if step > 0 and not remembered:
        raise ValueError("the memory of its optimizer is empty")
    for parameter, known in remembered:
        if known.keys() not in STATES:
            raise ValueError("the memory of its optimizer is of another optimizer, or incomplete")
        for name, value in known.items():
            shape = () if name == "step" else parameter.shape
            if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
                raise ValueError(f"'{name}' of its optimizer is of another network")
