"""How far styles are from each other by their Gram matrices, and which belong together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.losses.functional import gram_matrix


@dataclass(frozen=True)
class Tree:
    """Which of n things belong together: `order` of the leaves, and the lines to draw.

    A line is ((distance, place), …) with places counted from 0 in that order.
    """

    order: tuple[int, ...]
    lines: tuple[tuple[tuple[float, float], ...], ...]


@torch.inference_mode()
def style_grams(extractor: FeatureExtractor, images: Iterable[Tensor]) -> list[dict[str, Tensor]]:
    """The Gram matrices (C, C) of every tapped layer for each picture (1, 3, H, W) in [0, 1], on the processor."""
    return [{layer: gram_matrix(features)[0].cpu() for layer, features in extractor(image).items()} for image in images]


def gram_distances(grams: Sequence[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    """‖A − B‖ / (‖A‖ + ‖B‖) of all pairs of Gram matrices at every layer: `{layer: (n, n)}`, from 0 (equal) to 1.

    Frobenius norms. The style loss of Johnson et al. 2016 (eq. 4) is the square of the numerator; the denominator makes
    layers and strong and weak styles comparable.
    """
    distances = {}
    for layer in grams[0]:
        flat = torch.stack([each[layer].flatten().double() for each in grams])
        norms = flat.norm(dim=1)
        # One pair at a time: a difference of norms would lose the digits of near ones.
        apart = torch.stack([(flat - one).norm(dim=1) for one in flat])
        distances[layer] = (apart / (norms[:, None] + norms).clamp_min(1e-30)).numpy()
    return distances


def strongest_grams(grams: Sequence[Mapping[str, Tensor]], layer: str, most: int) -> tuple[list[int], list[Tensor]]:
    """The `most` channels of a layer with the largest mean square over all pictures, strongest first, and what the Gram
    matrices (C, C) say of them: one (n, n) a picture."""
    power = torch.stack([each[layer].diagonal() for each in grams]).mean(0)
    chosen = power.argsort(descending=True, stable=True)[:most]
    return chosen.tolist(), [each[layer][chosen][:, chosen] for each in grams]


def gram_records(
    names: Sequence[str], grams: Sequence[Mapping[str, Tensor]], most: int
) -> Iterator[dict[str, object]]:  # fmt: skip
    """A row for every entry of the `strongest_grams` on and above the diagonal, below which they are the same."""
    for layer in grams[0]:
        channels, matrices = strongest_grams(grams, layer, most)
        for name, matrix in zip(names, matrices, strict=True):
            values = matrix.tolist()
            for row, channel in enumerate(channels):
                for column in range(row, len(channels)):
                    yield {
                        "style": name, "layer": layer, "channel": channel, "other": channels[column],
                        "gram": values[row][column],
                    }  # fmt: skip


def cluster(distances: np.ndarray) -> Tree:
    """The tree of things by their distances (n, n), n from 2: the two nearest groups join first (mean linkage)."""
    from scipy.cluster.hierarchy import dendrogram, linkage
    from scipy.spatial.distance import squareform

    links = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    drawn = dendrogram(links, no_plot=True)
    # scipy puts the leaves at 5, 15, 25 and so on.
    lines = [
        tuple((float(distance), (place - 5) / 10) for distance, place in zip(row, places, strict=True))
        for row, places in zip(drawn["dcoord"], drawn["icoord"], strict=True)
    ]
    return Tree(tuple(drawn["leaves"]), tuple(lines))


def distance_records(names: Sequence[str], distances: Mapping[str, np.ndarray]) -> list[dict[str, object]]:
    """A row for every pair and layer, and for the mean over layers."""
    mean = np.mean(list(distances.values()), axis=0)
    return [
        {"a": names[first], "b": names[second], "layer": layer, "distance": float(values[first, second])}
        for layer, values in {**distances, "mean": mean}.items()
        for first in range(len(names))
        for second in range(first + 1, len(names))
    ]
