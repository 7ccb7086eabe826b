"""Translations: the network that changes an image, and the losses that say to what."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.extractors import create_architecture
from percept_cli.core.generators import create_generator
from percept_cli.core.generators.discriminators import MultiscaleDiscriminator
from percept_cli.core.generators.style import JohnsonGenerator
from percept_cli.core.generators.translation import TranslationGenerator
from percept_cli.core.inference.run import run_generator
from percept_cli.core.losses import GramTerm, contextual_loss
from percept_cli.core.losses.functional import gram_matrix
from percept_cli.core.losses.terms import FEATURE_DISTANCES
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.recipes import create_loss, loss_layers, shares
from percept_cli.core.training.translation import TranslationTraining
from percept_cli.core.training.translation_data import (
    DEGRADE,
    MATCH_SOURCE,
    PAIRS,
    RECIPES,
    UNPAIRED,
    TranslationData,
    usual_recipe,
)
from percept_cli.errors import UsageError
from tests.test_style_generators import reaches_of_pixels

COMPACT = create_architecture("compact")

pytestmark = pytest.mark.numerical
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(count: int = 1, side: int = 48) -> Tensor:
    return F.interpolate(torch.rand(count, 3, side // 4, side // 4), size=side, mode="bicubic").clamp(0, 1)


# --- the network


def test_untrained_it_changes_little_and_without_its_last_layer_nothing() -> None:
    network = TranslationGenerator(0.25)
    given = images()
    assert (network(given) - given).abs().max() < 0.2
    nn.init.zeros_(network.last.weight)
    assert torch.equal(network(given), given)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (40, 25)])
def test_any_size_comes_back(size: tuple[int, int]) -> None:
    network = TranslationGenerator(0.25, inputs=4).eval()
    assert network(torch.rand(2, 4, *size)).shape == (2, 3, *size)


def test_the_receptive_radius_is_measured() -> None:
    """An output pixel depends on input up to `receptive_radius` pixels away and on nothing further."""
    network = TranslationGenerator(0.1).double()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # all positive, so that no path is cut off by a ReLU
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    reaches = reaches_of_pixels(network, (109, 110), side=216)  # the farthest and the next
    assert max(max(reach) for reach in reaches) == TranslationGenerator.receptive_radius


def test_a_picture_does_not_change_what_lies_far_from_it() -> None:
    """Without norms: the same corner in two pictures is translated alike, to the bit."""
    network = TranslationGenerator(0.25).eval()
    first, second = torch.rand(2, 1, 3, 40, 176)
    second[..., :136] = first[..., :136]
    with torch.no_grad():
        assert torch.equal(network(first)[..., :32], network(second)[..., :32])
        assert not torch.equal(network(first), network(second))


@pytest.mark.parametrize("inputs", [3, 4])
def test_tiles_equal_the_whole(inputs: int) -> None:
    """Within 1e-5 in float32, at sides that are no multiples of anything."""
    network = TranslationGenerator(0.1, inputs=inputs).eval().requires_grad_(False)
    pixels = torch.rand(1, inputs, 250, 371)
    whole = run_generator(network, pixels, RUNTIME, tile="off")
    torch.testing.assert_close(run_generator(network, pixels, RUNTIME, tile=64), whole, rtol=0, atol=1e-5)
    assert torch.equal(run_generator(network, pixels, RUNTIME), whole)


def test_generators_by_name() -> None:
    assert isinstance(create_generator("translation", "johnson-2016", width=0.25), JohnsonGenerator)
    with pytest.raises(UsageError, match="does not see a mask"):
        create_generator("translation", "johnson", inputs=4)
    with pytest.raises(UsageError, match="Did you mean 'unet'"):
        create_generator("translation", "unte")


# --- losses


def test_a_gram_term_is_relative_to_the_targets_own_size() -> None:
    features, target = {"a": torch.rand(2, 4, 5, 5)}, {"a": torch.rand(2, 4, 7, 6)}
    nothing = torch.empty(0)
    part = GramTerm({"a": 0.5})(nothing, features, nothing, target)["a"]
    mine, theirs = gram_matrix(features["a"]), gram_matrix(target["a"])
    expected = (mine - theirs).pow(2).sum((1, 2)).mean() / theirs.pow(2).sum((1, 2)).mean()
    assert torch.allclose(part, 0.5 * expected)
    black = {"a": torch.zeros(2, 4, 5, 5)}
    assert GramTerm({"a": 1.0})(nothing, black, nothing, target)["a"].item() == pytest.approx(1.0)


def test_one_pass_gives_what_each_term_gives_alone() -> None:
    """Parts of features, context and content by their own formulas, the result's features taken once."""
    recipe = replace(
        RECIPES[UNPAIRED], feature_weight=2.0, feature_layers=("relu2_2",), contextual_weight=3.0, contextual_layers=("relu3_1",),
        content_weight=0.5, content_layers=("relu2_2",), pixel_weight=1.0, tv_weight=0.1,
    )  # fmt: skip
    extractor = create_extractor("compact", loss_layers(recipe, COMPACT))
    passes = []
    extractor.register_forward_hook(lambda *_: passes.append(1))
    result, source, target = images(), images(), images()
    parts = create_loss(recipe, extractor)(result, target, source)
    assert len(passes) == 3  # the result, the target, the source
    tap = partial(extractor, layers=("relu2_2", "relu3_1"))
    mine, theirs, before = (tap(picture) for picture in (result, target, source))
    assert set(parts) == {"pixel", "feature.relu2_2", "contextual.relu3_1", "content.relu2_2", "tv"}
    assert torch.allclose(parts["pixel"], (result - target).abs().mean())
    assert torch.allclose(
        parts["contextual.relu3_1"], 3 * contextual_loss(mine["relu3_1"], theirs["relu3_1"], bandwidth=0.1)
    )
    deviation = (theirs["relu2_2"] - theirs["relu2_2"].mean((2, 3), keepdim=True)).abs().mean()
    expected = 2 * (mine["relu2_2"] - theirs["relu2_2"]).abs().mean() / (2**0.5 * deviation)
    assert torch.allclose(parts["feature.relu2_2"], expected)
    variance = 2 * (before["relu2_2"] - before["relu2_2"].mean((2, 3), keepdim=True)).pow(2).mean()
    assert torch.allclose(
        parts["content.relu2_2"], 0.5 * (mine["relu2_2"] - before["relu2_2"]).pow(2).mean() / variance
    )


