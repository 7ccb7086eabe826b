"""The options that more than one command has, with one name and one meaning, alone or in a bundle.

A bundle is a frozen dataclass whose fields are options. A command takes it as one keyword-only parameter; `bundles.flatten`
makes it into the single options that Typer reads. One parameter may be the options that were chosen, `Chosen`.
"""

import functools
import glob
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from percept_cli.conditions import EffectIf
from percept_cli.core import choices
from percept_cli.core.devices import check_device, check_precision, no_half_on_processor
from percept_cli.core.extractors import ARCHITECTURES
from percept_cli.core.files.frames import parse_frames
from percept_cli.core.strokes import parse_stroke
from percept_cli.errors import UsageError
from percept_cli.naming import Chosen as Chosen  # a parameter of commands too
from percept_cli.parsing import (
    Names,
    Scales,
    choice_option,
    complete_from,
    names_option,
    scales_option,
)
from percept_cli.precedence import OneOf

if TYPE_CHECKING:
    from percept_cli.console import Console
    from percept_cli.core.pretrained.extractors import ExtractorChoice
    from percept_cli.core.runtime import Runtime


loss_option = functools.partial(typer.Option, rich_help_panel="Losses")
loss_layers = functools.partial(names_option, rich_help_panel="Losses")

loss_choice = functools.partial(choice_option, rich_help_panel="Losses")
PAPERS = "As in the papers"
paper_choice = functools.partial(choice_option, rich_help_panel=PAPERS)


def _searches_folders(call: Any) -> bool:
    """Whether a folder is among the inputs, as far as that is known: a list may hold some."""
    given = getattr(call, "photos", None) or getattr(call, "styles", None) or []
    patterns = [text for text in given if glob.has_magic(text) and "**" not in text]
    matches = (match for text in patterns for match in glob.glob(text))
    return call.from_file is not None or any(map(os.path.isdir, [*given, *matches]))


ON_PROCESSOR = OneOf("fp16 on a processor", when=lambda call: call.device == "cpu" and call.precision == "fp16")
MESSAGES, EXISTING = OneOf("messages"), OneOf("existing files")
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda[:N]|mps", parser=check_device, autocompletion=complete_from(choices.DEVICES),
        help="auto: a GPU if there is one.",
    ),
    ON_PROCESSOR,
]  # fmt: skip
Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|fp32|bf16|fp16", parser=check_precision, autocompletion=complete_from(choices.PRECISIONS),
        help="auto: bf16 where the hardware computes it.",
    ),
    ON_PROCESSOR,
]  # fmt: skip
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same device: same result.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings, errors and figures."), MESSAGES]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Details too: parts of losses, how figures are taken."), MESSAGES
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Show = Annotated[
    bool,
    typer.Option("--show", help="Preview the result in the terminal, where that can show pictures."),
    EffectIf(lambda call: not call.quiet, "--quiet shows no picture"),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue a stopped run to the same bits, or with more --steps one that ended."),
    EXISTING,
]
Ema = Annotated[
    float,
    typer.Option(help="Save the moving average of the weights, with this decay: 0.999 is steady. 0: the last weights."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist."), EXISTING]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that exist as they are."), EXISTING]
Extractor = Annotated[
    str,
    loss_option(
        metavar="NAME|FILE", autocompletion=complete_from(list(ARCHITECTURES)),
        help=f"{', '.join(ARCHITECTURES)}, or a FILE of one you trained.",
    ),
]  # fmt: skip
ExtractorWeights = Annotated[
    str | None, loss_option(metavar="FILE|random", help="Weights for --extractor: a file, or `random` (seeded).")
]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", help="A folder of photographs, with all folders in it; may be repeated. Default: samples."),
]
ContentWeight = Annotated[float, loss_option(min=0.0, help="More keeps more of the photograph.")]
StyleWeight = Annotated[float, loss_option(min=0.0, help="More takes more of the style.")]
TotalVariationWeight = Annotated[float, loss_option(min=0.0, help="More is smoother.")]
Scaling = Annotated[
    str,
    paper_choice(
        "scaling", choices.SCALINGS, "typical: weight 1.0 is the usual balance with every extractor; paper: raw losses."
    ),
]
LossLayers = Annotated[Names | None, loss_layers("Default: the extractor's own.")]
StyleScales = Annotated[
    Scales | None,
    scales_option(
        "Compare the style at full size, half, a quarter: larger numbers add larger forms. Default: 1,2,4; for --loss "
        "contextual and --scaling paper 1.",
        rich_help_panel="Losses",
    ),
]
Stroke = Annotated[
    float,
    typer.Option(
        parser=parse_stroke,
        metavar="FACTOR",
        help="How large strokes are: 2 is twice as large as in training, or as the painting's at --style-size.",
    ),
]
Weight = Annotated[float | None, loss_option(min=0.0)]
Layers = Annotated[Names | None, loss_layers(None)]
Inputs = Annotated[
    list[str] | None, typer.Argument(metavar="IMAGE...", help="Files, folders, patterns, or - for stdin.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", help="A file; or a folder: one that exists, ends in /, or for several images; or -."
    ),
]
Name = Annotated[
    str,
    typer.Option(
        help="Names in a folder: {rel}, {stem}, {ext}, {op}, {model}, {name}; {op} tells the options that were chosen."
    ),
]
Recursive = Annotated[
    bool,
    typer.Option("-r", "--recursive", help="Folders in folders too; results keep the tree."),
    EffectIf(_searches_folders, "No folder is among the inputs"),
]
FromFile = Annotated[
    Path | None, typer.Option("--from-file", help="A list of images, one path a line, or - for stdin.")
]
NullSeparated = Annotated[
    bool,
    typer.Option("-0", "--null", help="Each path of the list ends in a null byte."),
    EffectIf(lambda call: call.from_file is not None, "There is no list of --from-file"),
]
Tile = Annotated[
    str, typer.Option(metavar="auto|off|N", help="Work in tiles of N pixels; auto: as the free memory allows.")
]
Frames = Annotated[
    Any,
    typer.Option(
        parser=parse_frames,
        metavar="first|all|N",
        help="Of animations (GIF, APNG, WebP, AVIF): one frame, the first is 1; or all, for an animation. Default: they are "
        "refused.",
    ),
]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, AVIF and WebP files; 100 is lossless in WebP.")]


