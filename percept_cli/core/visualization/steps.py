"""Progress of pictures whose making takes long: their functions yield a step for every piece of the work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Step(Generic[Result]):
    """One step of the work: the first is yielded before it, the last after it, each one between after one of `total` pieces.

    figures: numbers to show beside the progress, by name. result: of the last step, None before.
    """

    total: int
    figures: Mapping[str, float] = field(default_factory=dict)
    result: Result | None = None
