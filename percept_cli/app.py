"""The command line: registers the commands and is the only place where errors become messages and exit codes."""

from typing import Annotated

import typer

from percept_cli import __version__
from percept_cli.commands.train_extractor import train_extractor

app = typer.Typer(
    name="percept",
    help="Image transformation with perceptual losses: restyle photographs, train styles, look inside networks.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
train = typer.Typer(help="Train a style or an extractor.", no_args_is_help=True)
app.add_typer(train, name="train")

train.command("extractor")(train_extractor)
app.command("train-extractor", hidden=True)(train_extractor)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"percept {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


def run(arguments: list[str] | None = None) -> int:
    """Runs one command line and returns its exit code; the only error boundary there is."""
    import sys

    from percept_cli.console import Console
    from percept_cli.errors import ExitCode, PerceptError

    console = Console()
    try:
        result = app(arguments, standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except PerceptError as error:
        console.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        console.error("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nobody is left to tell
        return ExitCode.OK
