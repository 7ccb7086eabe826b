"""A network of `compact`'s layers that learns without a teacher: how it begins, and how its layers get a usual scale."""

import torch
from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.extractors.compact import BLOCKS, teacher_layers

DEEPEST = "relu5_2"
DEEPEST_CHANNELS = BLOCKS[-1][-1][-1]
# Before the activation, and after it
CONVOLUTIONS = tuple(teacher_layers())
ACTIVATIONS = tuple(layer.replace("conv", "relu") for layer in CONVOLUTIONS)


def create_learner() -> FeatureExtractor:
    """An untrained network of `compact`'s layers, all tapped, whose trunk and deepest layer are free to learn.

    What is learned lies in the trunk. The other layers are read out of it by fixed maps with orthonormal columns, so
    that distances before the activation are those of the trunk's features; `match_scales` gives them their size.
    """
    learner = FeatureExtractor(create_architecture("compact"), [*CONVOLUTIONS, DEEPEST])
    for name, module in learner.network.items():
        if isinstance(module, nn.Conv2d):
            learns = not is_readout(name)
            module.requires_grad_(learns)
            if learns:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.orthogonal_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return learner


def is_readout(name: str) -> bool:
    """Whether a layer of `create_learner` is a fixed map."""
    return name in CONVOLUTIONS[:-1]


class Headed(nn.Module):
    """A learner and the head that it is trained under: a linear map of the means of its deepest features.

    Departs from the papers, whose heads are fully connected layers over the features in their places. The means are
    normalized over the batch: what all patches have in common would hide for long what they have not, and patches
    could be ranked by a constant.
    """

    def __init__(self, extractor: FeatureExtractor, outputs: int):
        super().__init__()
        self.extractor = extractor
        self.head = nn.Sequential(
            nn.BatchNorm1d(DEEPEST_CHANNELS, affine=False), nn.Linear(DEEPEST_CHANNELS, outputs, bias=False)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] to (N, outputs)."""
        outputs: Tensor = self.head(self.extractor(images, (DEEPEST,))[DEEPEST].mean(dim=(2, 3)))
        return outputs


@torch.no_grad()
def match_scales(learner: FeatureExtractor, reference: FeatureExtractor, photographs: Tensor) -> None:
    """Gives every activation the mean square that it has in another network with the same layers.

    photographs (N, 3, H, W) in [0, 1], on the networks' device; reference: tapped at all `ACTIVATIONS`. So a raw loss, as
    with `--scaling paper`, has the size that its weights were chosen for; losses with typical scaling do not depend on
    it. Each channel of a fixed map becomes 0 on average first: one that is never active, or always, would tell less.
    """
    features, wanted = learner(photographs, CONVOLUTIONS), reference(photographs, ACTIVATIONS)
    for layer, activation in zip(CONVOLUTIONS, ACTIVATIONS, strict=True):
        module, values = learner.network[layer], features[layer].float()
        assert isinstance(module, nn.Conv2d) and module.bias is not None
        if is_readout(layer):
            mean = values.mean(dim=(0, 2, 3))
            module.bias.sub_(mean)
            values = values - mean.view(1, -1, 1, 1)
        square = values.relu().square().mean().clamp_min(1e-20)
        factor = (wanted[activation].float().square().mean() / square).sqrt()
        module.weight.mul_(factor)
        module.bias.mul_(factor)
