"""The commands of `golden_commands.txt`, each run in a process of its own that begins with the heavy packages loaded."""

import gc
import io
import os
import re
import shlex
import signal
import sys
import time
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

LIST = Path(__file__).with_suffix(".txt")
# What is added to the commands that begin so; the longest of them counts.
ADDED = {
    "stylize": "--device cpu --precision fp32 --threads 1 --seed 0",
    "invert": "--device cpu --precision fp32 --threads 1 --seed 0",
    "train": "--device cpu --precision fp32 --threads 1 --seed 0",
    "visualize": "--device cpu --precision fp32 --threads 1 --seed 0",
    "visualize filters": "--seed 0",
    "visualize history": "",
    "visualize spectrum": "",
    "upscale": "--device cpu --precision fp32 --threads 1",
    "compare": "--device cpu --precision fp32 --seed 0",
}
# Loaded before the first command, so that none of them takes the seconds that this takes.
HEAVY = (
    "torch", "torch.optim", "torchvision", "torchmetrics.image", "accelerate", "spandrel", "skimage.metrics",
    "matplotlib.font_manager", "matplotlib.figure", "scipy.cluster.hierarchy", "PIL.Image", "safetensors.torch", "rich",
)  # fmt: skip
SECONDS = 180  # a command that takes longer is stopped
STOPPED, BROKEN = 98, 99  # exit codes that percept has not


@dataclass(frozen=True)
class Command:
    """One command line: `text` names it, `arguments` are what percept gets, the rest is how it runs (see the list)."""

    text: str
    arguments: tuple[str, ...]
    exit_only: bool = False
    stdin: str | None = None
    stop_at: int | None = None


def parse_command(text: str) -> Command:
    """A line of the list."""
    found = re.match(r"(?:(exit only)|stdin (\S+)|stop (\d+)): ", text)
    line = text[found.end() :] if found else text
    begins = max((known for known in ADDED if re.match(rf"{known}\b", line)), key=len, default="")
    added = shlex.split(ADDED.get(begins, ""))
    arguments = shlex.split(line)
    if "--help" not in arguments:
        for option, value in zip(added[::2], added[1::2], strict=True):
            arguments += [option, value] if option not in arguments else []
    if found is None:
        return Command(text, tuple(arguments))
    return Command(text, tuple(arguments), bool(found[1]), found[2], int(found[3]) if found[3] else None)


def command_groups() -> list[list[Command]]:
    """All commands, by the folder that they share. Raises ValueError for a line that stands twice in the list."""
    lines = [line for line in LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    texts = [line for line in lines if line]
    twice = {text for text in texts if texts.count(text) > 1}
    if twice:
        raise ValueError(f"{LIST.name} has these commands twice: {'; '.join(sorted(twice))}")
    paragraphs = "\n".join(lines).strip().split("\n\n")
    return [[parse_command(line) for line in part.strip().splitlines()] for part in paragraphs if part.strip()]


def preload() -> None:
    """Loads what the commands need beside percept. Nothing is computed here: threads do not survive a fork."""
    for name in HEAVY:
        with suppress(ImportError):
            import_module(name)
    import_module("PIL.Image").init()
    # What the command line loads at its first use
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    app = import_module("percept_cli.app")
    with redirect_stdout(io.StringIO()):
        for arguments in (["models", "list", "--help"], ["models", "list", "--role", "style"]):
            app.run(arguments)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    gc.freeze()  # else the collector of every child writes to, and so copies, all that was loaded


def run_command(command: Command, folder: Path, stdout: Path, stderr: Path) -> tuple[int, float]:
    """Runs one command in the folder, what it prints into the two files; its exit code and the processor's seconds.

    The code is STOPPED for a command that took longer than `SECONDS`, BROKEN when percept could not be called.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = BROKEN
        try:
            code = _run_here(command, folder, stdout, stderr)
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    ends, stopped = time.monotonic() + SECONDS, False
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            code = STOPPED if stopped else os.waitstatus_to_exitcode(status)
            return code, used.ru_utime + used.ru_stime
        if time.monotonic() > ends and not stopped:
            os.kill(child, signal.SIGKILL)
            stopped = True
        time.sleep(0.005)


def _run_here(command: Command, folder: Path, stdout: Path, stderr: Path) -> int:
    """What a child does: percept's own entry, in the folder, with standard streams that are files."""
    os.chdir(folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = os.open(command.stdin or os.devnull, os.O_RDONLY), os.open(stdout, flags), os.open(stderr, flags)
    for number, opened in enumerate(streams):
        os.dup2(opened, number)  # what Python calls sys.stdin and so on is whatever has these numbers
    sys.argv = ["percept", *command.arguments]

    import torch

    torch.set_num_threads(1)
    if command.stop_at is not None:
        _interrupt_at(command.stop_at)
    app = import_module("percept_cli.app")
    return int(app.run(list(command.arguments)))


def _interrupt_at(update: int) -> None:
    """Sends this process a Ctrl-C in the update of that number, counted over all optimizers."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1
        if counted == update:
            os.kill(os.getpid(), signal.SIGINT)

    register_optimizer_step_post_hook(count)
