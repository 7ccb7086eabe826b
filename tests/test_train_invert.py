"""An inverter is trained by any of its losses, by the papers' weights and freezing rule, and goes on to the same bits."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from percept_cli.core.data.photos import find_photos
from percept_cli.core.generators.discriminators import DeepsimDiscriminator
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import middle_square
from percept_cli.core.inference.invert import run_inverter
from percept_cli.core.losses.adversarial import AdversarialLoss, Freezing
from percept_cli.core.pretrained.extractors import ExtractorChoice, create_extractor
from percept_cli.core.pretrained.files import load_weights
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.core.runtime import Runtime
from percept_cli.core.training.deepsim import InversionLoss
from percept_cli.core.training.deepsim_options import (
    LOSSES,
    PAPER_WEIGHTS,
    UNRELATED,
    LossWeights,
    feature_factor,
    find_weights,
    image_factor,
)
from percept_cli.core.training.inversion import InverterTraining, train_inverter
from percept_cli.core.training.loop import DiscriminatorTraining, Training, TrainingStep, create_accelerator, train
from percept_cli.core.training.runs.run import Run
from percept_cli.errors import UsageError
from tests.conftest import fitting
from tests.test_training import assert_same_bits, read_log

RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
Command = Callable[..., list[object]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def command(photos: Path) -> Command:
    """`command(output, *further)`: the arguments of a small training; a further option overrides, and makes others idle."""

    def arguments(output: Path, *further: object) -> list[str]:
        return fitting(
            "train-invert", "--layer", "conv3", "--data", photos, "-o", output, "--steps", 1, "--batch", 2, "--size", 64,
            "--width", 0.1, "--extractor-weights", "random", "--comparator-weights", "random", "--comparator-layers",
            "relu2_2", "--discriminator-channels", 4, "--device", "cpu", "--precision", "fp32", "--threads", 1, *further,
        )  # fmt: skip

    return arguments


# --- the freezing rule


@pytest.mark.parametrize(
    ("before", "ratio", "after"),
    [
        # (generator learns, discriminator learns)
        ((True, True), 0.09, (True, False)),
        ((True, True), 0.11, (True, True)),
        ((True, True), 2.0, (True, True)),
        ((True, True), 10.1, (False, True)),
        ((True, False), 0.3, (True, False)),
        ((True, False), 0.51, (True, True)),
        ((True, False), 10.1, (False, True)),
        ((False, True), 10.1, (False, True)),
        ((False, True), 0.51, (False, True)),
        ((False, True), 0.11, (False, True)),
        ((False, True), 0.09, (True, False)),
    ],
)
def test_the_freezing_rule(before: tuple[bool, bool], ratio: float, after: tuple[bool, bool]) -> None:
    """A discriminator below 0.1 stops until 0.5; a generator whose discriminator is above 10 stops until that is below 0.1."""
    freezing = Freezing(*before)
    freezing.update(ratio * 0.7, 0.7)
    assert (freezing.generator_learns, freezing.discriminator_learns) == after


def test_a_generator_that_fools_entirely_is_no_division_by_zero() -> None:
    freezing = Freezing()
    freezing.update(1.0, 0.0)
    assert not freezing.generator_learns


def scripted_training(ratios: list[float]) -> Training:
    """Two networks of one weight whose losses have no minimum; step n ends with a ratio of ratios[n]."""
    generator, discriminator, freezing = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False), Freezing()

    def discriminator_loss(network: nn.Module, images: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        freezing.update(ratios[step], 1.0)
        return network(torch.ones(1, 1)).sum(), {}

    learner = DiscriminatorTraining(
        discriminator, torch.optim.Adam(discriminator.parameters()), discriminator_loss, freezing
    )
    return Training(generator, torch.optim.Adam(generator.parameters()), len(ratios), discriminator=learner)


def run_steps(training: Training, count: int) -> list[tuple[float, float]]:
    """The two weights after each step."""
    values = []
    loop = train(
        training, [torch.zeros(1, 3, 2, 2)] * count, lambda network, images, step: (network(torch.ones(1, 1)).sum(), {}),
        lambda step: 0.1, RUNTIME, create_accelerator(RUNTIME),
    )  # fmt: skip
    for _ in loop:
        assert training.discriminator
        values.append((training.network.weight.item(), training.discriminator.network.weight.item()))  # type: ignore[union-attr, operator]
    return values


def test_who_is_frozen_is_not_updated() -> None:
    """From the step after the ratio was met; both losses are taken all the same, which is how the other gets up again."""
    values = run_steps(scripted_training([1.0, 0.05, 0.3, 0.6, 20.0, 0.6, 0.05, 1.0]), 8)
    moved = [
        tuple(a != b for a, b in zip(now, then, strict=True)) for now, then in zip(values[1:], values, strict=False)
    ]
    #                 0.05          0.3            0.6            20            0.6            0.05           1.0
    assert moved == [
        (True, True),
        (True, False),
        (True, False),
        (True, True),
        (False, True),
        (False, True),
        (True, False),
    ]


@pytest.mark.parametrize("stop", [2, 5])
def test_a_resumed_run_knows_who_was_frozen(stop: int) -> None:
    """Stopped while the one or the other stands, it goes on to the very weights of an unbroken run."""
    ratios = [1.0, 0.05, 0.3, 0.3, 20.0, 5.0, 5.0, 0.05]
    torch.manual_seed(1)
    unbroken = run_steps(scripted_training(ratios), 8)
    torch.manual_seed(1)
    first = scripted_training(ratios)
    run_steps(first, stop)
    assert first.discriminator and first.discriminator.freezing and first.discriminator.freezing != Freezing()
    second = scripted_training(ratios)
    second.restore(first.state())
    assert run_steps(second, 8 - stop) == unbroken[stop:]


# --- the losses and their weights


def against(discriminator: DeepsimDiscriminator, weight: float) -> AdversarialLoss:
    return AdversarialLoss(discriminator, RUNTIME, weight=weight, freezing=Freezing())


def test_the_papers_image_weight_on_a_mean() -> None:
    """2e-6 on half the sum of squares of 0 to 255, 227x227x3 of them, is ten thousand times a mean in [0, 1]."""
    assert image_factor(PAPER_WEIGHTS.image) == pytest.approx(1.0e4, rel=0.01)
    assert feature_factor(PAPER_WEIGHTS.feature, 13 * 13 * 256) == pytest.approx(0.01 * 43_264 / 2)
    assert find_weights("deepsim", "typical").adversarial == pytest.approx(100 / (1.0e4 * 0.112), rel=0.01)


def test_paper_scaling_is_the_papers_sums() -> None:
    """Caffe's EuclideanLoss, written out: half the sum of squares over the batch, divided by its size."""
    comparator = create_extractor("compact", ["relu1_2", "relu2_2"], "random")
    result, images = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    loss = InversionLoss(LossWeights(2e-6, 0.01), comparator, None, RUNTIME, 16, "paper")
    total, parts = loss(result, images, torch.zeros(2, 1))

    levels = 255 * (result.double().numpy() - images.double().numpy())
    expected = {"image": 2e-6 * np.sum(levels**2) / (2 * 2)}
    with torch.no_grad():
        ours, theirs = comparator(result), comparator(images)
    for layer in ("relu1_2", "relu2_2"):
        difference = ours[layer].double().numpy() - theirs[layer].double().numpy()
        expected[f"feature.{layer}"] = 0.01 * np.sum(difference**2) / (2 * 2)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(expected, rel=1e-4)
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-4)


