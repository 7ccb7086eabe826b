"""`percept retry`: what failed in a batch, once more."""

import os
from pathlib import Path
from typing import Annotated

import typer

from percept_cli.commands.batch_plan import repeating
from percept_cli.conditions import current_context
from percept_cli.configuration import OFF
from percept_cli.console import Console
from percept_cli.core.batches.records import read_manifest
from percept_cli.errors import UsageError


def retry(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A percept-manifest.jsonl beside results.")],
) -> None:
    """Repeat what failed in a batch, with the command line of its last run.

    percept retry restyled/percept-manifest.jsonl
    """
    manifest = manifest.absolute()
    if not manifest.is_file():
        raise UsageError(f"'{manifest}' does not exist: give the percept-manifest.jsonl of a batch.")
    history = read_manifest(manifest)
    line, folder = history.run.get("command_line"), history.run.get("folder")
    if not isinstance(line, list) or not isinstance(folder, str):
        raise UsageError(f"'{manifest}' tells of no run of percept: give the percept-manifest.jsonl of a batch.")
    if not os.path.isdir(folder):
        raise UsageError(f"The folder '{folder}', in which '{manifest}' was begun, does not exist any more.")
    failed = history.failed()
    if not failed:
        Console().say(f"nothing failed in {manifest}")
        return
    os.chdir(folder)
    # The line has all options already, those of the configuration too.
    os.environ[OFF] = "1"
    context = current_context()
    assert context is not None
    with repeating(failed, manifest):
        code = context.find_root().command.main([str(word) for word in line], standalone_mode=False)
    if code:
        raise typer.Exit(code)
