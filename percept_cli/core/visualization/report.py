"""An HTML page about a model: samples of its results, figures, frequencies, speed, training and recipe."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from percept_cli.core.drawing import page as html
from percept_cli.core.drawing.plots import check_matplotlib, render
from percept_cli.core.images.decode import load_image
from percept_cli.core.measures.comparison import Comparison, mean_figures
from percept_cli.core.measures.spectrum import THRESHOLD, Peak, log_power, spectrum_side
from percept_cli.core.pretrained.files import sha256_of
from percept_cli.core.pretrained.generators import LoadedGenerator
from percept_cli.core.pretrained.manifest import Model, shipped_models
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.runs.previews import preview_steps
from percept_cli.core.visualization.history import TOTAL, History, part_plot
from percept_cli.core.visualization.spectrum import Spectrum, prominent, spectrum_plot
from percept_cli.core.visualization.trial import Measured, Trial, frequency_scale
from percept_cli.errors import UsageError

LONGEST_VALUE = 2000  # characters of an entry of a file's metadata
DEEPEST_ENTRY = 4
PLOT_WIDTH = 5.6  # hundreds of pixels
STRIDES = "Strides and enlarging leave patterns that repeat every few pixels: points that stand out of a spectrum."


def report_page(
    trial: Trial, path: Path, measured: Sequence[Measured], comparison: Comparison, speed: str, history: History | None
) -> str:
    """The page as HTML. path: of the model's file. speed: a sentence. history: of the training, None where unknown."""
    loaded = trial.loaded
    shipped = next((model for model in shipped_models().values() if model.path == path), None)
    description = shipped.description if shipped else loaded.note
    summary = f"{trial.role.capitalize()}, architecture {loaded.architecture or 'unknown'}"
    parts = [
        _samples(trial, measured),
        _figures(trial, measured, comparison),
        _frequencies(trial, measured),
        html.section("Speed", [html.paragraph(speed)]),
        _training(history),
        html.section("Recipe", [html.table((), _facts(loaded, path, shipped), "Recipe")]),
    ]
    return html.page(f"{loaded.name}: report", f"{summary}. {description}" if description else summary, parts)


def report_records(trial: Trial, measured: Sequence[Measured]) -> list[dict[str, object]]:
    """A row for every photograph, size and picture, with its figures and the number of patterns in its spectrum."""
    rows: list[dict[str, object]] = []
    for each in measured:
        for picture, figures, peaks in (
            (trial.before, each.before, each.peaks_before),
            (trial.after, each.after, each.peaks_after),
        ):
            rows.append(
                {"photograph": each.sample.photo, "size": each.sample.size, "picture": picture, **figures,
                 "patterns": len(prominent(peaks)) if peaks else None}
            )  # fmt: skip
    return rows


def speed_sentence(megapixels: float, runtime: Runtime) -> str:
    """A sentence about a speed in megapixels of the result per second."""
    where = f"on {runtime.device} in {runtime.precision}"
    if runtime.device.type == "cpu":
        where += f", {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    return f"{megapixels:.2f} megapixels of the result a second, {where}, the median of runs on one picture."


def _samples(trial: Trial, measured: Sequence[Measured]) -> str:
    notes = {
        "style": "The photograph on the left of the line, restyled on its right.",
        "upscaler": "The photograph was shrunk; on the left of the line the small picture enlarged by bicubic "
        f"interpolation, on its right {trial.scale} times by the model.",
        "translation": "The photograph on the left of the line, what it is translated to on its right.",
        "inverter": "The photograph on the left of the line, on its right what the model makes of its features.",
        "autoencoder": "The photograph on the left of the line, on its right what its code gives back.",
    }
    parts: list[str] = []
    for name in dict.fromkeys(each.sample.photo for each in measured):
        parts.append(html.subheading(name))
        samples = [each.sample for each in measured if each.sample.photo == name]
        shots = []
        for sample in sorted(samples, key=lambda sample: -sample.after.numel()):
            subject = f"{name}, {sample.size} pixels"
            left = html.Shot(trial.before, sample.before, f"{subject}, {trial.before}")
            right = html.Shot(trial.after, sample.after, f"{subject}, {trial.after} by {trial.loaded.name}")
            shots.append(html.swipe([left, right], f"{sample.size} pixels"))
        parts.append(html.in_row(shots))
    note = notes[trial.role]
    if trial.damage:
        kind, amount = trial.damage
        note = (
            f"The photograph was damaged ({kind}, {amount:g}) as seen on the left of the line; restored on its right."
        )
    return html.section("Samples", parts, [note])


def _figures(trial: Trial, measured: Sequence[Measured], comparison: Comparison) -> str:
    names = comparison.figures
    rows = []
    # By short side, which may be that of a small photograph itself.
    by_side: dict[int, list[Measured]] = {}
    for each in measured:
        by_side.setdefault(min(each.sample.after.shape[-2:]), []).append(each)
    for side, group in sorted(by_side.items()):
        pictures = {trial.after: [each.after for each in group]}
        if trial.restores:
            pictures = {trial.before: [each.before for each in group], **pictures}
        for label, figures in pictures.items():
            means = mean_figures(figures)
            cells = [f"{means[name]:.4g}" if name in means else "–" for name in names]
            rows.append([f"{side} pixels, {label}", str(len(group)), *cells])
    against = {
        "style": "against the photograph: how much of it is left, of which a style should change some",
        "upscaler": "against the photograph as it was before it was shrunk",
    }.get(trial.role, "against the photograph as it was" if trial.damage else "against the photograph")
    details = [f"{reason}." for reason in comparison.omitted.values()]
    details += [f"{name}: {text}" for name, text in comparison.protocol.items()]
    table = html.table(("short side", "photographs", *names), rows, "Figures by size")
    return html.section(
        "Figures",
        [table, *(html.paragraph(line, "note") for line in details)],
        [f"Means over the photographs, {against}. As percept compare takes them."],
    )


