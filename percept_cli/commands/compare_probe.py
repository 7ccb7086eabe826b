"""`percept compare --probe`: codes and layers compared by the accuracy of a linear classifier on them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from percept_cli import options
from percept_cli.console import Console, Failures

if TYPE_CHECKING:
    import torch

    from percept_cli.core.generators.autoencoder import Autoencoder
    from percept_cli.core.measures.probe import PooledRows, ProbeResult
    from percept_cli.core.runtime import Runtime


def compare_probe(
    folder: Path,
    models: Sequence[str],
    source: options.ExtractorSource,
    layers: Sequence[str] | None,
    size: int | None,
    folds: int | None,
    seed: int,
    compute: options.ExactCompute,
    console: Console,
) -> None:
    """Reports the accuracy of a linear classifier on pixels, on codes of autoencoders and on layers of the extractor.

    layers: None for the extractor's own layers, or for no layer where `models` are given. Raises UsageError for a folder
    that cannot be probed, typer.Exit with 3 where some of its files cannot be read.
    """
    from percept_cli.core.files.folders import USUAL_FOLDS, check_folds, find_labeled
    from percept_cli.errors import ExitCode, ImageError, MemoryShortage

    count = folds or USUAL_FOLDS
    found = find_labeled(folder)
    check_folds(found.classes, count)
    if found.unlabeled:
        console.warn(f"files in {folder} itself, in no folder of a class, have none: {len(found.unlabeled)} left out")

    # Only now the slow imports, so that a wrong folder is refused at once.
    from percept_cli.core.extractors.geometry import choose_side
    from percept_cli.core.images.decode import load_image
    from percept_cli.core.images.photo import middle_square
    from percept_cli.core.measures import probe
    from percept_cli.core.measures.comparison import perceptual_layers
    from percept_cli.core.runtime import BYTES_PER_PIXEL, memory_errors, size_advice

    chosen = source.choose()
    taps = perceptual_layers(chosen.architecture, layers) if layers or not models else ()
    side = size or probe.USUAL_SIDE
    if taps:
        side = choose_side(chosen.architecture, taps, size, probe.USUAL_SIDE, console.say)
    probe.check_scikit_learn()
    runtime = compute.runtime(console.say)
    autoencoders = _load_autoencoders(models, runtime)
    extractor = runtime.freeze(chosen.create(taps, seed, console.say)) if taps else None
    table = {name: probe.PooledRows() for name in ("pixels", *autoencoders, *taps)}

    failures = Failures(console)
    for place, reason in found.unreadable.items():
        failures.add(place, reason)
    classes: list[str] = []
    waiting: list[torch.Tensor] = []
    with (
        console.progress(len(found.files), "picture") as progress,
        memory_errors(
            f"{probe.BATCH} pictures of {side}x{side}",
            size_advice(
                side, side, probe.BATCH * BYTES_PER_PIXEL, runtime.device, extractor.smallest_side if extractor else 1
            ),
        ),
    ):
        for path, name in zip(found.files, found.classes, strict=True):
            try:
                with memory_errors(str(path), "Shrink it first"):
                    waiting.append(middle_square(load_image(path).visible(), side))
                classes.append(name)
            except (ImageError, MemoryShortage) as error:
                failures.add(path, str(error))
            if len(waiting) == probe.BATCH:
                probe.describe_pictures(waiting, table, autoencoders, extractor, runtime)
                waiting.clear()
            progress.advance(1)
        if waiting:
            probe.describe_pictures(waiting, table, autoencoders, extractor, runtime)
    check_folds(classes, count)

    split = f"{count} stratified folds, seed {seed}; each is classified by what the others teach"
    report = _Report(console, classes, f"middle squares of {side}x{side} pixels", split, table)
    with console.progress(len(table), "probe") as progress:
        for name, rows in table.items():
            report.row(name, probe.probe(rows.values, classes, count, seed))
            progress.advance(1)
    if failures.inputs:
        total = len(found.files) + len(found.unreadable)
        console.error(f"{len(failures.inputs)} of {total} pictures could not be read and were left out")
        raise typer.Exit(ExitCode.SOME_FAILED)


def _load_autoencoders(models: Sequence[str], runtime: "Runtime") -> "dict[str, Autoencoder]":
    """The autoencoders by the names of their codes: `code of STEM`, or of the whole path where two stems are equal."""
    from percept_cli.core.generators.autoencoder import Autoencoder
    from percept_cli.core.pretrained.generators import load_generator

    autoencoders: dict[str, Autoencoder] = {}
    stems = Counter(Path(given).stem for given in set(models))
    for given in dict.fromkeys(models):
        network = runtime.place_network(load_generator(given, "autoencoder").network)
        assert isinstance(network, Autoencoder)
        stem = Path(given).stem
        autoencoders[f"code of {stem if stems[stem] == 1 else given}"] = network
    return autoencoders


class _Report:
    """Prints the share of the largest class, then a row for each kind of features; the protocol as details."""

    def __init__(
        self, console: Console, classes: Sequence[str], squares: str, split: str, table: "Mapping[str, PooledRows]"
    ):
        self.console, self.counts, self.table = console, dict(Counter(classes)), table
        self.total, self.largest = len(classes), max(self.counts.values())
        self.protocol = {
            "pictures": f"{self.total} of {len(self.counts)} classes, {squares}",
            "classes": ", ".join(f"{name} {number}" for name, number in self.counts.items()),
            "classifier": "ridge regression of one-hot classes on standardized values, its penalty by leave-one-out",
            "split": split,
            "chance": "the share of the largest class; ±: standard error",
        }
        for subject, text in self.protocol.items():
            console.detail(f"{subject}: {text}")
        if console.as_json:
            return
        console.figures(self._line("", "values", "correct", "accuracy"))
        chance = f"{100 * self.largest / self.total:5.1f} %"
        console.figures(self._line("chance", "", f"{self.largest} of {self.total}", chance))

    def row(self, name: str, result: "ProbeResult") -> None:
        """Prints the result of one kind of features."""
        rows, correct = self.table[name], sum(result.correct.values())
        accuracy = f"{100 * result.accuracy:5.1f} % ± {100 * result.standard_error:.1f}"
        self.console.figures(
            self._line(name, self._shape(rows), f"{correct} of {self.total}", accuracy), features=name, status="done",
            shape=rows.shape, pooled=rows.pooled, accuracy=round(result.accuracy, 5),
            standard_error=round(result.standard_error, 5), chance=round(self.largest / self.total, 5),
            correct=correct, pictures=self.total, correct_by_class=result.correct, classes=self.counts,
            protocol=self.protocol,
        )  # fmt: skip

    def _line(self, name: str, shape: str, correct: str, accuracy: str) -> str:
        names, shapes = [*self.table, "chance"], [self._shape(rows) for rows in self.table.values()]
        count = len(f"{self.total} of {self.total}")
        parts = name.ljust(max(map(len, names))), shape.ljust(max(map(len, shapes))), correct.rjust(max(count, 7))
        return "  ".join((*parts, accuracy))

    @staticmethod
    def _shape(rows: "PooledRows") -> str:
        text, kept = ("x".join(map(str, each)) for each in (rows.shape, rows.pooled))
        return text if text == kept else f"{text} as {kept}"
