"""`percept visualize WHAT`: pictures of what networks hold; one file a picture."""

import typer

from percept_cli.commands.visualize.activations import activations
from percept_cli.commands.visualize.compare import compare
from percept_cli.commands.visualize.features import features
from percept_cli.commands.visualize.gram import gram
from percept_cli.commands.visualize.history import history
from percept_cli.commands.visualize.samples import samples

visualize = typer.Typer(
    help="Look inside networks and results: features, activations, comparisons, histories, styles, draws from an autoencoder.",
    no_args_is_help=True,
)
visualize.command("features")(features)
visualize.command("activations")(activations)
visualize.command("compare")(compare)
visualize.command("gram")(gram)
visualize.command("history")(history)
visualize.command("samples")(samples)
