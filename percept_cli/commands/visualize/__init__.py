"""`percept visualize WHAT`: pictures that explain networks and results; one file for each."""

import typer

from percept_cli.bundles import flatten
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
from percept_cli.grammar import Command, Group

visualize = typer.Typer(
    help="Look inside networks and results: pictures and their numbers.",
    no_args_is_help=True,
    cls=Group,
)
for command in (
    features,
    activations,
    compare,
    filters,
    gram,
    history,
    objective,
    receptive_field,
    report,
    reconstructions,
    samples,
    spectrum,
    sweep,
):
    visualize.command(cls=Command)(flatten(command))
