"""`percept visualize WHAT`: pictures of what networks hold; one file a picture."""

import typer

from percept_cli.commands.visualize.features import features
from percept_cli.commands.visualize.samples import samples

visualize = typer.Typer(
    help="Look inside networks and results: features, draws from an autoencoder.", no_args_is_help=True
)
visualize.command("features")(features)
visualize.command("samples")(samples)
