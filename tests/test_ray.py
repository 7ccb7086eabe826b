"""Batches on a Ray cluster: the pictures of the local engine, and nothing lost or done twice when processes are killed."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import ROOT, Percept, pictures_in, reported, smooth_picture

from percept_cli import __version__
from percept_cli.commands.batch_options import Batch
from percept_cli.core.batches.cluster import ATTEMPTS, Assignment, Pool, Worker, choose_pool
from percept_cli.core.batches.parts import ATTEMPT, Run, attempt
from percept_cli.core.batches.pictures import Keeping, Made, Operation
from percept_cli.core.batches.records import DONE, FAILED, STARTED, ManifestWriter, read_entries, read_manifests
from percept_cli.core.batches.work import Work
from percept_cli.core.files.outputs import Job
from percept_cli.core.runtime import choose_runtime
from percept_cli.errors import DeviceError, UsageError

Started = subprocess.Popen[bytes]
CPU = ("--device", "cpu", "--precision", "fp32", "--threads", "1")
X2 = ("upscale", "--x2", "--look", "faithful", *CPU)


# What workers record


def add(path: Path, *entries: dict) -> None:
    writer = ManifestWriter(path)
    for entry in entries:
        writer.add(entry)
    writer.close()


def test_parts_belong_to_a_manifest_and_are_merged_into_it_when_all_is_done(tmp_path: Path) -> None:
    """Before and after, the manifest says the same; a result that a worker began and another one ended is done."""
    manifest = tmp_path / "record.jsonl"
    manifest.touch()
    run, first, second = Run.begin(manifest), str(tmp_path / "a.png"), str(tmp_path / "b.png")
    one, other = sorted([run.new_part(), run.new_part()])
    add(other, attempt(first), {"status": STARTED, "output": first})  # and then it was killed
    time.sleep(0.002)
    add(one, attempt(first), {"status": STARTED, "output": first}, {"status": DONE, "output": first, "input": "a"})
    add(one, attempt(second), {"status": FAILED, "output": second, "input": "b"})
    before = read_manifests(manifest)
    assert {output: entry["status"] for output, entry in before.entries.items()} == {first: DONE, second: FAILED}
    run.merge()
    assert read_manifests(manifest).entries == before.entries
    assert list(tmp_path.iterdir()) == [manifest] and ATTEMPT not in manifest.read_text()


def test_the_later_of_two_entries_holds_whichever_file_it_is_in(tmp_path: Path) -> None:
    """A part that a killed run left does not hide what was made after it."""
    manifest = tmp_path / "percept-manifest.jsonl"
    manifest.touch()
    output = str(tmp_path / "a.png")
    add(Run.begin(manifest).new_part(), {"status": DONE, "output": output, "arguments": ["old"]})
    time.sleep(0.002)
    add(manifest, {"status": DONE, "output": output, "arguments": ["new"]})
    assert read_manifests(manifest).entries[output]["arguments"] == ["new"]


# A worker, without a cluster


def brighter() -> Operation:
    runtime = choose_runtime("cpu", "fp32")
    return Operation(
        lambda photo, job: Made(photo.with_visible(photo.visible() / 2 + 0.5), {"model": "brighter"}),
        runtime, lambda height, width: (_ for _ in ()).throw(AssertionError),  # type: ignore[arg-type]
    )  # fmt: skip


def assignment(folder: Path, start: Callable[[], Operation] = brighter, **more: Any) -> Assignment:
    manifest = folder / "percept-manifest.jsonl"
    manifest.touch()
    return Assignment(
        start, Keeping(work=Work("brighten")), Run.begin(manifest), folder, more.get("version", __version__), 1, 1
    )


def work_on(worker: Worker, jobs: list[Job]) -> list[Any]:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"job": [pickle.dumps((number, job)) for number, job in enumerate(jobs)]})
    return [pickle.loads(data)[1] for data in worker(table)["made"].to_pylist()]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        smooth_picture(20, 14, number, cells=3).save(tmp_path / f"{number}.png")
    (tmp_path / "out").mkdir()
    return [Job(tmp_path / f"{number}.png", tmp_path / "out" / f"{number}.png") for number in range(3)]


def test_a_worker_that_begins_again_leaves_what_its_run_has_done(jobs: list[Job], tmp_path: Path) -> None:
    """It tells the recorded size; a result of an earlier run under the same name is made again."""
    told = assignment(tmp_path)
    assert [made.error for made in work_on(Worker(told), jobs[:2])] == [None, None]
    times = [job.destination.stat().st_mtime_ns for job in jobs[:2]]  # type: ignore[union-attr]
    again = work_on(Worker(told), jobs)
    assert [made.size for made in again] == [(14, 20)] * 3 and all(made.error is None for made in again)
    assert [job.destination.stat().st_mtime_ns for job in jobs[:2]] == times  # type: ignore[union-attr]
    later = Job(jobs[0].source, jobs[0].destination, overwrite=True)
    assert work_on(Worker(assignment(tmp_path)), [later])[0].fields == {"model": "brighter"}
    assert jobs[0].destination.stat().st_mtime_ns > times[0]  # type: ignore[union-attr]


def test_a_picture_that_ends_its_process_each_time_fails_and_the_others_go_on(jobs: list[Job], tmp_path: Path) -> None:
    """As one for which the system kills a process; it is tried three times."""
    told = assignment(tmp_path)
    for _ in range(ATTEMPTS):
        add(told.run.new_part(), attempt(str(jobs[1].destination)))
    errors = [made.error for made in work_on(Worker(told), jobs)]
    assert errors[0] is errors[2] is None and "ended 3 times" in str(errors[1])


def test_what_keeps_a_worker_from_its_work_is_told(jobs: list[Job], tmp_path: Path) -> None:
    """Another version, folders that it does not see, and errors of the operation; Ray is not made to try again."""
    (told,) = work_on(Worker(assignment(tmp_path, version="0.0")), jobs)
    assert isinstance(told, UsageError) and "install the same on all machines" in str(told)
    elsewhere = assignment(tmp_path)
    elsewhere.run.manifest.unlink()
    (told,) = work_on(Worker(elsewhere), jobs)
    assert isinstance(told, UsageError) and "that all machines of the cluster share" in str(told)

    def failing() -> Operation:
        return Operation(lambda photo, job: 1 / 0, choose_runtime("cpu"), brighter().foresee)  # type: ignore[arg-type,return-value]

    (told,) = work_on(Worker(assignment(tmp_path, failing)), jobs)
    assert isinstance(told, ZeroDivisionError)


def test_the_workers_are_those_for_which_the_cluster_has_gpus_or_slots() -> None:
    """One a GPU, with its share of the processors to read and write; else one for each --threads slots."""
    gpus = {"CPU": 32.0, "GPU": 4.0}
    assert choose_pool(gpus, "auto", 1, None, 1000) == Pool(4, 8, 1, 8)
    assert choose_pool(gpus, "cpu", 4, None, 1000) == Pool(8, 4, 0, 1)
    assert choose_pool({"CPU": 6.0}, "auto", 1, 4, 3) == Pool(3, 1, 0, 1)
    with pytest.raises(DeviceError, match="no machine of the Ray cluster has a GPU"):
        choose_pool({"CPU": 6.0}, "cuda", 1, None, 3)
    with pytest.raises(DeviceError, match="needs as many processor slots, and the Ray cluster has 2"):
        choose_pool({"CPU": 2.0}, "cpu", 4, None, 3)


def test_what_a_cluster_cannot_do_is_said_before_any_work(
    tmp_path: Path, photos: Path, percept: Percept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No manifest, a GPU by number, and no Ray: one sentence each, and nothing is written."""
    monkeypatch.setattr("percept_cli.core.devices._has_gpu_driver", lambda: True)
    many = ("upscale", photos, "--engine", "ray", "-o", f"{tmp_path}/out/")
    for more, words in (
        (("--manifest", "none"), "--engine ray records each picture"),
        (("--device", "cuda:1"), "give --device cuda."),
    ):
        outcome = percept(*many, *more)
        assert outcome.code == 2 and words in outcome.stderr, outcome.stderr
    monkeypatch.setitem(__import__("sys").modules, "ray.data", None)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    outcome = percept(*many)
    assert outcome.code == 2 and "pip install 'percept[ray]'" in outcome.stderr, outcome.stderr
    assert list(tmp_path.iterdir()) == []
    assert Batch().engine == "local" and Batch(engine="ray").address is None


