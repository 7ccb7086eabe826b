"""The losses of the papers' presets have the papers' balance.

The gradient of each term with respect to the result is compared with that of the paper's own formula, written out here: all
of them must agree up to one factor, which Adam does not see. The features are the same on both sides.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor
from percept_cli.core.losses.adversarial import AdversarialLoss
from percept_cli.core.losses.style import StyleLossOptions, create_style_loss
from percept_cli.core.losses.terms import Parts
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.deepsim import InversionLoss
from percept_cli.core.training.deepsim_options import PAPER_WEIGHTS
from percept_cli.core.training.presets import RECIPES, find_recipe
from percept_cli.core.training.recipes import create_loss, loss_layers

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
OWN = {"swift", "swift-natural"}


class Judgement(nn.Module):
    """A discriminator: one logit for each image, whatever else it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 5, stride=3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))

    def forward(self, images: Tensor, code: Tensor | None = None) -> Tensor:
        logits: Tensor = self.layers(images).mean(dim=(1, 2, 3))
        return logits


def pictures(side: int) -> tuple[Tensor, Tensor]:
    """Two photographs (2, 3, side, side), and a result that is near to them."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, side // 8, side // 8, generator=random)
    target = nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    result = target + 0.05 * torch.randn(target.shape, generator=random)
    return result.requires_grad_(), target


@pytest.fixture(scope="module")
def discriminator() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Judgement()


def gradients(parts: Parts, result: Tensor) -> dict[str, Tensor]:
    return {name: torch.autograd.grad(part, result, retain_graph=True)[0] for name, part in parts.items()}


def assert_one_balance(ours: Parts, theirs: Parts, result: Tensor) -> None:
    """The gradients of ours are those of theirs, times one factor for all terms."""
    assert ours.keys() == theirs.keys()
    made, expected = gradients(ours, result), gradients(theirs, result)
    first = next(iter(ours))
    factor = made[first].norm() / expected[first].norm()
    for name, gradient in made.items():
        difference = (gradient - factor * expected[name]).norm() / gradient.norm()
        assert difference < 2e-3, f"{name}: {(gradient.norm() / (factor * expected[name]).norm()).item():.4g} times"


# --- the formulas


def total_variation(images: Tensor) -> Tensor:
    """The sum whose gradient Johnson's TotalVariation.lua computes, ½ Σ (dx² + dy²) without the last row and column."""
    across = images[:, :, :-1, 1:] - images[:, :, :-1, :-1]
    down = images[:, :, 1:, :-1] - images[:, :, :-1, :-1]
    return 0.5 * (across**2).sum() + 0.5 * (down**2).sum()


Logits = tuple[Tensor, Tensor]  # of the results and of the photographs
Formula = Callable[[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor, Logits], Parts]


def johnson(made: dict, real: dict, result: Tensor, target: Tensor, logits: Logits) -> Parts:
    """ℓ_feat = 1/(C·H·W) ‖φ(ŷ) − φ(y)‖² (eq. 2), and 1e-4 times the total variation of levels, for each image."""
    losses = [
        ((made["relu2_2"][n] - real["relu2_2"][n]) ** 2).sum() / made["relu2_2"][n].numel() for n in range(len(result))
    ]
    return {"feature.relu2_2": sum(losses), "tv": 1e-4 * total_variation(255 * result)}


def srgan(made: dict, real: dict, result: Tensor, target: Tensor, logits: Logits) -> Parts:
    """Features scaled by 1/12.75 (0.006 of the squares), and 1e-3 · −log D(G(x)) (eq. 3, 5, 6)."""
    fake, _ = logits
    return {
        "feature.relu5": 0.006 * ((made["relu5"] - real["relu5"]) ** 2).mean(),
        "adversarial": 1e-3 * -torch.log(torch.sigmoid(fake)).mean(),
    }


def enhancenet(made: dict, real: dict, result: Tensor, target: Tensor, logits: Logits) -> Parts:
    """Table 2 of the supplement: all ‖·‖² are means; features have a mean of one; FᵀF of patches of 16x16."""
    parts: Parts = {}
    for layer, weight in (("pool2", 2e-1), ("pool5", 2e-2)):
        mean = real[layer].mean()
        parts[f"feature.{layer}"] = weight * ((made[layer] / mean - real[layer] / mean) ** 2).mean()
    for layer, weight in (("relu1_1", 3e-7), ("relu2_1", 1e-6), ("relu3_1", 1e-6)):
        mean, side = real[layer].mean(), made[layer].shape[-1]
        losses = []
        for top in range(0, side, 16):
            for left in range(0, side, 16):
                ours, theirs = (
                    features[layer][:, :, top : top + 16, left : left + 16].flatten(2) / mean
                    for features in (made, real)
                )
                grams = [torch.einsum("nip,njp->nij", patch, patch) for patch in (ours, theirs)]
                losses.append(((grams[0] - grams[1]) ** 2).mean())
        parts[f"texture.{layer}"] = weight * sum(losses) / len(losses)
    parts["adversarial"] = 2.0 * -torch.log(torch.sigmoid(logits[0])).mean()
    return parts


def esrgan(made: dict, real: dict, result: Tensor, target: Tensor, logits: Logits) -> Parts:
    """L_percep + 5e-3 L_Ra + 1e-2 L_1 (eq. 3), the features before the activation by L1, L_Ra as their code halves it."""
    fake, genuine = logits
    truths = 1 - torch.sigmoid(genuine - fake.mean()), torch.sigmoid(fake - genuine.mean())
    return {
        "pixel": 1e-2 * (result - target).abs().mean(),
        "feature.conv5": (made["conv5"] - real["conv5"]).abs().mean(),
        "adversarial": 5e-3 * 0.5 * -sum(torch.log(truth).mean() for truth in truths),
    }


