"""What the processes of one run have to agree on: their settings, and the checkpoint that they resume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from percept_cli.core.training.runs.checkpoints import TOGETHER, load_checkpoint
from percept_cli.errors import PerceptError, UsageError


def agree(settings: dict[str, Any], accelerator: Accelerator) -> dict[str, Any]:
    """The settings of a run; of several processes, with the mark that they average as one process with all batches does.

    Raises UsageError where another process has other settings, such as other photographs on its machine.
    """
    if accelerator.num_processes == 1:
        return settings
    found: list[dict[str, Any]] = gather_object([settings])
    for process, others in enumerate(found):
        different = [name for name in found[0] if others.get(name) != found[0][name]]
        if different:
            changes = ", ".join(
                f"{name} is {found[0][name]!r} in process 0, {others.get(name)!r}" for name in different
            )
            raise UsageError(
                f"The processes of this training have other settings ({changes} in process {process}). Give each the same "
                "command, and the same files by name and size."
            )
    return {**settings, TOGETHER: True}


def load_for_all(
    checkpoint: Path, settings: dict[str, Any], accelerator: Accelerator, announce: Callable[[str], None]
) -> dict[str, Any] | None:
    """The state of a run to resume, in every process that which the main one read; None where it has no checkpoint.

    Other machines need not have the file. Raises as `load_checkpoint`, in every process.
    """
    found: list[Any] = [None]
    if accelerator.is_main_process and checkpoint.exists():
        try:
            found = [load_checkpoint(checkpoint, settings, announce)]
        except PerceptError as error:
            found = [error]
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    if isinstance(found[0], PerceptError):
        raise found[0]
    state: dict[str, Any] | None = found[0]
    return state
