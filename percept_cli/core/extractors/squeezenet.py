"""SqueezeNet 1.0 and 1.1 (Iandola et al. 2016) with names for all parts of the fire modules."""

from functools import partial

from percept_cli.core.extractors.architecture import (
    IMAGE,
    AdaptiveAvgPool2d,
    Architecture,
    Concatenate,
    Conv2d,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Softmax,
)

# number of the fire module: channels of (squeeze, each expand); the same in both versions, unlike the pooling
FIRES = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}
FIRST = {"squeezenet1_0": (96, 7), "squeezenet1_1": (64, 3)}
POOL_AFTER = {"squeezenet1_0": (1, 4, 8), "squeezenet1_1": (1, 3, 5)}


def squeezenet(name: str) -> Architecture:
    """The architecture of `squeezenet1_0` or `squeezenet1_1`.

    `fire5` is the module's output after the ReLU and `fire5_expand` before it (both expansions concatenated); the other
    parts are `fire5_squeeze`, `fire5_squeeze_relu`, `fire5_expand1x1` and `fire5_expand3x3`.
    """
    outputs, kernel = FIRST[name]
    layers = [
        Layer("conv1", partial(Conv2d, 3, outputs, kernel, stride=2), (IMAGE,), "features.0"),
        Layer("relu1", ReLU, ("conv1",)),
    ]
    index, channels, previous = 2, outputs, "relu1"

    def add_pool(number: int) -> None:
        nonlocal previous, index
        layers.append(Layer(f"pool{number}", partial(MaxPool2d, 3, 2, ceil_mode=True), (previous,)))
        previous, index = f"pool{number}", index + 1

    add_pool(1)
    for number, (squeeze, expand) in FIRES.items():
        fire, key = f"fire{number}", f"features.{index}"
        squeezed = f"{fire}_squeeze_relu"
        layers += [
            Layer(f"{fire}_squeeze", partial(Conv2d, channels, squeeze, 1), (previous,), f"{key}.squeeze"),
            Layer(squeezed, ReLU, (f"{fire}_squeeze",)),
            Layer(f"{fire}_expand1x1", partial(Conv2d, squeeze, expand, 1), (squeezed,), f"{key}.expand1x1"),
            Layer(f"{fire}_expand3x3", partial(Conv2d, squeeze, expand, 3, padding=1), (squeezed,), f"{key}.expand3x3"),
            Layer(f"{fire}_expand", Concatenate, (f"{fire}_expand1x1", f"{fire}_expand3x3")),
            Layer(fire, ReLU, (f"{fire}_expand",)),
        ]
        channels, previous, index = 2 * expand, fire, index + 1
        if number in POOL_AFTER[name]:
            add_pool(number)
    layers += [
        Layer("conv10", partial(Conv2d, channels, 1000, 1), (previous,), "classifier.1"),
        Layer("relu10", ReLU, ("conv10",)),
        Layer("pool10", partial(AdaptiveAvgPool2d, 1), ("relu10",)),
        Layer("flat", Flatten, ("pool10",), tappable=False),
        Layer("prob", partial(Softmax, dim=1), ("flat",)),
    ]
    return Architecture(
        name,
        tuple(layers),
        content_layer="fire4",
        style_layers=("relu1", "fire2", "fire4", "fire6", "fire8"),
        comparator_layers=("fire4", "fire8"),
    )
