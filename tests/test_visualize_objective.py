"""`percept visualize objective`: texts name what they say, values are what they claim, and the search climbs."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from percept_cli.core.extractors import create_architecture
from percept_cli.core.extractors.graph import FeatureExtractor
from percept_cli.core.optimization.maximization import MaximizationOptions, maximize, texture_similarity, transform
from percept_cli.core.optimization.objectives import (
    Objective,
    ObjectiveTerm,
    check_ranges,
    objective_parts,
    parse_objectives,
    resolve_layers,
    tapped_layers,
    term_value,
)
from percept_cli.core.optimization.parametrization import Bounded, Frequencies, Pixels
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical
CPU = ("--device", "cpu", "--threads", 1)
FP32 = Runtime(torch.device("cpu"), torch.float32, "")


def test_a_text_is_the_sum_that_it_says() -> None:
    """Weights, signs, places, layers; spaces do not matter; it is written back the same."""
    (objective,) = parse_objectives("0.2*relu3_1:5+relu4_3:12@3,4 - .5 * conv5")
    assert objective.terms == (
        ObjectiveTerm("relu3_1", 5, None, 0.2), ObjectiveTerm("relu4_3", 12, (3, 4)), ObjectiveTerm("conv5", None, None, -0.5),
    )  # fmt: skip
    assert objective.text == "0.2*relu3_1:5 + relu4_3:12@3,4 - 0.5*conv5"
    assert parse_objectives(objective.text) == [objective]
    assert parse_objectives("relu4_3:12@center") == parse_objectives("relu4_3:12@center")


def test_several_channels_are_several_objectives() -> None:
    """Each once, in the order given, with the other terms of the sum."""
    assert [each.text for each in parse_objectives("relu4_3:1,5-7,5,2")] == [
        "relu4_3:1", "relu4_3:5", "relu4_3:6", "relu4_3:7", "relu4_3:2",
    ]  # fmt: skip
    assert [each.text for each in parse_objectives("conv1_1 + 2*relu4_3:0-1@1,0")] == [
        "conv1_1 + 2*relu4_3:0@1,0", "conv1_1 + 2*relu4_3:1@1,0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read at its end. Allowed: LAYER, LAYER:CHANNEL"),
        ("relu4_3:12 +", "cannot be read at its end"),
        ("relu4_3:twelve", "cannot be read at ':twelve'"),
        ("relu4_3 relu3_1", "cannot be read at 'relu3_1'"),
        ("relu4_3:-1", "cannot be read at ':-1'"),
        ("relu4_3@1,2", "write relu4_3:CHANNEL@1,2"),
        ("relu4_3:7-5", "run backwards, write 5-7"),
        ("relu4_3:0-511", "more than the 256 channels of one command"),
        ("relu4_3:1,2 + relu3_1:3,4", "only one layer can have several channels"),
        ("0*relu4_3:1", "nothing to excite"),
    ],
)
def test_what_is_no_objective_is_answered_with_what_is_one(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_objectives(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("compact", "relu4_9:1", "Did you mean 'relu4"),
        ("compact", "relu4_3:384", "relu4_3 of compact has the channels 0 to 383, not 384"),
        ("compact", "relu4_3:1@8,0", "the units of relu4_3 in 64x64 pixels are 0,0 to 7,7"),
        ("squeezenet1_0", "prob:1000", "has the classes 0 to 999, not 1000"),
        ("squeezenet1_0", "prob", "name a class of it"),
        ("squeezenet1_0", "prob:3@0,0", "is a code of the whole image"),
    ],
)
def test_a_layer_a_channel_and_a_unit_have_to_be_there(name: str, text: str, message: str) -> None:
    """The range is told."""
    architecture = create_architecture(name)
    with pytest.raises(UsageError) as caught:
        objectives = resolve_layers(parse_objectives(text), architecture)
        taps = [tap for each in objectives for tap in tapped_layers(each, architecture).values()]
        check_ranges(objectives, FeatureExtractor(architecture, taps), 64)
    assert message in str(caught.value)


def test_values_by_hand() -> None:
    """A channel's mean, a unit at (column, row), the center of an even map, a layer's root mean square, log-odds."""
    features = torch.arange(2 * 3 * 4 * 2.0).view(2, 3, 4, 2)
    assert term_value(ObjectiveTerm("a", 1), features).tolist() == [11.5, 35.5]
    assert term_value(ObjectiveTerm("a", 1, (1, 2)), features)[0] == features[0, 1, 2, 1]
    assert term_value(ObjectiveTerm("a", 1, "center"), features)[0] == features[0, 1, 2, 1]
    torch.testing.assert_close(term_value(ObjectiveTerm("a"), features)[0], features[0].square().mean().sqrt())
    scores = torch.tensor([[1.0, 3.0, -2.0]])
    chance = scores.softmax(1)[0, 1].item()
    assert term_value(ObjectiveTerm("prob", 1), scores).item() == pytest.approx(
        math.log(chance / (1 - chance)), rel=1e-5
    )


def test_a_sum_is_the_weighted_sum_of_its_terms() -> None:
    (objective,) = parse_objectives("0.5*pool1:1 - 2*conv1_1:0")
    features = {"pool1": torch.full((1, 2, 1, 1), 6.0), "conv1_1": torch.full((1, 2, 1, 1), 1.5)}
    taps = tapped_layers(objective, create_architecture("compact"))
    assert {name: part.item() for name, part in objective_parts(objective, features, taps).items()} == {
        "pool1:1": 3.0, "conv1_1:0": -3.0,
    }  # fmt: skip


def test_a_silent_channel_is_worth_nothing_and_has_a_gradient() -> None:
    """Behind a ReLU: where one place speaks, the others count as the ReLU has them."""
    before = torch.tensor([[[[-1.0, -3.0]]], [[[-1.0, 2.0]]]], requires_grad=True)
    values = term_value(ObjectiveTerm("relu", 0), before, rectify=True)
    values.sum().backward()
    assert values.tolist() == [0.0, 1.0]
    assert before.grad is not None and before.grad.flatten().tolist() == [0.5, 0.5, 0.0, 0.5]


def test_relu_and_prob_are_tapped_before() -> None:
    """Of every network, whatever stands between the scores and their softmax."""
    for name, layer, tap in (
        ("compact", "relu4_3", "conv4_3"), ("compact", "pool4", "pool4"), ("alexnet", "prob", "fc8"),
        ("squeezenet1_1", "prob", "pool10"),
    ):  # fmt: skip
        assert tapped_layers(Objective((ObjectiveTerm(layer, 0),)), create_architecture(name)) == {layer: tap}


def test_views_are_moved_turned_and_scaled_on_gray() -> None:
    """Nothing asked: the image in its gray border; a jitter alone moves whole pixels; each image has its own draw."""
    chance = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 16, 16, generator=chance)
    still = MaximizationOptions(jitter=0, scale=0, rotation=0)
    view = transform(images, 20, still, chance)
    torch.testing.assert_close(view[..., 2:18, 2:18], images, atol=1e-5, rtol=0)
    assert (view[..., :1, :] == 0.5).all()
    moved = transform(images, 16, MaximizationOptions(jitter=3, scale=0, rotation=0), chance)
    shifts = [
        [(down, across) for down in range(-3, 4) for across in range(-3, 4)
         if torch.allclose(moved[n, :, 4:12, 4:12], images[n, :, 4 + down : 12 + down, 4 + across : 12 + across], atol=1e-5)]
        for n in range(2)
    ]  # fmt: skip
    assert [len(found) for found in shifts] == [1, 1] and shifts[0] != shifts[1]
    quarter = transform(images, 16, MaximizationOptions(jitter=0, scale=0, rotation=180.0), chance)
    assert not torch.allclose(quarter, images, atol=0.1)


def test_a_bounded_parametrization_gives_the_image_back_and_stays_within_0_and_1() -> None:
    images = 0.05 + 0.9 * torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    for inner in (Pixels(), Frequencies(9, 12)):
        space = Bounded(inner)
        torch.testing.assert_close(space.decode(space.encode(images)), images, atol=1e-4, rtol=0)
        decoded = space.decode(space.encode(images) * 50)
        assert decoded.min() >= 0 and decoded.max() <= 1


def test_similarity_of_textures() -> None:
    """1 of the same, also where its places are mixed; 0 of textures with no channel in common."""
    features = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    mixed = features.flatten(2)[..., torch.randperm(25, generator=torch.Generator().manual_seed(0))].view_as(features)
    assert texture_similarity(torch.cat([features, mixed])).item() == pytest.approx(1.0, abs=1e-5)
    apart = torch.zeros(2, 2, 3, 3)
    apart[0, 0], apart[1, 1] = 1.0, 2.0
    assert texture_similarity(apart).item() == 0.0


@pytest.fixture(scope="module")
def compact() -> Callable:
    return lambda objective: FP32.freeze(
        create_extractor("compact", tapped_layers(objective, create_architecture("compact")).values())
    )


@pytest.mark.parametrize(
    ("text", "parametrization"),
    [
        ("relu2_2:5", "spectrum"), ("relu2_2:5", "pixels"), ("relu3_1:4@center", "spectrum"), ("relu2_1", "spectrum"),
        ("conv2_1:3 - 0.5*relu1_2:1", "spectrum"),
    ],
)  # fmt: skip
def test_the_search_climbs(text: str, parametrization: str, compact: Callable) -> None:
    """Of a channel, a unit, a layer and a sum, in both parametrizations: the values rise; they are maximized."""
    (objective,) = parse_objectives(text)
    options = MaximizationOptions(8, parametrization, jitter=2)
    values = [step.values[0] for step in maximize(objective, 32, compact(objective), FP32, options)]
    assert len(values) == 8 and values[-1] > values[0]


def test_images_asked_to_be_diverse_are_less_alike(compact: Callable) -> None:
    """Than two from different starts without being asked."""
    (objective,) = parse_objectives("relu3_1:5")
    extractor = compact(objective)
    *_, together = maximize(objective, 32, extractor, FP32, MaximizationOptions(16, count=2, jitter=2))
    apart = [
        list(maximize(objective, 32, extractor, FP32, MaximizationOptions(16, jitter=2, seed=s)))[-1] for s in (0, 1)
    ]
    features = extractor(torch.cat([step.images for step in apart]), ["conv3_1"])["conv3_1"]
    assert together.similarity is not None
    assert texture_similarity(extractor(together.images, ["conv3_1"])["conv3_1"]) < texture_similarity(features) - 0.02


def test_a_sheet_holds_what_each_command_alone_gives(percept: Callable, tmp_path: Path) -> None:
    """One channel: the image alone. Several: a tile for each, the same to the gray level; the numbers step by step."""
    small = ("--size", 48, "--steps", 4, *CPU)
    assert percept("visualize", "objective", "relu2_2:5", "-o", tmp_path / "one.png", *small).code == 0
    outcome = percept(
        "visualize",
        "objective",
        "relu2_2:3,5",
        "pool1:0",
        "-o",
        tmp_path / "two.png",
        "--data",
        tmp_path / "n.csv",
        "--json",
        *small,
    )
    assert outcome.code == 0, outcome.stderr
    one = torch.frombuffer(bytearray(Image.open(tmp_path / "one.png").tobytes()), dtype=torch.uint8).view(48, 48, 3)
    sheet = Image.open(tmp_path / "two.png")
    pixels = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8).view(sheet.height, sheet.width, 3)
    windows = pixels.unfold(0, 48, 1).unfold(1, 48, 1)  # rows, columns, 3, 48, 48
    corner = (windows[..., 0, 0] == one[0, 0]).all(-1).nonzero().tolist()
    assert any(torch.equal(windows[top, left].permute(1, 2, 0), one) for top, left in corner)
    report = json.loads(outcome.stdout)
    assert [each["objective"] for each in report["objectives"]] == ["relu2_2:3", "relu2_2:5", "pool1:0"]
    with (tmp_path / "n.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["objective"], row["step"]) for row in rows] == [
        (text, str(step)) for text in ("relu2_2:3", "relu2_2:5", "pool1:0") for step in range(1, 5)
    ]


def test_the_same_seed_gives_the_same_file_and_every_option_another(percept: Callable, tmp_path: Path) -> None:
    def draw(*more: object) -> bytes:
        path = tmp_path / "o.png"
        arguments = ("relu2_1:4", "--size", 32, "--steps", 3, "-o", path, "--overwrite", *more, *CPU)
        outcome = percept("visualize", "objective", *arguments)
        assert outcome.code == 0, outcome.stderr
        return path.read_bytes()

    first = draw()
    assert draw() == first
    others = [
        draw(*more)
        for more in (
            ("--seed", 1), ("--jitter", 0), ("--scale", 0), ("--rotation", 0), ("--parametrization", "pixels"),
            ("--diversity", 2),
        )
    ]  # fmt: skip
    assert len({first, *others}) == 7
    assert draw("--parametrisation", "pixels") == draw("--parametrization", "pixels") in others


def test_a_class_of_a_classifier_is_an_objective(percept: Callable, tmp_path: Path) -> None:
    """Its log-odds rise; of an untrained network here, whose weights come from the seed.

    Every step sees the image as it is: of such a network the views that are drawn at random differ more than six steps
    gain, which are 0.045 here.
    """
    outcome = percept(
        "visualize", "objective", "prob:3", "--extractor", "squeezenet1_1", "--extractor-weights", "random", "--size", 48,
        "--steps", 6, "--jitter", 0, "--scale", 0, "--rotation", 0, "-o", tmp_path / "c.png",
        "--data", tmp_path / "c.json", *CPU,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    values = [row["value"] for row in json.loads((tmp_path / "c.json").read_text())]
    assert len(values) == 6 and values[-1] > values[0] + 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["relu4_3:"], "Objective 'relu4_3:' cannot be read at ':'"),
        (["relu4_3:0-199", "relu4_2:0-99"], "300 images are more than the 256 of one sheet"),
        (["relu4_3:384"], "has the channels 0 to 383"),
        (["relu4_3:1", "--parametrization", "wavelets"], "Unknown parametrization 'wavelets'"),
        (["relu5_2:1", "--size", "8"], "give --size 16 or more"),
        (["prob:281"], "Unknown layer of compact 'prob'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str], message: str, percept: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = percept("visualize", "objective", *arguments, *CPU)
    assert outcome.code == 2 and message in outcome.stderr, outcome.stderr
    assert not list(tmp_path.iterdir())
