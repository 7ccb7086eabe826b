"""Every option that more than one command has: same name, same meaning, alone or in a bundle of those that go together.

A bundle is a frozen dataclass whose fields are options. A command takes it as one keyword-only parameter, and `flatten`
makes of that the single options that Typer knows.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from percept_cli.console import Console
    from percept_cli.core.pretrained.extractors import ExtractorChoice
    from percept_cli.core.runtime import Runtime


class Names(tuple[str, ...]):
    """Names as a command line gives them, `relu1_1, relu2_1`: separated by commas, with or without spaces."""


def parse_names(text: str) -> Names:
    """The names between the commas, without the spaces around them; those that are empty are left out."""
    return Names(part.strip() for part in text.split(",") if part.strip())


def names_option(help: str, metavar: str = "L1,L2,...", **more: Any) -> Any:
    """A Typer option whose value is read by `parse_names`."""
    return typer.Option(parser=parse_names, metavar=metavar, help=help, **more)


Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads; all by default.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same device: same result.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Show = Annotated[bool, typer.Option("--show", help="Preview the result in the terminal, where that can show pictures.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a stopped run to the same bits.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that exist as they are.")]
Extractor = Annotated[
    str,
    typer.Option(
        help="compact, vgg16, vgg19, alexnet, squeezenet1_0, squeezenet1_1, or a FILE of one you trained.",
        rich_help_panel="Losses",
    ),
]
ExtractorWeights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|random", help="Weights for --extractor: a file, or `random` (seeded).", rich_help_panel="Losses"
    ),
]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", help="Folder of photographs, searched through; may be given again. Default: samples."),
]
ContentWeight = Annotated[
    float, typer.Option(min=0.0, help="More keeps more of the photograph.", rich_help_panel="Losses")
]
StyleWeight = Annotated[float, typer.Option(min=0.0, help="More takes more of the style.", rich_help_panel="Losses")]
TotalVariationWeight = Annotated[float, typer.Option(min=0.0, help="More is smoother.", rich_help_panel="Losses")]
Scaling = Annotated[
    str,
    typer.Option(
        help="typical: weight 1.0 is the usual balance with every extractor and style; paper: raw losses.",
        rich_help_panel="Losses",
    ),
]
LossLayers = Annotated[Names | None, names_option("Default: the extractor's own.", rich_help_panel="Losses")]
Weight = Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")]
Layers = Annotated[
    Names | None, typer.Option(parser=parse_names, metavar="L1,L2,...", rich_help_panel="Losses")
]  # fmt: skip
DeepsimLoss = Annotated[
    str, typer.Option("--loss", help="image, feature, or deepsim: both and a discriminator.", rich_help_panel="Losses")
]
DeepsimLearningRate = Annotated[
    float | None, typer.Option(min=0.0, help="Peak of the schedule. Default: 1.5e-3 for muon, 2e-4 for adam.")
]
Inputs = Annotated[
    list[str] | None, typer.Argument(metavar="IMAGE...", help="Files, folders, patterns, or - for stdin.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", help="A file; a folder when it is one, ends in / or there are several images; or -."
    ),
]
Name = Annotated[str, typer.Option(help="Names in a folder: {rel}, {stem}, {ext}, {op}, {model}.")]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Whole trees of folders; the tree is kept.")]
FromFile = Annotated[
    Path | None, typer.Option("--from-file", help="A list of images, one path a line, or - for stdin.")
]
NullSeparated = Annotated[bool, typer.Option("-0", "--null", help="The list ends each path with a null byte.")]
Tile = Annotated[
    str, typer.Option(metavar="auto|off|N", help="Work in tiles of N pixels; auto goes by the memory at hand.")
]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, AVIF and WebP (100: lossless).")]


@dataclass(frozen=True)
class Compute:
    """What a command runs on."""

    device: Device = "auto"
    precision: Precision = "auto"
    threads: Threads = None

    def runtime(self) -> "Runtime":
        """The device, precision and threads that are asked for. Raises DeviceError where they are not there."""
        from percept_cli.core.runtime import choose_runtime

        return choose_runtime(self.device, self.precision, self.threads)


@dataclass(frozen=True)
class ExactCompute(Compute):
    """The same for commands that measure, which is done in float32 unless asked otherwise."""

    precision: Precision = "fp32"


@dataclass(frozen=True)
class Report:
    """How a command tells what it does."""

    quiet: Quiet = False
    json: Json = False

    def console(self) -> "Console":
        """Where the command reports."""
        from percept_cli.console import Console

        return Console(self.quiet, self.json)


@dataclass(frozen=True)
class Existing:
    """What becomes of outputs that exist: refused unless one of these is given."""

    overwrite: Overwrite = False
    skip_existing: SkipExisting = False


@dataclass(frozen=True)
class ExistingRun:
    """What becomes of a training that was stopped, and of a model that exists: refused unless one of these is given."""

    resume: Resume = False
    overwrite: Overwrite = False


@dataclass(frozen=True)
class Listing:
    """How inputs are listed beside the arguments."""

    recursive: Recursive = False
    from_file: FromFile = None
    null_separated: NullSeparated = False


@dataclass(frozen=True)
class ExtractorSource:
    """Which extractor a command uses, and with which weights."""

    extractor: Extractor = "compact"
    extractor_weights: ExtractorWeights = None

    def choose(self) -> "ExtractorChoice":
        """The extractor by its architecture's name, whether that or a file of one was given. Raises as `choose_extractor`."""
        from percept_cli.core.pretrained.extractors import choose_extractor

        return choose_extractor(self.extractor, self.extractor_weights)


