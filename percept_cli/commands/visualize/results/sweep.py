"""What `percept visualize sweep` and `percept train style --preview` share: one photograph restyled in many ways."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from percept_cli.console import Console

if TYPE_CHECKING:
    from torch import Tensor

    from percept_cli.core.optimization.style_transfer import StyleOptions
    from percept_cli.core.runtime import Runtime
    from percept_cli.core.visualization.sweep import Setting
from typing import Annotated

import typer

from percept_cli import options
from percept_cli.commands.visualize.picture import Numbers, Picture

SIDE = 192  # pixels, the short side of each picture
STEPS = 60
# What a preview of a training tries, times what was asked for.
WEIGHTS, SIZES = (0.3, 1.0, 3.0), (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Swept:
    """One picture (1, 3, H, W) in [0, 1] of a sweep, and the loss it ended with by part, as it was weighted."""

    image: "Tensor"
    parts: dict[str, float]


def sweep_optimized(
    pixels: "Tensor",
    settings: Sequence[Sequence["Setting"]],
    styles: Sequence[Path],
    base: "StyleOptions",
    runtime: "Runtime",
    console: Console,
    *,
    extractor: str,
    extractor_weights: str | None = None,
) -> list[list[Swept]]:
    """A photograph (1, 3, H, W) in [0, 1] optimized with every setting, else as `base` says.

    Settings that differ in `strength` alone are optimized once. Raises UsageError for a layer or a style that is not there.
    """
    from percept_cli.core.extractors import create_architecture
    from percept_cli.core.inference.restyle import finish
    from percept_cli.core.losses.style import load_styles, style_taps
    from percept_cli.core.optimization.style_transfer import optimize_style
    from percept_cli.core.pretrained.extractors import create_extractor
    from percept_cli.core.runtime import memory_errors

    fields = {
        "style-weight": "style_weight", "content-weight": "content_weight", "tv-weight": "tv_weight",
        "style-size": "style_size", "loss": "loss", "init": "init", "steps": "steps",
    }  # fmt: skip

    def chosen(setting: "Setting") -> "StyleOptions":
        asked = replace(base, **{fields[name]: value for name, value in setting.items() if name in fields})  # type: ignore[arg-type]
        content, style = (
            [part.strip() for part in str(setting.get(name, "")).split("+") if part.strip()]
            for name in ("content-layers", "style-layers")
        )
        content_taps, style_layer_taps = style_taps(
            create_architecture(extractor), content or base.content_layers, style or base.style_layers, asked.loss
        )
        return replace(asked, content_layers=content_taps, style_layers=style_layer_taps)

    def key(setting: "Setting") -> tuple[tuple[str, object], ...]:
        return tuple((name, value) for name, value in setting.items() if name != "strength")

    different = {key(setting): setting for row in settings for setting in row}
    options = {each: chosen(setting) for each, setting in different.items()}
    files = {
        each: [Path(str(setting["style"]))] if "style" in setting else styles for each, setting in different.items()
    }
    pictures = {each: load_styles(files[each], options[each].style_size) for each in different}
    taps = [layer for each in options.values() for layer in (*each.content_layers, *each.style_layers)]
    frozen = runtime.freeze(create_extractor(extractor, taps, extractor_weights, base.seed, console.say))
    found: dict[tuple[tuple[str, object], ...], Swept] = {}
    total = sum(each.steps for each in options.values())
    with (
        console.progress(total, "step") as progress,
        memory_errors(f"{pixels.shape[-1]}x{pixels.shape[-2]} pixels"),
    ):
        for each in different:
            for step in optimize_style(pixels, pictures[each], frozen, runtime, options[each]):
                progress.advance(1, {"loss": step.total})
            found[each] = Swept(step.image.cpu(), step.parts)

    def picture(setting: "Setting") -> Swept:
        swept = found[key(setting)]
        return replace(
            swept, image=finish(swept.image, pixels, strength=float(setting.get("strength", 1)), keep_colors=False)
        )

    return [[picture(setting) for setting in row] for row in settings]


def sweep_models(
    pixels: "Tensor", settings: Sequence[Sequence["Setting"]], model: str | None, runtime: "Runtime", console: Console
) -> list[list[Swept]]:
    """A photograph (1, 3, H, W) in [0, 1] restyled by every model, each run once. Raises as `load_generator` does."""
    import torch

    from percept_cli.core.inference.restyle import finish
    from percept_cli.core.inference.run import run_generator
    from percept_cli.core.pretrained.generators import load_generator
    from percept_cli.core.runtime import memory_errors

    names = list(dict.fromkeys(str(setting.get("model", model)) for row in settings for setting in row))
    generators = {name: runtime.place_network(load_generator(name, "style").network) for name in names}
    with (
        console.progress(len(names), "model") as progress,
        memory_errors(f"{pixels.shape[-1]}x{pixels.shape[-2]} pixels"),
        torch.inference_mode(),
    ):
        restyled = {}
        for name, generator in generators.items():
            restyled[name] = run_generator(generator, pixels, runtime)
            progress.advance(1)
        return [
            [
                Swept(
                    finish(
                        restyled[str(setting.get("model", model))], pixels,
                        strength=float(setting.get("strength", 1)), keep_colors=False,
                    ),
                    {},
                )
                for setting in row
            ]
            for row in settings
        ]  # fmt: skip


def preview_style(
    photo: Path,
    styles: Sequence[Path],
    output: Path,
    base: "StyleOptions",
    runtime: "Runtime",
    console: Console,
    *,
    extractor: str,
    extractor_weights: str | None,
    overwrite: bool,
) -> None:
    """Writes `OUTPUT.preview.png`: a photograph optimized with style weights and style sizes about those of `base`.

    Raises UsageError where it exists, unless `overwrite`, and ImageError for a photograph that cannot be read.
    """
    from percept_cli.commands.visualize.picture import load_subject, plan_picture, write_picture
    from percept_cli.core.losses.style import load_styles
    from percept_cli.core.visualization.sweep import GIVEN, Axis, settings, sweep_sheet

    place = output.with_name(f"{output.stem}.preview.png")
    job = plan_picture(
        photo.stem, "preview", str(place), sources=[photo, *styles], overwrite=overwrite, skip_existing=False
    )
    rows = Axis("style-weight", tuple(dict.fromkeys(float(f"{base.style_weight * factor:.3g}") for factor in WEIGHTS)))
    columns = Axis("style-size", tuple(dict.fromkeys(max(32, round(base.style_size * factor)) for factor in SIZES)))
    subject = load_subject(photo, SIDE, console)
    swept = sweep_optimized(
        subject.pixels, settings(rows, columns), styles, base, runtime, console, extractor=extractor,
        extractor_weights=extractor_weights,
    )  # fmt: skip
    given = [(photo.name, subject.pixels)]
    given += [(path.name, picture) for path, picture in zip(styles, load_styles(styles, GIVEN), strict=True)]
    notes = [
        f"optimized on {extractor}, {base.steps} steps; {'; '.join(subject.notes)}. A training lowers the same loss; "
        "strokes keep their size in pixels, so on larger photographs they look smaller."
    ]
    pictures = [[each.image for each in row] for row in swept]
    title = f"Before training {output.name}: which style weight and size?"
    write_picture(sweep_sheet(title, notes, given, rows, columns, pictures), job, console, preview=str(place))
    named = " ".join(f"--style {path}" for path in styles)
    console.say(
        f"nothing was trained; with what you choose: percept train style {named} --style-weight W --style-size N"
    )


def sweep(
    image: Annotated[
        Path | None, typer.Argument(metavar="IMAGE", help="A photograph. Default: one of scikit-image's.")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=A,B,...",
            help="With --style: style-weight, content-weight, tv-weight, style-size, style-layers and content-layers (each "
            "joined by +), loss, init, steps, strength, style. Of trained ones: model, strength.",
        ),
    ] = None,
    columns: Annotated[str | None, typer.Option(metavar="NAME=A,B,...", help="Another of these.")] = None,
    style: Annotated[list[Path] | None, typer.Option("--style", help="The style; several are blended.")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="A trained style instead.")] = None,
    output: Picture = None,
    size: Annotated[
        int, typer.Option(min=16, help="Short side of each picture, pixels; strokes keep theirs, and so look larger.")
    ] = SIDE,
    steps: Annotated[
        int | None, typer.Option(min=1, help=f"With --style: updates a picture. Default: {STEPS}.")
    ] = None,
    data: Numbers = None,
    quality: options.Quality = 95,
    extractor: options.Extractor = "compact",
    extractor_weights: options.ExtractorWeights = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    show: options.Show = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """One photograph restyled in a grid over two options of percept stylize, with the values along its edges.

    percept visualize sweep photo.jpg --style painting.jpg --rows style-weight=0.3,1,3 --columns style-size=128,256

    percept visualize sweep photo.jpg --rows model=wave,udnie --columns strength=0.3,0.6,1

    percept visualize sweep photo.jpg --style painting.jpg --rows loss=gram,contextual --columns content-layers=relu2_2,relu3_3
    """
    from percept_cli.commands.visualize.picture import (
        choose_photo,
        load_subject,
        plan_numbers,
        plan_picture,
        report_skipped,
        write_numbers,
        write_picture,
    )
    from percept_cli.console import Console
    from percept_cli.errors import refuse_options

    console = Console(quiet, json)

    from percept_cli.core.visualization.sweep import check_axes, parse_axis, settings

    down, across = parse_axis("--rows", rows), parse_axis("--columns", columns)
    trained = check_axes(down, across, style=bool(style), model=model is not None)
    if trained:
        refuse_options({"--steps": steps}, "A trained model is not optimized")
    if "steps" in (down.name, across.name):
        refuse_options({"--steps": steps}, "steps is an axis already")
    photo = choose_photo(image, console)
    sources = [photo, *(style or [])]
    existing = {"overwrite": overwrite, "skip_existing": skip_existing}
    job = plan_picture(photo.stem, "sweep", output, sources=sources, **existing)
    numbers = plan_numbers(data, sources, **existing)
    if report_skipped(job, console):
        return

    pass
    from percept_cli.core.losses.style import load_styles
    from percept_cli.core.measures.pixels import image_error
    from percept_cli.core.optimization.style_transfer import StyleOptions
    from percept_cli.core.pretrained.extractors import named_extractor
    from percept_cli.core.runtime import choose_runtime
    from percept_cli.core.visualization.sweep import GIVEN, sweep_sheet

    asked = settings(down, across)
    subject = load_subject(photo, size, console)
    runtime = choose_runtime(device, precision, threads)
    console.say(runtime.reason)
    if trained:
        swept = sweep_models(subject.pixels, asked, model, runtime, console)
        how = f"model {model}; " if model else ""
    else:
        extractor, extractor_weights = named_extractor(extractor, extractor_weights)
        base = StyleOptions(steps=steps or STEPS, seed=seed)
        swept = sweep_optimized(
            subject.pixels, asked, style or [], base, runtime, console, extractor=extractor,
            extractor_weights=extractor_weights,
        )  # fmt: skip
        how = f"optimized on {extractor}" + (
            f", {base.steps} steps; " if "steps" not in (down.name, across.name) else "; "
        )
    given = [(photo.name, subject.pixels)]
    given += [(path.name, picture) for path, picture in zip(style or [], load_styles(style or [], GIVEN), strict=True)]
    notes = [f"{how}{'; '.join(subject.notes)}; what is not on an axis is as percept stylize has it"]
    picture = sweep_sheet(
        f"Sweep of {photo.name}", notes, given, down, across, [[each.image for each in row] for row in swept]
    )
    records = [
        {**setting, "difference": image_error(each.image, subject.pixels), **each.parts}
        for settings_row, row in zip(asked, swept, strict=True)
        for setting, each in zip(settings_row, row, strict=True)
    ]
    write_picture(
        picture, job, console, quality=quality, show=show, rows=down.name, columns=across.name, pictures=len(records)
    )
    write_numbers(records, numbers)
