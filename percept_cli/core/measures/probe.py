"""A linear probe: how well a linear classifier tells labeled pictures apart by their features."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

USUAL_SIDE = 96  # pixels; of STL-10, the data set of Dosovitskiy & Brox 2016, section 4.1
MOST_VALUES = 4096
# What the weights of the classifier may cost, in units of the mean eigenvalue of the features' covariance
PENALTIES = tuple(10 ** (exponent / 2) for exponent in range(-8, 9))
SMALLEST_EIGENVALUE = 1e-10  # of the largest; float64 has no more


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
    """How many pictures of each class were told right, of how many."""

    correct: dict[str, int]
    pictures: dict[str, int]

    @property
    def accuracy(self) -> float:
        """The share of all pictures that were told right."""
        return sum(self.correct.values()) / sum(self.pictures.values())

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as a share of independent pictures has it: √(p (1 − p) / N)."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / sum(self.pictures.values()))


@dataclass(frozen=True)
class Ridge:
    """A linear map `features @ weights + offset`, and what each row's target is off when fitted without that row."""

    weights: Tensor
    offset: Tensor
    penalty: float
    left_out: Tensor


def pool_features(features: Tensor, most: int = MOST_VALUES) -> Tensor:
    """Features (N, C, h, w) averaged over cells to at most `most` values a picture, (N, C, k, k), where they have more.

    (N, C) and what cannot be pooled further stay as they are.
    """
    if features.ndim < 4 or features[0].numel() <= most:
        return features
    side = max(1, math.isqrt(most // features.shape[1]))
    return F.adaptive_avg_pool2d(features, (min(side, features.shape[2]), min(side, features.shape[3])))


def stratified_folds(classes: Sequence[str], folds: int, seed: int) -> Tensor:
    """The fold of each picture (N,), drawn so that the folds of every class, and all folds, differ by one at most."""
    chance = torch.Generator().manual_seed(seed)
    assigned = torch.empty(len(classes), dtype=torch.int64)
    dealt = 0
    for name in sorted(set(classes)):
        members = torch.tensor([number for number, each in enumerate(classes) if each == name])
        shuffled = members[torch.randperm(len(members), generator=chance)]
        assigned[shuffled] = (torch.arange(len(members)) + dealt) % folds
        dealt += len(members)  # where the last class stopped the next goes on
    return assigned


def fit_ridge(features: Tensor, targets: Tensor, penalties: Sequence[float] = PENALTIES) -> Ridge:
    """Ridge regression with a free offset: features (N, D) to targets (N, K), in float64.

    Of the penalties, in units of the mean eigenvalue, the one with the least squared error of every row fitted without
    it (Golub, Heath & Wahba 1979), for which no refitting is needed: y − ŷ grows by 1 / (1 − leverage).
    """
    features, targets = features.double(), targets.double()
    center, mean = features.mean(0), targets.mean(0)
    rows, wanted = features - center, targets - mean
    count, values = rows.shape
    # rows = U √eigenvalues Vᵀ, by the smaller of the two products
    if count <= values:
        eigenvalues, basis = torch.linalg.eigh(rows @ rows.T)
    else:
        eigenvalues, right = torch.linalg.eigh(rows.T @ rows)
        basis = rows @ right / eigenvalues.clamp_min(1e-300).sqrt()
    # None is left of features that are all the same: the largest class is what can be told then.
    kept = eigenvalues > SMALLEST_EIGENVALUE * max(eigenvalues.tolist(), default=0.0)
    eigenvalues, basis = eigenvalues[kept], basis[:, kept]
    unit = eigenvalues.mean().item() if len(eigenvalues) else 1.0
    projected = basis.T @ wanted
    best: Ridge | None = None
    least = math.inf
    for penalty in penalties:
        shrunk = 1 / (eigenvalues + penalty * unit)
        leverage = 1 / count + basis.square() @ (eigenvalues * shrunk)
        residuals = wanted - basis @ ((eigenvalues * shrunk)[:, None] * projected)
        left_out = residuals / (1 - leverage).clamp_min(1e-12)[:, None]
        error = left_out.square().sum().item()
        if best is None or error < least:
            least = error
            weights = rows.T @ (basis @ (shrunk[:, None] * projected))
            best = Ridge(weights, mean - center @ weights, penalty, left_out)
    assert best is not None
    return best


def classify(features: Tensor, labels: Tensor, unknown: Tensor) -> Tensor:
    """The classes (M,) of features (M, D), by ridge regression of those of (N, D) with labels (N,), 0 to K − 1.

    Features are standardized by the mean and standard deviation of the known ones; constant ones are left out.
    """
    mean, std = features.double().mean(0), features.double().std(0, correction=0)
    varying = std > 1e-6 * std.max()
    known, asked = ((each.double() - mean)[:, varying] / std[varying] for each in (features, unknown))
    ridge = fit_ridge(known, F.one_hot(labels, int(labels.max()) + 1))
    return (asked @ ridge.weights + ridge.offset).argmax(1)


def probe(features: Tensor, classes: Sequence[str], folds: Tensor) -> ProbeResult:
    """How well pictures are told by their features (N, D): those of each fold by a classifier of all the others.

    folds: (N,), see `stratified_folds`.
    """
    names = sorted(set(classes))
    labels = torch.tensor([names.index(name) for name in classes])
    told = torch.empty_like(labels)
    for fold in folds.unique():
        out = folds == fold
        told[out] = classify(features[~out], labels[~out], features[out])
    right = told == labels
    return ProbeResult(
        {name: int(right[labels == number].sum()) for number, name in enumerate(names)}, dict(Counter(classes))
    )
