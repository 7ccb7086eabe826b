"""The seconds that each stage of the work on a picture takes."""

import time


class Clock:
    """Counts the seconds of each stage of a picture; a stage may come again, as with each frame of an animation."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Begins a stage now, without the time that was waited for it."""
        self._last = time.monotonic()

    def stop(self, stage: str) -> None:
        """Ends a stage, and begins the next."""
        now = time.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Of all stages that have ended, rounded to milliseconds."""
        return round(sum(self.seconds.values()), 3)