def test_typical_scaling_makes_an_unrelated_photograph_one() -> None:
    """By pixels and, layer by layer, by features: two pictures of noise differ by twice their variance."""
    comparator = create_extractor("compact", ["relu1_2", "relu2_2"], "random")
    result, images = torch.rand(2, 4, 3, 64, 64)
    _, parts = InversionLoss(LossWeights(1.0, 1.0), comparator, None, RUNTIME, 64)(result, images, torch.zeros(4, 1))
    assert parts["image"].item() * UNRELATED["mse"] == pytest.approx((result - images).square().mean().item(), rel=1e-5)
    assert sum(parts[f"feature.{layer}"].item() for layer in comparator.layers) == pytest.approx(
        1, abs=0.1
    )  # less: padded edges are alike


@pytest.mark.parametrize("left_out", ["image", "feature", "adversarial"])
def test_a_weight_of_0_leaves_its_loss_out(left_out: str) -> None:
    """And only that one; the others keep their names."""
    weights = find_weights("deepsim", "typical", **{left_out: 0.0})
    assert getattr(weights, left_out) == 0 and sum(map(bool, asdict(weights).values())) == 2
    comparator = create_extractor("compact", ["relu1_1"], "random") if weights.feature else None
    adversarial = against(DeepsimDiscriminator(4), weights.adversarial) if weights.adversarial else None
    loss = InversionLoss(weights, comparator, adversarial, RUNTIME, 64)
    total, parts = loss(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64), torch.zeros(1, 1))
    assert {name.partition(".")[0] for name in parts} == {"image", "feature", "adversarial"} - {left_out}
    assert total.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-5)


