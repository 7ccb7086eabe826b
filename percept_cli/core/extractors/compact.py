"""`compact`, the extractor shipped with percept: VGG's layer names at a fifth of VGG-19's cost, by distillation.

All layers share a narrow trunk of 3x3 convolutions. For each named layer a 1x1 convolution of the trunk predicts the
teacher's features before their activation, in the teacher's channels: `relu3_4` of `compact` has the 256 channels of
VGG-19's `relu3_4`, so that Gram matrices and distances mean the same. The teacher of blocks 1 to 3 is VGG-19, that of
blocks 4 and 5 SqueezeNet 1.0, its fire modules 5 to 9 and last convolution.
"""

from functools import partial

from percept_cli.core.extractors.architecture import IMAGE, Architecture, Conv2d, Layer, MaxPool2d, ReLU

# per block and convolution: (channels of the trunk, teacher, teacher's layer before the activation, its channels)
BLOCKS: tuple[tuple[tuple[int, str, str, int], ...], ...] = (
    ((16, "vgg19", "conv1_1", 64), (32, "vgg19", "conv1_2", 64)),
    ((48, "vgg19", "conv2_1", 128), (64, "vgg19", "conv2_2", 128)),
    (
        (96, "vgg19", "conv3_1", 256),
        (112, "vgg19", "conv3_2", 256),
        (112, "vgg19", "conv3_3", 256),
        (128, "vgg19", "conv3_4", 256),
    ),
    (
        (144, "squeezenet1_0", "fire5_expand", 256),
        (160, "squeezenet1_0", "fire6_expand", 384),
        (160, "squeezenet1_0", "fire7_expand", 384),
        (176, "squeezenet1_0", "fire8_expand", 512),
    ),
    ((224, "squeezenet1_0", "fire9_expand", 512), (224, "squeezenet1_0", "conv10", 1000)),
)


def compact() -> Architecture:
    """The architecture of `compact`: conv1_1 to conv5_2 (before the ReLU), relu1_1 to relu5_2, pool1 to pool5."""
    layers: list[Layer] = []
    channels, trunk = 3, IMAGE
    for block, convolutions in enumerate(BLOCKS, start=1):
        for position, (width, _, _, outputs) in enumerate(convolutions, start=1):
            suffix = f"{block}_{position}"
            layers += [
                Layer(
                    f"trunk{suffix}",
                    partial(Conv2d, channels, width, 3, padding=1),
                    (trunk,),
                    f"trunk.{suffix}",
                    tappable=False,
                ),
                Layer(f"trunk{suffix}_relu", ReLU, (f"trunk{suffix}",), tappable=False),
                Layer(
                    f"conv{suffix}",
                    partial(Conv2d, width, outputs, 1),
                    # The teacher's first layer is linear in the image, so its source is before the trunk's ReLU.
                    (f"trunk{suffix}" if suffix == "1_1" else f"trunk{suffix}_relu",),
                    f"readout.{suffix}",
                ),
                Layer(f"relu{suffix}", ReLU, (f"conv{suffix}",)),
            ]
            trunk, channels = f"trunk{suffix}_relu", width
        layers += [
            Layer(f"pool{block}", partial(MaxPool2d, 2), (f"relu{suffix}",)),
            Layer(f"trunk_pool{block}", partial(MaxPool2d, 2), (trunk,), tappable=False),
        ]
        trunk = f"trunk_pool{block}"
    return Architecture(
        "compact",
        tuple(layers),
        blocks=True,
        content_layer="relu3_3",
        style_layers=("relu1_1", "relu2_1", "relu3_1", "relu3_4", "relu4_2"),
        comparator_layers=("relu2_2", "relu3_4", "relu4_4"),
    )


def teacher_layers() -> dict[str, tuple[str, str]]:
    """The teacher network and its layer, before the activation, for every `convB_D` of `compact`."""
    return {
        f"conv{block}_{position}": (teacher, layer)
        for block, convolutions in enumerate(BLOCKS, start=1)
        for position, (_, teacher, layer, _) in enumerate(convolutions, start=1)
    }
