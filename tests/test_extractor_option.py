"""`--extractor FILE` is taken by every command that has the option, which are found by themselves."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from percept_cli.app import app
from percept_cli.core.extractors import create_architecture
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.files import save_weights

# What each command is given beside the extractor: a {photo}, the same one {again}, a {folder}, {output} without a suffix.
ARGUMENTS = {
    "compare": "{photo} {again} --metrics perceptual",
    "invert": "{photo} --layer relu1_1 --size 32 -o {output}.png",
    "stylize": "{photo} --style {again} --size 32 -o {output}.png",
    "train any-style": "--paintings {folder} --data {folder} --size 64 -o {output}.safetensors",
    "train invert": "--layer relu2_1 --loss image --size 32 --data {folder} -o {output}.safetensors",
    "train style": "--style {photo} --size 64 --data {folder} -o {output}.safetensors",
    "train translate": "--source {folder} --target {folder} --size 32 -o {output}.safetensors",
    "train upscale": "--preset swift --feature-weight 1 --scale 2 --patch 8 --data {folder} -o {output}.safetensors",
    "visualize activations": "{photo} -o {output}.png",
    "visualize compare": "{photo} {again} --heat -o {output}.png",
    "visualize features": "{photo} -o {output}.png",
    "visualize filters": "-o {output}.png",
    "visualize gram": "{photo} {again} -o {output}.png",
    "visualize objective": "relu1_1:0 --size 32 -o {output}.png",
    "visualize receptive-field": "relu1_1 --starts 1 -o {output}.png",
    "visualize reconstructions": "{photo} --layers relu1_1 --size 32 -o {output}.png",
    "visualize sweep": "{photo} --style {again} --rows style-weight=1 -o {output}.png",
}
SMALL = {"--steps": 1, "--batch": 1, "--device": "cpu", "--precision": "fp32", "--threads": 1}


def commands_with(option: str) -> Iterator[tuple[str, set[str]]]:
    """The commands that have an option, `train style` for one, with all their options."""
    waiting = [("", get_command(app))]
    while waiting:
        name, command = waiting.pop()
        for part, inner in getattr(command, "commands", {}).items():
            if not inner.hidden:
                waiting.append((f"{name} {part}".strip(), inner))
        options = {spelling for parameter in command.params for spelling in parameter.opts}
        if option in options:
            yield name, options


COMMANDS = dict(commands_with("--extractor"))


@pytest.fixture(scope="module")
def extractor_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of an extractor as `percept train extractor` writes it, with random weights."""
    path = tmp_path_factory.mktemp("extractor") / "mine.safetensors"
    network = create_extractor("compact", create_architecture("compact").layer_names, "random", seed=5)
    save_weights(path, network.named_weights(), {"role": "extractor", "architecture": "compact"})
    return path


def test_no_command_is_forgotten() -> None:
    """Another command with the option has to be added to `ARGUMENTS`."""
    assert COMMANDS.keys() == ARGUMENTS.keys()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_takes_a_file(
    name: str, percept: Callable, extractor_file: Path, photos: Path, tmp_path: Path
) -> None:
    """Alone; with weights beside it, it is refused in a sentence that names both."""
    again = tmp_path / "again.png"
    again.write_bytes((photos / "hill.png").read_bytes())
    places = {"photo": photos / "hill.png", "again": again, "folder": photos, "output": tmp_path / "out"}
    arguments = [word.format(**places) for word in ARGUMENTS[name].split()]
    small = [str(word) for option, value in SMALL.items() if option in COMMANDS[name] for word in (option, value)]
    given = (*name.split(), *arguments, *small, "--extractor", extractor_file)
    twice = percept(*given, "--extractor-weights", "random")
    assert twice.code == 2 and "leave out random, or give a name beside it" in twice.stderr, twice.stderr
    outcome = percept(*given)
    assert outcome.code == 0, outcome.stderr
