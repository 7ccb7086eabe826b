"""Comparison of two images by a choice of metrics, with the protocol that a paper would state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from percept_cli.core.choices import BACKBONES
from percept_cli.core.extractors import Architecture, FeatureExtractor
from percept_cli.core.images.decode import load_image
from percept_cli.core.losses.style import compared_taps
from percept_cli.core.losses.style_losses import STYLE_LOSSES
from percept_cli.core.measures import pixels
from percept_cli.core.measures.features import distance_maps
from percept_cli.core.measures.learned import create_learned_metric
from percept_cli.core.measures.metrics import METRICS
from percept_cli.core.pretrained import files
from percept_cli.core.pretrained.extractors import COMPACT, ExtractorChoice
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ImageError, ModelError, UsageError, unknown_name

# One layer of each of the first three blocks. Extractors without these names use their style layers.
PERCEPTUAL_LAYERS = ("relu1_2", "relu2_2", "relu3_4")


@dataclass(frozen=True)
class Measurement:
    """Figures by name. omitted: metric -> why it has no figure.

    distances: of the perceptual distance only, `{layer: (1, 1, h, w)}` at each place.
    """

    figures: dict[str, float]
    omitted: dict[str, str] = field(default_factory=dict)
    distances: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A metric of images (1, 3, H, W) of one size, which gives the `figures` of these names.

    cropped: without the border, else of the whole image. protocol: what a paper would state about it.
    """

    name: str
    figures: tuple[str, ...]
    measure: Callable[[Tensor, Tensor], Measurement]
    smallest_side: int
    cropped: bool
    protocol: str


class Comparison:
    """A choice of metrics for any number of pairs. omitted: metric -> why it is not available."""

    def __init__(self, metrics: Sequence[Metric], omitted: dict[str, str], border: int):
        self.metrics, self.omitted, self.border = metrics, omitted, border

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of all figures that a pair may have."""
        return tuple(name for metric in self.metrics for name in metric.figures)

    @property
    def protocol(self) -> dict[str, object]:
        """How the figures are measured, by subject."""
        of_pixels = {
            "border_pixels": self.border,
            "luma": "ITU-R BT.601 studio range (MATLAB's rgb2ycbcr), not rounded",
        }
        return {
            "pixels": "8-bit levels as stored, wider files unrounded; color profiles not applied",
            **(of_pixels if any(metric.cropped for metric in self.metrics) else {}),
            **{metric.name: metric.protocol for metric in self.metrics},
        }

    @torch.inference_mode()
    def measure(self, images: Tensor, target: Tensor) -> Measurement:
        """The figures of two images (1, 3, H, W) in [0, 1] of one size.

        Raises ImageError for a border that leaves no pixel, and for images that are too small for all metrics.
        """
        inner, inner_target = pixels.crop_border(images, self.border), pixels.crop_border(target, self.border)
        whole = Measurement({}, dict(self.omitted))
        for metric in self.metrics:
            first, second = (inner, inner_target) if metric.cropped else (images, target)
            height, width = first.shape[-2:]
            if min(height, width) < metric.smallest_side:
                whole.omitted[metric.name] = (
                    f"{metric.name} needs at least {metric.smallest_side} pixels a side, not {width}x{height}"
                )
            else:
                measured = metric.measure(first, second)
                whole.figures.update(measured.figures)
                whole.distances.update(measured.distances)
        if not whole.figures:
            raise ImageError(f"{'; '.join(whole.omitted.values())}.")
        return whole


def create_comparison(
    names: Sequence[str],
    runtime: Runtime,
    *,
    border: int = 0,
    extractor: ExtractorChoice = COMPACT,
    layers: Sequence[str] | None = None,
    seed: int = 0,
    announce: Callable[[str], None] | None = None,
) -> Comparison:
    """A comparison by the metrics of these names. layers: of the perceptual distance and the style losses.

    LPIPS and DISTS are omitted where the weights of their network are not in the cache; nothing is downloaded. Raises
    UsageError for an unknown name, and ModelError where no metric is left.
    """
    for name in names:
        if name not in METRICS:
            raise UsageError(unknown_name("metric", name, METRICS))
    taps = perceptual_layers(extractor.architecture, layers)
    source = f"{extractor.name} ({extractor.weights})" if extractor.weights else extractor.name
    metrics: list[Metric] = []
    omitted: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if name == "perceptual":
            frozen = runtime.freeze(extractor.create(taps, seed, announce))
            metrics.append(_perceptual(frozen, source, runtime))
        elif name in STYLE_LOSSES:
            chosen = compared_taps(extractor.architecture, layers, name)
            metrics.append(_style(name, runtime.freeze(extractor.create(chosen, seed, announce)), source, runtime))
        elif name in BACKBONES:
            weights = files.cached_torchvision_weights(BACKBONES[name])
            if weights is None:
                omitted[name] = _missing_backbone(name)
            else:
                metrics.append(_learned(name, weights, runtime))
        else:
            metrics.append(_PIXEL_METRICS[name])
    if not metrics:
        raise ModelError(" ".join(f"{reason}." for reason in omitted.values()))
    return Comparison(metrics, omitted, border)


def perceptual_layers(architecture: Architecture, layers: Sequence[str] | None) -> tuple[str, ...]:
    """The full names of the layers of the perceptual distance: those given, or the default ones of the extractor."""
    return architecture.choose_layers(layers, PERCEPTUAL_LAYERS, architecture.style_layers)


def load_pair(first: Path, second: Path) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Two image files as (1, 3, H, W) over black, and notes for the user. Raises ImageError, also where sizes differ."""
    photos = load_image(first), load_image(second)
    sizes = [f"{photo.width}x{photo.height}" for photo in photos]
    if sizes[0] != sizes[1]:
        raise ImageError(f"'{first}' is {sizes[0]} pixels and '{second}' {sizes[1]}: make them of one size to compare.")
    notes = [f"{path}: {note}" for path, photo in zip((first, second), photos, strict=True) for note in photo.notes]
    if any(photo.alpha is not None and bool((photo.alpha < 1).any()) for photo in photos):
        notes.append(
            f"{first}, {second}: transparent pictures are compared as laid over black, opacity by itself is not"
        )
    images, target = (photo.visible() for photo in photos)
    return images, target, tuple(notes)


