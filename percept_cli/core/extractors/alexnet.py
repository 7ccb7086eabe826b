"""AlexNet as torchvision trained it (Krizhevsky 2014): the comparator of Dosovitskiy & Brox."""

from functools import partial

from percept_cli.core.extractors.architecture import IMAGE, Architecture, Conv2d, Layer, MaxPool2d, ReLU
from percept_cli.core.extractors.vgg import add_classifier

# (outputs, kernel, stride, padding, torchvision's index, followed by pooling)
CONVOLUTIONS = (
    (64, 11, 4, 2, 0, True),
    (192, 5, 1, 2, 3, True),
    (384, 3, 1, 1, 6, False),
    (256, 3, 1, 1, 8, False),
    (256, 3, 1, 1, 10, True),
)


def alexnet() -> Architecture:
    """The architecture of `alexnet`: conv1 to conv5, with relu and pool of these numbers, fc6 to fc8 and `prob`."""
    layers: list[Layer] = []
    channels, previous = 3, IMAGE
    for number, (outputs, kernel, stride, padding, index, pooled) in enumerate(CONVOLUTIONS, start=1):
        build = partial(Conv2d, channels, outputs, kernel, stride=stride, padding=padding)
        layers += [
            Layer(f"conv{number}", build, (previous,), f"features.{index}"),
            Layer(f"relu{number}", ReLU, (f"conv{number}",)),
        ]
        previous, channels = f"relu{number}", outputs
        if pooled:
            layers.append(Layer(f"pool{number}", partial(MaxPool2d, 3, 2), (previous,)))
            previous = f"pool{number}"
    add_classifier(layers, previous, channels, pooled=6, dropout_first=True)
    return Architecture(
        "alexnet",
        tuple(layers),
        content_layer="relu3",
        style_layers=("relu1", "relu2", "relu3", "relu4", "relu5"),
        comparator_layers=("relu5",),
    )
