"""Recipes of the shipped upscalers: they are what the manifest states, and a build repeats nothing that is done."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from percept_cli.core.data.photos import sample_photos
from percept_cli.core.pretrained.manifest import models_folder, shipped_models
from percept_cli.core.training.runs.log import TrainingLog
from percept_cli.errors import UsageError
from tests.conftest import ROOT

Build = Callable[..., int]
FAST = "--scale 2 --batch 1 --patch 8 --steps 2"
FIRST = f'''stages = ["train upscale --data SAMPLES {FAST} -o begun.safetensors", """
    train upscale --data SAMPLES {FAST} --start begun.safetensors --seed 1 -o ended.safetensors""",
    "models blend begun.safetensors ended.safetensors --share 0.4 -o first.safetensors"]
tolerance = 0.1
figures = {{ tiny_psnr = 1.0 }}
'''
SECOND = f"""stages = ["train upscale --data SAMPLES {FAST} --start begun.safetensors --seed 2 -o second.safetensors"]
tolerance = 0.1
figures = {{ tiny_psnr = 99.0 }}
"""


@pytest.fixture(scope="module")
def bench() -> Iterator[tuple[ModuleType, ModuleType, ModuleType]]:
    """bench/build_models.py, check_models.py and model_recipes.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        import build_models
        import check_models
        import model_recipes

        yield build_models, check_models, model_recipes


@pytest.fixture
def build(bench: tuple, tmp_path: Path, surroundings: dict[str, str]) -> Iterator[Build]:
    """`build(*options)`: the recipes of tmp_path/recipes, on two sample photographs, into tmp_path/out."""
    samples = tmp_path / "data" / "samples"
    samples.mkdir(parents=True)
    for path in sample_photos()[:2]:
        shutil.copy(path, samples)
    write_recipes(tmp_path, first=FIRST, second=SECOND)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    fixed = ("--data", tmp_path / "data", "--recipes", tmp_path / "recipes", "--out", tmp_path / "out")
    further = ("--", "--device", "cpu", "--precision", "fp32", "--threads", "1")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in surroundings.items():
            patch.setenv(name, value)
        yield lambda *options: bench[0].main([str(word) for word in (*fixed, *options, *further)])
    for number, handler in handlers.items():
        signal.signal(number, handler)


def write_recipes(folder: Path, **recipes: str) -> None:
    (folder / "recipes").mkdir(exist_ok=True)
    for name, text in recipes.items():
        (folder / "recipes" / f"{name}.toml").write_text(text)


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of the training of every step that is logged, as they come; nothing is trained without being here."""
    logged: list[str] = []
    append = TrainingLog.append

    def count(log: TrainingLog, *given: object) -> None:
        append(log, *given)  # type: ignore[arg-type]
        logged.append(log.path.parent.stem)
        if len(logged) == int(os.environ.get("STOP_AFTER", 0)):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TrainingLog, "append", count)
    return logged


def test_a_build_that_is_stopped_goes_on_where_it_was(
    build: Build, tmp_path: Path, updates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is trained once, also the stage that two models share; the files are those of an unbroken build."""
    monkeypatch.setenv("STOP_AFTER", "3")
    assert build("--only", "first") == 130
    assert updates == ["begun", "begun", "ended"]
    monkeypatch.delenv("STOP_AFTER")
    assert build() == 0
    assert updates == ["begun", "begun", "ended", "ended", "second", "second"]
    names = ("begun", "ended", "first", "second")
    stopped = {name: (tmp_path / "out" / f"{name}.safetensors").read_bytes() for name in names}

    assert build() == 0
    assert len(updates) == 6
    shutil.rmtree(tmp_path / "out")
    assert build() == 0
    assert {name: (tmp_path / "out" / f"{name}.safetensors").read_bytes() for name in names} == stopped


def test_a_kill_before_the_note_costs_no_training(build: Build, tmp_path: Path, updates: list[str]) -> None:
    """The file is written and its checksum is not noted: it is resumed at its last step."""
    assert build() == 0
    note = tmp_path / "out" / "stages" / "ended.json"
    known = json.loads(note.read_text())
    note.write_text(json.dumps({name: value for name, value in known.items() if name != "sha256"}))
    assert build() == 0
    assert len(updates) == 6 and json.loads(note.read_text()) == known


