"""What an activation does to features: how many it silences, their range, and what is left of a change of brightness."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.feature_maps import evenly_sampled

DARKER = 0.8
PERCENTILES = (0.01, 0.5, 0.99)


@dataclass(frozen=True)
class LayerFigures:
    """One layer on one photograph.

    `zeros`: share of values that are just 0; `dead`: share of channels that are 0 everywhere. `low`, `median` and `high`
    are the percentiles 1, 50 and 99 of its values in units of their root mean square. `contrast`: root mean square over
    places about the channels' means, in the same units: what is left to tell places apart. `brightness`: how far the
    features move when the photograph gets a fifth darker, where 1 is as far as two unrelated places of it are.
    """

    layer: str
    zeros: float
    dead: float
    low: float
    median: float
    high: float
    contrast: float
    brightness: float


def layer_figures(layer: str, features: Tensor, darker: Tensor) -> LayerFigures:
    """The figures of features (1, C, h, w), and those of the same photograph made darker."""
    values = features[0].flatten(1).float()
    square = values.square().mean(dtype=torch.float64)
    size = square.sqrt().clamp_min(1e-30)
    # What is left about the means of the channels.
    variance = (square - values.mean(1, dtype=torch.float64).square().mean()).clamp_min(0)
    moved = (values - darker[0].flatten(1).float()).square().mean(dtype=torch.float64)
    silent = values == 0
    low, median, high = (_percentiles(values) / size).tolist()
    return LayerFigures(
        layer=layer,
        zeros=silent.mean(dtype=torch.float64).item(),
        dead=silent.all(1).mean(dtype=torch.float64).item(),
        low=low,
        median=median,
        high=high,
        contrast=(variance.sqrt() / size).item(),
        # Of two unrelated places the squared distance is twice the variance.
        brightness=(moved / (2 * variance).clamp_min(1e-30)).sqrt().item(),
    )


@torch.inference_mode()
def measure_activations(
    extractor: FeatureExtractor, images: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[str, list[LayerFigures]]]:  # fmt: skip
    """The figures of every tapped layer for each named photograph (1, 3, H, W) in [0, 1], one photograph at a time."""
    for name, image in images:
        features, darker = extractor(image), extractor(image * DARKER)
        yield name, [layer_figures(layer, features[layer].float(), darker[layer].float()) for layer in features]


def activation_records(measured: Mapping[str, list[LayerFigures]]) -> list[dict[str, object]]:
    """A row for every photograph and layer."""
    return [{"photograph": name, **asdict(figures)} for name, layers in measured.items() for figures in layers]


def _percentiles(values: Tensor) -> Tensor:
    sample = evenly_sampled(values.flatten())
    return sample.quantile(sample.new_tensor(PERCENTILES))
