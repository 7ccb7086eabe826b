"""`compact`, the extractor percept ships: VGG's layer names at a fifth of VGG-19's cost, distilled from real networks.

A narrow trunk of 3x3 convolutions is shared by all layers. For each named layer a 1x1 convolution of the trunk predicts
the teacher's features before their activation, in the teacher's own channels. So `relu3_4` of `compact` has the 256
channels of VGG-19's `relu3_4`, and a Gram matrix or a distance means the same as there. Blocks 1 to 3 follow VGG-19,
blocks 4 and 5 the fire modules 5 to 9 and the last convolution of SqueezeNet 1.0.
"""

from functools import partial

from torch import nn

from percept_cli.core.extractors.graph import IMAGE, Architecture, Layer

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
    """The architecture of `compact`: conv1_1 to conv5_2 (before), relu1_1 to relu5_2 (after the ReLU), pool1 to pool5."""
    layers: list[Layer] = []
    channels, trunk = 3, IMAGE
    for block, convolutions in enumerate(BLOCKS, start=1):
        for position, (width, _, _, outputs) in enumerate(convolutions, start=1):
            suffix = f"{block}_{position}"
            layers += [
                Layer(
                    f"trunk{suffix}",
                    partial(nn.Conv2d, channels, width, 3, padding=1),
                    (trunk,),
                    f"trunk.{suffix}",
                    tappable=False,
                ),
                Layer(f"trunk{suffix}_relu", nn.ReLU, (f"trunk{suffix}",), tappable=False),
                Layer(
                    f"conv{suffix}",
                    partial(nn.Conv2d, width, outputs, 1),
                    # The teacher's first layer is linear in the image, so it is read before the trunk's ReLU.
                    (f"trunk{suffix}" if suffix == "1_1" else f"trunk{suffix}_relu",),
                    f"readout.{suffix}",
                ),
                Layer(f"relu{suffix}", nn.ReLU, (f"conv{suffix}",)),
            ]
            trunk, channels = f"trunk{suffix}_relu", width
        layers += [
            Layer(f"pool{block}", partial(nn.MaxPool2d, 2), (f"relu{suffix}",)),
            Layer(f"trunk_pool{block}", partial(nn.MaxPool2d, 2), (trunk,), tappable=False),
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
    """For every `convB_D` of `compact`: the teacher network and its layer, both before the activation."""
    return {
        f"conv{block}_{position}": (teacher, layer)
        for block, convolutions in enumerate(BLOCKS, start=1)
        for position, (_, teacher, layer, _) in enumerate(convolutions, start=1)
    }