def test_a_changed_stage_and_what_starts_from_it_are_made_anew(
    build: Build, tmp_path: Path, updates: list[str]
) -> None:
    """And nothing else."""
    assert build() == 0
    updates.clear()
    write_recipes(tmp_path, first=FIRST.replace("--seed 1", "--seed 5"))
    assert build() == 0
    assert updates == ["ended", "ended"]
    updates.clear()
    write_recipes(tmp_path, first=FIRST.replace(f"{FAST} -o begun", f"{FAST} --learning-rate 1e-4 -o begun"))
    assert build() == 0
    assert updates == [name for name in ("begun", "ended", "second") for _ in range(2)]


def test_a_kill_before_a_changed_training_begins_resumes_nothing(
    bench: tuple, build: Build, tmp_path: Path, updates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint of the stage before its change would be taken for its own."""

    def killed(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    assert build("--only", "second") == 0
    write_recipes(tmp_path, second=SECOND.replace("--seed 2", "--seed 5"))
    with monkeypatch.context() as patch:
        patch.setattr(bench[0], "run_percept", killed)
        assert build("--only", "second") == 130
    updates.clear()
    assert build("--only", "second") == 0
    assert updates == ["second", "second"]


def test_one_failure_does_not_stop_the_others(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a line for each figure, and says why a model failed."""
    failing = (
        FIRST.replace("SAMPLES", "NOWHERE").replace("begun", "lost").replace("ended", "never").replace("first", "bad")
    )
    write_recipes(tmp_path, bad=failing)
    assert build("--only", "bad", "second") == 3
    printed = capsys.readouterr().out
    assert "bad failed: lost.safetensors: It is not known where NOWHERE is: give NOWHERE=PATH." in printed
    assert re.search(r"^bad +tiny_psnr +1\.00 ± 0\.1 +failed$", printed, re.MULTILINE)
    assert re.search(r"^second +tiny_psnr +99\.00 ± 0\.1 +not measured$", printed, re.MULTILINE)
    assert (tmp_path / "out" / "second.safetensors").is_file()


def test_a_file_of_others_is_never_replaced(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be the work of days."""
    other = tmp_path / "out" / "second.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"mine")
    assert build("--only", "second") == 3
    assert "made by others than this recipe: move it away" in capsys.readouterr().out
    assert other.read_bytes() == b"mine"


def test_figures_reached_are_compared_with_those_expected(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a set of small and large pictures: 1 dB is reached, 99 are not, and the exit code says so."""
    large = tmp_path / "sets" / "Tiny" / "x3" / "HR"  # x2 is made of it
    large.mkdir(parents=True)
    from PIL import Image

    with Image.open(next(path for path in sample_photos() if path.stem == "coffee")) as photo:
        photo.resize((51, 45)).save(large / "coffee.png")
    assert build("--eval", tmp_path / "sets") == 3
    printed = capsys.readouterr().out
    assert re.search(r"^first +tiny_psnr +1\.00 ± 0\.1 +\d\d\.\d\d +as expected$", printed, re.MULTILINE)
    assert re.search(r"^second +tiny_psnr +99\.00 ± 0\.1 +\d\d\.\d\d +TOO LOW$", printed, re.MULTILINE)


def test_the_manifest_states_what_the_recipes_do(bench: tuple) -> None:
    """Of every shipped upscaler the command is its recipe's stages joined; its data and figures are the recipe's."""
    _, check, recipes = bench
    known = recipes.load_recipes(models_folder() / "recipes")
    models = shipped_models()
    assert known.keys() == {name for name, model in models.items() if model.role == "upscaler"}
    for name, recipe in known.items():
        assert models[name].command == " && ".join(f"percept {' '.join(stage.words)}" for stage in recipe.stages)
    assert check.check_recipes(models, known) == []


def test_every_stage_is_a_command_line_of_percept(bench: tuple, tmp_path: Path) -> None:
    """Its options exist and have an effect beside the others; the files that it names may be missing."""
    from typer.main import get_command

    from percept_cli.app import app

    _, _, recipes = bench
    for recipe in recipes.load_recipes(models_folder() / "recipes").values():
        for stage in recipe.stages:
            words = stage.arguments({name: tmp_path for name in stage.places})
            group, name, *arguments = words
            get_command(app).commands[group].commands[name].make_context(name, arguments)


def test_what_differs_from_the_manifest_is_named(bench: tuple) -> None:
    """With the line that the manifest should have."""
    _, check, recipes = bench
    known = recipes.load_recipes(models_folder() / "recipes")
    models = dict(shipped_models())
    name = "swift-x4-faithful"
    models[name] = replace(models[name], command="percept", trained_on="T91", figures={"set5_psnr": 30.0})
    del models["swift-x2-faithful"]
    problems = check.check_recipes(models, known)
    assert problems[0] == "swift-x2-faithful has a recipe and no entry"
    assert problems[1].endswith(f'command = "{known[name].command}"')
    assert problems[2].endswith('trained_on = "BSDS400, T91, SUNHAYS80"')
    assert "set5_psnr is 30, the recipe expects 31.81 ± 0.1" in problems[3]
    assert "has no bsd100_psnr" in problems[4] and len(problems) == 5


def test_files_without_entry_and_damaged_ones_are_named(bench: tuple, tmp_path: Path) -> None:
    _, check, _ = bench
    models = {name: shipped_models()[name] for name in ("wave", "swift-x2-faithful")}
    shutil.copy(models["wave"].path, tmp_path)
    assert check.check_files({"wave": models["wave"]}, tmp_path) == []
    (tmp_path / "stray.safetensors").write_bytes(b"")
    (tmp_path / "wave.safetensors").write_bytes(b"broken")
    problems = check.check_files(models, tmp_path)
    assert [problem.split()[0] for problem in problems] == ["wave:", "swift-x2-faithful:", "stray.safetensors"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stages = []\ntolerance = 1\nfigures = {}", "last stage must write bad.safetensors"),
        (
            "stages = ['train style -o bad.safetensors']\ntolerance = 1\nfigures = {}",
            "is no stage: give 'train upscale",
        ),
        ("stages = ['train upscale --scale 4']\ntolerance = 1\nfigures = {}", "needs -o FILE.safetensors"),
        ("stages = []\nfigures = {}", "needs an entry 'tolerance'"),
        ("steps = 3\nstages = []\ntolerance = 1\nfigures = {}", "unknown entry 'steps'"),
        ("stages = [", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_refused_in_a_sentence(bench: tuple, tmp_path: Path, text: str, sentence: str) -> None:
    write_recipes(tmp_path, bad=text)
    with pytest.raises(UsageError, match=re.escape(sentence)):
        bench[2].load_recipes(tmp_path / "recipes")


def test_no_two_stages_write_one_file(bench: tuple, tmp_path: Path) -> None:
    write_recipes(tmp_path, first=FIRST, other=FIRST.replace("first", "other"))
    with pytest.raises(UsageError, match=r"begun\.safetensors is written by first and by other"):
        bench[2].load_recipes(tmp_path / "recipes")


def test_capital_names_are_folders_in_any_letters_or_given_paths(bench: tuple, tmp_path: Path) -> None:
    find = bench[2].find_places
    for name in ("bsds400", "T91", "vgg19.pth"):
        (tmp_path / name).mkdir()
    found = find(tmp_path, [f"SETS={tmp_path}", f"T91={tmp_path / 'bsds400'}"])
    assert found == {
        "BSDS400": tmp_path / "bsds400", "T91": tmp_path / "bsds400", "VGG19": tmp_path / "vgg19.pth", "SETS": tmp_path
    }  # fmt: skip
    with pytest.raises(UsageError, match="give NAME=PATH"):
        find(None, ["t91=."])
    with pytest.raises(UsageError, match="there is no nowhere"):
        find(None, ["T91=nowhere"])
