"""Trains the shipped upscalers anew from models/recipes/: `make models DATA=photos/`.

What is made already by the same recipe is not made again, a training that was stopped is resumed, and a model that fails
does not stop the others: leave it alone for a night, and repeat the command after a crash. At the end: the figures that
the recipes expect beside those reached. The files stay in the folder of the build; models/README.md says how to ship one.

    python bench/build_models.py --data photos/ VGG19=vgg19.safetensors --eval SETS
    python bench/build_models.py --data photos/ --only swift-x4-faithful -- --threads 1

photos/ holds the folders that the recipes name, in small or capital letters: bsds400/ t91/ sunhays80/. A file or another
folder is given as NAME=PATH. SETS: see check_models.py; without it no figures are measured. What follows -- goes to every
training, and is no part of the recipe: options of the machine, as --threads.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from model_recipes import Recipe, Stage, find_places, load_recipes, makers_of

from percept_cli.app import run as run_percept
from percept_cli.core.files.atomic import atomic_write_bytes
from percept_cli.core.pretrained.files import sha256_of
from percept_cli.core.pretrained.manifest import models_folder
from percept_cli.core.training.runs.folder import CHECKPOINT, run_folder
from percept_cli.errors import ExitCode, Interrupted, PerceptError, UsageError, unknown_name


class StageError(Exception):
    """A stage that failed; its text says which and why."""


class Builder:
    """Makes the files of recipes in a folder.

    places: paths by capital name. further: further options of every training, of the machine alone: threads, device. For each
    file that is begun a note, NAME.json in `folder`/stages/, holds the command and the checksums of what it starts from, and at
    the end its own.
    """

    def __init__(
        self, recipes: Mapping[str, Recipe], folder: Path, places: Mapping[str, Path], further: Sequence[str] = ()
    ):
        self.makers = makers_of(recipes)
        self.folder, self.places, self.further = folder.resolve(), places, further
        self._failures: dict[str, str] = {}
        self._ready: set[str] = set()
        (self.folder / "stages").mkdir(parents=True, exist_ok=True)

    def build(self, recipe: Recipe) -> Path:
        """The file of a model, made by all its stages and those of other recipes that it starts from.

        Raises StageError for a stage that fails, Interrupted where the user stops it.
        """
        for stage in recipe.stages:
            self.make(stage.output)
        return self.folder / recipe.output

    def make(self, output: str) -> None:
        """Makes a file, first what it starts from. Raises StageError and Interrupted."""
        if output in self._ready:
            return
        if output in self._failures:
            raise StageError(self._failures[output])
        try:
            if output not in self.makers:
                raise StageError(f"{output} is written by no stage of any recipe")
            stage = self.makers[output]
            for each in stage.inputs:
                self.make(each)
            self._run(stage)
        except StageError as error:
            self._failures[output] = str(error)
            raise
        self._ready.add(output)

    def _run(self, stage: Stage) -> None:
        """Runs a stage, unless its file is there. Raises StageError and Interrupted."""
        path, note = self.folder / stage.output, self.folder / "stages" / f"{Path(stage.output).stem}.json"
        begun = {
            "command": stage.command,
            "inputs": {name: sha256_of(self.folder / name) for name in stage.inputs},
        }
        known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        same = begun == {name: known.get(name) for name in begun}
        if same and path.is_file() and known.get("sha256") == sha256_of(path):
            print(f"{stage.output} is made already", flush=True)
            return
        if path.is_file() and (not known or known.get("sha256", "") not in ("", sha256_of(path))):
            raise StageError(f"{path} was made by others than this recipe: move it away")
        # Of a note without a checksum the training was stopped.
        resumed = same and stage.trains and "sha256" not in known
        if not resumed:
            # That of another recipe: percept deletes it too, but a kill before that would leave it to be resumed.
            (run_folder(path) / CHECKPOINT).unlink(missing_ok=True)
        write_note(note, begun)
        try:
            arguments = stage.arguments(self.places)
        except UsageError as error:
            raise StageError(f"{stage.output}: {error}") from error
        arguments += [*(self.further if stage.trains else ()), "--resume" if resumed else "--overwrite"]
        print(f"{stage.command}{' --resume' if resumed else ''}", flush=True)
        with contextlib.chdir(self.folder):
            code = run_percept(arguments)
        if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            raise Interrupted("stopped; the same command goes on", ExitCode(code))
        if code != ExitCode.OK:
            raise StageError(f"{stage.output}: percept ended with exit code {code}")
        write_note(note, {**begun, "sha256": sha256_of(path)})


def write_note(path: Path, note: Mapping[str, object]) -> None:
    """Writes a note, whole or not at all."""
    atomic_write_bytes(path, json.dumps(note, indent=1).encode(), overwrite=True)


def build_all(recipes: Sequence[Recipe], builder: Builder) -> dict[str, str]:
    """Builds the models one after the other; what failed by name, and why. Raises Interrupted."""
    failures = {}
    for recipe in recipes:
        print(f"\n{recipe.name}", flush=True)
        try:
            builder.build(recipe)
        except StageError as error:
            failures[recipe.name] = str(error)
            print(f"{recipe.name} failed: {error}", flush=True)
    return failures


def report(
    recipes: Sequence[Recipe], failures: Mapping[str, str], reached: Mapping[str, Mapping[str, float]]
) -> tuple[str, bool]:
    """The table of figures, expected beside reached, and whether all models are made and every figure is as expected.

    reached: figures by model, as far as they were measured. A figure above what is expected is good, too.
    """
    lines, good = [("model", "figure", "expected", "reached", "")], not failures
    for recipe in recipes:
        for name, expected in recipe.figures.items():
            value = reached.get(recipe.name, {}).get(name)
            verdict = "failed" if recipe.name in failures else "not measured"
            if value is not None:
                verdict = "as expected" if value >= expected - recipe.tolerance else "TOO LOW"
                good = good and verdict == "as expected"
            lines.append(
                (
                    recipe.name,
                    name,
                    f"{expected:.2f} ± {recipe.tolerance:g}",
                    "" if value is None else f"{value:.2f}",
                    verdict,
                )
            )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    table = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join([table, *(f"{name} failed: {reason}" for name, reason in failures.items())]), good


def choose(recipes: Mapping[str, Recipe], only: Sequence[str]) -> list[Recipe]:
    """The recipes with these names, all for none. Raises UsageError, with a suggestion, for an unknown name."""
    for name in only:
        if name not in recipes:
            raise UsageError(unknown_name("recipe", name, recipes))
    return [recipes[name] for name in only or recipes]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line; `further` are those after --."""
    own, further = list(arguments), []
    if "--" in own:
        own, further = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("places", nargs="*", metavar="NAME=PATH", help="where a capital name of the recipes is")
    option("--data", type=Path, help="a folder of the folders that the recipes name")
    option("--recipes", type=Path, default=models_folder() / "recipes")
    option("--out", type=Path, default=Path("runs/models"))
    option("--only", nargs="+", default=[], metavar="MODEL")
    option("--eval", type=Path, metavar="SETS", help="measure the figures on the sets of this folder")
    given = parser.parse_args(own)
    given.further = further
    return given


def main(arguments: Sequence[str]) -> int:
    """Builds the models and prints the table; the exit code is 3 where a model failed or a figure is too low."""
    given = parse(arguments)
    try:
        recipes = load_recipes(given.recipes)
        chosen = choose(recipes, given.only)
        builder = Builder(recipes, given.out, find_places(given.data, given.places), given.further)
        failures = build_all(chosen, builder)
        reached = {}
        if given.eval is not None:
            from model_figures import measure

            from percept_cli.core.runtime import choose_runtime

            runtime = choose_runtime("cpu", "fp32")
            for recipe in (recipe for recipe in chosen if recipe.name not in failures):
                reached[recipe.name] = measure(builder.folder / recipe.output, given.eval, recipe.figures, runtime)
    except (PerceptError, Interrupted) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return ExitCode.INTERRUPTED
    table, good = report(chosen, failures, reached)
    print(f"\n{table}\nThe files are in {builder.folder}.")
    return ExitCode.OK if good else ExitCode.SOME_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
