"""`percept visualize WHAT`: pictures of what networks hold; one file a picture."""

import typer

from percept_cli.commands.visualize.activations import activations
from percept_cli.commands.visualize.compare import compare
from percept_cli.commands.visualize.features import features
from percept_cli.commands.visualize.filters import filters
from percept_cli.commands.visualize.gram import gram
from percept_cli.commands.visualize.history import history
from percept_cli.commands.visualize.objective import objective
from percept_cli.commands.visualize.receptive_field import receptive_field
from percept_cli.commands.visualize.reconstructions import reconstructions
from percept_cli.commands.visualize.report import report
from percept_cli.commands.visualize.samples import samples
from percept_cli.commands.visualize.spectrum import spectrum
from percept_cli.commands.visualize.sweep import sweep

visualize = typer.Typer(
    help="Look inside networks and results: pictures that answer, and the numbers behind them.",
    no_args_is_help=True,
)
visualize.command("features")(features)
visualize.command("activations")(activations)
visualize.command("compare")(compare)
visualize.command("filters")(filters)
visualize.command("gram")(gram)
visualize.command("history")(history)
visualize.command("objective")(objective)
visualize.command("receptive-field")(receptive_field)
visualize.command("report")(report)
visualize.command("reconstructions")(reconstructions)
visualize.command("samples")(samples)
visualize.command("spectrum")(spectrum)
visualize.command("sweep")(sweep)
