"""The experiments of docs/translation.md, one command each: what losses do to translations, on photographs held out.

    python bench/translation.py offset --data photos/ --held-out others/ --out results/
    python bench/translation.py repair --data photos/ --held-out others/ --out results/
    python bench/translation.py unpaired --data photos/ --held-out others/ --style painting.jpg --out results/
    python bench/translation.py single --content portrait.jpg --style other-portrait.jpg --out results/
    python bench/translation.py natural --data photos/ --held-out others/ --start swift-x4-faithful --out results/

Each trains by percept's own commands (what is finished is not trained again), prints a table and writes a sheet.
`--judge vgg19=FILE` measures perceptual distances by that network instead of by compact, which trained with them; what
follows -- goes to every training.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from reconstruction_metrics import gradient_energy
from scipy.ndimage import median_filter
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from percept_cli.app import run as run_percept
from percept_cli.core.data.corruption import corrupt
from percept_cli.core.data.degradation import degrade
from percept_cli.core.data.photos import find_photos, load_square
from percept_cli.core.drawing.sheets import Panel, contact_sheet
from percept_cli.core.extractors import create_architecture
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.encode import save_image
from percept_cli.core.images.photo import Photo, fit_short_side, floats, middle_square, resize_image
from percept_cli.core.inference.run import run_generator
from percept_cli.core.inference.upscale import upscale
from percept_cli.core.losses import contextual_similarity
from percept_cli.core.measures.comparison import perceptual_layers
from percept_cli.core.measures.pixels import perceptual_distance, place_distances, psnr
from percept_cli.core.pretrained.extractors import create_extractor, parse_named_file
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime, choose_runtime
from percept_cli.errors import ExitCode

SHOWN = 4  # photographs of a sheet
NOISE, OFFSET = 25, 4  # gray levels, pixels
JPEG, HOLES = (10, 40), (5, 15)  # quality and percent, while training
JPEG_TEST, HOLES_TEST = 15, 10
SCALE, CROP = 4, 160
OFFSET_LOSSES: Mapping[str, tuple[str, ...]] = {
    "l1": (),
    "contextual": (
        "--pixel-weight", "0", "--contextual-weight", "1", "--contextual-layers", "relu2_2,relu3_2",
        "--low-frequency-weight", "10",
    ),
}  # fmt: skip
UNPAIRED_LOSSES: Mapping[str, tuple[str, ...]] = {
    "contextual": (),
    "gram": ("--contextual-weight", "0", "--gram-weight", "5"),
    "pixels": ("--contextual-weight", "0", "--pixel-weight", "5"),
}
NATURAL_PRESETS: Mapping[str, tuple[str, ...]] = {
    "features": ("--feature-weight", "1", "--feature-layers", "relu3_4", "--pixel-weight", "0",
                 "--low-frequency-weight", "10", "--adversarial-weight", "1e-3"),
    "contextual": ("--contextual-weight", "0.1", "--pixel-weight", "0", "--low-frequency-weight", "10",
                   "--adversarial-weight", "1e-3"),
}  # fmt: skip

Row = dict[str, float]


class Judge:
    """Perceptual and contextual figures by one extractor in float32."""

    def __init__(self, named: str):
        name, file = parse_named_file("--judge", named)
        runtime = Runtime(torch.device("cpu"), torch.float32, "")
        self.name = name
        self.extractor = runtime.freeze(
            create_extractor(name, perceptual_layers(create_architecture(name), None), file)
        )

    @torch.no_grad()
    def distance(self, images: Tensor, originals: Tensor) -> float:
        """Mean perceptual distance of images (N, 3, H, W) to their originals."""
        return float(np.mean([self._distance(a, b) for a, b in zip(images.split(1), originals.split(1), strict=True)]))

    def _distance(self, image: Tensor, original: Tensor) -> float:
        mine, theirs = self.extractor(image), self.extractor(original)
        return perceptual_distance({tap: place_distances(mine[tap], theirs[tap]) for tap in mine}).item()

    @torch.no_grad()
    def similarity(self, images: Tensor, style: Tensor) -> float:
        """Mean contextual similarity of images to a style at the deepest layer."""
        layer = self.extractor.layers[-1]
        target = self.extractor(style)[layer]
        return float(
            np.mean([contextual_similarity(self.extractor(image)[layer], target).item() for image in images.split(1)])
        )


def percept(*words: object) -> None:
    """One of percept's own commands; the experiment ends where it fails."""
    with contextlib.redirect_stdout(sys.stderr):  # of results, there is only the table
        code = run_percept([str(word) for word in words])
    if code != ExitCode.OK:
        raise SystemExit(code)


