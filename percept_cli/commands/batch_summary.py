"""The figures of a batch as a whole: what was done, how fast, and which stage took most of the time."""

import time
from dataclasses import dataclass, field
from typing import Any

from percept_cli.commands.batch_plan import Plan
from percept_cli.console import Console
from percept_cli.core.batches.pictures import STAGES, Outcome


@dataclass
class Tally:
    """What a batch has done so far. planned: jobs in all, of which some were skipped."""

    planned: int
    skipped: int
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def add(self, outcome: Outcome) -> None:
        """Counts one outcome."""
        self.done += outcome.error is None
        self.failed += outcome.error is not None
        for stage, seconds in outcome.seconds.items():
            self.seconds[stage] += seconds

    def facts(self, workers: int) -> dict[str, Any]:
        """The figures of the summary."""
        elapsed = time.monotonic() - self.started
        slowest = max(STAGES, key=lambda stage: self.seconds[stage])
        return {
            "planned": self.planned, "done": self.done, "failed": self.failed, "skipped": self.skipped,
            "seconds": round(elapsed, 2), "images_per_second": round((self.done + self.failed) / max(elapsed, 1e-9), 3),
            "at_once": workers, "slowest_stage": slowest,
            "slowest_share": round(self.seconds[slowest] / max(sum(self.seconds.values()), 1e-9), 2),
        }  # fmt: skip


def summarize(plan: Plan, tally: Tally, workers: int, console: Console) -> None:
    """Reports the figures of a batch of several pictures."""
    facts, attempted = tally.facts(workers), tally.done + tally.failed
    if tally.planned > 1:
        left = tally.planned - tally.skipped - attempted
        parts = [f"{tally.done} done", f"{tally.skipped} left as they are" if tally.skipped else "",
                 f"{tally.failed} failed" if tally.failed else "", f"{left} not tried" if left else ""]  # fmt: skip
        console.say(
            f"{tally.planned} images: {', '.join(filter(None, parts))}, in {facts['seconds']:.1f} s: "
            f"{facts['images_per_second']:.2f} a second, {workers} at once, {100 * facts['slowest_share']:.0f} % of the "
            f"time {facts['slowest_stage']}"
        )
        if console.as_json:
            console.result("", summary={**facts, "not_tried": left, "manifest": plan.manifest})
