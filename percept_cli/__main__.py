"""`percept` and `python -m percept_cli`."""

from percept_cli.app import run


def main() -> None:
    """Runs the command line and leaves with its exit code."""
    raise SystemExit(run())


if __name__ == "__main__":
    main()
