"""Batches: pictures side by side in order, what a manifest knows, and that nothing is lost or done twice."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import pictures_in, reported, smooth_picture

from percept_cli.commands.batch_options import parse_memory
from percept_cli.core.batches import pictures, pipeline
from percept_cli.core.batches.pipeline import MemoryGate, is_still_working, run_pipeline
from percept_cli.core.batches.records import (
    DONE,
    FAILED,
    STARTED,
    ManifestWriter,
    manifest_name,
    read_manifest,
    read_manifests,
)
from percept_cli.core.batches.shards import is_in_shard, parse_shard
from percept_cli.core.batches.watching import Watcher, settled
from percept_cli.core.batches.work import Work, describe_file, hash_path, why_again
from percept_cli.errors import ImageError, UsageError

CPU = ("--device", "cpu", "--precision", "fp32", "--threads", "1")


# The pipeline


def test_results_come_in_the_order_of_the_items_whatever_the_threads_do() -> None:
    """Later ones are often finished first; at most a bounded number of items is read ahead of the results."""
    delays, read = random.Random(0), []

    def items() -> list[int]:
        for number in range(60):
            read.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(delays.random() / 100)
        return number * number

    results = run_pipeline(items(), work, workers=4)
    assert next(results) == 0 and len(read) < 60
    assert [0, *results] == [number * number for number in range(60)]


def test_an_error_of_the_work_is_raised_in_its_turn_and_no_work_begins_after_it() -> None:
    """The results before it come first."""
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ImageError("the third")
        time.sleep(0.01)
        return number

    results = run_pipeline(iter(range(1000)), work, workers=2)
    with pytest.raises(ImageError, match="the third"):
        assert [next(results) for _ in range(4)] == [0, 1, 2]
    time.sleep(0.05)
    assert len(begun) < 50 and not [thread for thread in threading.enumerate() if thread.name == "percept-picture"]


def test_items_that_are_still_to_come_are_waited_for() -> None:
    """None is asked for again, and does not hold back the results that are there."""
    coming = iter([1, None, None, 2, None])
    assert list(run_pipeline(coming, lambda number: -number, workers=2)) == [-1, -2]


def test_a_stopped_pipeline_tells_whether_something_is_in_work_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for that a while, and the program then ends without it."""
    monkeypatch.setattr(pipeline, "STOPPING", 0.05)
    go_on = threading.Event()
    results = run_pipeline(iter(range(3)), lambda number: number == 0 or go_on.wait(), workers=2)
    assert next(results) is True
    results.close()
    assert is_still_working()
    go_on.set()
    last = time.monotonic() + 10
    while is_still_working() and time.monotonic() < last:
        time.sleep(0.01)
    assert not is_still_working()