def train(given: argparse.Namespace, name: str, *words: object) -> Path:
    """A model by name, trained by percept's own command, from where it was stopped if it was."""
    model = given.out / f"{name}.safetensors"
    if not model.exists():
        given.out.mkdir(parents=True, exist_ok=True)
        steps = ("--steps", given.steps) if given.steps else ()
        percept("train", *words, "-o", model, "--resume", *steps, *given.train)
    return model


def folders(option: str, given: Sequence[Path]) -> list[object]:
    return [word for folder in given for word in (option, folder)]


def translated(model: Path, sources: Tensor, runtime: Runtime) -> Tensor:
    """What a translation makes of images (N, C, H, W), in whole levels."""
    network = runtime.place_network(load_generator(str(model), "style").network)
    with torch.inference_mode():
        return (
            torch.cat([run_generator(network, source, runtime) for source in sources.split(1)])
            .mul(255)
            .round()
            .div(255)
        )


def held_out(given: argparse.Namespace) -> Tensor:
    return torch.cat([load_square(path, given.size) for path in find_photos([given.held_out])[: given.images]])


def spoil(originals: Tensor, kind: str, amount: float) -> Tensor:
    return torch.stack([corrupt(image, kind, amount, np.random.default_rng(n)) for n, image in enumerate(originals)])