def mean_figures(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over the pairs that have it."""
    names = dict.fromkeys(name for figures in measured for name in figures)
    values = {name: [figures[name] for figures in measured if name in figures] for name in names}
    return {name: sum(figures) / len(figures) for name, figures in values.items()}


def _missing_backbone(name: str) -> str:
    file = files.TORCHVISION_FILES[BACKBONES[name]]
    return (
        f"{name} needs {file}, which is not in {files.torchvision_folder()} and is not downloaded unasked: "
        f"put {files.DOWNLOAD_ROOT}{file} there"
    )


_PLANES = {"y": pixels.luma, "rgb": pixels.levels}


def _of_pixels(
    name: str, function: Callable[..., Tensor], planes: Sequence[str], smallest_side: int, protocol: str
) -> Metric:
    figures = {f"{name}_{kind}": _PLANES[kind] for kind in planes}

    def measure(images: Tensor, target: Tensor) -> Measurement:
        return Measurement({figure: function(images, target, kind).item() for figure, kind in figures.items()})

    return Metric(name, tuple(figures), measure, smallest_side, True, protocol)


_PIXEL_METRICS = {
    metric.name: metric
    for metric in (
        _of_pixels(
            "psnr", pixels.psnr, ("y", "rgb"), 1,
            "dB, peak 255, on luma (_y) and over all of RGB, within the border; higher is closer",
        ),
        _of_pixels(
            "ssim", pixels.ssim, ("y", "rgb"), pixels.SSIM_SMALLEST_SIDE,
            "11x11 Gaussian window, sigma 1.5, on luma (_y) and as mean of R, G and B, within the border; 1 is equal",
        ),
        _of_pixels(
            "ms_ssim", pixels.ms_ssim, ("y",), pixels.MS_SSIM_SMALLEST_SIDE,
            "5 scales, weights of Wang et al. 2003, on luma, within the border; 1 is equal",
        ),
    )
}  # fmt: skip


def _perceptual(extractor: FeatureExtractor, source: str, runtime: Runtime) -> Metric:
    def measure(images: Tensor, target: Tensor) -> Measurement:
        distances = distance_maps(extractor, images, target, place=runtime.place)
        return Measurement({"perceptual": pixels.perceptual_distance(distances).item()}, distances=distances)

    protocol = (
        f"squared distance of channel-normalized features of {source}, mean of {', '.join(extractor.layers)}, "
        f"{runtime.precision}, whole image; 0 is equal"
    )
    return Metric("perceptual", ("perceptual",), measure, extractor.smallest_side, False, protocol)


def _style(name: str, extractor: FeatureExtractor, source: str, runtime: Runtime) -> Metric:
    loss = STYLE_LOSSES[name]

    def measure(images: Tensor, target: Tensor) -> Measurement:
        features, targets = (extractor(runtime.place(each)) for each in (images, target))
        distances = [loss.distance(features[layer], targets[layer]) for layer in extractor.layers]
        return Measurement({name: torch.stack(distances).mean().item()})

    protocol = (
        f"{loss.about}, of {source}, mean of {', '.join(extractor.layers)}, {runtime.precision}, "
        "every point of the whole image; 0 is equal"
    )
    return Metric(name, (name,), measure, extractor.smallest_side, False, protocol)


def _learned(name: str, weights: Path, runtime: Runtime) -> Metric:
    network = create_learned_metric(name, weights).eval().to(runtime.device)

    def measure(images: Tensor, target: Tensor) -> Measurement:
        return Measurement({name: network(images.to(runtime.device), target.to(runtime.device)).item()})

    kind = "DISTS" if name == "dists" else "LPIPS 0.1"
    protocol = f"{kind} on {BACKBONES[name]}, fp32, whole image; 0 is equal"
    return Metric(name, (name,), measure, network.smallest_side, False, protocol)
