"""The entry point of `percept` and of `python -m percept_cli`."""

from percept_cli.app import run


def main() -> None:
    """Runs the command line and exits with its exit code."""
    raise SystemExit(run())


if __name__ == "__main__":
    main()
