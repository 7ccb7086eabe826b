"""What a long piece of work shows: one line of at most 80 columns, the parts of its loss only where details are asked for."""

import io
import re
import sys
from collections.abc import Iterator

import pytest

from percept_cli.commands.train import session
from percept_cli.console import Console, Progress
from percept_cli.core.training.loop import TrainingStep

FIGURES = {"loss": 1.2345, **{f"style.relu{block}_1": 0.1 * block for block in range(1, 6)}}


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


def shown(
    monkeypatch: pytest.MonkeyPatch, terminal: io.StringIO, *, columns: int = 200, verbose: bool = False
) -> list[str]:
    """The lines, also those written over, that a work of 1,200 steps shows on standard error; no time need pass for one."""
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(Progress, "LINE_EVERY", 0.0)
    monkeypatch.setattr(Progress, "DETAILS_EVERY", 0.0)
    with Console(verbose=verbose).progress(1200, "step") as progress:
        for _ in range(3):
            progress.advance(1, FIGURES)
            if progress._own_bar is not None:
                progress._own_bar.refresh()
    return re.split(r"[\r\n]+", terminal.getvalue())


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_bar_fits_80_columns_and_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bar, rate, time left and the loss; not its parts."""
    lines = shown(monkeypatch, Terminal(), columns=columns)
    assert max(map(len, lines)) < min(columns, 80)
    last = next(line for line in reversed(lines) if "3/1200" in line)
    assert re.search(r"\d%\|.*\| 3/1200 .*(step/s|s/step), .* left, loss 1.23", last)
    assert "relu" not in "".join(lines)


def test_a_file_gets_lines_with_one_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log holds no bar."""
    lines = shown(monkeypatch, io.StringIO())
    assert [re.sub(r"\d+\.\d min", "N min", line) for line in lines if line] == [
        f"step {step}/1200, N min left, loss 1.23" for step in (1, 2, 3)
    ]


@pytest.mark.parametrize("terminal", [Terminal, io.StringIO])
def test_details_name_every_part(terminal: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """With -v, above the bar or between the lines."""
    parts = "step 2: loss 1.23, style.relu1_1 0.1, style.relu2_1 0.2, style.relu3_1 0.3, style.relu4_1 0.4"
    assert any(line.startswith(parts) for line in shown(monkeypatch, terminal(), verbose=True))


@pytest.mark.parametrize(
    ("seconds", "steps", "said"),
    [(2.0, 1200, "about 40 minutes to go on this machine, 2 s a step; or less"), (31.0, 1200, "about 10.3 hours to go"),
     (0.02, 1200, None)],
)  # fmt: skip
def test_a_training_says_at_its_start_how_long_it_will_take(
    seconds: float, steps: int, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first steps, without the very first; with what may be done about it. A short one says nothing."""
    now = 0.0
    monkeypatch.setattr(session.time, "monotonic", lambda: now)
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)

    def training() -> Iterator[TrainingStep]:
        nonlocal now
        for index in range(1, 20):
            now += seconds if index > 1 else 50.0
            yield TrainingStep(index, 1.0, {}, 4, 1e-3)

    assert len(list(session._forecast(training(), steps, Console(), "; or less"))) == 19
    assert terminal.getvalue().startswith(said) if said else terminal.getvalue() == ""
