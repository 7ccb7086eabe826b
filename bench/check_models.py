"""Checks the shipped models against the manifest, and the manifest against the recipes: `make models-check`.

    python bench/check_models.py                  files, checksums, commands, data and expected figures
    python bench/check_models.py --eval SETS      also measures the PSNR of every upscaler again (minutes)

SETS is a folder of Set5/x4/HR, Set5/x4/LR, BSD100/x4/HR and so on. What is wrong is printed, a line each; the exit code is
then 1.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from model_figures import measure
from model_recipes import Recipe, load_recipes, makers_of

from percept_cli.core.pretrained.files import sha256_of
from percept_cli.core.pretrained.manifest import Model, models_folder, shipped_models
from percept_cli.core.runtime import Runtime, choose_runtime
from percept_cli.errors import PerceptError

MEASURED = 0.02  # dB, between two processors on the same weights; bf16 moves a figure by less than 0.01


def check_files(models: Mapping[str, Model], folder: Path) -> list[str]:
    """What is wrong with the files of a folder by the manifest, a sentence each."""
    problems = []
    for model in models.values():
        path = folder / model.file
        if not path.is_file():
            problems.append(f"{model.name}: {path} does not exist")
        elif sha256_of(path) != model.sha256:
            problems.append(f"{model.name}: the sha256 of {model.file} is {sha256_of(path)}, not that of the manifest")
    entries = {model.file for model in models.values()}
    problems += [
        f"{path.name} has no entry" for path in sorted(folder.glob("*.safetensors")) if path.name not in entries
    ]
    return problems


def check_recipes(models: Mapping[str, Model], recipes: Mapping[str, Recipe]) -> list[str]:
    """Where the manifest's upscalers and the recipes differ, a sentence each."""
    upscalers = {name: model for name, model in models.items() if model.role == "upscaler"}
    problems = [f"{name} has no recipe" for name in upscalers if name not in recipes]
    problems += [f"{name} has a recipe and no entry" for name in recipes if name not in upscalers]
    made = makers_of(recipes)
    for name in [name for name in upscalers if name in recipes]:
        problems += [f"{name}: {problem}" for problem in compare(upscalers[name], recipes[name])]
        inputs = dict.fromkeys(each for stage in recipes[name].stages for each in stage.inputs)
        problems += [f"{name}: {each} is written by no stage of any recipe" for each in inputs if each not in made]
    return problems


def compare(model: Model, recipe: Recipe) -> list[str]:
    """What the manifest states otherwise than the recipe, each with what it should be."""
    problems = []
    for field in ("command", "trained_on"):
        if (wanted := getattr(recipe, field)) != getattr(model, field):
            problems.append(f"the manifest's {field} is not the recipe's, which is\n    {field} = \"{wanted}\"")
    for name, expected in recipe.figures.items():
        if name not in model.figures:
            problems.append(f"the manifest has no {name}, of which the recipe expects {expected:g}")
        elif not abs(model.figures[name] - expected) <= recipe.tolerance:
            problems.append(
                f"the manifest's {name} is {model.figures[name]:g}, the recipe expects {expected:g} ± {recipe.tolerance:g}"
            )
    return problems


def check_figures(models: Mapping[str, Model], folder: Path, evaluation: Path, runtime: Runtime) -> list[str]:
    """Measures the upscalers again; prints each figure, and returns those that differ from the manifest's."""
    problems = []
    for model in models.values():
        if model.role != "upscaler":
            continue
        measured = measure(folder / model.file, evaluation, model.figures, runtime)
        for name in (name for name in model.figures if name.endswith("_psnr")):
            if name not in measured:
                print(f"{model.name}  {name}  not measured: {evaluation} has no folder of it")
                continue
            print(
                f"{model.name}  {name}  manifest {model.figures[name]:.4f}  measured {measured[name]:.4f}", flush=True
            )
            if not abs(measured[name] - model.figures[name]) <= MEASURED:
                problems.append(
                    f"{model.name}: {name} is {measured[name]:.4f}, the manifest states {model.figures[name]:.4f}"
                )
    return problems


def main(arguments: Sequence[str]) -> int:
    """Prints what is wrong; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--eval", type=Path, metavar="SETS", help="measure the figures again on the sets of this folder"
    )
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    folder = models_folder()
    models = shipped_models()
    try:
        problems = check_files(models, folder) + check_recipes(models, load_recipes(folder / "recipes"))
        if given.eval is not None:
            problems += check_figures(models, folder, given.eval, choose_runtime("cpu", "fp32", given.threads))
    except PerceptError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for problem in problems:
        print(problem)
    print(f"{len(models)} models: " + (f"{len(problems)} problems" if problems else "all as stated"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