def natural_statistics(made: dict, real: dict, result: Tensor, target: Tensor, logits: Logits) -> Parts:
    """0.1 L_CX + 10 ‖ŷ_LF − y_LF‖² + 1e-3 L_GAN, with a bandwidth of 0.1, images blurred by 21x21 pixels and sigma 3."""
    losses = []
    for ours, theirs in zip(made["relu3_4"].flatten(2), real["relu3_4"].flatten(2), strict=True):
        center = theirs.mean(dim=1, keepdim=True)
        ours, theirs = (nn.functional.normalize(features - center, dim=0) for features in (ours, theirs))
        distances = 0.5 * (1 - ours.T @ theirs)  # half, as in their code, of which 1e-5 is added
        similar = torch.exp((1 - distances / (distances.min(dim=1, keepdim=True).values + 1e-5)) / 0.1)
        similar = similar / similar.sum(dim=1, keepdim=True)
        losses.append(-torch.log(similar.max(dim=0).values.mean()))
    places = torch.arange(-10, 11.0)
    row = torch.exp(-(places**2) / (2 * 3.0**2))
    kernel = torch.outer(row, row)[None, None] / row.sum() ** 2
    blurred = nn.functional.conv2d((result - target).flatten(0, 1)[:, None], kernel, padding=10)
    return {
        "contextual.relu3_4": 0.1 * sum(losses) / len(losses),
        "low_frequency": 10 * (blurred**2).mean(),
        "adversarial": 1e-3 * -torch.log(torch.sigmoid(logits[0])).mean(),
    }


def squared_error(made: dict, real: dict, result: Tensor, target: Tensor, logits: Logits) -> Parts:
    return {"pixel": ((result - target) ** 2).mean()}


# The formula of each preset, and the side of its paper's crops
PAPERS: dict[str, tuple[Formula, int]] = {
    "johnson-2016": (johnson, 288),
    "srcnn": (squared_error, 33),
    "srresnet": (squared_error, 96),
    "srgan": (srgan, 96),
    "enhancenet": (enhancenet, 128),
    "esrgan": (esrgan, 128),
    "natural-statistics": (natural_statistics, 96),
}


def test_every_paper_is_here() -> None:
    assert set(RECIPES) - OWN == set(PAPERS)


@pytest.mark.parametrize("preset", PAPERS)
def test_a_preset_has_its_papers_balance(preset: str, discriminator: nn.Module) -> None:
    """For one crop of the paper's size; with others a mean keeps the balance that a sum would change."""
    formula, side = PAPERS[preset]
    recipe = find_recipe(preset)
    result, target = pictures(side)
    layers = loss_layers(recipe, create_extractor("compact", ["relu1_1"], "random").architecture)
    extractor: FeatureExtractor | None = create_extractor("compact", layers, "random") if layers else None
    ours = create_loss(recipe, extractor)(result, target, target)
    if recipe.adversarial_weight:
        adversarial = AdversarialLoss(discriminator, RUNTIME, recipe.adversarial, recipe.adversarial_weight)
        ours |= adversarial.generator_parts(result, target)
    made, real = (extractor(images, layers) if extractor else {} for images in (result, target))
    theirs = formula(made, real, result, target, (discriminator(result), discriminator(target).detach()))
    assert_one_balance(ours, theirs, result)


def test_paper_scaling_of_a_style_is_johnsons_code() -> None:
    """Content 1, style 5 and total variation 1e-6: means over features and Gram matrices, and half a sum of levels."""
    content, styles = "relu3_3", ("relu1_2", "relu2_2", "relu3_3")
    extractor = create_extractor("compact", styles, "random")
    result, target = pictures(256)
    style = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    options = StyleLossOptions(scaling="paper", content_layers=(content,), style_layers=styles)
    _, ours = create_style_loss(extractor, [style], target, options)(result, target)

    made, real, painted = extractor(result), extractor(target), extractor(style)

    def gram(features: Tensor) -> Tensor:
        return torch.stack([each.flatten(1) @ each.flatten(1).T / each.numel() for each in features])

    theirs = {f"content.{content}": 1.0 * ((made[content] - real[content]) ** 2).mean()}
    for layer in styles:
        theirs[f"style.{layer}"] = 5.0 * ((gram(made[layer]) - gram(painted[layer])) ** 2).mean()
    # For each image. (In the code a batch of N counts N times, since only the other terms are divided by it.)
    theirs["tv"] = 1e-6 * total_variation(255 * result) / len(result)
    assert_one_balance(ours, theirs, result)


def test_paper_scaling_of_deepsim_is_caffes_sums(discriminator: nn.Module) -> None:
    """2e-6, 0.01 and 100 (Dosovitskiy & Brox 2016): half the sums of squares of levels and of features, and −log D."""
    comparator = create_extractor("alexnet", ["relu5"], "random")
    result, images = pictures(96)
    adversarial = AdversarialLoss(discriminator, RUNTIME, weight=PAPER_WEIGHTS.adversarial)
    _, ours = InversionLoss(PAPER_WEIGHTS, comparator, adversarial, RUNTIME, 96, "paper")(
        result, images, torch.zeros(2, 1)
    )
    count = len(images)
    theirs = {
        "image": 2e-6 * ((255 * result - 255 * images) ** 2).sum() / (2 * count),
        "feature.relu5": 0.01 * ((comparator(result)["relu5"] - comparator(images)["relu5"]) ** 2).sum() / (2 * count),
        "adversarial": 100 * -torch.log(torch.sigmoid(discriminator(result))).mean(),
    }
    assert_one_balance(ours, theirs, result)
