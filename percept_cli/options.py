"""Every option that more than one command has: same name, same meaning."""

from pathlib import Path
from typing import Annotated

import typer

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
ContentLayers = Annotated[
    str | None, typer.Option(metavar="L1,L2,...", help="Default: the extractor's own.", rich_help_panel="Losses")
]
StyleLayers = Annotated[
    str | None, typer.Option(metavar="L1,L2,...", help="Default: the extractor's own.", rich_help_panel="Losses")
]
DeepsimLoss = Annotated[
    str, typer.Option("--loss", help="image, feature, or deepsim: both and a discriminator.", rich_help_panel="Losses")
]
ImageWeight = Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")]
FeatureWeight = Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")]
AdversarialWeight = Annotated[float | None, typer.Option(min=0.0, rich_help_panel="Losses")]
UnrelatedScaling = Annotated[
    str,
    typer.Option(
        help="typical: 1.0 is what an unrelated photograph costs; paper: raw sums of squares.",
        rich_help_panel="Losses",
    ),
]
Comparator = Annotated[
    str,
    typer.Option(
        help="Whose features are compared: an extractor or a FILE of one, random (AlexNet untrained) or discriminator.",
        rich_help_panel="Losses",
    ),
]
ComparatorLayers = Annotated[
    str | None, typer.Option(metavar="L1,L2,...", help="Default: the comparator's own.", rich_help_panel="Losses")
]
ComparatorWeights = Annotated[
    str | None, typer.Option(metavar="FILE|random", help="Weights for --comparator.", rich_help_panel="Losses")
]
DiscriminatorChannels = Annotated[
    int, typer.Option(min=1, help="Width of the discriminator's first layer.", rich_help_panel="Losses")
]
CodeBranch = Annotated[
    bool,
    typer.Option(
        "--code-branch/--no-code-branch",
        help="The discriminator sees the code beside the image.",
        rich_help_panel="Losses",
    ),
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
