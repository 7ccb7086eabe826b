"""`percept visualize history`: the curves are the log's, smoothed as said, whatever wrote or cut it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from percept_cli.core.training.runs.previews import place_preview, preview_steps
from percept_cli.core.visualization.history import (
    History,
    choose_parts,
    history_records,
    needs_log_axis,
    read_history,
    smoothed,
    smoothing_window,
)


def write_log(folder: Path, losses: list[float], cut: str = "") -> Path:
    """A log as a training writes it: two parts that make the total."""
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps({"step": step, "total": loss, "parts": {"content": 0.25 * loss, "style.relu1_1": 0.75 * loss}})
        for step, loss in enumerate(losses, start=1)
    ]
    log = folder / "log.jsonl"
    log.write_text("\n".join(lines) + "\n" + cut)
    return log


def test_a_running_mean_leaves_a_line_as_it_is_and_knows_fewer_at_the_ends() -> None:
    """Five values about each; three at the ends; a gap stays one and does not count in its neighbors."""
    line = np.arange(20.0)
    np.testing.assert_allclose(smoothed(line, 5)[2:-2], line[2:-2])
    assert smoothed(line, 5)[0] == 1.0 and smoothed(line, 1).tolist() == line.tolist()
    with_gap = smoothed(np.array([1.0, np.nan, 3.0]), 3)
    assert with_gap[0] == 1.0 and np.isnan(with_gap[1]) and with_gap[2] == 3.0


def test_a_log_axis_is_for_positive_curves_that_span_tenfold() -> None:
    """Of any of the trainings together."""
    assert needs_log_axis([np.array([10.0, 3.0]), np.array([1.0])])
    assert not needs_log_axis([np.array([9.0, 1.0])])
    assert not needs_log_axis([np.array([100.0, 0.0])]) and not needs_log_axis([np.array([100.0, -1.0])])


def test_a_log_gives_its_parts_total_first_and_the_last_line_may_be_cut(tmp_path: Path) -> None:
    """A part that begins later is nan before; smoothing is a fiftieth of the steps unless given."""
    log = write_log(tmp_path / "a.run", [4.0, 2.0], cut='{"step": 3, "tot')
    history = read_history(log, "a")
    assert list(history.parts) == ["total", "content", "style.relu1_1"] and history.steps.tolist() == [1, 2]
    assert history.parts["style.relu1_1"].tolist() == [3.0, 1.5] and history.preview is None
    log.write_text(log.read_text().split("\n")[0] + '\n{"step": 2, "total": 1, "parts": {"adversarial": 0.5}}\n')
    late = read_history(log, "a").parts["adversarial"]
    assert np.isnan(late[0]) and late[1] == 0.5
    assert smoothing_window(History("", np.arange(1000), {}), None) == 21


def test_parts_are_chosen_by_name_or_by_what_stands_before_the_dot(tmp_path: Path) -> None:
    """In the order of the log; an unknown one is refused with a suggestion."""
    histories = [read_history(write_log(tmp_path / "a.run", [1.0]), "a")]
    assert choose_parts(histories, []) == ["total", "content", "style.relu1_1"]
    assert choose_parts(histories, ["style", "total"]) == ["total", "style.relu1_1"]
    with pytest.raises(Exception, match=r"Unknown part of the loss 'contents'\. Did you mean 'content'\?"):
        choose_parts(histories, ["contents"])


def test_records_are_the_values_and_their_means(tmp_path: Path) -> None:
    """A row for every training, step and part."""
    history = read_history(write_log(tmp_path / "a.run", [4.0, 2.0, 6.0]), "a")
    rows = history_records([history], ["total"], window=3)
    assert [(row["step"], row["value"], row["smoothed"]) for row in rows] == [(1, 4, 3), (2, 2, 4), (3, 6, 4)]


def test_two_runs_end_to_end_by_folder_and_by_model(
    percept: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are those of the runs; the preview stands above."""
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "starry.run", [100 / step for step in range(1, 60)])
    write_log(tmp_path / "wave.run", [2.0, 1.0])
    Image.new("RGB", (90, 30), "red").save("starry.run/preview.png")
    arguments = ("visualize", "history", "starry.run", "wave.safetensors")
    outcome = percept(*arguments, "-o", "a.svg", "--data", "a.json", "--json")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["steps"] == [59, 2]
    assert {row["training"] for row in json.loads(Path("a.json").read_text())} == {"starry", "wave"}
    drawn = Path("a.svg").read_text()
    assert all(text in drawn for text in ("total loss", "style.relu1_1", "starry", "wave", "up to step 59"))
    assert percept(*arguments, "-o", "c.svg", "--no-previews", "--parts", "style").code == 0
    without = Path("c.svg").read_text()
    assert "up to step" not in without and "total loss" not in without


def test_previews_say_at_which_step_they_were_made(percept: Callable, tmp_path: Path) -> None:
    """The strip keeps the steps, also when a resumed run draws its later pictures anew; below it they are read."""
    log, strip = write_log(tmp_path / "a.run", [1.0] * 30), tmp_path / "a.run" / "preview.png"
    for position, step in ((0, 0), (1, 10), (2, 20), (3, 30), (2, 25)):
        place_preview(strip, torch.full((1, 3, 20, 20), position / 4), position, step)
    assert preview_steps(strip) == [0, 10, 25]
    assert percept("visualize", "history", log, "-o", tmp_path / "a.svg").code == 0
    drawn = (tmp_path / "a.svg").read_text()
    assert all(text in drawn for text in (">photograph<", ">step 10<", ">step 25<")) and ">step 20<" not in drawn
    # Of a strip that does not say, none is invented.
    Image.new("RGB", (44, 20)).save(strip)
    place_preview(strip, torch.zeros(1, 3, 20, 20), 2, 20)
    assert preview_steps(strip) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none.run", "'none.run' is no log of a training. Give a log.jsonl"),
        ("empty.run", "'empty.run' is no log of a training: there is no empty.run/log.jsonl"),
        ("model.safetensors", "there is no model.run/log.jsonl"),
        ("fresh.run", "holds no step yet"),
        ("other.jsonl", "Line 1 of 'other.jsonl' is not of a training's log"),
    ],
    ids=str,
)
def test_what_is_no_log_is_refused_in_one_sentence(
    given: str, message: str, percept: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exit code 2, and no plot."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.run").mkdir()
    (tmp_path / "fresh.run").mkdir()
    (tmp_path / "fresh.run" / "log.jsonl").touch()
    (tmp_path / "other.jsonl").write_text('{"loss": 1}\n{"loss": 2}\n')
    outcome = percept("visualize", "history", given, "-o", "a.svg")
    assert outcome.code == 2 and message in outcome.stderr, outcome.stderr
    assert not (tmp_path / "a.svg").exists()
