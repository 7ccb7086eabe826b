"""The experiment of DeePSiM (Dosovitskiy & Brox 2016): `make bench-deepsim DATA=photos/ HELD_OUT=others/`.

For each layer of a network, photographs that were never trained on are made anew from their features there: by
optimization, by a generator of the image loss alone and by DeePSiM; at one layer also by DeePSiM without each of its
three losses. Prints a table and which parts of the paper's order hold; writes these as results.json, a sheet for each
layer and the pictures themselves. What is finished is not done again: a run that was stopped goes on.

    python bench/deepsim.py --data photos/ --held-out others/ --out results/
    python bench/deepsim.py --data photos/ --held-out others/ --out results/ --extractor squeezenet1_0 --layers fire4,conv10
    python bench/deepsim.py ... -- --learning-rate 1e-3     what follows -- goes to every `percept train-invert`
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from deepsim_cells import METHODS, Experiment, say
from deepsim_order import paper_order
from reconstruction_metrics import mean_pair_distance

from percept_cli.core.data.photos import find_photos, fingerprint, load_square
from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.extractors.geometry import fixed_side, shallow_to_deep
from percept_cli.core.files.atomic import atomic_write_bytes
from percept_cli.core.generators.discriminators import DeepsimDiscriminator
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.measures.comparison import perceptual_layers
from percept_cli.core.pretrained.extractors import create_extractor, parse_named_file
from percept_cli.core.pretrained.files import sha256_of
from percept_cli.core.runtime import Runtime, choose_runtime, seed_everything
from percept_cli.errors import ExitCode, Interrupted, PerceptError, UsageError

LAYERS = {
    "compact": "conv3,conv5,pool5",
    "vgg16": "conv3,conv5",
    "vgg19": "conv3,conv5",
    "alexnet": "conv3,conv5",
    "squeezenet1_0": "fire4,conv10",
    "squeezenet1_1": "fire4,conv10",
}
# compact also compares while DeePSiM trains: as a judge it looks at other layers.
JUDGES_OF_COMPACT = ("relu1_2", "relu3_2", "relu4_2")
assert not set(JUDGES_OF_COMPACT) & set(create_architecture("compact").comparator_layers)

FIGURES = {
    "image_error": "image error",
    "feature_error": "feature error",
    "gradient_energy": "gradient energy",
    "high_frequencies": "high frequencies",
    "perceptual": "perceptual distance",
}


def refuse_trained_on(held_out: Sequence[Path], photos: Sequence[Path]) -> None:
    """Raises UsageError where a held-out photograph is among those trained on, under whatever name."""
    sizes = {path.stat().st_size for path in held_out}
    trained_on = {sha256_of(path): path for path in photos if path.stat().st_size in sizes}
    for path in held_out:
        if (same := trained_on.get(sha256_of(path))) is not None:
            raise UsageError(f"{path} is held out but is also trained on, as {same}: give other photographs.")


def keep_settings(given: argparse.Namespace, photos: Sequence[Path], held_out: Sequence[Path]) -> None:
    """Writes what the cells of a folder must share; raises UsageError where those in it were made otherwise."""
    settings = {
        "extractor": given.extractor, "extractor_weights": Path(given.extractor_weights or "").name,
        "size": given.size, "steps": given.steps, "batch": given.batch, "seed": given.seed, "judge": given.judge,
        "optimize_steps": given.optimize_steps, "train": list(given.train), "data": fingerprint(photos),
        "held_out": fingerprint(held_out),
    }  # fmt: skip
    file = given.out / "settings.json"
    if file.exists():
        before = json.loads(file.read_text())
        other = [
            f"{name} {before.get(name)}, not {value}" for name, value in settings.items() if before.get(name) != value
        ]
        if other:
            raise UsageError(f"{given.out} holds an experiment with {'; '.join(other)}: give another --out.")
    given.out.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(file, json.dumps(settings, indent=1).encode(), overwrite=True)


def prepare(given: argparse.Namespace) -> Experiment:
    """Checks what was given, before any work, and loads the networks. Raises PerceptError."""
    architecture = create_architecture(given.extractor)
    layers = shallow_to_deep(architecture, (given.layers or LAYERS[given.extractor]).split(","))
    given.ablate = layers[len(layers) // 2] if given.ablate is None else given.ablate
    if given.ablate != "none":
        given.ablate = architecture.resolve(given.ablate)
        if given.ablate not in layers:
            raise UsageError(f"--ablate {given.ablate}: give one of --layers, {', '.join(layers)}, or none.")
    photos, held_out = find_photos(given.data), find_photos([given.held_out])[: given.images]
    refuse_trained_on(held_out, photos)
    with torch.device("meta"):
        outline = FeatureExtractor(architecture, layers)
    smallest = max(outline.smallest_side, DeepsimDiscriminator.smallest)
    if given.size < smallest or fixed_side(outline) not in (None, given.size):
        needed = fixed_side(outline) or f"{smallest} or more"
        raise UsageError(f"--size {given.size}: these layers and the discriminator need {needed} pixels.")
    runtime = choose_runtime(given.device, given.precision, given.threads)
    say(runtime.reason)
    originals = torch.cat([load_square(path, given.size) for path in held_out])
    mean_pair_distance(originals)  # which refuses fewer than two
    name, file = parse_named_file("--judge", given.judge)
    taps = JUDGES_OF_COMPACT if name == "compact" else perceptual_layers(create_architecture(name), None)
    exact = Runtime(runtime.device, torch.float32, "")
    judge = exact.freeze(create_extractor(name, taps, file, given.seed, say))

    # One for each layer, as in training: random weights are drawn in the order of the layers.
    def networks(precision: Runtime) -> dict[str, FeatureExtractor]:
        weights, seed = given.extractor_weights, given.seed
        return {tap: precision.freeze(create_extractor(given.extractor, [tap], weights, seed, say)) for tap in layers}

    searched, measured = networks(runtime), networks(exact)
    keep_settings(given, photos, held_out)
    names = [f"{number:03d}-{path.stem}.png" for number, path in enumerate(held_out, start=1)]
    return Experiment(given, layers, names, originals, runtime, searched, measured, judge)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """The figures in Markdown."""
    lines = [f"| layer | method | {' | '.join(FIGURES.values())} |", f"|---|---|{'---|' * len(FIGURES)}"]
    for row in rows:
        figures = " | ".join(f"{row[name]:.3f}" for name in FIGURES)
        lines.append(f"| `{row['layer']}` | {METHODS[str(row['method'])][0]} | {figures} |")
    return "\n".join(lines)


def run_experiment(experiment: Experiment) -> None:
    """Every cell, layer by layer; the table, the order and the files after each layer's last cell."""
    given, rows = experiment.given, []
    for layer in experiment.layers:
        rows += [experiment.cell(layer, method) for method in experiment.methods(layer)]
        save_image(Photo(experiment.sheet(layer)), given.out / f"{layer}.png")
    order = paper_order(rows, experiment.layers)
    results = {
        "settings": json.loads((given.out / "settings.json").read_text()), "images": len(experiment.names),
        "judge": f"{experiment.judge.architecture.name} {', '.join(experiment.judge.layers)}",
        "rows": rows, "order": [claim.as_fields() for claim in order],
    }  # fmt: skip
    atomic_write_bytes(given.out / "results.json", json.dumps(results, indent=1).encode(), overwrite=True)
    print(table(rows))
    print(
        f"\n{len(experiment.names)} photographs that were not trained on, {given.size}x{given.size} pixels. Errors: 1 is "
        "as far as another photograph is. Gradient energy,\nhigh frequencies: 1 is that of the photographs. Perceptual "
        f"distance by {results['judge']}.\n"
    )
    print("\n".join(map(str, order)))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, and after `--` those of `percept train-invert`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--data", type=Path, action="append", required=True, help="folder to train on; may be given again")
    option("--held-out", type=Path, required=True, help="folder of other photographs, to measure on")
    option("--out", type=Path, required=True, help="folder for models, pictures, sheets and results.json")
    option("--extractor", choices=LAYERS, default="compact")
    option("--extractor-weights", metavar="FILE|random")
    option("--layers", metavar="L1,L2,...", help=f"default: {LAYERS['compact']} of compact, fire4,conv10 of SqueezeNet")
    option("--ablate", metavar="LAYER|none", help="where each loss is left out; default: the middle one of the layers")
    option("--images", type=int, default=16, help="most held-out photographs")
    option("--judge", metavar="NAME[=FILE]", default="compact", help="extractor of the perceptual distance")
    option("--size", type=int, default=64, help="side of crops and of held-out squares, pixels")
    option("--steps", type=int, default=1500, help="of each training")
    option("--batch", type=int, default=8)
    option("--optimize-steps", type=int, default=200, help="of each optimization")
    option("--seed", type=int, default=0)
    option("--device", default="auto")
    option("--precision", default="auto")
    option("--threads", type=int)
    own, separator, train = list(arguments), "--" in arguments, []
    if separator:
        own, train = own[: own.index("--")], own[own.index("--") + 1 :]
    given = parser.parse_args(own)
    given.train = tuple(train)
    return given


def main(arguments: Sequence[str]) -> int:
    """Runs the experiment; the exit code of percept's commands."""
    given = parse(arguments)
    try:
        seed_everything(given.seed)
        run_experiment(prepare(given))
    except (PerceptError, Interrupted) as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
        return ExitCode.INTERRUPTED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
