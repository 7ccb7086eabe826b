"""The entry point of `percept` and of `python -m percept_cli`."""

# First of all, and before any other import: from here on a signal ends the program with a sentence.
import atexit
import gc
import os
import signal
import sys


def _leave(number: int, frame: object) -> None:
    os.write(2, f"error: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(130 if number == signal.SIGINT else 143)


for _number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
    if _number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(_number) is not signal.SIG_IGN:  # as by nohup
        signal.signal(_number, _leave)

from percept_cli import interruption, streams  # noqa: E402
from percept_cli.errors import Interrupted  # noqa: E402


def main() -> None:
    """Runs the command line and exits with its exit code."""
    atexit.register(interruption.ignore)  # the first that is registered is the last that is called
    interruption.install()
    streams.prepare()
    try:
        from percept_cli.app import run

        code = int(run())
        interruption.end()
    except Interrupted as error:
        code = int(error.exit_code)  # after the work
    gc.freeze()  # else Python looks for cycles in all that torch has loaded, 0.3 s, before it ends
    pipeline = sys.modules.get("percept_cli.core.batches.pipeline")
    if pipeline is not None and pipeline.is_still_working():
        # A picture of a batch that was stopped is in work, in a thread that nothing can end but the process.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