def _frequencies(trial: Trial, measured: Sequence[Measured]) -> str:
    scale = frequency_scale(trial)
    with_peaks = [each for each in measured if each.peaks_after]
    rows = [
        [f"{each.sample.photo}, {each.sample.size}", _count(each.peaks_before), _count(each.peaks_after),
         f"{max(0.0, *(peak.height for peak in each.peaks_after)):.1f}"]
        for each in with_peaks
    ]  # fmt: skip
    note = (
        f"{STRIDES} Counted are the frequencies of periods up to {scale} pixels that stand out by {THRESHOLD:g} dB or "
        "more; a photograph by itself gives none."
    )
    if not rows:
        return html.section("Frequencies", [html.paragraph("The pictures are too small for a spectrum.")], [note])
    columns = ("picture", trial.before, trial.after, "highest, dB")
    table = html.table(columns, rows, "Checkerboard patterns")
    largest = max(with_peaks, key=lambda each: each.sample.after.numel())
    sample = largest.sample
    spectra = [
        Spectrum(name, log_power(pixels, spectrum_side(pixels, scale)).numpy(), peaks)
        for name, pixels, peaks in (
            (trial.before, sample.before, largest.peaks_before),
            (trial.after, sample.after, largest.peaks_after),
        )
    ]
    try:
        check_matplotlib()
    except UsageError as error:
        return html.section("Frequencies", [table, html.paragraph(str(error), "note")], [note])
    # One figure, so that both have the same color scale.
    plot = replace(spectrum_plot(spectra, scale, "", width=2 * PLOT_WIDTH), notes=())
    alt = f"Log power spectra of {sample.photo} at {sample.size} pixels, " + ", ".join(
        f"{each.name}: {len(each.patterns)} of {len(each.peaks)} frequencies stand out" for each in spectra
    )
    drawn = html.picture(render(plot), alt, quality=html.LOSSLESS)
    return html.section("Frequencies", [table, html.scrolled(drawn, "Power spectra")], [note])


def _training(history: History | None) -> str:
    if history is None:
        return html.section("Training", [html.paragraph("No log of its training lies beside the file.")])
    parts: list[str] = []
    if history.preview is not None:
        strip = load_image(history.preview).pixels
        alt = f"What a photograph became during training, up to step {history.steps[-1]}"
        steps = ", ".join(f"step {step}" if step else "photograph" for step in preview_steps(history.preview))
        caption = f"From left to right: {steps}." if steps else "From left to right, the photograph first."
        parts.append(html.scrolled(html.captioned(html.picture(strip, alt), caption), "Previews of the training"))
    try:
        check_matplotlib()
    except UsageError as error:
        return html.section("Training", [*parts, html.paragraph(str(error), "note")])
    curves = []
    for part, values in history.parts.items():
        name = "total loss" if part == TOTAL else part
        alt = f"{name} over {len(history.steps)} steps, from {values[0]:.3g} to {values[-1]:.3g}"
        plot = part_plot(history, part, PLOT_WIDTH)
        curves.append(html.picture(render(plot), alt, quality=html.LOSSLESS, kind="drawing"))
    note = f"{history.steps[-1]} steps. Weighted parts of the loss at every step, faint, and their running mean."
    return html.section("Training", [*parts, html.beside(curves)], [note])


def _facts(loaded: LoadedGenerator, path: Path, shipped: Model | None) -> list[tuple[str, str]]:
    """The known facts about a model and its training, as names and values."""
    facts: list[tuple[str, str]] = [
        ("file", f"{path.name}, {path.stat().st_size / 1e6:.2f} MB"),
        ("sha256", sha256_of(path)),
        ("architecture", loaded.architecture or "unknown"),
        ("parameters", f"{sum(values.numel() for values in loaded.network.parameters()):,}"),
    ]
    if shipped:
        facts += [("licence", shipped.licence), ("trained on", shipped.trained_on), ("command", shipped.command)]
        facts += [(f"measured {name}", f"{value:g}") for name, value in shipped.figures.items()]
    for key in sorted(loaded.metadata.keys() - {"role", "architecture"}):
        # The recipe repeats facts of other entries.
        facts += [fact for fact in _flattened(key, loaded.metadata[key]) if fact not in facts]
    if not shipped and not loaded.metadata:
        facts.append(("recipe", "The file does not say how it was trained."))
    return [(name, value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]} …") for name, value in facts]


def _flattened(key: str, text: str) -> Iterable[tuple[str, str]]:
    """An entry of a file's metadata, JSON objects by key: `training: {"steps": 5}` becomes `training.steps: 5`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return _entries(key, value)


def _entries(name: str, value: object, depth: int = 0) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value and depth < DEEPEST_ENTRY:
        for key, inner in value.items():
            yield from _entries(f"{name}.{key}".removeprefix("recipe."), inner, depth + 1)
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    else:
        yield name, str(value)


def _count(peaks: Sequence[Peak]) -> str:
    return f"{len(prominent(peaks))} of {len(peaks)}"
