"""The entry point of `percept` and of `python -m percept_cli`."""

from percept_cli import interruption, streams
from percept_cli.errors import Interrupted


def main() -> None:
    """Runs the command line and exits with its exit code."""
    # Before the imports, which take a while: a signal ends the program with a sentence at any time.
    interruption.install()
    streams.prepare()
    try:
        from percept_cli.app import run

        code = int(run())
        interruption.end()
    except Interrupted as error:
        code = int(error.exit_code)  # after the work
    raise SystemExit(code)


if __name__ == "__main__":
    main()
