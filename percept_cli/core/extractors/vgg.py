"""VGG-16 and VGG-19 (Simonyan & Zisserman 2015) with the layer names of the papers."""

from functools import partial

from percept_cli.core.extractors.architecture import (
    IMAGE,
    AdaptiveAvgPool2d,
    Architecture,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Softmax,
)

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


def vgg(name: str) -> Architecture:
    """The architecture of `vgg16` or `vgg19` with torchvision's keys; `conv3_3` is before the ReLU, `relu3_3` after it."""
    layers: list[Layer] = []
    index, channels, previous = 0, 3, IMAGE

    def add(layer: str, build: partial, key: str | None = None) -> None:
        nonlocal previous
        layers.append(Layer(layer, build, (previous,), key))
        previous = layer

    for block, (depth, width) in enumerate(zip(CONVOLUTIONS[name], CHANNELS, strict=True), start=1):
        for position in range(1, depth + 1):
            add(f"conv{block}_{position}", partial(Conv2d, channels, width, 3, padding=1), f"features.{index}")
            add(f"relu{block}_{position}", partial(ReLU))
            channels, index = width, index + 2
        add(f"pool{block}", partial(MaxPool2d, 2))
        index += 1
    add_classifier(layers, previous, channels, pooled=7, dropout_first=False)
    return Architecture(
        name,
        tuple(layers),
        blocks=True,
        # Johnson et al. 2016's content layer of VGG-16; VGG-19's at that depth has the same name.
        content_layer="relu3_3",
        style_layers=("relu1_2", "relu2_2", "relu3_3", "relu4_3")
        if name == "vgg16"
        else ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        comparator_layers=("relu2_2", "relu3_3" if name == "vgg16" else "relu3_4"),
    )


def add_classifier(layers: list[Layer], previous: str, channels: int, pooled: int, dropout_first: bool) -> None:
    """Appends fc6 to fc8 and `prob`; dropout_first: the order of torchvision's dropouts, which only changes the keys."""
    sizes = ((channels * pooled * pooled, 4096), (4096, 4096), (4096, 1000))
    positions = (1, 4, 6) if dropout_first else (0, 3, 6)
    layers.append(Layer("avgpool", partial(AdaptiveAvgPool2d, pooled), (previous,)))
    layers.append(Layer("flat", Flatten, ("avgpool",), tappable=False))
    sources = ("flat", "relu6", "relu7")
    for number, source, (inputs, outputs), position in zip((6, 7, 8), sources, sizes, positions, strict=True):
        layers.append(Layer(f"fc{number}", partial(Linear, inputs, outputs), (source,), f"classifier.{position}"))
        if number < 8:
            layers.append(Layer(f"relu{number}", ReLU, (f"fc{number}",)))
    layers.append(Layer("prob", partial(Softmax, dim=1), ("fc8",)))
