"""The trainings of the small extractor `compact`: one module for each method, and what they have in common."""

from collections.abc import Callable, Iterator
from typing import Any

from percept_cli.core.training.extractors.distillation import DistillationTraining, train_by_distillation
from percept_cli.core.training.extractors.exemplar import ExemplarTraining, train_by_exemplars
from percept_cli.core.training.extractors.ranking import RankingTraining, train_by_ranking
from percept_cli.core.training.loop import TrainingStep

# By the name of a method: its options and the function that trains
METHODS: dict[str, tuple[type[Any], Callable[..., Iterator[TrainingStep]]]] = {
    "distil": (DistillationTraining, train_by_distillation),
    "exemplar": (ExemplarTraining, train_by_exemplars),
    "video": (RankingTraining, train_by_ranking),
}
