"""`percept visualize WHAT`: pictures of what networks hold; one file a picture."""

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
