"""A linear probe: how well a linear classifier tells labeled pictures apart by their features.

The classifier is scikit-learn's, which comes with `pip install percept[probe]`.
"""

import importlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.generators.autoencoder import Autoencoder
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

USUAL_SIDE = 96  # pixels; of STL-10, the data set of Dosovitskiy & Brox 2016, section 4.1
BATCH = 16  # pictures through the networks at a time
MOST_VALUES = 4096
# What the weights of the classifier may cost, in units of the mean eigenvalue of the features' covariance
PENALTIES = tuple(10 ** (exponent / 2) for exponent in range(-8, 9))


@dataclass
class PooledRows:
    """One kind of features of pictures, batch after batch: a row a picture, pooled by `pool_features`.

    shape, pooled: of the features of one picture, before and after.
    """

    shape: tuple[int, ...] = ()
    pooled: tuple[int, ...] = ()
    batches: list[Tensor] = field(default_factory=list)

    def add(self, features: Tensor) -> None:
        """Takes the features (N, C, h, w) or (N, C) of some more pictures."""
        cells = pool_features(features.float().cpu())
        self.shape, self.pooled = tuple(features.shape[1:]), tuple(cells.shape[1:])
        self.batches.append(cells.flatten(1))

    @property
    def values(self) -> Tensor:
        """All rows, (N, D) float32 on the processor."""
        return torch.cat(self.batches)


@dataclass(frozen=True)
class ProbeResult:
    """How many pictures of each class were classified correctly, of how many."""

    correct: dict[str, int]
    pictures: dict[str, int]

    @property
    def accuracy(self) -> float:
        """The share of all pictures that were classified correctly."""
        return sum(self.correct.values()) / sum(self.pictures.values())

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as a share of independent pictures has it: √(p (1 − p) / N)."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / sum(self.pictures.values()))


def describe_pictures(
    squares: Sequence[Tensor],
    rows: Mapping[str, PooledRows],
    autoencoders: Mapping[str, Autoencoder],
    extractor: FeatureExtractor | None,
    runtime: Runtime,
) -> None:
    """Adds pictures, each (1, 3, side, side) in [0, 1], to the rows of every kind of features that are named there.

    rows: of `pixels`, of the code of every autoencoder by its name, and of every layer that the extractor is tapped at.
    """
    images = torch.cat(list(squares))
    rows["pixels"].add(images)
    placed = runtime.place(images)
    with torch.inference_mode():
        for name, network in autoencoders.items():
            with runtime.autocast():
                rows[name].add(network.encode(placed)[0])
        if extractor is not None:
            for name, features in extractor(placed).items():
                rows[name].add(features)


def pool_features(features: Tensor, most: int = MOST_VALUES) -> Tensor:
    """Features (N, C, h, w) averaged over cells to at most `most` values a picture, (N, C, k, k), where they have more.

    (N, C) and what cannot be pooled further stay as they are.
    """
    if features.ndim < 4 or features[0].numel() <= most:
        return features
    side = max(1, math.isqrt(most // features.shape[1]))
    return F.adaptive_avg_pool2d(features, (min(side, features.shape[2]), min(side, features.shape[3])))


def probe(features: Tensor, classes: Sequence[str], folds: int, seed: int = 0) -> ProbeResult:
    """How well pictures are classified by their features (N, D): those of each fold by a classifier of all the others.

    Ridge regression of one-hot classes on standardized features, whose penalty is the one with the least squared error
    of every picture when it is left out (Golub, Heath & Wahba 1979). The folds are stratified and drawn from `seed`.
    Raises UsageError where scikit-learn is not installed.
    """
    values, labels = features.double().numpy(), np.array(classes)
    predicted = np.empty_like(labels)
    for known, unknown in stratified_folds(classes, folds, seed):
        predicted[unknown] = classify(values[known], labels[known], values[unknown])
    right = predicted == labels
    return ProbeResult(
        {name: int(right[labels == name].sum()) for name in sorted(set(classes))}, dict(Counter(classes))
    )


def stratified_folds(classes: Sequence[str], folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers of the pictures that a classifier knows and of those that it does not, for each of the folds."""
    model_selection = _scikit_learn("model_selection")
    splitter = model_selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
    yield from splitter.split(np.zeros(len(classes)), np.array(classes))


def classify(features: np.ndarray, labels: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The classes (M,) of features (M, D), by ridge regression of the classes (N,) of features (N, D), float64.

    Features are standardized by the mean and standard deviation of the known ones; constant ones are left out.
    """
    linear_model = _scikit_learn("linear_model")
    mean, std = features.mean(0), features.std(0)
    varying = std > 1e-6 * std.max()
    if not varying.any():  # nothing tells the pictures apart: the largest class is the best guess
        names, counts = np.unique(labels, return_counts=True)
        return np.full(len(unknown), names[counts.argmax()])
    known, asked = ((each - mean)[:, varying] / std[varying] for each in (features, unknown))
    # The squares of standardized values sum to N a column: their mean eigenvalue, of those that are not 0.
    unit = known.size / min(len(known) - 1, known.shape[1])
    ridge = linear_model.RidgeClassifierCV([penalty * unit for penalty in PENALTIES]).fit(known, labels)
    return np.asarray(ridge.predict(asked))


def check_scikit_learn() -> None:
    """Raises UsageError where scikit-learn is not installed."""
    _scikit_learn("linear_model")


def _scikit_learn(module: str) -> Any:
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError as error:
        raise UsageError(
            "compare --probe needs scikit-learn, which is not installed. Install it with: pip install 'percept[probe]'"
        ) from error
