"""Golden results: what percept's commands write and say, to see that a change of the code changes none of it.

    python bench/goldens.py record CHECKOUT OUT.json     run the commands with the percept of that folder
    python bench/goldens.py compare OLD.json NEW.json    print what differs; exit code 1 when anything does

The commands are those of `golden_commands.txt`: small pictures, few steps, the processor alone, in fp32, on one thread,
from fixed seeds. Of each are kept the exit code, what was printed, and every file written: texts whole, pictures by
their bytes and by their pixels, models and checkpoints tensor by tensor. Durations, speeds, versions and names of
temporary folders are taken out.

Two recordings can be compared to the bit only when one machine made both, with the same packages. Record the state
before a change from a second checkout (`git worktree add ../before COMMIT`), and use one copy of this script for both.
POSIX only: every command is forked from one process that has torch loaded.
"""

import argparse
import difflib
import json
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from golden_commands import BROKEN, STOPPED, Command, command_groups, preload, run_command

KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")  # of the environment
MOST_LINES, WIDEST = 24, 240  # of one difference that is printed
# Absent, which is another thing than empty
NOTHING: dict[str, Any] = {}


def main() -> int:
    """The command line; returns the exit code."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    recorder = actions.add_parser("record", help="run the commands and write their results")
    recorder.add_argument("checkout", type=Path, help="a folder that holds percept_cli/")
    recorder.add_argument("output", type=Path, help="the file to write")
    recorder.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the files of the commands there")
    comparer = actions.add_parser("compare", help="print what differs between two recordings")
    comparer.add_argument("old", type=Path)
    comparer.add_argument("new", type=Path)
    for each in (recorder, comparer):
        each.add_argument("--only", metavar="TEXT", default="", help="only commands of groups that hold this text")
    given = parser.parse_args()
    if given.action == "compare":
        return compare(read(given.old), read(given.new), given.only)
    checkout = given.checkout.resolve()
    if not (checkout / "percept_cli" / "app.py").is_file():
        parser.error(f"{given.checkout} holds no percept_cli/app.py")
    restart_with_environment(checkout)
    return record(checkout, given.output, given.only, given.keep)


# --- record


def restart_with_environment(checkout: Path) -> None:
    """Begins this process again with the environment of the commands, unless it has it: most of it is read at a start."""
    fixed = {
        "PYTHONPATH": str(checkout), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "PERCEPT_OFFLINE": "1", "PERCEPT_NO_CONFIG": "1",
        "NO_COLOR": "1", "COLUMNS": "100", "LINES": "40", "TERM": "dumb", "LANG": "C.UTF-8", "TZ": "UTC",
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    if any(os.environ.get(name) != value for name, value in fixed.items()):
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        os.execve(sys.executable, [sys.executable, *sys.argv], kept | fixed)


def record(checkout: Path, output: Path, only: str, keep: Path | None) -> int:
    """Runs the commands and writes their results; 1 when one was too slow or died, else 0."""
    loaded = Path(import_module("percept_cli.app").__file__ or "")
    if not loaded.is_relative_to(checkout):
        raise SystemExit(f"percept_cli comes from {loaded.parent}, not from {checkout}.")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="goldens-") as temporary:
        work = Path(temporary)
        (work / "home").mkdir()
        for name in ("HOME", "PERCEPT_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
            os.environ[name] = str(work / "home")
        preload()
        from golden_inputs import write_inputs

        write_inputs(work / "in")
        results: dict[str, Any] = {}
        for number, group in enumerate(command_groups()):
            if any(only in command.text for command in group):
                folder = work / "groups" / str(number)
                shutil.copytree(work / "in", folder / "in")
                results |= run_group(group, folder, work, checkout)
        if keep is not None:
            shutil.copytree(work / "groups", keep, dirs_exist_ok=True)
    text = json.dumps({"made on": surroundings(), "commands": results}, indent=1, ensure_ascii=False)
    output.write_text(text + "\n", encoding="utf-8")
    failed = [name for name, result in results.items() if result["exit"] in (STOPPED, BROKEN) or result["exit"] < 0]
    for name in failed:
        print(f"too slow, or died: {name}", file=sys.stderr)
    print(f"{len(results)} commands in {time.monotonic() - began:.0f} s: {output}", file=sys.stderr)
    return int(bool(failed))


def run_group(group: list[Command], folder: Path, work: Path, checkout: Path) -> dict[str, Any]:
    """The results of commands that share a folder, by their text."""
    from golden_results import Words, describe_file, describe_stream

    packages = Path(sysconfig.get_path("purelib"))
    words = Words({"<folder>": folder, "<home>": work / "home", "<checkout>": checkout, "<packages>": packages})
    stdout, stderr = work / "stdout", work / "stderr"
    results: dict[str, Any] = {}
    before = list_files(folder)
    for command in group:
        code, seconds = run_command(command, folder, stdout, stderr)
        print(f"{seconds:6.2f} s  {command.text}", file=sys.stderr, flush=True)
        result: dict[str, Any] = {"exit": code}
        after = list_files(folder)
        written = [name for name in after if after[name] != before.get(name)]
        for name in written:
            if name.endswith(".safetensors"):
                words.add_model(folder / name)
        if not command.exit_only:
            in_order = not command.text.startswith("models inspect")  # which prints metadata, whose order is random
            result["stdout"] = describe_stream(stdout.read_bytes(), words, in_order)
            result["stderr"] = describe_stream(stderr.read_bytes(), words)
        result["files"] = {name: describe_file(folder / name, words) for name in written}
        result["removed"] = [name for name in before if name not in after]
        results[command.text] = {key: value for key, value in result.items() if value not in ([], {})}
        before = after
    return results


def list_files(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every file below the folder by its path, sorted, with what tells that it was written anew."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in files}
    return {name: (stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats.items()}


def surroundings() -> dict[str, str]:
    """What decides the last bits beside percept: packages, and the processor's instructions."""
    from importlib.metadata import version

    import torch

    packages = ("torch", "torchvision", "numpy", "pillow", "safetensors", "matplotlib", "typer", "rich")
    return {name: version(name) for name in packages} | {"processor": torch.backends.cpu.get_cpu_capability()}