@dataclass(frozen=True)
class Compute:
    """The device, precision and threads that a command uses."""

    device: Device = "auto"
    precision: Precision = "auto"
    threads: Threads = None

    def __post_init__(self) -> None:
        if self.device == "cpu" and self.precision == "fp16":
            raise no_half_on_processor()

    def runtime(self, announce: Callable[[str], None] = lambda message: None) -> "Runtime":
        """What the options choose, which is announced. Raises DeviceError where the device is not available."""
        from percept_cli.core.runtime import choose_runtime

        runtime = choose_runtime(self.device, self.precision, self.threads)
        announce(runtime.reason)
        return runtime


@dataclass(frozen=True)
class ExactCompute(Compute):
    """The same options for commands that measure: float32 by default."""

    precision: Precision = "fp32"


@dataclass(frozen=True)
class Report:
    """The messages and results that a command prints."""

    quiet: Quiet = False
    verbose: Verbose = False
    json: Json = False

    def console(self) -> "Console":
        """The console that prints them."""
        from percept_cli.console import Console

        if self.quiet and self.verbose:
            raise UsageError("-q and -v exclude each other: give one of them.")
        return Console(self.quiet, self.json, self.verbose)


@dataclass(frozen=True)
class Existing:
    """What to do with outputs that exist: without one of these options they are an error."""

    overwrite: Overwrite = False
    skip_existing: SkipExisting = False

    def __post_init__(self) -> None:
        if self.overwrite and self.skip_existing:
            raise UsageError("--overwrite and --skip-existing exclude each other: give one of them.")


@dataclass(frozen=True)
class RunOptions:
    """How a training run keeps its network.

    A stopped training or an existing model is an error without `--resume` or `--overwrite`.
    """

    ema: Ema = 0.0
    resume: Resume = False
    overwrite: Overwrite = False

    def __post_init__(self) -> None:
        if not 0 <= self.ema < 1:
            raise UsageError(f"--ema {self.ema:g}: give a decay below 1, such as 0.999, or 0 for the last weights.")


@dataclass(frozen=True)
class Listing:
    """Further options of the list of inputs: the parameters of `expand_inputs`."""

    recursive: Recursive = False
    from_file: FromFile = None
    null_separated: NullSeparated = False


@dataclass(frozen=True)
class ExtractorSource:
    """The extractor of a command and its weights."""

    extractor: Extractor = "compact"
    extractor_weights: ExtractorWeights = None

    def __post_init__(self) -> None:
        self.choose()  # raises for an unknown name and for a file that is not there

    def choose(self) -> "ExtractorChoice":
        """The extractor that a name or a file stands for. Raises as `choose_extractor`."""
        from percept_cli.core.pretrained.extractors import choose_extractor

        return choose_extractor(self.extractor, self.extractor_weights)


@dataclass(frozen=True)
class StyleLosses:
    """The weights and layers of the content, style and total variation losses."""

    content_weight: ContentWeight = 1.0
    style_weight: StyleWeight = 1.0
    tv_weight: TotalVariationWeight = 1.0
    scaling: Scaling = "typical"
    content_layers: LossLayers = None
    style_layers: LossLayers = None
    style_scales: StyleScales = None


def given(*bundles: Any) -> dict[str, Any]:
    """The options of bundles that were given, by name: those that are neither None nor an empty tuple."""
    values = {field.name: getattr(bundle, field.name) for bundle in bundles for field in fields(bundle)}
    return {name: value for name, value in values.items() if value is not None and value != ()}
