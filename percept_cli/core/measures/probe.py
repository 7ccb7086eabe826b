"""A linear probe: the accuracy of a linear classifier on the features of labeled pictures.

The classifier is scikit-learn's, installed by `pip install percept[probe]`.
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

USUAL_SIDE = 96  # pixels, as in STL-10, the data set of Dosovitskiy & Brox 2016, section 4.1
BATCH = 16  # pictures through the networks at a time
MOST_VALUES = 4096
# Ridge penalties to choose from, in units of the mean eigenvalue of the features' covariance
PENALTIES = tuple(10 ** (exponent / 2) for exponent in range(-8, 9))


@dataclass
class PooledRows:
    """One kind of features of pictures: a row for each picture, pooled by `pool_features`.

    shape, pooled: the shape of the features of one picture, before and after pooling.
    """

    shape: tuple[int, ...] = ()
    pooled: tuple[int, ...] = ()
    batches: list[Tensor] = field(default_factory=list)

    def add(self, features: Tensor) -> None:
        """Adds the features (N, C, h, w) or (N, C) of further pictures."""
        cells = pool_features(features.float().cpu())
        self.shape, self.pooled = tuple(features.shape[1:]), tuple(cells.shape[1:])
        self.batches.append(cells.flatten(1))

    @property
    def values(self) -> Tensor:
        """All rows, (N, D) float32 on the processor."""
        return torch.cat(self.batches)


@dataclass(frozen=True)
class ProbeResult:
    """How many pictures of each class were classified correctly, and how many there are."""

    correct: dict[str, int]
    pictures: dict[str, int]

    @property
    def accuracy(self) -> float:
        """The share of all pictures that were classified correctly."""
        return sum(self.correct.values()) / sum(self.pictures.values())

    @property
    def standard_error(self) -> float:
        """The standard error of the accuracy p over N independent pictures: √(p (1 − p) / N)."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / sum(self.pictures.values()))


def describe_pictures(
    squares: Sequence[Tensor],
    rows: Mapping[str, PooledRows],
    autoencoders: Mapping[str, Autoencoder],
    extractor: FeatureExtractor | None,
    runtime: Runtime,
) -> None:
    """Adds the features of pictures, each (1, 3, side, side) in [0, 1], to `rows`.

    rows: by `pixels`, the name of each autoencoder, and each layer at which the extractor is tapped.
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
    """Features (N, C, h, w) averaged over cells, (N, C, k, k), to at most `most` values a picture.

    Features with fewer values and those of shape (N, C) stay as they are. One value for each channel is left at least.
    """
    if features.ndim < 4 or features[0].numel() <= most:
        return features
    side = max(1, math.isqrt(most // features.shape[1]))
    return F.adaptive_avg_pool2d(features, (min(side, features.shape[2]), min(side, features.shape[3])))


def probe(features: Tensor, classes: Sequence[str], folds: int, seed: int = 0) -> ProbeResult:
    """The result of classifying pictures by their features (N, D): each fold by a classifier trained on the others.

    Ridge regression of one-hot classes on standardized features, with the penalty of the least squared leave-one-out
    error (Golub, Heath & Wahba 1979). The folds are stratified and drawn from `seed`. Raises UsageError where
    scikit-learn is not installed.
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
    """For each fold the indices of the pictures to train on and of those to classify."""
    model_selection = _scikit_learn("model_selection")
    splitter = model_selection.StratifiedKFold(folds, shuffle=True, random_state=seed)
    yield from splitter.split(np.zeros(len(classes)), np.array(classes))


def classify(features: np.ndarray, labels: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The classes (M,) of the features `unknown` (M, D), by ridge regression on features (N, D) with labels (N,), float64.

    Features are standardized by the mean and standard deviation of the labeled ones; constant features are left out.
    """
    linear_model = _scikit_learn("linear_model")
    mean, std = features.mean(0), features.std(0)
    varying = std > 1e-6 * std.max()
    if not varying.any():  # all pictures have the same features: the largest class is the best guess
        names, counts = np.unique(labels, return_counts=True)
        return np.full(len(unknown), names[counts.argmax()])
    known, unknown = ((each - mean)[:, varying] / std[varying] for each in (features, unknown))
    # The mean of the eigenvalues that are not 0: the squares of standardized values sum to N in each column.
    unit = known.size / min(len(known) - 1, known.shape[1])
    ridge = linear_model.RidgeClassifierCV([penalty * unit for penalty in PENALTIES]).fit(known, labels)
    return np.asarray(ridge.predict(unknown))


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
