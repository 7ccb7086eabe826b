"""What every training command does around its run: open it, show progress, handle interruptions, report."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from percept_cli import interruption, options
from percept_cli.console import Console
from percept_cli.core.processes import is_true_anywhere
from percept_cli.core.training.loop import TrainingStep
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import ImageError

FORECAST_STEPS = 5
LONG = 60.0  # seconds; a shorter rest needs no forecast


def open_run(output: Path, compute: options.Compute, run_options: options.RunOptions, console: Console) -> Run:
    """The run that writes `output`; its messages go to the console. Raises as `Run.open` and `choose_runtime`."""
    runtime = compute.runtime()
    run = Run.open(
        output, runtime, resume=run_options.resume, overwrite=run_options.overwrite, ema=run_options.ema,
        announce=console.say, warn=console.warn,
    )  # fmt: skip
    if run.is_main:
        console.say(runtime.reason)
    return run


def follow(run: Run, steps: Iterator[TrainingStep], console: Console, advice: str = "") -> None:
    """Executes the steps of a run and shows progress; at the end, warns about the files that could not be read.

    advice: what a user may do who finds the time too long that the training will take.

    After Ctrl-C or SIGTERM it finishes the step, writes a checkpoint and raises Interrupted.
    """
    training = run.training
    reported = console if run.is_main else Console(quiet=True)
    with ExitStack() as stack, reported.progress(training.steps, "step", training.step) as progress:
        stack.callback(run.close)
        deferred = stack.enter_context(ExitStack())
        deferred.enter_context(interruption.deferred())
        for step in _forecast(steps, training.steps, reported, advice):
            progress.advance(1, {"loss": step.total, **step.parts})
            if is_true_anywhere(interruption.received() is not None, run.runtime.device):
                # All processes stop after the same step: one that went on would wait for the others.
                stopped = f"stopped at step {step.index} of {training.steps}"
                try:
                    run.save_checkpoint()
                except ImageError as error:
                    raise interruption.interrupted(f"{stopped}; {error} {run.kept()}") from error
                finally:
                    run.accelerator.wait_for_everyone()  # whoever ends first has torchrun stop the others
                raise interruption.interrupted(f"{stopped}; repeat the command with --resume to go on")
            if step.index == training.steps:
                deferred.close()  # a signal stops measuring and saving at once
    for path, reason in run.unreadable.items():
        console.warn(f"{path} could not be read and was left out: {reason}")


def _forecast(steps: Iterator[TrainingStep], total: int, console: Console, advice: str) -> Iterator[TrainingStep]:
    """The steps; after the first few, it says how long those to `total` will take on this machine."""
    started: float | None = None
    for count, step in enumerate(steps):
        if count == 0:
            started = time.monotonic()  # the first step also reads the first pictures and warms up
        elif count == FORECAST_STEPS and started is not None:
            seconds = (time.monotonic() - started) / FORECAST_STEPS
            left = seconds * (total - step.index)
            if left >= LONG:
                console.say(f"about {describe_seconds(left)} to go on this machine, {seconds:.2g} s a step{advice}")
        yield step


def describe_seconds(seconds: float) -> str:
    """A duration in words: `3 minutes`, `2.5 hours`."""
    if seconds < 90 * 60:
        minutes = max(1, round(seconds / 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{seconds / 3600:.1f} hours"


def report_model(run: Run, console: Console, example: str | None = None) -> None:
    """Reports the model that a run wrote, on the main process; example: a command that uses the model."""
    if not run.is_main:
        return
    if example is not None:
        console.say(f"try it: {example}")
    console.result(str(run.output), output=str(run.output), steps=run.training.steps, preview=str(run.preview))
