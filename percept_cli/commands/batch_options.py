"""The options of commands that work on many pictures."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from percept_cli import parsing
from percept_cli.conditions import EffectIf
from percept_cli.core.batches.records import SUFFIX
from percept_cli.core.batches.shards import parse_shard
from percept_cli.errors import UsageError

NONE = "none"
LOCAL, RAY = "local", "ray"
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Bytes(int):
    """An amount of memory as the command line gives it: `2G`, `800M`."""


class Shard(tuple[int, int]):
    """A part of a job and the number of its parts, as the command line gives them: `3/16`."""

    def __str__(self) -> str:
        return f"{self[0]}/{self[1]}"


def parse_memory(text: str) -> Bytes:
    """The bytes of `2G`, `1.5G` or `800M`. Raises UsageError for anything else, and for less than 16 megabytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    amount = int(float(found[1]) * UNITS[found[2].upper()]) if found else 0
    if amount < 16 << 20:
        raise UsageError(f"--memory {text}: give an amount of at least 16M, such as 2G or 800M.")
    return Bytes(amount)


# Options that cannot be given beside --engine ray
NOT_ON_A_CLUSTER = {
    "show": "--show has the picture in this process, and on a cluster no other one has it than that which made it",
    "preview": "--preview follows one optimization, and on a cluster there are several",
    "watch": "--watch waits for pictures, and a cluster takes a list that has an end",
    "memory": "--memory bounds one process, and Ray counts processor slots and GPUs",
}


def _is_piped(call: Any) -> bool:
    return call.output == "-" or "-" in (call.photos or ())


def _option(help: str, *spellings: str, **more: Any) -> Any:
    return typer.Option(*spellings, help=help, rich_help_panel="Batches", **more)


def _names_folders(call: Any) -> bool:
    return bool(call.photos) and call.from_file is None and all(map(os.path.isdir, call.photos))


@dataclass(frozen=True)
class Batch:
    """How many pictures are worked on at once, and how a batch is planned, recorded and stopped."""

    jobs: Annotated[
        int | None,
        _option("Pictures at once. Default: by cores and memory; 1 for an optimization.", "-j", "--jobs", min=1),
    ] = None
    memory: Annotated[
        Any,
        _option("What pictures in work may take, such as 2G. Default: half of the free memory.", parser=parse_memory,
                metavar="SIZE"),
    ] = None  # fmt: skip
    dry_run: Annotated[
        bool, _option("Say what would be done, with sizes, memory and seconds, and do nothing.", "--dry-run")
    ] = False
    manifest: Annotated[
        str | None,
        _option(
            "Where the record of each picture is kept. Default: percept-manifest.jsonl in a folder of several results.",
            metavar="FILE|none",
        ),
    ] = None
    resume: Annotated[
        bool,
        _option("Go on from the manifest: what is done and unchanged is left, the rest is made (again).", "--resume"),
        EffectIf(lambda call: call.manifest != NONE, "--manifest none leaves nothing to go on from"),
    ] = False
    shard: Annotated[
        Any,
        _option("Only one part of the pictures, such as 3/16; the same one on every machine.",
                parser=lambda text: Shard(parse_shard(text)), metavar="I/N"),
    ] = None  # fmt: skip
    fail_fast: Annotated[
        bool,
        _option("Stop at the first picture that fails.", "--fail-fast"),
        EffectIf(lambda call: call.max_errors is None, "--max-errors says when to stop"),
    ] = False
    max_errors: Annotated[int | None, _option("Stop when so many pictures have failed.", min=1)] = None
    engine: Annotated[
        str,
        parsing.choice_option(
            "engine", (LOCAL, RAY), "ray: on all machines of a Ray cluster.", rich_help_panel="Batches"
        ),
        *(
            EffectIf(lambda call, name=name: call.engine == LOCAL or not getattr(call, name, None), reason)
            for name, reason in NOT_ON_A_CLUSTER.items()
        ),
        EffectIf(
            lambda call: call.engine == LOCAL or not _is_piped(call), "A cluster reads and writes files, no pipes"
        ),
    ] = LOCAL
    address: Annotated[
        str | None,
        _option("Of a Ray cluster, such as auto or HOST:6379. Default: $RAY_ADDRESS, else one on this machine alone.",
                metavar="ADDRESS"),
        EffectIf(lambda call: call.engine == RAY, "Without --engine ray there is no cluster"),
    ] = None  # fmt: skip
    watch: Annotated[
        bool,
        _option("Go on with the pictures that appear in the folders, until stopped by Ctrl-C.", "--watch"),
        EffectIf(_names_folders, "--watch waits for pictures in folders, and something else is among the inputs"),
        EffectIf(lambda call: not call.dry_run, "--dry-run does nothing that could be gone on with"),
    ] = False

    @property
    def most_errors(self) -> int | None:
        """After how many failures to stop; None: never."""
        return 1 if self.fail_fast else self.max_errors

    def manifest_path(self, folder: Path | None, usual: str) -> Path | None:
        """Where the manifest is; folder: of several results, None for a single one or results beside their inputs.

        Raises UsageError for a file of another kind.
        """
        if self.manifest == NONE:
            return None
        if self.manifest is not None:
            if not self.manifest.endswith(SUFFIX):  # lines would be added to a photograph that is given by mistake
                raise UsageError(f"--manifest {self.manifest}: give a name that ends in {SUFFIX}, or {NONE}.")
            return Path(self.manifest)
        return None if folder is None else folder / usual


@dataclass(frozen=True)
class Telling:
    """What the file of a result tells beside its picture."""

    no_provenance: Annotated[
        bool,
        typer.Option(
            "--no-provenance", help="Leave out of results how they were made: options, names and hashes of files."
        ),
        EffectIf(lambda call: not call.strip, "--strip leaves out all metadata"),
    ] = False
    strip: Annotated[bool, typer.Option("--strip", help="Results without EXIF and XMP; their color profile stays.")] = (
        False
    )
