"""`percept upscale`: photographs enlarged by a trained network."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options, parsing
from percept_cli.conditions import EffectIf, refuse
from percept_cli.core.images.tiles import OFF
from percept_cli.core.inference.compression import FILE, PIXELS, Compression, find_compression, parse_compression
from percept_cli.core.pretrained.manifest import LOOKS
from percept_cli.errors import UsageError, VerificationError
from percept_cli.precedence import OneOf

if TYPE_CHECKING:
    from percept_cli.console import Console
    from percept_cli.core.files.outputs import Job
    from percept_cli.core.images.photo import Photo
    from percept_cli.core.inference.upscale import TileStep
    from percept_cli.core.pretrained.generators import LoadedGenerator

DEFAULT_SCALE = 4
FACTOR, NETWORK = OneOf("factor"), OneOf("network")
# A model has its own factor; a model of a file stays where the command line names a factor, which may be that of the model.
OF_MODEL = OneOf("factor of the model", side="factor")
RESULT_BYTES = 40  # of memory for a pixel of the result, with its copies for the file


def upscale(
    photos: options.Inputs = None,
    x2: Annotated[bool, typer.Option("--x2", help="Twice as wide and as high."), FACTOR, OF_MODEL] = False,
    x3: Annotated[bool, typer.Option("--x3", help="3 times."), FACTOR, OF_MODEL] = False,
    x4: Annotated[bool, typer.Option("--x4", help="4 times, the default."), FACTOR, OF_MODEL] = False,
    x8: Annotated[bool, typer.Option("--x8", help="8 times."), FACTOR, OF_MODEL] = False,
    scale: Annotated[
        float | None,
        typer.Option(help="Any factor above 1: the next larger network enlarges, then the result is resampled."),
        FACTOR,
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Width of the result in pixels."), FACTOR] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Height of the result in pixels."), FACTOR] = None,
    look: Annotated[
        str | None,
        parsing.choice_option("look", LOOKS, "The least error, or the look of a photograph."),
        NETWORK,
    ] = None,
    blend: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="A look between the two: 0 is faithful, 1 natural."),
        NETWORK,
    ] = None,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble", help="The mean of eight turned and mirrored passes: less error, in 8 times the time."
        ),
    ] = False,
    compression: Annotated[
        str,
        typer.Option(
            metavar="auto|none|N",
            help="What the pictures lost: auto is found for each, N is a JPEG's of quality N (1 to 100).",
        ),
        EffectIf(lambda call: call.model is None, "-m names one network, whatever the pictures lost"),
    ] = "auto",
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            help="A shipped upscaler or a file: percept's own, RealESRGAN_x4plus.pth and the like.",
            autocompletion=parsing.complete_models("upscaler"),
        ),
        NETWORK,
        OneOf("factor of the model", when=lambda call: False),
    ] = None,
    output: options.Output = None,
    name: options.Name = "{stem}_{op}{ext}",
    tile: options.Tile = "auto",
    verify_tiles: Annotated[
        bool,
        typer.Option("--verify-tiles", help="Compute some places without tiles too, and report the difference."),
        EffectIf(lambda call: call.tile != OFF, "--tile off leaves no tiles to verify"),
    ] = False,
    histogram: Annotated[
        bool,
        typer.Option(
            "--match-histogram",
            help="Give each color the distribution it has in the photograph (Johnson 2016).",
            rich_help_panel=options.PAPERS,
        ),
    ] = False,
    *,
    listing: options.Listing,
    show: options.Show = False,
    existing: options.Existing,
    quality: options.Quality = 95,
    compute: options.Compute,
    report: options.Report,
    chosen: options.Chosen,
) -> None:
    """Enlarge photographs: 2, 3, 4 or 8 times, by another factor, or to a width or height.

    percept upscale photo.jpg --x4

    percept upscale holiday/ -r --x2 --look faithful -o large/

    percept upscale photo.jpg -m RealESRGAN_x4plus.pth
    """
    from percept_cli.commands.planning import check_jobs, refuse_missing
    from percept_cli.core.files.inputs import expand_inputs
    from percept_cli.core.files.outputs import plan_outputs
    from percept_cli.core.images.tiles import parse_tile
    from percept_cli.core.inference.enlargement import Enlargement, choose_enlargement
    from percept_cli.core.pretrained.manifest import check_model, find_upscaler, upscaler_scales

    console = report.console()
    wanted = choose_enlargement(
        [factor for factor, given in ((2, x2), (3, x3), (4, x4), (8, x8)) if given], scale, width, height
    )
    tile_side = parse_tile(tile)
    given_compression = parse_compression(compression)
    if model is not None and (look is not None or blend is not None):
        raise UsageError("-m names one network, --look and --blend choose between the shipped ones: leave one out.")
    if look is not None and blend is not None:
        raise UsageError("--blend goes between the two looks: leave --look out.")
    items = expand_inputs(photos, **vars(listing))
    if wanted is None and model is None:
        wanted = Enlargement(factor=DEFAULT_SCALE, exact=True)
        console.say(f"no factor was given: --x{DEFAULT_SCALE}")
    looks: Sequence[str] = LOOKS if blend is not None else [look] if look is not None else []
    scales = upscaler_scales(looks)
    label = Path(model).stem if model is not None else look or "shipped"
    if model is None and wanted is not None:
        needed = int(wanted.factor or 0) if wanted.exact else wanted.network_scale(wanted.factor or 1, scales)
        networks = [find_upscaler(needed, each).name for each in looks or (None,)]
        label = label if wanted.factor is None else "-".join(networks)

    @functools.cache
    def has_photo_network(network_scale: int) -> bool:
        return any(find_upscaler(network_scale, each, "photo").input == "photo" for each in looks or (None,))

    if model is None and wanted is not None:
        possible = scales if wanted.factor is None else [needed]
        if not any(map(has_photo_network, possible)):
            enlarging = "" if wanted.factor is None else f" that enlarges {needed} times"
            refuse(f"No network for compressed photographs{enlarging} is shipped", "compression")

    loaded: LoadedGenerator | None = None
    if wanted is None and model is not None:
        check_model(model, "upscaler")
        from percept_cli.core.pretrained.generators import load_generator

        loaded = load_generator(model, "upscaler")
        wanted = Enlargement(factor=loaded.scale, exact=True)
    assert wanted is not None
    enlargement = wanted
    kind = "_".join(filter(None, (enlargement.label, look, model and Path(model).stem)))
    op = chosen.describe(kind, "x2", "x3", "x4", "x8", "scale", "width", "height", "look", "model")
    jobs = plan_outputs(items, output, name=name, op=op, model=label, **vars(existing))
    check_jobs(jobs, output)
    if model is not None:
        check_model(model, "upscaler")
    refuse_missing(jobs, console)

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.batch import process_images
    from percept_cli.core.generators.ensemble import EnsembleGenerator
    from percept_cli.core.images.encode import check_size
    from percept_cli.core.inference.colors import match_colors
    from percept_cli.core.inference.upscale import Upscaler
    from percept_cli.core.pretrained.blending import load_shipped_upscaler, photo_share
    from percept_cli.core.pretrained.generators import load_generator
    from percept_cli.core.runtime import CPU, fitting_size, free_memory, memory_errors

    runtime = compute.runtime()
    if model is not None and loaded is None:
        loaded = load_generator(
            model, "upscaler", int(enlargement.factor) if enlargement.exact and enlargement.factor else None
        )
    console.say(runtime.reason)
    if loaded is not None:
        scales = [loaded.scale]
        if enlargement.factor is not None:
            enlargement.network_scale(enlargement.factor, scales)
    upscalers: dict[tuple[int, float], Upscaler] = {}  # by their scale, and a share in quarters
    whole: list[str] = []  # pictures without tiles to verify
    todo = [job for job in jobs if not job.skip]
    fields: dict[str, object] = {"model": label}

    def upscaler_for(network_scale: int, share: float) -> Upscaler:
        if (network_scale, share) not in upscalers:
            chosen = loaded or load_shipped_upscaler(network_scale, look, blend, photo_share=share)
            console.say(f"network: {chosen.name}{': ' if chosen.note else ''}{chosen.note}")
            network = EnsembleGenerator(chosen.network) if ensemble else chosen.network
            upscalers[network_scale, share] = Upscaler(runtime.place_network(network), runtime, tile_side)
        return upscalers[network_scale, share]

    def photo_share_for(photo: "Photo", job: "Job", network_scale: int) -> float:
        if loaded is not None:
            return 0.0
        found, share = Compression(photo.compression), 0.0
        if has_photo_network(network_scale):
            found = find_compression(photo, given_compression)
            share = photo_share(found.quality)
            _tell_choice(found, share, photo, job, console)
        fields.update(compression=found.quality, photo_share=share)
        return share

    def operation(photo: "Photo", job: "Job") -> "Photo":
        factor, size = enlargement.factor_for(photo.height, photo.width), enlargement.size(photo.height, photo.width)
        if job.destination is not None:
            check_size(job.destination.suffix, *size)
        network_scale = enlargement.network_scale(factor, scales)
        upscaler = upscaler_for(network_scale, photo_share_for(photo, job, network_scale))
        fitting = fitting_size(photo.height, photo.width, int(RESULT_BYTES * factor**2) + 1, free_memory(CPU))
        advice = f"Give a smaller factor, or shrink the photograph to {fitting[1]}x{fitting[0]} pixels or less"
        with memory_errors(f"{size[1]}x{size[0]} pixels", advice):
            steps = upscaler.enlarge(photo, *size, verify=verify_tiles)
            step = next(steps)
            if verify_tiles and len(todo) == 1 and step.total == 1:
                _refuse_to_verify(f"{job.label} is computed as a whole")
            last = _follow(itertools.chain([step], steps), console)
        fields.update(scale=upscaler.scale)  # with --width or --height photographs may need different networks
        if verify_tiles:
            fields.update(tile_difference=_report_verification(last, job, console))
            whole.extend([job.label] if last.verification is None else [])
        assert last.photo is not None
        return match_colors(last.photo, photo) if histogram else last.photo

    process_images(jobs, operation, console, quality=quality, show=show, fields=fields)
    if verify_tiles and todo and len(whole) == len(todo):
        _refuse_to_verify("Every picture was computed as a whole")


def _tell_choice(found: Compression, share: float, photo: "Photo", job: "Job", console: "Console") -> None:
    """Reports the network that is taken for a compressed picture, and why; nothing for one that lost nothing."""
    if found.quality is None:
        return
    jpeg = f"JPEG of quality {found.quality}"
    if found.source == PIXELS:
        reason = f"blocks of a JPEG of about quality {found.quality} found"
    elif found.source == FILE:
        reason = jpeg if photo.format == "JPEG" else f"WebP like a {jpeg}"
    else:
        reason = f"taken as a {jpeg}"
    network = "network for photographs" if share else "network for clean pictures"
    network = network if share in (0, 1) else f"{100 * share:.0f} % of the network for photographs"
    console.say(f"{job.label}: {reason}: {network}")


def _refuse_to_verify(reason: str) -> None:
    refuse(f"{reason}, there are no tiles to verify with this --tile", "verify_tiles")


def _follow(steps: "Iterator[TileStep]", console: "Console") -> "TileStep":
    """The last of the steps, which a progress bar follows."""
    step = next(steps)
    with console.progress(step.total, "tile", shown=step.total > 1) as progress:
        for following in itertools.chain([step], steps):
            if following.note:
                console.warn(following.note)
            progress.total = following.total  # more where the memory allows only smaller tiles
            progress.advance(following.done - step.done)
            step = following
    return step


def _report_verification(last: "TileStep", job: "Job", console: "Console") -> float | None:
    """Reports the largest difference of the tiles from the whole, in gray levels; None for a picture of one tile."""
    found = last.verification
    if found is None:
        console.say(f"{job.label}: computed as a whole, there are no tiles to verify")
        return None
    where = "everywhere" if found.whole else f"at {found.places} places"
    finding = f"{found.difference:.2g} gray levels at most, compared {where}"
    if not found.passed:
        raise VerificationError(f"{job.label}: the tiles differ from the whole by {finding}. Use --tile off.")
    console.say(f"{job.label}: the tiles differ from the whole by {finding}")
    return found.difference
