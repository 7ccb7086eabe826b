"""The plan of a batch: its jobs, what a manifest knows of them, and which of them are left."""

import os
from collections.abc import Iterator, Sequence
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
from percept_cli.core.batches.work import Work, describe_work, why_again
from percept_cli.core.files.inputs import InputItem, expand_inputs
from percept_cli.core.files.outputs import Job, is_folder_output, plan_outputs
from percept_cli.errors import UsageError

# The entries of a manifest that `percept retry` repeats, in place of the inputs of its command line
_repeated: ContextVar[list[Entry] | None] = ContextVar("entries to repeat", default=None)


@contextmanager
def repeating(entries: list[Entry]) -> Iterator[None]:
    """A context in which a command works on the inputs and outputs of entries of a manifest alone."""
    token = _repeated.set(entries)
    try:
        yield
    finally:
        _repeated.reset(token)


def find_items(photos: Sequence[str] | None, listing: options.Listing) -> list[InputItem]:
    """The images that a command line names, or those that are repeated. Raises as `expand_inputs`."""
    entries = _repeated.get()
    if entries is None:
        return expand_inputs(photos, **vars(listing))
    return [InputItem(Path(entry["input"]), Path(Path(entry["input"]).name)) for entry in entries]


@dataclass(frozen=True)
class Plan:
    """The jobs of a batch, in order; those that are done are marked.

    recorded: those that are done by the manifest. reasons: why each job that it knows is made again, by its output.
    manifest: None where nothing is recorded.
    """

    jobs: list[Job]
    batch: Batch
    arguments: Arguments
    work: Work
    manifest: Path | None
    recorded: frozenset[Job]
    reasons: dict[str, str]

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
) -> Plan:
    """The plan for the inputs of a command. Raises UsageError for all faults that can be found before any work.

    networks: names of shipped models, and files, that the results depend on. The rest is as in `plan_outputs`.
    """
    entries = _repeated.get()
    several = len(items) > 1 or entries is not None
    folder = Path(output) if several and output is not None and output != "-" and is_folder_output(output, 2) else None
    manifest = batch.manifest_path(folder, manifest_name(batch.shard))
    if batch.resume and manifest is None:
        raise UsageError("--resume goes on from a manifest: give -o FOLDER/ for several images, or --manifest FILE.")
    history = read_manifests(manifest) if batch.resume and manifest is not None else History()
    if entries is None:
        jobs = plan_outputs(items, output, name=name, op=op, model=model, own=history.entries, **vars(existing))
        if batch.shard is not None:
            jobs = [job for job, item in zip(jobs, items, strict=True) if is_in_shard(item.relative, batch.shard)]
        check_jobs(jobs, output)
        refuse_missing(jobs, console)
    else:
        jobs = [Job(Path(entry["input"]), Path(entry["output"]), overwrite=True) for entry in entries]
    arguments = current_arguments()
    work = describe_work(arguments.command, arguments.words, networks, arguments.files)
    settled, reasons = _settle_recorded(jobs, history, work)
    recorded = frozenset(job for job, before in zip(settled, jobs, strict=True) if job.skip and not before.skip)
    return Plan(settled, batch, arguments, work, manifest, recorded, reasons)


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
        settled.append(replace(job, skip=reason is None, overwrite=job.overwrite or entry is not None))
    return settled, reasons