def report(rows: Mapping[str, Row], heading: str) -> None:
    """A table in Markdown."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"| {heading} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[column]:.3f}' if column in row else '' for column in columns)} |")


def show(given: argparse.Namespace, columns: Mapping[str, Tensor], first: int = 0) -> None:
    """A sheet: a row for each of the first photographs, a column for each method."""
    chosen = range(first, min(first + SHOWN, len(next(iter(columns.values())))))
    rows = [[Panel(images[n : n + 1].clamp(0, 1), (name,)) for name, images in columns.items()] for n in chosen]
    given.out.mkdir(parents=True, exist_ok=True)
    save_image(Photo(contact_sheet(rows)), given.out / f"{given.experiment}.png")
    print(f"\nsheet: {given.out / given.experiment}.png", file=sys.stderr)


def offset(given: argparse.Namespace, judge: Judge, runtime: Runtime) -> None:
    """Noisy crops whose targets are shifted at random: L1 learns their mean, the contextual loss does not."""
    originals = held_out(given)
    noisy = spoil(originals, "noise", NOISE)
    columns = {"noisy": noisy}
    for name, options in OFFSET_LOSSES.items():
        model = train(
            given, f"offset-{name}", "translate", "--degrade", "noise", "--amount", NOISE, "--offset", OFFSET,
            *folders("--data", given.data), *options,
        )  # fmt: skip
        columns[name] = translated(model, noisy, runtime)
    report(
        {
            name: {
                "gradient energy": gradient_energy(images, originals),
                "perceptual distance": judge.distance(images, originals),
                "PSNR, dB": psnr(images, originals).mean().item(),
            }
            for name, images in columns.items()
        },
        "trained by",
    )
    show(given, {**columns, "original": originals})


def repair(given: argparse.Namespace, judge: Judge, runtime: Runtime) -> None:
    """JPEG and holes mended, against the obvious."""
    originals = held_out(given)
    jpeg = train(
        given, "repair-jpeg", "translate", "--degrade", "jpeg", "--amount", "{}-{}".format(*JPEG),
        *folders("--data", given.data),
    )  # fmt: skip
    mask = train(
        given, "repair-mask", "translate", "--degrade", "mask", "--amount", "{}-{}".format(*HOLES),
        *folders("--data", given.data),
    )  # fmt: skip
    compressed, hidden = spoil(originals, "jpeg", JPEG_TEST), spoil(originals, "mask", HOLES_TEST)
    holes = hidden[:, 3:] > 0
    median = torch.from_numpy(median_filter(compressed.numpy(), size=(1, 1, 3, 3)))
    repaired = {
        "JPEG": compressed,
        "JPEG, median filter": median,
        "JPEG, percept": translated(jpeg, compressed, runtime),
    }
    filled = {
        "holes, mean fill": by_image(mean_fill, hidden),
        "holes, smoothed, as percept's network gets them": hidden[:, :3],
        "holes, biharmonic": by_image(biharmonic, hidden),
        "holes, percept": torch.where(holes, translated(mask, hidden, runtime), hidden[:, :3]),
    }
    rows = {
        name: {
            "PSNR, dB": psnr(images, originals).mean().item(),
            "perceptual distance": judge.distance(images, originals),
        }
        for name, images in {**repaired, **filled}.items()
    }
    for name, images in filled.items():
        squares = ((images - originals).square() * holes).sum((1, 2, 3)) / (3 * holes.sum((1, 2, 3)))
        rows[name]["PSNR in the holes, dB"] = (-10 * squares.log10()).mean().item()
    report(rows, "repair")
    show(given, {"JPEG": compressed, "percept": repaired["JPEG, percept"], "holes": torch.where(holes, 0.5, originals),
                 "smoothed": hidden[:, :3], "filled": filled["holes, percept"], "original": originals})  # fmt: skip


def by_image(function: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
    return torch.stack([function(image) for image in hidden])


def mean_fill(hidden: Tensor) -> Tensor:
    """Holes in the mean color of what is seen."""
    image, hole = hidden[:3], hidden[3] > 0
    return torch.where(hole, image[:, ~hole].mean(dim=1)[:, None, None], image)


def biharmonic(hidden: Tensor) -> Tensor:
    """Holes as smooth as can be (scikit-image)."""
    image = inpaint_biharmonic(hidden[:3].numpy(), hidden[3].numpy() > 0, channel_axis=0)
    return torch.from_numpy(image).float().clamp(0, 1)


def unpaired(given: argparse.Namespace, judge: Judge, runtime: Runtime) -> None:
    """Photographs to one painting's palette and stroke: contextual against Gram against pixel losses."""
    originals = held_out(given)
    painting = load_image(given.style).pixels
    painting = resize_image(painting, *fit_short_side(*painting.shape[-2:], given.size))
    columns = {"photograph": originals}
    for name, options in UNPAIRED_LOSSES.items():
        model = train(
            given, f"unpaired-{name}", "translate", *folders("--source", given.data), "--target", given.style, *options
        )  # fmt: skip
        columns[name] = translated(model, originals, runtime)
    report({name: style_figures(judge, images, originals, painting) for name, images in columns.items()}, "trained by")
    show(given, {**columns, "painting": middle_square(painting, given.size).expand_as(originals)})


def single(given: argparse.Namespace, judge: Judge, runtime: Runtime) -> None:
    """One photograph after one picture whose subject corresponds: contextual against Gram."""
    content, style = (load_image(path).pixels for path in (given.content, given.style))
    content = resize_image(content, *fit_short_side(*content.shape[-2:], given.size))
    style = resize_image(style, *fit_short_side(*style.shape[-2:], given.size))
    columns = {"photograph": content}
    for loss in ("contextual", "gram"):
        result = given.out / f"single-{loss}.png"
        if not result.exists():
            given.out.mkdir(parents=True, exist_ok=True)
            percept(
                "stylize", given.content, "--style", given.style, "--loss", loss, "--size", given.size, "--style-size",
                given.size, "-o", result, *given.train,
            )  # fmt: skip
        columns[loss] = load_image(result).pixels
    report({name: style_figures(judge, images, content, style) for name, images in columns.items()}, "loss")
    show(given, {**columns, "style": F.interpolate(style, size=content.shape[-2:], mode="area")})


def style_figures(judge: Judge, images: Tensor, originals: Tensor, style: Tensor) -> Row:
    """How much of the style there is, by likeness and by colors, and how far the photograph is."""
    return {
        f"contextual similarity to the style ({judge.name})": judge.similarity(images, style),
        "distance of its colors": palette_distance(images, style),
        "perceptual distance to the photograph": judge.distance(images, originals),
    }


