"""The plan of a batch: its jobs, what a manifest knows of them, and which of them are left."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from percept_cli import options
from percept_cli.arguments import Arguments, current_arguments
from percept_cli.commands.batch_options import Batch
from percept_cli.commands.planning import check_jobs, refuse_missing
from percept_cli.console import Console
from percept_cli.core.batches.records import Entry, History, manifest_name, read_manifests
from percept_cli.core.batches.shards import is_in_shard
from percept_cli.core.batches.watching import Watcher
from percept_cli.core.batches.work import Work, describe_work, why_again
from percept_cli.core.files.frames import ALL
from percept_cli.core.files.inputs import InputItem, expand_inputs, list_images
from percept_cli.core.files.outputs import Job, is_folder_output, plan_outputs
from percept_cli.errors import UsageError


@dataclass(frozen=True)
class Repetition:
    """What `percept retry` repeats: some entries of a manifest, in place of the inputs of its command line."""

    entries: list[Entry]
    manifest: Path


_repetition: ContextVar[Repetition | None] = ContextVar("repetition", default=None)


@contextmanager
def repeating(entries: list[Entry], manifest: Path) -> Iterator[None]:
    """A context in which a command works on the inputs and outputs of entries of a manifest alone, and adds to it."""
    token = _repetition.set(Repetition(entries, manifest))
    try:
        yield
    finally:
        _repetition.reset(token)


def find_items(photos: Sequence[str] | None, listing: options.Listing, batch: Batch) -> list[InputItem]:
    """The images that a command line names, or those that are repeated. Raises as `expand_inputs`.

    Of folders that are watched there may be none yet.
    """
    repetition = _repetition.get()
    if repetition is not None:
        return [InputItem(Path(entry["input"]), Path(Path(entry["input"]).name)) for entry in repetition.entries]
    if batch.watch and photos and not any(list_images(folder, recursive=listing.recursive) for folder in photos):
        return []
    return expand_inputs(photos, **vars(listing))


@dataclass(frozen=True)
class Plan:
    """The jobs of a batch, in order; those that are done are marked.

    recorded: those that are done by the manifest. reasons: why each job that it knows is made again, by its output.
    manifest: None where nothing is recorded. coming: the jobs of a folder that is watched, all of them, None in between
    where there is none yet.
    """

    jobs: list[Job]
    batch: Batch
    arguments: Arguments
    work: Work
    manifest: Path | None
    recorded: frozenset[Job]
    reasons: dict[str, str]
    coming: Callable[[], Iterator[Job | None]] | None = None

    @property
    def todo(self) -> list[Job]:
        """The jobs that are left."""
        return [job for job in self.jobs if not job.skip]


def plan_batch(
    items: Sequence[InputItem],
    output: str | None,
    *,
    name: str,
    op: str,
    model: str,
    networks: Sequence[str],
    existing: options.Existing,
    batch: Batch,
    console: Console,
    frames: int | str | None = None,
) -> Plan:
    """The plan for the inputs of a command. Raises UsageError for all faults that can be found before any work.

    networks: names of shipped models, and files, that the results depend on. The rest is as in `plan_outputs`.
    """
    repetition = _repetition.get()
    if batch.watch and (output is None or not is_folder_output(output, 2)):
        raise UsageError("--watch takes what appears for a new picture: give -o FOLDER/ elsewhere.")
    several = len(items) > 1 or batch.watch
    folder = Path(output) if several and output is not None and output != "-" and is_folder_output(output, 2) else None
    manifest = batch.manifest_path(folder, manifest_name(batch.shard))
    if repetition is not None:
        manifest = repetition.manifest
    if batch.resume and manifest is None:
        raise UsageError("--resume goes on from a manifest: give -o FOLDER/ for several images, or --manifest FILE.")
    history = read_manifests(manifest) if batch.resume and manifest is not None else History()

    def wanted(item: InputItem) -> bool:
        return batch.shard is None or is_in_shard(item.relative, batch.shard)

    def jobs_for(these: Sequence[InputItem]) -> list[Job]:
        return plan_outputs(
            these,
            output,
            name=name,
            op=op,
            model=model,
            own=history.own,
            wanted=wanted,
            frames=frames,
            **vars(existing),
        )

    if repetition is not None:
        jobs = [
            Job(Path(entry["input"]), Path(entry["output"]), overwrite=entry["own"], frames=frames)
            for entry in repetition.entries
        ]
    elif items:
        jobs = jobs_for(items)
        check_jobs(jobs, output)
        refuse_missing(jobs, console)
    else:
        jobs = []
    if frames == ALL:
        from percept_cli.core.images.animation import check_animated_outputs

        check_animated_outputs(jobs)
    arguments = current_arguments()
    work = describe_work(arguments.command, arguments.words, networks, arguments.files)
    settled, reasons = _settle_recorded(jobs, history, work)
    recorded = frozenset(job for job, before in zip(settled, jobs, strict=True) if job.skip and not before.skip)
    if not batch.watch:
        return Plan(settled, batch, arguments, work, manifest, recorded, reasons)
    folders, recursive = _watched(arguments, str(output))

    def coming() -> Iterator[Job | None]:
        watcher = Watcher(folders, recursive)
        while True:
            new = watcher.look()
            if new:
                yield from _settle_recorded(jobs_for(new), history, work)[0]
            yield None

    return Plan(settled, batch, arguments, work, manifest, recorded, reasons, coming)


def _watched(arguments: Arguments, output: str) -> tuple[list[Path], bool]:
    """The folders that are watched, and whether all below them. Raises UsageError where results would be among them."""
    folders, recursive = [Path(each) for each in arguments.inputs], "--recursive" in arguments.line
    target = os.path.realpath(output)
    for folder in folders:
        place = os.path.realpath(folder)
        if target == place or (recursive and os.path.commonpath([target, place]) == place):
            raise UsageError(
                f"--watch would take its own results in '{output}' for new pictures: give -o another folder."
            )
    return folders, recursive


def _settle_recorded(jobs: Sequence[Job], history: History, work: Work) -> tuple[list[Job], dict[str, str]]:
    """The jobs, those marked whose recorded result is the one asked for, and why the others of the manifest are made."""
    settled: list[Job] = []
    reasons: dict[str, str] = {}
    for job in jobs:
        if job.destination is None or job.source is None or job.skip:
            settled.append(job)
            continue
        place = os.path.normpath(job.destination.absolute())
        entry = history.entries.get(place)
        reason = why_again(entry, job.source, job.destination, work)
        if entry is not None and reason is not None:
            reasons[str(job.destination)] = reason
        settled.append(
            replace(job, skip=reason is None, overwrite=job.overwrite or (entry is not None and entry["own"]))
        )
    return settled, reasons