def test_losses_by_name() -> None:
    """`image` is Dosovitskiy & Brox 2015's, `deepsim` that of 2016; given weights take the place of theirs."""
    assert find_weights("image", "typical") == LossWeights(image=1.0)
    assert find_weights("deepsim", "paper") == PAPER_WEIGHTS
    assert find_weights("feature", "typical", image=0.5) == LossWeights(image=0.5, feature=1.0)
    with pytest.raises(UsageError, match="Did you mean 'deepsim'"):
        find_weights("deepsin", "typical")
    with pytest.raises(UsageError, match="All losses have a weight of 0"):
        find_weights("image", "typical", image=0.0)


@pytest.mark.parametrize("scaling", ["typical", "paper"])
def test_the_discriminators_own_features_compare(scaling: str) -> None:
    """DIAT: the distance of what its convolutions see; its gradient is the result's alone."""
    discriminator = DeepsimDiscriminator(4).requires_grad_(False)
    result, images = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 64, 64)
    loss = InversionLoss(
        LossWeights(feature=2.0, adversarial=0.1), None, against(discriminator, 0.1), RUNTIME, 64, scaling, ("conv2",)
    )
    _, parts = loss(result, images, torch.zeros(2, 1))
    assert set(parts) == {"feature.conv2", "adversarial"}
    ours, theirs = discriminator.features(result)["conv2"], discriminator.features(images)["conv2"]
    square = (ours - theirs).square()
    usual = 2 * (theirs - theirs.mean(dim=(2, 3), keepdim=True)).square().mean()
    expected = square.sum() / 4 if scaling == "paper" else square.mean() / usual
    assert parts["feature.conv2"].item() == pytest.approx(2 * expected.item(), rel=1e-4)
    parts["feature.conv2"].backward()
    assert result.grad is not None and result.grad.abs().sum() > 0


def test_an_undecided_discriminator_costs_log_2_and_sees_no_gradient_of_the_generator() -> None:
    discriminator = DeepsimDiscriminator(4, code_channels=5)
    nn.init.zeros_(discriminator.dense[4].weight)
    loss = InversionLoss(LossWeights(adversarial=3.0), None, against(discriminator, 3.0), RUNTIME, 64)
    result, code = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 5, 4, 4)
    _, parts = loss(result, torch.rand(2, 3, 64, 64), code)
    assert parts["adversarial"].item() == pytest.approx(3 * 0.6931472)
    own, names = loss.adversarial.discriminator_loss(discriminator, torch.rand(2, 3, 64, 64), 0)
    assert own.item() == pytest.approx(0.6931472) and list(names) == ["discriminator"]
    own.backward()
    assert result.grad is None


@pytest.mark.parametrize(
    ("logit", "frozen"),
    # A discriminator that gives every image this logit is half right: -log of σ(l) and of σ(-l), and the first for the generator.
    [(0.0, Freezing()), (3.0, Freezing(False, True)), (-3.0, Freezing())],
)
def test_the_losses_decide_who_learns(logit: float, frozen: Freezing) -> None:
    """All fakes passing for real gives a ratio above 10."""
    discriminator = DeepsimDiscriminator(4)
    nn.init.zeros_(discriminator.dense[4].weight)
    nn.init.constant_(discriminator.dense[4].bias, logit)
    loss = InversionLoss(LossWeights(adversarial=100.0), None, against(discriminator, 100.0), RUNTIME, 64)
    images = torch.rand(1, 3, 64, 64)
    loss(images, images, torch.zeros(1, 1))
    loss.adversarial.discriminator_loss(discriminator, images, 0)
    assert loss.adversarial.freezing == frozen


# --- the command

# All there is to a run: images, features, a discriminator that sees the code.
EVERYTHING = ("--loss", "deepsim", "--steps", 2, "--adversarial-weight", 1)


