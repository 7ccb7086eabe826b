"""A signal ends the program at any moment: with its exit code, one sentence, and nothing half written."""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from percept_cli import interruption
from percept_cli.app import run
from percept_cli.console import Console
from percept_cli.errors import ExitCode, Interrupted

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of percept in this test, those of pytest after it."""
    before = {number: signal.getsignal(number) for number in CODES}
    interruption.install()
    yield
    interruption.install()  # forgets what was received
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CODES)
def test_a_signal_that_a_library_swallows_is_found_by_the_next_loop(number: signal.Signals) -> None:
    """Whoever catches everything only delays the end until the next step."""
    with Console(quiet=True).progress(2, "step") as progress:
        with suppress(BaseException):
            signal.raise_signal(number)
        with pytest.raises(Interrupted) as caught:
            progress.advance()
    assert caught.value.exit_code == CODES[number] and number.name in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("a callback failed"), None], ids=["another error", "no error"])
def test_a_swallowed_signal_decides_the_exit_code(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a library makes another error of it, or no loop comes after it."""

    def app(arguments: object) -> None:
        with suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        if error:
            raise error

    monkeypatch.setattr("percept_cli.app.app", app)
    assert run([]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "error: stopped by SIGINT; what was finished is kept\n"


def test_a_training_goes_on_to_the_end_of_its_step_at_the_first_signal_and_stops_at_the_second() -> None:
    """So that a checkpoint is written; after it signals end everything again."""
    with interruption.deferred():
        signal.raise_signal(signal.SIGTERM)
        interruption.check()
        assert interruption.received() == signal.SIGTERM
        with pytest.raises(Interrupted, match="stopped at once"):
            signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        interruption.check()


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    """`nohup percept ...` goes on after the terminal is closed."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interruption.install()
    signal.raise_signal(signal.SIGHUP)
    assert interruption.received() is None


def end_of(process: "subprocess.Popen[bytes]", number: signal.Signals, moment: float) -> tuple[int, str]:
    """The exit code and the messages of a process that gets a signal after some seconds."""
    with process:
        time.sleep(moment)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr.decode()


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, 0.4), (signal.SIGHUP, 1.5)])
def test_a_signal_during_the_imports_is_a_sentence(
    number: signal.Signals, moment: float, style_picture: Path, photos: Path, tmp_path: Path, start_percept: Callable
) -> None:
    """No traceback, from the first moments on."""
    process = start_percept(
        "stylize", photos / "hill.png", "--style", style_picture, "--steps", 300, "-o", tmp_path / "a.png", "-q"
    )
    code, messages = end_of(process, number, moment)
    assert code == CODES[number] and messages.count("error:") == 1 and number.name in messages, messages
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stylize", "train-style", "upscale"])
def test_no_signal_is_lost_at_any_moment(
    kind: str, style_picture: Path, photos: Path, tmp_path: Path, start_percept: Callable
) -> None:
    """At random moments of the first six seconds, as much of imports as of work."""
    from PIL import Image

    Image.effect_noise((1600, 1200), 60).convert("RGB").save(tmp_path / "large.png")
    words = {
        "stylize": ("stylize", photos / "hill.png", "--style", style_picture, "--steps", 100_000),
        "train-style": ("train-style", "--style", style_picture, "--data", photos, "--steps", 100_000, "--size", 64),
        "upscale": ("upscale", tmp_path / "large.png", "--x4", "--tile", 96),
    }[kind]
    chance = random.Random(kind)
    for trial in range(10):
        out = tmp_path / str(trial)
        out.mkdir()
        file = out / ("a.safetensors" if kind == "train-style" else "a.png")
        # Before 0.3 seconds Python itself may still be starting, whose traceback is its own.
        number, moment = chance.choice(list(CODES)), chance.uniform(0.3, 6)
        code, messages = end_of(start_percept(*words, "-o", file, "-q"), number, moment)
        assert code == CODES[number] and messages.count("error:") == 1 and "Traceback" not in messages, (
            moment,
            messages,
        )
        assert not list(out.rglob(".percept-*"))


def test_a_signal_while_python_ends_changes_nothing(start_percept: Callable) -> None:
    """The work is done, and the exit code says so: Python's own end gives signals their default action."""
    program = (
        "-c",
        "import atexit, os, signal, sys\n"
        "from percept_cli.__main__ import main\n"
        "class Last:\n"
        "    def __del__(self, kill=os.kill, own=os.getpid(), number=signal.SIGHUP): kill(own, number)\n"
        "sys.last_of_all = Last()\n"  # deleted when modules are, after the handlers were restored
        "main()",
    )
    with start_percept("--version", program=program) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"") and stdout.startswith(b"percept ")
