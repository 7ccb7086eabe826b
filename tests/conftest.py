"""What several test files need: small photographs, a style, a model, and the command line in and out of process."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
# name: (width, height), odd and even, none a multiple of 4 in both
PHOTOS = {"hill.png": (75, 61), "lake.jpg": (66, 97), "nested/road.png": (64, 64), "nested/deep/shore.jpg": (81, 70)}
# Options that take several values
REPEATABLE = frozenset({"--style", "--model", "--data", "--held-out", "--teacher", "--source", "--target", "--file"})


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    code: int
    stdout: str
    stderr: str


Percept = Callable[..., Outcome]


def smooth_picture(width: int, height: int, seed: int, cells: int) -> Image.Image:
    """A random field of `cells` soft blobs a side: like a photograph, most of its energy is in the low frequencies."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    grain = random.normal(0, 4, (height, width, 3))
    field = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64) + grain
    return Image.fromarray(field.clip(0, 255).round().astype(np.uint8))


def pictures_in(folder: Path) -> list[Path]:
    """The files in a folder of results, sorted, without the manifest of the batch."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("percept-manifest"))


def reported(stdout: str) -> list[dict]:
    """The lines of `--json` on the pictures of a batch, without the summary of all."""
    return [line for line in map(json.loads, stdout.splitlines()) if "summary" not in line]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of four small photographs; read it, do not write in it."""
    folder = tmp_path_factory.mktemp("photos")
    for seed, (name, (width, height)) in enumerate(PHOTOS.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        smooth_picture(width, height, seed, cells=6).save(folder / name, quality=95)
    return folder


@pytest.fixture(scope="session")
def style_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of much finer texture than the photographs."""
    path = tmp_path_factory.mktemp("style") / "mosaic.png"
    smooth_picture(60, 52, seed=100, cells=26).save(path)
    return path


@pytest.fixture(scope="session")
def style_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained but valid style model, as `percept train style` writes one."""
    import torch

    from percept_cli.core.generators import create_generator
    from percept_cli.core.pretrained.files import save_weights

    path = tmp_path_factory.mktemp("model") / "blobs.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_generator("style", "johnson", width=0.25)
    metadata = {"percept.format": "1", "role": "style", "architecture": "johnson", "arguments": network.arguments}
    save_weights(path, {name: tensor.half() for name, tensor in network.state_dict().items()}, metadata)
    return path


@pytest.fixture(scope="session")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of every command line here: no download, no cache and no options of the user's, one thread."""
    home = tmp_path_factory.mktemp("home")
    return {
        "PERCEPT_HOME": str(home),
        "PERCEPT_OFFLINE": "1",
        "PERCEPT_NO_CONFIG": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }


def last_values(arguments: Sequence[object]) -> list[str]:
    """A command line in which an option that tests add to a shared line replaces its earlier value there.

    percept itself refuses an option that is given twice. Options that take several values keep them all.
    """
    words = [str(argument) for argument in arguments]
    kept: list[str] = []
    for position, word in enumerate(words):
        again = word.startswith("--") and word not in REPEATABLE and word in words[position + 1 :]
        after = position > 0 and words[position - 1].startswith("--") and words[position - 1] not in REPEATABLE
        replaced = after and not word.startswith("--") and words[position - 1] in words[position:]
        if not again and not replaced:
            kept.append(word)
    return kept


def fitting(*arguments: object) -> list[str]:
    """The command line of a training without those of its options that have no effect beside the others, and as `last_values`.

    For lines that tests share: percept itself refuses such an option.
    """
    from typer.main import get_command

    from percept_cli.app import app
    from percept_cli.errors import PerceptError

    command = get_command(app).commands[str(arguments[0])]
    flags = {spelling for option in command.params if getattr(option, "is_flag", False) for spelling in option.opts}
    words = last_values(arguments)
    while True:
        try:
            command.make_context("percept", words[1:])
        except PerceptError as error:
            found = re.search(r"leave (--[\w, -]+) out\.$", str(error))
            idle = re.findall(r"--[\w-]+", found[1]) if found else []
            if not set(idle) & set(words):
                return words  # another error is the command's own to tell
            for option in idle:
                place = words.index(option)
                del words[place : place + (1 if option in flags else 2)]
        else:
            return words


@pytest.fixture(scope="session")
def percept(surroundings: dict[str, str]) -> Percept:
    """`percept(*arguments)` in this process, which spares the seconds of importing torch."""
    import torch

    from percept_cli.app import run

    def call(*arguments: object) -> Outcome:
        threads = torch.get_num_threads()
        stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with (
                pytest.MonkeyPatch.context() as patch,
                contextlib.redirect_stdout(stdout),
                contextlib.redirect_stderr(stderr),
            ):
                for name, value in surroundings.items():
                    patch.setenv(name, value)
                code = run(last_values(arguments))
        finally:
            torch.set_num_threads(threads)  # --threads is meant for that command, not for the tests that follow
            for number, handler in handlers.items():
                signal.signal(number, handler)
        texts = []
        for stream in (stdout, stderr):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
        return Outcome(int(code), texts[0], texts[1])

    return call


@pytest.fixture(scope="session")
def stop_percept(percept: Percept) -> Callable[..., Outcome]:
    """`stop_percept(number, when, *arguments)`: as `percept`, with a signal as soon as `when()` is true; it must stop by that."""

    def call(number: signal.Signals, when: Callable[[], bool], *arguments: object) -> Outcome:
        ended = threading.Event()

        def send() -> None:
            while not ended.is_set():
                if when():
                    os.kill(os.getpid(), number)
                    return
                time.sleep(0.002)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            return percept(*arguments)
        finally:
            ended.set()
            thread.join()

    return call


@pytest.fixture(scope="session")
def start_percept(surroundings: dict[str, str]) -> Callable[..., subprocess.Popen[bytes]]:
    """`start_percept(*arguments)` begins `python -m percept_cli` as a process of its own, to be signalled or fed."""

    def start(*arguments: object, program: tuple[str, ...] = ("-m", "percept_cli")) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, *program, *last_values(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **surroundings, "PYTHONPATH": path},
        )

    return start


@pytest.fixture(scope="session")
def percept_process(start_percept: Callable[..., subprocess.Popen[bytes]]) -> Percept:
    """As `percept`, in a process of its own; text out."""

    def call(*arguments: object) -> Outcome:
        with start_percept(*arguments) as process:
            stdout, stderr = process.communicate(timeout=120)
        return Outcome(process.returncode, stdout.decode(), stderr.decode())

    return call