@dataclass(frozen=True)
class StyleLosses:
    """What a picture is held to the photograph and to the style by."""

    content_weight: ContentWeight = 1.0
    style_weight: StyleWeight = 1.0
    tv_weight: TotalVariationWeight = 1.0
    scaling: Scaling = "typical"
    content_layers: LossLayers = None
    style_layers: LossLayers = None


@dataclass(frozen=True)
class DeepsimLosses:
    """The weights of the losses of an inverter or an autoencoder, their comparator and discriminator."""

    image_weight: Weight = None
    feature_weight: Weight = None
    adversarial_weight: Weight = None
    scaling: Annotated[
        str,
        typer.Option(
            help="typical: 1.0 is what an unrelated photograph costs; paper: raw sums of squares.",
            rich_help_panel="Losses",
        ),
    ] = "typical"
    comparator: Annotated[
        str,
        typer.Option(
            help="Whose features are compared: an extractor or a FILE of one, random (AlexNet untrained) or "
            "discriminator.",
            rich_help_panel="Losses",
        ),
    ] = "compact"
    comparator_layers: Annotated[
        Names | None,
        typer.Option(
            parser=parse_names, metavar="L1,L2,...", help="Default: the comparator's own.", rich_help_panel="Losses"
        ),
    ] = None
    comparator_weights: Annotated[
        str | None, typer.Option(metavar="FILE|random", help="Weights for --comparator.", rich_help_panel="Losses")
    ] = None
    discriminator_channels: Annotated[
        int, typer.Option(min=1, help="Width of the discriminator's first layer.", rich_help_panel="Losses")
    ] = 32
    code_branch: Annotated[
        bool,
        typer.Option(
            "--code-branch/--no-code-branch",
            help="The discriminator sees the code beside the image.",
            rich_help_panel="Losses",
        ),
    ] = True


def given(*bundles: Any) -> dict[str, Any]:
    """The options of bundles that were given, by name: neither None nor without a single layer."""
    values = {field.name: getattr(bundle, field.name) for bundle in bundles for field in fields(bundle)}
    return {name: value for name, value in values.items() if value is not None and value != ()}


def flatten(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its bundles in their place, which is what Typer reads and calls."""
    signature = inspect.signature(command, eval_str=True)
    bundles: dict[str, Any] = {
        name: each.annotation for name, each in signature.parameters.items() if is_dataclass(each.annotation)
    }

    def parameters() -> Iterator[inspect.Parameter]:
        for name, parameter in signature.parameters.items():
            if name not in bundles:
                yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
                continue
            hints = get_type_hints(bundles[name], include_extras=True)
            for field in fields(bundles[name]):
                yield inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
                )

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        for name, bundle in bundles.items():
            given[name] = bundle(**{field.name: given.pop(field.name) for field in fields(bundle)})
        command(**given)

    flattened = list(parameters())
    flat.__signature__ = inspect.Signature(flattened)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in flattened}
    return flat
