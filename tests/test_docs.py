"""The README's and the guides' commands and code are those of the program."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from percept_cli.app import app

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
GALLERY = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[tuple[str, str]]:
    """The blocks of code of a page: (language, text)."""
    return re.findall(r"```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


COMMAND = get_command(app)
LINES = [
    shlex.split(line.split("percept ", 1)[1], comments=True)
    for page in PAGES
    for language, block in blocks(page)
    if language == "sh"
    for line in block.replace("-m percept_cli", "percept").splitlines()
    if "percept " in line.split("#")[0]
]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_every_command_of_the_readme_and_guides_exists_with_its_options(words: list[str]) -> None:
    """Each line names a command, and only options that the command has."""
    command = COMMAND
    words = words[: words.index("|")] if "|" in words else words[: words.index(">")] if ">" in words else words
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    given = {word for word in words if re.fullmatch(r"-\w|--[a-z-]+", word)}
    assert given <= known


def test_every_picture_of_the_gallery_is_small_and_made_by_its_command() -> None:
    """`make gallery` runs the page's own commands: each picture is the output of one of them."""
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", GALLERY)
    assert pictures
    for picture in pictures:
        made = rf"^(percept visualize .*-o |chromium .*--screenshot=)docs/{re.escape(picture)}\b"
        assert re.search(made, GALLERY, re.MULTILINE), picture
        assert (ROOT / "docs" / picture).stat().st_size < 200_000, picture


def test_the_readmes_training_loop_runs() -> None:
    """The ten lines of the README give a gradient and named parts."""
    (code,) = [block for language, block in blocks(README) if language == "python"]
    names: dict = {}
    exec(code, names)

    assert set(names["parts"]) == {"pixel", "feature.relu2_2", "feature.relu3_3"}
    assert names["total"].item() == pytest.approx(sum(part.item() for part in names["parts"].values()), rel=1e-5)
    assert torch.isfinite(names["output"].grad).all() and names["output"].grad.abs().sum() > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_guides_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for language, block in blocks(page):
        if language == "python":
            exec(block, names)


def test_every_shipped_model_is_whole_and_described() -> None:
    """The manifest's checksums are those of the files; an upscaler has at most 2 MB, a style and an inverter 4 MB, others 6 MB."""
    from percept_cli.core.pretrained.files import sha256_of
    from percept_cli.core.pretrained.manifest import shipped_models

    models = shipped_models()
    assert sum(model.role == "style" for model in models.values()) >= 5
    most = {"extractor": 6e6, "any-style": 6e6, "inverter": 4e6, "style": 4e6}
    for model in models.values():
        assert sha256_of(model.path) == model.sha256, model.name
        assert model.path.stat().st_size <= most.get(model.role, 2e6), model.name
        assert model.licence and model.command.startswith("percept train") and model.trained_on