# --- compare


def read(path: Path) -> dict[str, Any]:
    """A recording."""
    recording: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return recording


def compare(old: dict[str, Any], new: dict[str, Any], only: str) -> int:
    """Prints a block for every command whose results differ; 1 when there is one, else 0."""
    for line in differing_lines(old["made on"], new["made on"], "made on another machine or with other packages: "):
        print(line)
    names = list(dict.fromkeys([*old["commands"], *new["commands"]]))
    names = [name for name in names if only in name]
    different = 0
    for name in names:
        before, after = (recording["commands"].get(name) for recording in (old, new))
        if before is None or after is None:
            lines = [f"  only in the {'new' if before is None else 'old'} recording"]
        else:
            lines = list(differing_results(before, after))
        if lines:
            different += 1
            print("\n".join([f"percept {name}", *lines, ""]))
    print(f"{different} of {len(names)} commands differ" if different else f"all {len(names)} commands are equal")
    return int(different > 0)


def differing_results(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Lines that say what differs between two results of a command."""
    if before["exit"] != after["exit"]:
        yield f"  exit code: {before['exit']} -> {after['exit']}"
    for stream in ("stdout", "stderr"):
        yield from differing_lines(before.get(stream, []), after.get(stream, []), f"{stream}: ")
    if before.get("removed") != after.get("removed"):
        yield f"  removed files: {before.get('removed', [])} -> {after.get('removed', [])}"
    files = before.get("files", NOTHING), after.get("files", NOTHING)
    for name in dict.fromkeys([*files[0], *files[1]]):
        old, new = (each.get(name) for each in files)
        if old is None or new is None:
            yield f"  {name}: {'is written now' if old is None else 'is no longer written'}"
            continue
        if old.keys() == new.keys() and {key for key in old if old[key] != new[key]} == {"bytes"}:
            yield f"  {name}: other bytes, the same pixels"
            continue
        for key in dict.fromkeys([*old, *new]):
            if key != "bytes" or "pixels" not in old:
                yield from differing_lines(old.get(key, []), new.get(key, []), f"{name}: {key}: ")


def differing_lines(old: Any, new: Any, title: str) -> Iterator[str]:
    """Lines of text, entries of a dictionary or single values that differ, the old with a - and the new with a +."""
    if old == new:
        return
    lines = [value_lines(value) for value in (old, new)]
    found = [line for line in difflib.ndiff(*lines) if line[0] in "-+"] if max(map(len, lines)) < 400 else []
    found = found or [
        line for line in difflib.unified_diff(*lines, n=0, lineterm="") if line[:2] not in ("--", "++", "@@")
    ]
    yield f"  {title.rstrip(': ')}:"
    for line in found[:MOST_LINES]:
        yield f"    {line[:WIDEST]}{'...' if len(line) > WIDEST else ''}"
    if len(found) > MOST_LINES:
        yield f"    ... and {len(found) - MOST_LINES} lines more"


def value_lines(value: Any) -> list[str]:
    """A value of a result as lines."""
    if isinstance(value, dict):
        return [f"{key}: {each}" for key, each in value.items()]
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


if __name__ == "__main__":
    raise SystemExit(main())