@pytest.fixture(scope="module")
def unbroken(percept: Callable, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "model.safetensors"
    outcome = percept(*command(output, *EVERYTHING))
    assert outcome.code == 0, outcome.stderr
    return output


def test_an_inverter_is_trained_from_python_and_goes_on_where_it_was_stopped(photos: Path, tmp_path: Path) -> None:
    """Steps as the caller asks for them; stopped with a discriminator and its dropout beside it, a run opened again goes
    on to the same weights and the same log."""
    files, said = find_photos([photos]), list[str]()
    options = InverterTraining(
        layer="conv2", extractor=ExtractorChoice("compact", "random"), comparator_weights="random",
        comparator_layers=("relu2_2",), adversarial_weight=1.0, discriminator_channels=4, width=0.1, steps=6, batch=2,
        size=64,
    )  # fmt: skip

    def begin(name: str, resume: bool = False) -> tuple[Run, Iterator[TrainingStep]]:
        run = Run.open(tmp_path / name, RUNTIME, resume=resume, announce=said.append)
        return run, train_inverter(files, run, options)

    whole, steps = begin("whole.safetensors")
    losses = [step.total for step in steps]
    stopped, steps = begin("stopped.safetensors")
    assert [next(steps).total for _ in range(4)] == losses[:4]
    stopped.save_checkpoint()
    next(steps)  # a step that is lost
    with pytest.raises(UsageError, match="holds a run already"):
        begin("stopped.safetensors")
    resumed, steps = begin("stopped.safetensors", resume=True)
    assert [step.total for step in steps] == losses[4:]
    assert said == ["resumed at step 4 of 6"]
    assert read_log(whole.output)[0]["parts"].keys() == {"image", "feature.relu2_2", "adversarial", "discriminator"}
    assert_same_bits(resumed.output, whole.output)
    assert read_log(resumed.output) == read_log(whole.output)
    assert load_generator(str(whole.output), "inverter").metadata["layer"] == "conv2_2"


def test_the_file_says_what_it_inverts(unbroken: Path) -> None:
    """Layer by its full name, extractor, digest of its weights, recipe; half precision, scale of the layer included."""
    loaded = load_generator(str(unbroken), "inverter")
    assert (loaded.metadata["extractor"], loaded.metadata["layer"]) == ("compact", "conv3_4")
    recipe = json.loads(loaded.metadata["recipe"])
    assert recipe["loss"] == "deepsim" and recipe["comparator_layers"] == ["relu2_2"] and recipe["code_branch"]
    weights = load_weights(unbroken)
    assert all(tensor.dtype == torch.float16 for tensor in weights.values())
    assert weights["std"].min() > 0 and weights["mean"].abs().sum() > 0


def test_an_inverter_learns(percept: Callable, command: Command, tmp_path: Path) -> None:
    """The image loss falls, and so it begins low when it starts from what was learned."""
    output = tmp_path / "model.safetensors"
    outcome = percept(*command(output, "--loss", "image", "--steps", 25, "--layer", "conv1", "--learning-rate", 5e-3))
    assert outcome.code == 0, outcome.stderr
    losses = [entry["total"] for entry in read_log(output)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    again = tmp_path / "again.safetensors"
    assert percept(*command(again, "--loss", "image", "--layer", "conv1", "--start", output)).code == 0
    assert read_log(again)[0]["total"] < 0.6 * losses[0]


def test_a_bare_block_name_is_its_last_convolution(percept: Callable, photos: Path, tmp_path: Path) -> None:
    """`percept train invert --layer conv5`, on the shipped weights; the preview holds the photograph and what came of it."""
    output = tmp_path / "five.safetensors"
    outcome = percept(
        "train", "invert", "--layer", "conv5", "--data", photos, "--steps", 1, "--batch", 1, "--size", 64, "--width", 0.1,
        "--device", "cpu", "-o", output,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert load_generator(str(output), "inverter").metadata["layer"] == "conv5_2"
    assert outcome.stdout.strip() == str(output)
    assert (tmp_path / "five.run" / "preview.png").exists()


@pytest.mark.parametrize(
    "further",
    [
        ("--comparator", "random", "--comparator-layers", "relu5"),
        ("--comparator", "discriminator", "--comparator-layers", "conv1,conv5", "--no-code-branch"),
        ("--comparator", "vgg16"),
        ("--comparator", "squeezenet1_1", "--comparator-layers", "fire4"),
        ("--scaling", "paper", "--optimizer", "adam", "--generator", "deepsim-2016"),
        ("--extractor", "squeezenet1_1", "--layer", "pool10", "--generator", "deepsim-2016-linear"),
        ("--extractor", "squeezenet1_1", "--layer", "prob", "--loss", "image"),
        ("--extractor", "alexnet", "--layer", "conv5", "--loss", "feature", "--image-weight", 1),
    ],
)
def test_everything_trains(further: tuple[object, ...], percept: Callable, command: Command, tmp_path: Path) -> None:
    """One step, and a file that loads; codes of the whole image too."""
    output = tmp_path / "model.safetensors"
    outcome = percept(*command(output, *further))
    assert outcome.code == 0, outcome.stderr
    load_generator(str(output), "inverter")
    parts = set(read_log(output)[0]["parts"])
    if "discriminator" in further:
        assert parts == {"image", "feature.conv1", "feature.conv5", "adversarial", "discriminator"}


@pytest.mark.parametrize(
    ("further", "sentence"),
    [
        (("--layer", "conv9"), "Unknown layer of compact 'conv9'"),
        (("--layer", "pool5", "--size", 16, "--loss", "image"), "needs at least"),
        (("--loss", "deepsin"), "Did you mean 'deepsim'"),
        (("--loss", "image", "--image-weight", 0), "All losses have a weight of 0"),
        (("--comparator", "vgg61"), "Did you mean 'vgg19'"),
        (
            ("--comparator", "discriminator", "--comparator-layers", "relu1"),
            "Unknown layer of the discriminator 'relu1'",
        ),
        (
            ("--comparator", "discriminator", "--comparator-layers", "conv1", "--loss", "feature"),
            "needs a discriminator that learns",
        ),
        (("--size", 48), "the discriminator needs 63 pixels"),
        (("--generator", "lena"), "Did you mean 'lean'"),
        (("--scaling", "papr"), "Did you mean 'paper'"),
        (("--optimizer", "muonn"), "Did you mean 'muon'"),
        (("--extractor", "alexnet", "--layer", "avgpool"), "has no fixed place in the image"),
    ],
)
def test_bad_options_get_one_sentence(
    further: tuple[object, ...], sentence: str, percept: Callable, command: Command, tmp_path: Path
) -> None:
    """Exit code 2, what is allowed, and no model."""
    output = tmp_path / "model.safetensors"
    outcome = percept(*command(output, *further))
    assert outcome.code == 2, outcome.stderr
    assert sentence in outcome.stderr
    assert not output.exists()


def test_every_loss_has_a_name_that_the_help_gives(percept: Callable) -> None:
    text = percept("train", "invert", "--help").stdout
    assert all(name in text for name in LOSSES)


def test_an_inverter_answers_in_one_pass(command: Command, percept: Callable, photos: Path, tmp_path: Path) -> None:
    """`percept invert --method generator` writes what the network makes of the layer's code; other layers are refused."""
    file, picture = tmp_path / "small.safetensors", tmp_path / "back.png"
    assert percept(*command(file)).code == 0
    photo = next(iter(sorted(photos.glob("*"))))
    shared = ["--method", "generator", "-m", file, "--extractor-weights", "random", "--size", 64, "--device", "cpu",
              "--precision", "fp32"]  # fmt: skip
    outcome = percept("invert", photo, "--layer", "conv3", *shared, "-o", picture, "--json")
    assert outcome.code == 0, outcome.stderr
    (found,) = json.loads(outcome.stdout)["layers"]
    assert (found["layer"], found["method"]) == ("conv3_4", "generator")

    original = middle_square(load_image(photo).pixels, 64)
    code = create_extractor("compact", ["conv3"], "random", 0)(original)["conv3_4"]
    answer = run_inverter(load_generator(str(file), "inverter").network, code, (64, 64), RUNTIME)
    torch.testing.assert_close(load_image(picture).pixels, answer, rtol=0, atol=0.51 / 255)

    outcome = percept("invert", photo, "--layer", "conv2", *shared, "-o", tmp_path / "other.png")
    assert outcome.code == 2
    assert "small inverts conv3_4 of compact, not conv2_2 of compact" in outcome.stderr
