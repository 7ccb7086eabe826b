"""`percept upscale`: photographs enlarged by a trained network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from percept_cli import options, parsing
from percept_cli.commands.batch_options import Batch, Telling
from percept_cli.conditions import EffectIf, refuse
from percept_cli.core.images.tiles import OFF
from percept_cli.core.inference.compression import parse_compression
from percept_cli.core.pretrained.manifest import LOOKS, find_upscaler
from percept_cli.errors import UsageError
from percept_cli.precedence import OneOf

if TYPE_CHECKING:
    from percept_cli.core.batches.pictures import Outcome

DEFAULT_SCALE = 4
FACTOR, NETWORK = OneOf("factor"), OneOf("network")
# A model has its own factor; a model of a file stays where the command line names a factor, which may be that of the model.
OF_MODEL = OneOf("factor of the model", side="factor")


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
    frames: options.Frames = None,
    batch: Batch,
    show: options.Show = False,
    existing: options.Existing,
    telling: Telling,
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
    from percept_cli.commands.batch_plan import find_items, plan_batch
    from percept_cli.core.images.tiles import parse_tile
    from percept_cli.core.inference.enlargement import Enlargement, choose_enlargement
    from percept_cli.core.pretrained.manifest import check_model, upscaler_scales

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
    items = find_items(photos, listing, batch)
    if wanted is None and model is None:
        wanted = Enlargement(factor=DEFAULT_SCALE, exact=True)
        console.say(f"no factor was given: --x{DEFAULT_SCALE}")
    looks: Sequence[str] = LOOKS if blend is not None else [look] if look is not None else []
    scales = upscaler_scales(looks)
    label = Path(model).stem if model is not None else look or "shipped"
    networks = [model] if model is not None else []
    if model is None and wanted is not None:
        needed = [int(wanted.factor or 0) if wanted.exact else wanted.network_scale(wanted.factor or 1, scales)]
        networks = _shipped_networks(needed if wanted.factor is not None else scales, looks)
        label = (
            label
            if wanted.factor is None
            else "-".join(find_upscaler(needed[0], each).name for each in looks or (None,))
        )
        if not any(
            find_upscaler(each, kind, "photo").input == "photo"
            for each in (scales if wanted.factor is None else needed)
            for kind in looks or (None,)
        ):
            enlarging = "" if wanted.factor is None else f" that enlarges {needed[0]} times"
            refuse(f"No network for compressed photographs{enlarging} is shipped", "compression")

    if model is not None:
        check_model(model, "upscaler")
    if wanted is None and model is not None:
        from percept_cli.core.pretrained.generators import load_generator

        wanted = Enlargement(factor=load_generator(model, "upscaler").scale, exact=True)
    assert wanted is not None
    kind = "_".join(filter(None, (wanted.label, look, model and Path(model).stem)))
    op = chosen.describe(kind, "x2", "x3", "x4", "x8", "scale", "width", "height", "look", "model")
    plan = plan_batch(
        items, output, name=name, op=op, model=label, networks=networks, existing=existing, batch=batch, console=console,
        frames=frames,
    )  # fmt: skip

    # Only now the slow imports, so that a mistyped option is refused at once.
    from percept_cli.commands.batch import run_batch
    from percept_cli.commands.upscale_work import Enlarging

    work = Enlarging(
        wanted, tuple(looks), look, blend, ensemble, given_compression, model, label, tile_side, verify_tiles, histogram,
        len(plan.todo), compute,
    )  # fmt: skip
    without_tiles = 0

    def count(outcome: "Outcome") -> None:
        nonlocal without_tiles
        without_tiles += outcome.fields.get("tile_difference", 0) is None

    run_batch(plan, work.start, console, compute=compute, quality=quality, show=show, telling=telling, each=count)
    if verify_tiles and plan.todo and without_tiles == len(plan.todo):
        refuse("Every picture was computed as a whole, there are no tiles to verify with this --tile", "verify_tiles")


def _shipped_networks(scales: Sequence[int], looks: Sequence[str]) -> list[str]:
    """The shipped networks that a picture may need, whatever it lost."""
    return sorted({
        find_upscaler(scale, look, given).name for scale in scales for look in looks or (None,) for given in ("clean", "photo")
    })  # fmt: skip