def test_every_recipe_finds_the_targets_best() -> None:
    """By each recipe's terms to the target, the target itself costs less than the source."""
    for mode in (PAIRS, DEGRADE, UNPAIRED):
        recipe = replace(RECIPES[mode], content_weight=0.0)
        taps = loss_layers(recipe, COMPACT)
        loss = create_loss(recipe, create_extractor("compact", taps) if taps else None)
        source, target = images(side=64), images(side=64)
        assert sum(loss(target, target, source).values()) < sum(loss(source, target, source).values())


def test_layers_fit_the_extractor() -> None:
    """Where it lacks those of a recipe, as many of its own; weights are shared out among as many layers."""
    data, squeezenet = TranslationData(target=[Path("a.png")]), create_architecture("squeezenet1_0")
    assert usual_recipe(data, COMPACT).contextual_layers == ("relu3_2", "relu4_2")
    assert usual_recipe(data, squeezenet).contextual_layers == squeezenet.style_layers[-2:]
    assert shares(("a", "b"), (1.0, 3.0)) == {"a": 0.25, "b": 0.75}
    assert shares(("a", "b", "c"), (1.0, 3.0)) == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})


DATA = {
    UNPAIRED: TranslationData(target=[Path("a.png")]),
    PAIRS: TranslationData([Path("b.png")], [Path("a.png")], pairs=True),
    MATCH_SOURCE: TranslationData(target=[Path("a.png")], match="source"),
    DEGRADE: TranslationData(degrade="noise"),
}


@pytest.mark.parametrize(
    ("mode", "changes", "said"),
    [
        (UNPAIRED, {"matching_weight": 1.0, "adversarial_weight": 1.0}, "needs --pairs or --degrade"),
        (PAIRS, {"adversarial_weight": 0.0}, "needs a discriminator"),
        (MATCH_SOURCE, {"pixel_weight": 1.0}, "has no target to compare with"),
        (DEGRADE, {"adversarial": "wasserstein"}, "least-squares, standard"),
    ],
)
def test_losses_that_the_data_cannot_have_are_refused(mode: str, changes: dict, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        TranslationTraining(DATA[mode], replace(RECIPES[mode], **changes))
    assert said in str(caught.value)


def test_no_loss_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="All losses have a weight of 0"):
        create_loss(replace(RECIPES[DEGRADE], pixel_weight=0.0), None)


@pytest.mark.parametrize("loss", ["contextual", "gram"])
def test_a_layer_without_places_is_refused_where_places_are_compared(loss: str) -> None:
    recipe = replace(RECIPES[UNPAIRED], **{f"{loss}_weight": 1.0, f"{loss}_layers": ("prob",)})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="compares features place by place, and prob of vgg19"):
        loss_layers(recipe, create_architecture("vgg19"))


def test_fully_connected_features_are_compared_by_every_distance() -> None:
    extractor, (target, other) = create_extractor("alexnet", ["fc6"], "random"), (images(2, 64), images(2, 64))
    for distance in FEATURE_DISTANCES:
        recipe = replace(
            RECIPES[DEGRADE], pixel_weight=0.0, feature_weight=1.0, feature_layers=("fc6",), feature_distance=distance
        )
        loss = create_loss(recipe, extractor)
        assert loss(target, target, target)["feature.fc6"].item() == pytest.approx(0, abs=1e-6)
        assert 0 < loss(other, target, target)["feature.fc6"].item() < math.inf


# --- the discriminators


def test_each_scale_sees_the_image_at_half_the_size() -> None:
    network = MultiscaleDiscriminator(4, scales=2).eval()  # in training, spectral norms change with each pass
    given = torch.rand(1, 3, 64, 64)
    outputs = network(given)
    halved = F.avg_pool2d(given, 3, 2, padding=1, count_include_pad=False)
    assert torch.allclose(outputs[1][-1], network.networks[1](halved))
    assert [len(each) for each in outputs] == [5, 5]  # four hidden layers and the logits
    assert torch.equal(outputs[0][-1], network.networks[0](given))