# A cluster of two nodes


@pytest.fixture(scope="module")
def address(surroundings: dict[str, str]) -> Iterator[str]:
    """Of a cluster of two nodes with one processor slot each."""
    pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**surroundings, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}.items():
            patch.setenv(name, value)
        node = {"num_cpus": 1, "object_store_memory": 100 << 20}
        nodes = utils.Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        nodes.add_node(**node)
        yield nodes.address
        nodes.shutdown()


def finished(process: Started, code: int = 0) -> tuple[str, str]:
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == code, stderr.decode()
    return stdout.decode(), stderr.decode()


def folder_of(path: Path, count: int, side: int = 24) -> Path:
    path.mkdir()
    for number in range(count):
        smooth_picture(side, side, number, cells=4).save(path / f"{number:04}.png")
    return path


def done_in(folder: Path) -> Counter[str]:
    """How often each result is recorded as done, in all files of a manifest."""
    entries = (entry for path in folder.glob("percept-manifest*") for entry in read_entries(path))
    return Counter(entry["output"] for entry in entries if entry["status"] == DONE)


def workers_of_cluster() -> list[psutil.Process]:
    """The processes that hold the networks; the nodes are children of this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            found += [process] * ("MapWorker" in " ".join(process.cmdline()))
    return found


def wait_for(count: int, folder: Path, process: Started) -> None:
    while len(done_in(folder)) < count:
        assert process.poll() is None
        time.sleep(0.05)


def same_pictures(found: Path, expected: Path) -> bool:
    names = [[path.name for path in pictures_in(folder)] for folder in (found, expected)]
    return names[0] == names[1] and all((found / n).read_bytes() == (expected / n).read_bytes() for n in names[0])


@pytest.mark.slow
def test_two_nodes_make_the_pictures_of_the_local_engine_to_the_bit(
    address: str, start_percept: Callable[..., Started], percept: Percept, tmp_path: Path, style_model: Path
) -> None:
    """For a style and an enlargement; a damaged file is one failed row, named as it was given, and exit code 3."""
    photos = folder_of(tmp_path / "photos", 10, side=40)
    (photos / "bad.png").write_bytes(b"no picture")
    for name, line in (("x2", X2), ("style", ("stylize", "-m", style_model, *CPU))):
        command = (*line, photos, "--json")
        process = start_percept(*command, "-o", f"{tmp_path}/{name}-ray/", "--engine", "ray", "--address", address)
        stdout, stderr = finished(process, 3)
        assert percept(*command, "-o", f"{tmp_path}/{name}/").code == 3
        assert same_pictures(tmp_path / f"{name}-ray", tmp_path / name)
        assert Counter(row["status"] for row in reported(stdout)) == {"done": 10, "failed": 1}
        assert {row["source"] for row in reported(stdout)} == {str(path) for path in photos.iterdir()}
        assert "2 workers" in stderr and "is not an image" in stderr
        manifests = [read_manifests(tmp_path / each / "percept-manifest.jsonl") for each in (f"{name}-ray", name)]
        keys = [
            sorted((entry["input"], entry["status"], entry.get("output_sha256")) for entry in each.entries.values())
            for each in manifests
        ]
        assert keys[0] == keys[1]
        assert not list((tmp_path / f"{name}-ray").glob("*-part-*"))


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_does_nothing_twice(
    address: str, start_percept: Callable[..., Started], percept: Percept, tmp_path: Path
) -> None:
    """It begins again; what it had recorded is done once, in all files together."""
    photos, out = folder_of(tmp_path / "photos", 200), tmp_path / "ray"
    process = start_percept(*X2, photos, "-o", f"{out}/", "--engine", "ray", "--address", address, "--json")
    wait_for(20, out, process)
    workers = workers_of_cluster()
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    stdout, _ = finished(process)
    assert percept(*X2, photos, "-o", f"{tmp_path}/local/").code == 0
    assert same_pictures(out, tmp_path / "local")
    assert set(done_in(out).values()) == {1} and len(done_in(out)) == 200
    assert len({row["output"] for row in reported(stdout)}) == len(reported(stdout)) == 200


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_and_a_resumed_one_does_nothing_twice(
    address: str, start_percept: Callable[..., Started], percept: Percept, tmp_path: Path
) -> None:
    """What the parts call done when the process is killed is not made again, at several moments."""
    photos, out = folder_of(tmp_path / "photos", 200), tmp_path / "ray"
    line = (*X2, photos, "-o", f"{out}/", "--engine", "ray", "--address", address)
    for moment in (1, 60, 130):
        resumed = () if moment == 1 else ("--resume",)
        process = start_percept(*line, *resumed)
        wait_for(moment, out, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        while workers_of_cluster():
            time.sleep(0.1)  # the cluster ends them
        assert not [entry for entry in done_in(out).values() if entry != 1]
    finished(start_percept(*line, "--resume"))
    assert percept(*X2, photos, "-o", f"{tmp_path}/local/").code == 0
    assert same_pictures(out, tmp_path / "local")
    assert set(done_in(out).values()) == {1} and len(done_in(out)) == 200
    stdout, _ = finished(start_percept(*line, "--resume", "--json"))
    assert Counter(row["status"] for row in reported(stdout)) == {"skipped": 200}


@pytest.mark.slow
def test_a_thousand_small_pictures(
    address: str, start_percept: Callable[..., Started], percept: Percept, tmp_path: Path
) -> None:
    """All are made, and the summary counts them; its rate stands beside the local engine's (`-s` shows both)."""
    photos = folder_of(tmp_path / "photos", 1000)
    command = (*X2, photos, "--json")
    process = start_percept(*command, "-o", f"{tmp_path}/ray/", "--engine", "ray", "--address", address)
    stdout, _ = finished(process)
    found = json.loads(stdout.splitlines()[-1])["summary"]
    assert (found["planned"], found["done"], found["failed"]) == (1000, 1000, 0)
    local = json.loads(percept(*command, "-o", f"{tmp_path}/local/", "-j", "2").stdout.splitlines()[-1])["summary"]
    assert same_pictures(tmp_path / "ray", tmp_path / "local")
    size = (tmp_path / "ray" / "percept-manifest.jsonl").stat().st_size
    figures = f"{found['images_per_second']} pictures a second on Ray, {local['images_per_second']} here; {size} bytes"
    print(figures)  # noqa: T201
