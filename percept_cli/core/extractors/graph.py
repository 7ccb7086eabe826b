"""The extractor: a network that runs only what leads to the tapped layers."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from percept_cli.core.extractors.architecture import IMAGE, Architecture, Layer
from percept_cli.errors import ModelError, UsageError


@dataclass(frozen=True)
class Grid:
    """The receptive fields of the units of a layer, in pixels, the same in both directions.

    The field of unit j is the pixels from `j * stride - before` to `(j + 1) * stride + after`; the `stride` pixels in its
    middle belong to the unit.
    """

    stride: int = 1
    before: int = 0
    after: int = 0

    @property
    def offset(self) -> float:
        """The first of the pixels that belong to the first unit."""
        return (self.after - self.before) / 2

    @property
    def side(self) -> int:
        """The side of the theoretical receptive field."""
        return self.before + self.stride + self.after


class FeatureExtractor(nn.Module):
    """A frozen network from images to `{layer name: features}` of the tapped layers.

    Images: (N, 3, H, W) RGB in [0, 1], any float type. Features: (N, C, h, w), or (N, C) for fully connected layers, in
    the type of the extractor's weights. Only layers that lead to a tap are built, and their weights suffice. Raises
    UsageError for no layers or unknown ones.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, layers: Iterable[str]):
        super().__init__()
        self.architecture = architecture
        self.layers = tuple(dict.fromkeys(architecture.resolve(name) for name in layers))
        if not self.layers:
            raise UsageError(
                f"No layer of {architecture.name} was asked for. Known: {', '.join(architecture.layer_names)}."
            )
        self._plan = _ancestors(architecture.layers, self.layers)
        self._plans: dict[tuple[str, ...], tuple[tuple[str, ...], list[Layer], int]] = {}
        self.network = nn.ModuleDict({layer.name: layer.build() for layer in self._plan})
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The features of all tapped layers, or of `layers` by the names given, computed no deeper than needed.

        Raises UsageError for images that are too small for the deepest layer, and for a layer that is not tapped.
        """
        asked = self.layers if layers is None else tuple(layers)
        if asked not in self._plans:
            self._plans[asked] = self._plan_for(asked)
        names, plan, smallest = self._plans[asked]
        height, width = images.shape[-2:]
        if min(height, width) < smallest:
            raise UsageError(
                f"The image is {width}x{height} pixels but {plan[-1].name} of {self.architecture.name} needs at least "
                f"{smallest}x{smallest}. Use a larger image or a shallower layer."
            )
        dtype = next((p.dtype for p in self.network.parameters()), images.dtype)
        # Normalized in the precision of the image: rounding to bf16 before would lose gray levels.
        values = {IMAGE: ((images - self.mean.to(images.dtype)) / self.std.to(images.dtype)).to(dtype)}
        last_use = {source: layer.name for layer in plan for source in layer.sources}
        features = {}
        for layer in plan:
            values[layer.name] = self.network[layer.name](*(values[source] for source in layer.sources))
            if layer.name in names:
                features[layer.name] = values[layer.name]
            for source in layer.sources:
                if last_use[source] == layer.name:
                    values.pop(source, None)
        return {given: features[name] for given, name in zip(asked, names, strict=True)}

    def _plan_for(self, asked: tuple[str, ...]) -> tuple[tuple[str, ...], list[Layer], int]:
        names = tuple(self.architecture.resolve(name) for name in asked)
        for name in names:
            if name not in self.network:
                raise UsageError(f"{name} was not tapped when this extractor of {self.architecture.name} was created.")
        plan = _ancestors(self.architecture.layers, names)
        return names, plan, _smallest_side(plan, self.network)

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Does nothing: an extractor is never trained and stays in evaluation mode."""
        return super().train(False)

    @property
    def smallest_side(self) -> int:
        """The smallest side of images, in pixels, that all tapped layers allow."""
        return self._plan_for(self.layers)[2]

    def grid(self, layer: str) -> Grid | None:
        """The receptive fields of a layer; None for a code of the whole image, such as fully connected ones."""
        name = self.architecture.resolve(layer)
        grids = {IMAGE: Grid()}
        for part in _ancestors(self.architecture.layers, (name,)):
            module, sources = self.network[part.name], [grids[source] for source in part.sources]
            jump = sources[0].stride
            before, after = max(grid.before for grid in sources), max(grid.after for grid in sources)
            if isinstance(module, nn.Conv2d | nn.MaxPool2d):
                kernel, stride, padding = _window(module)
                before, after = before + jump * padding, after + jump * (kernel - stride - padding)
                jump *= stride
            elif not isinstance(module, nn.ReLU | Concatenate):
                return None
            grids[part.name] = Grid(jump, before, after)
        return grids[name]

    def fingerprint(self, layer: str) -> str:
        """A digest of the weights that lead to a layer, 16 hexadecimal digits.

        Weights are rounded to bf16 first, so that it does not depend on the type in which they are frozen.
        """
        digest = hashlib.sha256()
        for part in _ancestors(self.architecture.layers, (self.architecture.resolve(layer),)):
            for parameter in self.network[part.name].parameters():
                digest.update(parameter.detach().cpu().bfloat16().contiguous().view(torch.int16).numpy().tobytes())
        return digest.hexdigest()[:16]

    def load_weights(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Loads the weights of the built layers from a state dict with torchvision's keys; other keys are ignored.

        Raises ModelError, with the name of the layer, for weights that are missing or have another shape.
        """
        for layer in self._plan:
            if layer.key is None:
                continue
            for name, parameter in self.network[layer.name].named_parameters():
                key = f"{layer.key}.{name}"
                if key not in weights:
                    raise ModelError(
                        f"{source} holds no weights for {layer.name} ({key}), which {self.layers[-1]} of "
                        f"{self.architecture.name} needs. Give a file that reaches that layer, or tap a shallower one."
                    )
                if weights[key].shape != parameter.shape:
                    raise ModelError(
                        f"{source}: {key} has shape {tuple(weights[key].shape)}, but {layer.name} of "
                        f"{self.architecture.name} has {tuple(parameter.shape)}. It is a file of another network."
                    )
                parameter.data.copy_(weights[key])

    def leading_to(self, layers: Iterable[str]) -> list[nn.Module]:
        """The modules whose outputs the layers depend on, and those of the layers."""
        names = [self.architecture.resolve(name) for name in layers]
        return [self.network[layer.name] for layer in _ancestors(self._plan, names)]

    def named_weights(self) -> dict[str, Tensor]:
        """The weights of the built layers by the keys that `load_weights` reads."""
        return {
            f"{layer.key}.{name}": parameter.detach()
            for layer in self._plan
            if layer.key is not None
            for name, parameter in self.network[layer.name].named_parameters()
        }


class Concatenate(nn.Module):
    """Joins feature maps along their channels."""

    def forward(self, *features: Tensor) -> Tensor:
        return torch.cat(features, dim=1)


def randomize(extractor: FeatureExtractor, seed: int) -> None:
    """Replaces the weights by random ones (He et al. 2015), which keep the scale of activations through the layers."""
    generator = torch.Generator().manual_seed(seed)
    for module in extractor.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _ancestors(layers: Sequence[Layer], taps: Sequence[str]) -> list[Layer]:
    """The layers that lead to the taps, and these, from shallow to deep."""
    wanted = set(taps)
    for layer in reversed(layers):
        if layer.name in wanted:
            wanted.update(layer.sources)
    return [layer for layer in layers if layer.name in wanted]


def _smallest_side(plan: list[Layer], network: nn.ModuleDict) -> int:
    """The smallest side of images, in pixels, for which all layers of the plan have at least one value."""
    side = 1
    while not _fits(side, plan, network):
        side += 1
    return side


def _fits(side: int, plan: list[Layer], network: nn.ModuleDict) -> bool:
    sides = {IMAGE: side}
    for layer in plan:
        module, size = network[layer.name], sides[layer.sources[0]]
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, padding = _window(module)
            rounded_up = stride - 1 if isinstance(module, nn.MaxPool2d) and module.ceil_mode else 0
            size = (size + 2 * padding - kernel + rounded_up) // stride + 1
        if size < 1:
            return False
        sides[layer.name] = size
    return True


def _window(module: nn.Conv2d | nn.MaxPool2d) -> tuple[int, int, int]:
    """Kernel, stride and padding in pixels, the same in both directions in all networks here."""
    sizes = (module.kernel_size, module.stride, module.padding)
    kernel, stride, padding = (size[0] if isinstance(size, tuple) else size for size in sizes)
    assert isinstance(kernel, int) and isinstance(stride, int) and isinstance(padding, int)
    return kernel, stride, padding
