"""The command line: registers the commands and turns errors into messages and exit codes."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from percept_cli import __version__, interruption, streams
from percept_cli.bundles import flatten
from percept_cli.commands.compare import compare
from percept_cli.commands.doctor import doctor
from percept_cli.commands.invert import invert
from percept_cli.commands.models import models
from percept_cli.commands.rerun import rerun
from percept_cli.commands.retry import retry
from percept_cli.commands.stylize import stylize
from percept_cli.commands.train.any_style import train_any_style
from percept_cli.commands.train.autoencoder import train_autoencoder
from percept_cli.commands.train.extractor import train_extractor
from percept_cli.commands.train.invert import train_invert
from percept_cli.commands.train.style import train_style
from percept_cli.commands.train.translate import train_translate
from percept_cli.commands.train.upscale import train_upscale
from percept_cli.commands.upscale import upscale
from percept_cli.commands.visualize import visualize
from percept_cli.console import Console
from percept_cli.errors import ExitCode, Interrupted, PerceptError
from percept_cli.grammar import Command, Group

app = typer.Typer(
    name="percept",
    help="Image transformation with perceptual losses: restyle photographs, train styles, look inside networks.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    cls=Group,
    pretty_exceptions_enable=False,
)
train = typer.Typer(
    help="Train a style, a network for any style, a translation, an upscaler, an inverter, an autoencoder or an extractor.",
    no_args_is_help=True,
    cls=Group,
)
TRAININGS: dict[str, Callable[..., None]] = {
    "style": train_style,
    "any-style": train_any_style,
    "upscale": train_upscale,
    "invert": train_invert,
    "translate": train_translate,
    "autoencoder": train_autoencoder,
    "extractor": train_extractor,
}

app.command("stylize", cls=Command)(flatten(stylize))
app.command("upscale", cls=Command)(flatten(upscale))
app.command("invert", cls=Command)(flatten(invert))
app.command("rerun", cls=Command)(flatten(rerun))
app.add_typer(visualize, name="visualize")
app.add_typer(train, name="train")
for kind, command in TRAININGS.items():
    train.command(kind, cls=Command)(flatten(command))
    app.command(f"train-{kind}", hidden=True, cls=Command)(flatten(command))
app.command("compare", cls=Command)(flatten(compare))
app.add_typer(models, name="models")
app.command("retry", cls=Command)(flatten(retry))
app.command("doctor", cls=Command)(flatten(doctor))


def _version(value: bool) -> None:
    if value:
        typer.echo(f"percept {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def run(arguments: list[str] | None = None) -> int:
    """Runs one command line and returns its exit code. Every error becomes a message here."""
    console = Console()
    interruption.install()
    Console.pictures = 0
    code = _run(arguments, console)
    if interruption.received() and code == ExitCode.OK:
        # A library has swallowed it, and no loop came after it.
        console.error(str(interruption.interrupted()))
        return interruption.interrupted().exit_code
    lost = streams.failure()
    if lost is not None and (code == ExitCode.OK or Console.pictures):
        console.error(
            f"standard output could not be written: {lost.strerror or lost}. "
            + ("The pictures are made; their list is not complete." if Console.pictures else "The result is lost.")
        )
        if code == ExitCode.OK:
            return ExitCode.SOME_FAILED if Console.pictures else ExitCode.ALL_FAILED
    return code


def _run(arguments: list[str] | None, console: Console) -> int:
    try:
        app(arguments)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):
            return ExitCode.OK  # the program that reads the output has closed it
        return leaving.code if isinstance(leaving.code, int) else ExitCode.OK
    except (PerceptError, Interrupted) as error:
        console.error(str(error))
        return error.exit_code
    except Exception as error:
        if _is_out_of_memory(error):
            console.error("Not enough memory. Close other programs, or use smaller images.")
            return ExitCode.DEVICE
        if interruption.received():  # a library has made another error of it
            console.error(str(interruption.interrupted()))
            return interruption.interrupted().exit_code
        if os.environ.get("PERCEPT_TRACEBACK"):
            raise
        console.error(
            f"internal error, {type(error).__name__}: {error}. This is a bug of percept: please report it, with what "
            "PERCEPT_TRACEBACK=1 shows."
        )
        return ExitCode.INTERNAL
    return ExitCode.OK


def _is_out_of_memory(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from percept_cli.core.runtime import is_out_of_memory

    return is_out_of_memory(error)