def palette_distance(images: Tensor, style: Tensor) -> float:
    """Mean distance in gray levels of the sorted values of each channel: how far colors have to move to be the style's."""
    places = torch.linspace(0, 1, 256)
    values = [torch.quantile(picture.flatten(2)[0, :, ::7], places, dim=1) for picture in (*images.split(1), style)]
    return 255 * float(np.mean([(value - values[-1]).abs().mean().item() for value in values[:-1]]))


def natural(given: argparse.Namespace, judge: Judge, runtime: Runtime) -> None:
    """x4 by the contextual recipe against features in its place."""
    photos = [load_image(path).pixels for path in find_photos([given.held_out])[: given.images]]
    originals = [photo[..., : photo.shape[-2] // 4 * 4, : photo.shape[-1] // 4 * 4] for photo in photos]
    small = [degrade(original, SCALE, "bicubic", np.random.default_rng(0)) for original in originals]
    enlarged = {
        "bicubic": [F.interpolate(image, scale_factor=SCALE, mode="bicubic").clamp(0, 1) for image in small],
        "start": enlarge(given.start, small, runtime),
    }
    for name, options in NATURAL_PRESETS.items():
        model = train(
            given, f"natural-{name}", "upscale", "--preset", "swift", "--start", given.start, "--learning-rate", "5e-4",
            *folders("--data", given.data), *options,
        )  # fmt: skip
        enlarged[name] = enlarge(str(model), small, runtime)
    rows = {
        name: {
            "PSNR, dB": float(np.mean([psnr(a, b).item() for a, b in zip(images, originals, strict=True)])),
            "perceptual distance": float(
                np.mean([judge.distance(a, b) for a, b in zip(images, originals, strict=True)])
            ),
        }
        for name, images in enlarged.items()
    }
    report(rows, "enlarged by")
    crops = {
        name: torch.cat([middle(image, CROP) for image in images[:SHOWN]])
        for name, images in {**enlarged, "original": originals}.items()
    }
    show(given, crops)


def middle(image: Tensor, side: int) -> Tensor:
    """The middle of an image, its pixels as they are."""
    top, left = ((length - side) // 2 for length in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def enlarge(model: str, small: Sequence[Tensor], runtime: Runtime) -> list[Tensor]:
    network = runtime.place_network(load_generator(model, "upscaler").network)
    return [floats(upscale(Photo(image), network, runtime).pixels) for image in small]


EXPERIMENTS = {"offset": offset, "repair": repair, "unpaired": unpaired, "single": single, "natural": natural}


def main(arguments: Sequence[str]) -> None:
    """Runs one experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("experiment", choices=EXPERIMENTS)
    option("--data", type=Path, action="append", default=[], help="folder to train on; may be given again")
    option("--held-out", type=Path, help="folder of other photographs, to measure on")
    option("--content", type=Path, help="of `single`: the photograph")
    option("--style", type=Path, help="of `single` and `unpaired`: the painting")
    option("--start", default="swift-x4-faithful", help="of `natural`: what both trainings begin from")
    option("--out", type=Path, required=True, help="folder for models and sheets")
    option("--images", type=int, default=24, help="most held-out photographs")
    option("--size", type=int, default=256, help="side of held-out squares, pixels")
    option("--steps", type=int, help="of each training; default: the command's own")
    option("--judge", metavar="NAME[=FILE]", default="compact")
    own, training = list(arguments), []
    if "--" in own:
        own, training = own[: own.index("--")], own[own.index("--") + 1 :]
    given = parser.parse_args(own)
    given.train = training
    needed = {"single": ("content", "style"), "unpaired": ("data", "held_out", "style")}
    for name in needed.get(given.experiment, ("data", "held_out")):
        if not getattr(given, name):
            parser.error(f"{given.experiment} needs --{name.replace('_', '-')}")
    EXPERIMENTS[given.experiment](given, Judge(given.judge), choose_runtime())


if __name__ == "__main__":
    main(sys.argv[1:])
