"""Where a picture of `percept visualize` goes, and how it gets there."""

from pathlib import Path
from typing import TYPE_CHECKING

from percept_cli.console import Console
from percept_cli.core.inputs import InputItem
from percept_cli.core.outputs import Job, create_folders, plan_outputs

if TYPE_CHECKING:
    from torch import Tensor


def plan_picture(subject: str, what: str, output: str | None, *, overwrite: bool, skip_existing: bool) -> Job:
    """The place of one picture: `{subject}_{what}.png` in the current folder or the one that `output` names, else `output`.

    Raises UsageError as `plan_outputs` does.
    """
    item = InputItem(None, Path(f"{subject}.png"))
    (job,) = plan_outputs(
        [item], output or "./", name="{stem}_{op}.png", op=what, overwrite=overwrite, skip_existing=skip_existing
    )
    return job


def report_skipped(job: Job, console: Console) -> bool:
    """Whether the picture is there and stays, which is then said."""
    if job.skip:
        console.result(f"{job.destination} (exists, left)", output=job.destination, status="skipped")
    return job.skip


def write_picture(picture: "Tensor", job: Job, console: Console, **fields: object) -> None:
    """Writes a picture (1, 3, H, W) in [0, 1] and reports it with these fields. Raises ImageError where that fails."""
    from percept_cli.core.encoding import encode_image, save_image
    from percept_cli.core.images import Photo

    photo = Photo(picture)
    if job.destination is None:
        console.write_binary(encode_image(photo, ".png")[0])
        return
    create_folders([job])
    save_image(photo, job.destination)
    console.result(
        str(job.destination), output=job.destination, status="done", width=photo.width, height=photo.height, **fields
    )
