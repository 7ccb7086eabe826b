"""Progress of pictures that take long to make: their functions yield a step for every piece of the work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Step(Generic[Result]):
    """One step of the work for a result.

    The first is yielded before any work and the last, which alone holds the result, after all of it; each one between
    them is one of `total` pieces. figures: numbers to show beside the progress, by name.
    """

    total: int
    figures: Mapping[str, float] = field(default_factory=dict)
    result: Result | None = None
