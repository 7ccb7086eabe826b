"""`percept visualize WHAT`: pictures of what networks hold; one file a picture."""

from collections.abc import Callable

import typer

from percept_cli.commands.visualize.networks.activations import activations
from percept_cli.commands.visualize.networks.features import features
from percept_cli.commands.visualize.networks.filters import filters
from percept_cli.commands.visualize.networks.gram import gram
from percept_cli.commands.visualize.networks.objective import objective
from percept_cli.commands.visualize.networks.receptive_field import receptive_field
from percept_cli.commands.visualize.networks.reconstructions import reconstructions
from percept_cli.commands.visualize.results.compare import compare
from percept_cli.commands.visualize.results.history import history
from percept_cli.commands.visualize.results.report import report
from percept_cli.commands.visualize.results.samples import samples
from percept_cli.commands.visualize.results.spectrum import spectrum
from percept_cli.commands.visualize.results.sweep import sweep
from percept_cli.options import flatten

visualize = typer.Typer(
    help="Look inside networks and results: pictures that answer, and the numbers behind them.",
    no_args_is_help=True,
)
PICTURES: dict[str, Callable[..., None]] = {
    "features": features,
    "activations": activations,
    "compare": compare,
    "filters": filters,
    "gram": gram,
    "history": history,
    "objective": objective,
    "receptive-field": receptive_field,
    "report": report,
    "reconstructions": reconstructions,
    "samples": samples,
    "spectrum": spectrum,
    "sweep": sweep,
}
for name, command in PICTURES.items():
    visualize.command(name)(flatten(command))
