"""Recipes of the shipped upscalers, models/recipes/NAME.toml: how each is trained, and what it is expected to measure."""

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from percept_cli.errors import UsageError

COMMANDS = (("train", "upscale"), ("models", "blend"))
FIELDS = {"stages": list, "tolerance": (int, float), "figures": dict}


@dataclass(frozen=True)
class Stage:
    """One command line of percept, without the word `percept`; `words` are its arguments."""

    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """The whole command line, as it stands in the manifest."""
        return f"percept {shlex.join(self.words)}"

    @property
    def trains(self) -> bool:
        """Whether it is a training, which can be resumed."""
        return self.words[0] == "train"

    @property
    def output(self) -> str:
        """The name of the file that it writes."""
        return self.words[self.words.index("-o") + 1]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the files of weights that it reads, which other stages write."""
        return tuple(word for word in self.words if word.endswith(".safetensors") and word != self.output)

    @property
    def data(self) -> tuple[str, ...]:
        """The capital names of the folders of photographs that it trains on."""
        return tuple(word for option, word in zip(self.words, self.words[1:], strict=False) if option == "--data")

    @property
    def places(self) -> tuple[str, ...]:
        """All capital names in it, of folders and of files."""
        return tuple(dict.fromkeys(word for word in self.words if is_place(word)))

    def arguments(self, places: Mapping[str, Path]) -> list[str]:
        """Its arguments with paths instead of capital names. Raises UsageError for a name without a path."""
        missing = [name for name in self.places if name not in places]
        if missing:
            raise UsageError(f"It is not known where {', '.join(missing)} is: give {missing[0]}=PATH.")
        return [str(places[word]) if is_place(word) else word for word in self.words]


@dataclass(frozen=True)
class Recipe:
    """How a shipped model is made. figures: expected, by their names in the manifest; tolerance: in the same unit."""

    name: str
    stages: tuple[Stage, ...]
    figures: Mapping[str, float]
    tolerance: float

    @property
    def output(self) -> str:
        """The name of the model's file."""
        return f"{self.name}.safetensors"

    @cached_property
    def command(self) -> str:
        """What the manifest states as `command`: all stages, joined."""
        return " && ".join(stage.command for stage in self.stages)

    @cached_property
    def trained_on(self) -> str:
        """What the manifest states as `trained_on`: the capital names of the data, each once."""
        return ", ".join(dict.fromkeys(name for stage in self.stages for name in stage.data))


def is_place(word: str) -> bool:
    """Whether a word is a capital name, which stands for a folder or a file: BSDS400, T91, VGG19."""
    return re.fullmatch(r"[A-Z][A-Z0-9_]+", word) is not None


def load_recipes(folder: Path) -> dict[str, Recipe]:
    """All recipes of a folder by name.

    Raises UsageError for a folder without recipes, for a file that is none, and where two stages write one file.
    """
    recipes = {path.stem: load_recipe(path) for path in sorted(folder.glob("*.toml"))}
    if not recipes:
        raise UsageError(f"{folder} holds no recipes (*.toml).")
    makers: dict[str, str] = {}
    for recipe in recipes.values():
        for stage in recipe.stages:
            if stage.output in makers:
                raise UsageError(
                    f"{stage.output} is written by {makers[stage.output]} and by {recipe.name}: rename one."
                )
            makers[stage.output] = recipe.name
    return recipes


def load_recipe(path: Path) -> Recipe:
    """The recipe in a file. Raises UsageError, with the reason, for a file that is none."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    for name, kind in FIELDS.items():
        if not isinstance(entries.get(name), kind):
            raise UsageError(f"{path} needs an entry '{name}': see models/README.md.")
    if unknown := entries.keys() - FIELDS.keys():
        raise UsageError(f"{path} has an unknown entry '{min(unknown)}'; known are {', '.join(FIELDS)}.")
    stages = tuple(parse_stage(text, path) for text in entries["stages"])
    recipe = Recipe(path.stem, stages, entries["figures"], entries["tolerance"])
    if not stages or stages[-1].output != recipe.output:
        raise UsageError(f"{path}: the last stage must write {recipe.output}.")
    return recipe


def parse_stage(text: str, path: Path) -> Stage:
    """A stage from its command line, which may have line breaks; path: of the recipe, for messages.

    Raises UsageError for another command than those of `COMMANDS`, and for one without `-o FILE.safetensors`.
    """
    words = tuple(shlex.split(text))
    if words[:2] not in COMMANDS:
        known = " or ".join(f"'{' '.join(command)} ...'" for command in COMMANDS)
        raise UsageError(f"{path}: '{text[:40]}' is no stage: give {known}.")
    if "-o" not in words[:-1] or not words[words.index("-o") + 1].endswith(".safetensors"):
        raise UsageError(f"{path}: '{text[:40]}' needs -o FILE.safetensors.")
    return Stage(words)


def makers_of(recipes: Mapping[str, Recipe]) -> dict[str, Stage]:
    """The stage that writes each file, by the file's name."""
    return {stage.output: stage for recipe in recipes.values() for stage in recipe.stages}


def find_places(data: Path | None, given: Sequence[str]) -> dict[str, Path]:
    """Paths by capital name: the entries of a folder, whose names may be in small letters, and `NAME=PATH`.

    Raises UsageError for a folder or a path that does not exist, and for words of another form.
    """
    places = {}
    if data is not None:
        if not data.is_dir():
            raise UsageError(f"There is no folder {data}.")
        places = {entry.stem.upper(): entry.resolve() for entry in sorted(data.iterdir())}
    for word in given:
        name, equals, path = word.partition("=")
        if not equals or not is_place(name):
            raise UsageError(f"'{word}': give NAME=PATH, with the capital name of a recipe.")
        if not Path(path).exists():
            raise UsageError(f"{word}: there is no {path}.")
        places[name] = Path(path).resolve()
    return places
