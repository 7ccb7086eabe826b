"""Every option that more than one command has: same name, same meaning."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Threads = Annotated[int | None, typer.Option(help="Processor threads; all by default.")]
Seed = Annotated[int, typer.Option(help="Same seed, same device: same result.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Leave outputs that exist as they are.")]
Extractor = Annotated[
    str, typer.Option(help="compact, vgg16, vgg19, alexnet, squeezenet1_0 or squeezenet1_1.", rich_help_panel="Losses")
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
