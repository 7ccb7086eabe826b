"""What every training command does around its run: open it, show progress, handle interruptions, report."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from percept_cli import interruption, options
from percept_cli.console import Console
from percept_cli.core.training.loop import TrainingStep
from percept_cli.core.training.run import Run


def open_run(output: Path, compute: options.Compute, existing: options.ExistingRun, console: Console) -> Run:
    """The run that writes `output`; its messages go to the console. Raises as `Run.open` and `choose_runtime`."""
    runtime = compute.runtime()
    run = Run.open(output, runtime, resume=existing.resume, overwrite=existing.overwrite, announce=console.say)
    console.say(runtime.reason)
    return run


def follow(run: Run, steps: Iterator[TrainingStep], console: Console) -> None:
    """Executes the steps of a run and shows progress; at the end, warns about the files that could not be read.

    After Ctrl-C or SIGTERM it finishes the step, writes a checkpoint and raises Interrupted.
    """
    training = run.training
    reported = console if run.is_main else Console(quiet=True)
    with ExitStack() as stack, reported.progress(training.steps, "step", training.step) as progress:
        stack.enter_context(interruption.deferred())
        for step in steps:
            progress.advance(1, {"loss": step.total, **step.parts}, step.images)
            if interruption.received():
                run.save_checkpoint()
                raise interruption.interrupted(
                    f"stopped at step {step.index} of {training.steps}; repeat the command with --resume to go on"
                )
            if step.index == training.steps:
                stack.close()  # a signal stops measuring and saving at once
    for path, reason in run.unreadable.items():
        console.warn(f"{path} could not be read and was left out: {reason}")


def report_model(run: Run, console: Console, example: str | None = None) -> None:
    """Reports the model that a run wrote, on the main process; example: a command that uses the model."""
    if not run.is_main:
        return
    if example is not None:
        console.say(f"try it: {example}")
    console.result(str(run.output), output=str(run.output), steps=run.training.steps, preview=str(run.preview))