def test_the_memory_of_what_is_in_work_stays_within_the_budget() -> None:
    """But for a single piece of work that needs more, which runs alone."""
    gate, together = MemoryGate(100), []

    def work(needed: int) -> None:
        with gate.holding(needed):
            together.append(gate.used)
            time.sleep(0.005)

    threads = [threading.Thread(target=work, args=(needed,)) for needed in [60, 30, 500, 50, 50, 90, 10] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(used <= 100 or used == 500 for used in together) and max(together) == 500 and gate.used == 0


# Shards


def test_each_picture_is_in_one_shard_which_depends_on_its_name_alone() -> None:
    """On every machine, in any order, and however many others there are."""
    names = [Path(f"holiday/{number}.jpg") for number in range(400)]
    parts = [[name for name in names if is_in_shard(name, (part, 7))] for part in range(1, 8)]
    assert sorted(itertools.chain(*parts)) == sorted(names)
    assert all(30 < len(part) < 90 for part in parts)
    assert is_in_shard(Path("holiday/7.jpg"), (1, 2)) != is_in_shard(Path("holiday/7.jpg"), (2, 2))


@pytest.mark.parametrize("text", ["3", "0/4", "5/4", "a/b", "1/0", "-1/4", "1/4/2"])
def test_a_shard_is_a_part_and_the_number_of_parts(text: str) -> None:
    """3/16; the first is 1/16."""
    assert parse_shard("3/16") == (3, 16)
    with pytest.raises(UsageError, match="such as 3/16"):
        parse_shard(text)


def test_an_amount_of_memory_has_a_unit() -> None:
    """Powers of 1,024."""
    assert [parse_memory(text) for text in ("2G", "1.5g", "800M", "800 MiB")] == [
        2 << 30,
        3 << 29,
        800 << 20,
        800 << 20,
    ]
    for text in ("2", "G", "many", "1M"):
        with pytest.raises(UsageError, match="such as 2G"):
            parse_memory(text)


# Manifests


def test_a_manifest_keeps_the_last_word_on_each_output(tmp_path: Path) -> None:
    """Also after half a line of a killed process; outputs below its folder move with it."""
    path = tmp_path / "out" / manifest_name()
    path.parent.mkdir()
    writer = ManifestWriter(path)
    writer.add({"status": "run", "folder": str(tmp_path), "command_line": ["upscale", "a.png"]})
    for status, output in ((STARTED, "a.png"), (DONE, "a.png"), (STARTED, "b.png"), (FAILED, "c.png")):
        writer.add({"status": status, "input": "in/" + output, "output": str(path.parent / output)})
    os.write(writer._handle, b'{"status": "done", "outp')
    writer.close()
    ManifestWriter(path).add({"status": FAILED, "input": "in/a.png", "output": str(path.parent / "a.png")})
    moved = (tmp_path / "out").rename(tmp_path / "moved") / path.name
    history = read_manifest(moved)
    assert {Path(output).name: entry["status"] for output, entry in history.entries.items()} == {
        "a.png": FAILED, "b.png": STARTED, "c.png": FAILED
    }  # fmt: skip
    assert [Path(entry["input"]) for entry in history.failed()] == [tmp_path / "in/a.png", tmp_path / "in/c.png"]
    assert history.own == {str(moved.parent / "a.png"), str(moved.parent / "b.png")}
    assert history.run["command_line"] == ["upscale", "a.png"]


def test_what_one_shard_has_done_is_known_to_all(tmp_path: Path) -> None:
    """A folder's manifest is read with those of its shards."""
    for shard, status in (((1, 2), DONE), ((2, 2), FAILED), (None, FAILED)):
        writer = ManifestWriter(tmp_path / manifest_name(shard))
        writer.add({"status": status, "input": "a", "output": str(tmp_path / "a.png")})
        writer.close()
    (entry,) = read_manifests(tmp_path / manifest_name()).entries.values()
    assert entry["status"] == DONE


def test_a_result_is_made_again_only_where_something_changed(tmp_path: Path) -> None:
    """The time of a file alone is no change; its content, an option, a model and a foreign hand are."""
    source, result = tmp_path / "in.png", tmp_path / "out.png"
    source.write_bytes(b"input")
    result.write_bytes(b"result")
    work = Work("upscale", ("--x2",), {"swift": "12"}, {})
    entry = {"status": DONE, **work.fields, **describe_file(source, "input"), **describe_file(result, "output")}
    assert why_again(entry, source, result, work) is None
    os.utime(source, (1, 1))
    assert why_again(entry, source, result, work) is None
    for changed in (Work("upscale", ("--x3",), {"swift": "12"}), Work("upscale", ("--x2",), {"swift": "13"})):
        assert why_again(entry, source, result, changed) == "another command, option or model"
    result.write_bytes(b"resulT")
    assert why_again(entry, source, result, work) == "the result was changed by something else"
    result.unlink()
    assert why_again(entry, source, result, work) == "the result is gone"
    source.write_bytes(b"inpuT")
    assert why_again(entry, source, result, work) == "the input changed"
    assert why_again({**entry, "status": STARTED}, source, result, work) == "it was not finished"
    assert why_again(None, source, result, work) == "new"


def test_a_folder_of_masks_has_one_hash_for_all_its_files(tmp_path: Path) -> None:
    """It depends on their names and contents, not on where the folder is."""
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.png").write_bytes(b"a")
    assert hash_path(tmp_path / "one") == hash_path(tmp_path / "two")
    (tmp_path / "two" / "a.png").write_bytes(b"b")
    assert hash_path(tmp_path / "one") != hash_path(tmp_path / "two")
    assert hash_path(tmp_path / "one" / "a.png") == hashlib.sha256(b"a").hexdigest()


# Folders that fill up


def test_a_file_has_settled_when_it_is_the_same_in_two_looks(tmp_path: Path) -> None:
    """One that grows, an empty one and one that was taken are left."""
    a, b, c, d = (Path(name) for name in "abcd")
    before = {a: (5, 1), b: (5, 1), c: (0, 1), d: (5, 1)}
    assert settled(before, {a: (5, 1), b: (6, 2), c: (0, 1), d: (5, 1)}, [d]) == [a]

    now = 0.0
    watcher = Watcher([tmp_path], recursive=True, clock=lambda: now)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.png").write_bytes(b"half")
    found = []
    for content in (b"half", b"whole", b"whole", b"whole"):
        (tmp_path / "deep" / "x.png").write_bytes(content)
        os.utime(tmp_path / "deep" / "x.png", (1, 1))
        found.append([item.relative.as_posix() for item in watcher.look()])
        now += 1
    assert found == [[], [], ["deep/x.png"], []]


# The command line


@pytest.fixture
def here(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with five small photographs in `in`."""
    (tmp_path / "in").mkdir()
    for seed in range(5):
        smooth_picture(40 + 5 * seed, 36, seed, cells=4).save(tmp_path / "in" / f"{seed}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entries(folder: Path = Path("out")) -> dict[str, dict]:
    """The entries of the manifest of a folder, by the names of the results."""
    found = read_manifests(folder / manifest_name()).entries
    return {Path(output).name: entry for output, entry in found.items()}


def test_several_at_once_give_the_bits_of_one_after_another(here: Path, percept: Callable) -> None:
    """Each picture is computed by as many threads, so that sums are taken in one order."""
    for folder, options in (("one/", ["-j", 1, "--threads", 1]), ("three/", ["-j", 3, "--threads", 3])):
        outcome = percept("stylize", "in", "-m", "udnie", "-o", folder, "--device", "cpu", *options)
        assert outcome.code == 0, outcome.stderr
        assert outcome.stdout.split() == [f"{folder}{number}_udnie.png" for number in range(5)]
    one, three = ([path.read_bytes() for path in pictures_in(here / folder)] for folder in ("one", "three"))
    assert one == three and len(one) == 5


def test_the_manifest_tells_what_made_each_result_of_what(here: Path, percept: Callable) -> None:
    """Hashes are those of the files; options that change no pixel are left out."""
    assert percept("upscale", "in", "--x2", "--look", "faithful", "-o", "out/", *CPU).code == 0
    entry = entries()["3_x2_faithful.png"]
    for kind, path in (("input", Path("in/3.png")), ("output", Path("out/3_x2_faithful.png"))):
        assert entry[f"{kind}_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entry[f"{kind}_bytes"] == path.stat().st_size
    assert (entry["command"], entry["arguments"]) == ("upscale", ["--x2", "--look", "faithful"])
    assert set(entry["models"]) == {"swift-x2-faithful", "swift-x2-faithful-photo"}
    assert (entry["precision"], entry["threads"], entry["width"], entry["height"]) == ("fp32", 1, 110, 72)


def test_a_batch_goes_on_from_its_manifest(here: Path, percept: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done is not even read; a changed input, a lost and a changed result are made again, and nothing else."""
    line = ("upscale", "in", "--x2", "-o", "out/", *CPU)
    assert percept(*line).code == 0
    assert "5 outputs exist already" in percept(*line).stderr
    smooth_picture(40, 36, 77, cells=4).save("in/0.png")
    Path("out/1_x2.png").unlink()
    Path("out/2_x2.png").write_bytes(b"mine")
    (here / "in" / "new.png").write_bytes((here / "in" / "4.png").read_bytes())
    read = []
    real = pictures.load_image
    monkeypatch.setattr(pictures, "load_image", lambda source: read.append(source.name) or real(source))
    outcome = percept(*line, "--resume", "--json")
    assert outcome.code == 0, outcome.stderr
    assert read == ["0.png", "1.png", "2.png", "new.png"]
    found = {Path(line["output"]).name: line["status"] for line in reported(outcome.stdout)}
    assert found == {
        "3_x2.png": "skipped", "4_x2.png": "skipped",
        "0_x2.png": "done", "1_x2.png": "done", "2_x2.png": "done", "new_x2.png": "done",
    }  # fmt: skip
    for reason in ("the input changed", "the result is gone", "the result was changed by something else"):
        assert f"{reason}: made again" in outcome.stderr
    again = percept(
        "upscale", "in", "--x2", "--look", "faithful", "-o", "out/", "--name", "{stem}_x2{ext}", *CPU, "--resume"
    )
    assert (
        again.stderr.count("another command, option or model") == 6
        and entries()["3_x2.png"]["arguments"][-1] == "faithful"
    )


def test_a_result_that_no_manifest_knows_is_never_replaced(here: Path, percept: Callable) -> None:
    """--resume replaces what percept has written, and nothing else."""
    assert percept("upscale", "in/0.png", "in/1.png", "--x2", "-o", "out/", *CPU).code == 0
    Path("out/2_x2.png").write_bytes(b"mine")
    outcome = percept("upscale", "in", "--x2", "-o", "out/", "--resume", *CPU)
    assert outcome.code == 2 and "1 output exists already ('out/2_x2.png')" in outcome.stderr
    assert Path("out/2_x2.png").read_bytes() == b"mine"


def test_what_failed_is_tried_again_from_anywhere(
    here: Path, percept: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`percept retry MANIFEST`, with the options of the batch; what was done is left."""
    good = Path("in/2.png").read_bytes()
    Path("in/2.png").write_bytes(b"half a picture")
    outcome = percept("stylize", "in", "-m", "udnie", "--strength", 0.5, "-o", "out/", *CPU)
    assert outcome.code == 3 and "percept retry out/percept-manifest.jsonl" in outcome.stderr
    assert "not an image" in entries()["2_udnie_strength-0.5.png"]["error"]
    Path("in/2.png").write_bytes(good)
    times = {path.name: path.stat().st_mtime_ns for path in pictures_in(here / "out")}
    monkeypatch.chdir("/")
    outcome = percept("retry", here / "out" / manifest_name())
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.split() == [str(here / "out" / "2_udnie_strength-0.5.png")]
    written = {path.name: path.stat().st_mtime_ns for path in pictures_in(here / "out")}
    assert times.items() < written.items()
    assert "nothing failed" in percept("retry", here / "out" / manifest_name()).stderr
    with contextlib.suppress(OSError):
        os.chdir(here)


def test_a_plan_is_told_and_nothing_is_done(here: Path, percept: Callable) -> None:
    """Sizes, tiles, memory and seconds of each, and what would be refused is refused."""
    outcome = percept("upscale", "in", "--x3", "-o", "out/", "--dry-run", "--json", *CPU)
    assert outcome.code == 0, outcome.stderr
    *lines, last = map(json.loads, outcome.stdout.splitlines())
    assert [(line["width"], line["height"], line["tiles"]) for line in lines] == [
        (3 * (40 + 5 * n), 108, 1) for n in range(5)
    ]
    assert all(line["seconds"] > 0 and line["memory"] > 0 for line in lines)
    assert last["summary"]["to_make"] == 5 and not Path("out").exists()
    outcome = percept(
        "upscale", "in", "in/../in/3.png", "--x3", "-o", "in/", "--name", "{stem}{ext}", "--dry-run", *CPU
    )
    assert outcome.code == 2 and "is an input" in outcome.stderr


@pytest.mark.parametrize(("option", "tried"), [(["--max-errors", 2], 4), (["--fail-fast"], 2), ([], 5)])
def test_a_batch_stops_when_so_many_have_failed(here: Path, percept: Callable, option: list, tried: int) -> None:
    """The rest is not tried, and the exit code is 3."""
    for number in (1, 3):
        Path(f"in/{number}.png").write_bytes(b"no picture")
    outcome = percept("upscale", "in", "--x2", "-o", "out/", "-j", 1, "--json", *option, *CPU)
    assert outcome.code == 3
    assert len(reported(outcome.stdout)) == tried
    summary = json.loads(outcome.stdout.splitlines()[-1])["summary"]
    assert (summary["planned"], summary["not_tried"]) == (5, 5 - tried)


def test_a_manifest_that_cannot_be_written_is_told_and_no_picture_is_made(here: Path, percept: Callable) -> None:
    """As one below a file."""
    outcome = percept("upscale", "in", "--x2", "-o", "out/", "--manifest", "in/0.png/m.jsonl", *CPU)
    assert outcome.code == 2 and "The manifest 'in/0.png/m.jsonl' cannot be written" in outcome.stderr
    assert not pictures_in(here / "out")


def test_shards_make_each_picture_once(here: Path, percept: Callable) -> None:
    """Each writes a manifest of its own, and --resume knows them all."""
    for part in (1, 2, 3):
        assert percept("upscale", "in", "--x2", "-o", "out/", "--shard", f"{part}/3", *CPU).code == 0
    assert len(pictures_in(here / "out")) == 5 and {entry["status"] for entry in entries().values()} == {DONE}
    outcome = percept("upscale", "in", "--x2", "-o", "out/", "--resume", *CPU)
    assert outcome.stdout.count("(done, left)") == 5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--resume"], "give -o FOLDER/"),
        (["--shard", "4/3"], "such as 3/16"),
        (["--memory", "little"], "such as 2G"),
        (["--manifest", "in/0.png"], "ends in .jsonl"),
        (["--watch", "-o", "in/"], "would take its own results"),
        (["--watch"], "give -o FOLDER/ elsewhere"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(here: Path, percept: Callable, options: list, sentence: str) -> None:
    """Before any work."""
    outcome = percept("upscale", "in", "--x2", *options, *CPU)
    assert outcome.code == 2 and sentence in outcome.stderr, outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_pictures_that_appear_are_taken_until_the_program_is_stopped(here: Path, start_percept: Callable) -> None:
    """--watch takes them when they have settled; Ctrl-C ends it with 130, and what was done is kept."""
    (here / "new").mkdir()
    with start_percept("upscale", "new", "--x2", "-o", "out/", "--watch", "--device", "cpu") as process:
        for number in (0, 1):
            (here / "new" / f"{number}.png").write_bytes((here / "in" / f"{number}.png").read_bytes())
            wait_for(here / "out" / f"{number}_x2.png")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert {entry["status"] for entry in entries().values()} == {DONE}


@pytest.mark.slow
def test_a_killed_batch_goes_on_and_does_nothing_twice(here: Path, start_percept: Callable, percept: Callable) -> None:
    """Killed at ten random moments; what the manifest called done keeps its time, and all ends as if it had not been killed."""
    for seed in range(5, 40):
        smooth_picture(90, 80, seed, cells=4).save(here / "in" / f"{seed}.png")
    line = ("upscale", "in", "--x2", "-j", 2, *CPU)
    assert percept(*line, "-o", "whole/").code == 0
    moments = random.Random(0)
    for _ in range(10):
        before = {name: os.stat(here / "out" / name).st_mtime_ns for name, entry in done_entries().items()}
        with start_percept(*line, "-o", "out/", "--resume") as process:
            time.sleep(2 + 3 * moments.random())
            process.kill()
            process.wait()
        after = {name: os.stat(here / "out" / name).st_mtime_ns for name in before}
        assert after == before
    assert percept(*line, "-o", "out/", "--resume").code == 0
    whole, out = ({path.name: path.read_bytes() for path in pictures_in(here / name)} for name in ("whole", "out"))
    assert whole == out and len(done_entries()) == 40


def done_entries() -> dict[str, dict]:
    """Those of the manifest of `out` that are done; none where there is no manifest yet."""
    return {name: entry for name, entry in entries().items() if entry["status"] == DONE}


def wait_for(path: Path, seconds: float = 120) -> None:
    """Waits until a file exists."""
    last = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < last, f"{path} did not appear"
        time.sleep(0.1)
