"""Any style in one pass: statistics of parts and of several styles, tiles, and the optimization that goes on from it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from percept_cli.core.generators import strips
from percept_cli.core.generators.any_style import AnyStyleGenerator
from percept_cli.core.generators.encoder import ENCODER_RADIUS
from percept_cli.core.generators.feature_statistics import (
    Statistics,
    blend_statistics,
    measure_statistics,
    merge_statistics,
    transfer,
    transport,
)
from percept_cli.core.generators.strips import in_strips
from percept_cli.core.generators.style import StyleGenerator
from percept_cli.core.generators.styled import StyledGenerator, bind_style
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import Photo, resize_image
from percept_cli.core.inference.restyle import fit_to_frames, restyle
from percept_cli.core.inference.run import measure_content, measure_frames, run_generator
from percept_cli.core.optimization import style_transfer
from percept_cli.core.optimization.style_transfer import StyleOptions, add_change, optimize_style
from percept_cli.core.pretrained.building import build_generator
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.runtime import Runtime
from percept_cli.errors import UsageError

pytestmark = pytest.mark.numerical
RUNTIME = Runtime(torch.device("cpu"), torch.float32, "")
HALF = Runtime(torch.device("cpu"), torch.bfloat16, "")
CPU = ("--device", "cpu", "--precision", "fp32", "--threads", 1)
WIDTHS = (8, 8, 8, 8)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def smooth(height: int, width: int, seed: int = 0) -> Tensor:
    """An image that is no noise, of 24 soft blobs a side."""
    return resize_image(noise(1, 3, 24, 24, seed=seed), height, width)


def create_network() -> AnyStyleGenerator:
    """A network of random weights; its encoder is normalized on pictures, as a trained one is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AnyStyleGenerator(WIDTHS)
        for convolution in network.encoder.convolutions.values():
            nn.init.kaiming_normal_(convolution.weight)
        nn.init.normal_(network.last.weight, std=0.05)
    state = network.encoder.state_dict()
    weights = {f"trunk.{key.removeprefix('convolutions.')}": value for key, value in state.items()}
    network.encoder.adopt({key: value.clone() for key, value in weights.items()}, smooth(96, 96))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> AnyStyleGenerator:
    return create_network()


@pytest.fixture(scope="module")
def generator(network: AnyStyleGenerator) -> StyledGenerator:
    return bind_style(network, [noise(1, 3, 48, 64)])


@pytest.fixture(scope="module")
def any_style_model(network: AnyStyleGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of any style with random weights, as `percept train any-style` writes one."""
    from percept_cli.core.pretrained.files import save_weights

    path = tmp_path_factory.mktemp("model") / "any.safetensors"
    metadata = {
        "percept.format": "1", "role": "any-style", "architecture": "transport", "arguments": network.arguments
    }  # fmt: skip
    save_weights(path, network.state_dict(), metadata)
    return path


def differences(one: Statistics, other: Statistics) -> float:
    pairs = zip((*one.means, *one.covariances), (*other.means, *other.covariances), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def test_statistics_of_parts_make_those_of_the_whole() -> None:
    """Of parts of unequal size and unequal mean; numpy's formula gives the same."""
    features = [noise(1, 5, 12, 30), 100 + noise(1, 7, 6, 15)]
    parts = [[features[0][..., :10], features[1][..., :5]], [features[0][..., 10:], features[1][..., 5:]]]
    whole, counts = measure_statistics(features), [12 * 10, 12 * 20]
    merged = merge_statistics([measure_statistics(part) for part in parts], counts)
    assert differences(merged, whole) < 1e-7
    rows = features[1][0].flatten(1).double()
    torch.testing.assert_close(whole.covariances[1][0], torch.cov(rows, correction=0), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(whole.means[1][0], rows.mean(1), rtol=1e-9, atol=0)


def test_statistics_of_plain_features_lose_nothing_to_a_large_mean() -> None:
    """Of a hundred thousand places in float32; squares minus the square of the mean would be wrong by more than all of it."""
    features = 1000 + 0.1 * noise(1, 4, 400, 250)
    (mean, covariance), rows = next(iter(measure_statistics([features]).tensors)), features[0].flatten(1).double()
    torch.testing.assert_close(mean[0], rows.mean(1), rtol=1e-9, atol=0)
    torch.testing.assert_close(covariance[0], torch.cov(rows, correction=0), rtol=1e-4, atol=1e-7)
    assert (features.square().mean((2, 3)) - features.mean((2, 3)).square()).abs().max() > 10 * covariance.max()


def test_statistics_are_scaled_as_features_are(network: AnyStyleGenerator) -> None:
    """The encoder's own scaling of its levels is left out at work, and made up for in their statistics."""
    image = smooth(80, 64, seed=3)
    described, measured = network.describe(image), measure_statistics(network.encoder(image))
    assert differences(described, measured) < 1e-4


@pytest.mark.parametrize("height", [64, 90, 98])
def test_strips_equal_the_whole(height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an enlargement and seven convolutions, as far as they may see, and a last strip of two rows."""
    monkeypatch.setattr(strips, "CACHED_PIXELS", 24 * 16)
    kernel = noise(1, 1, 3, 3) / 4.5

    def compute(features: Tensor, deeper: Tensor) -> Tensor:
        features = features + nn.functional.interpolate(deeper, scale_factor=2, mode="bilinear")
        for _ in range(7):
            features = nn.functional.conv2d(nn.functional.pad(features, [1] * 4, mode="reflect"), kernel)
        return features

    maps = noise(1, 1, height, 16), noise(1, 1, height // 2, 8, seed=1)
    torch.testing.assert_close(in_strips(compute, *maps), compute(*maps), rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_folded_weights_in_strips_make_what_the_formula_makes(
    network: AnyStyleGenerator, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features scaled, moved and joined, one after the other, as in training; with one style for each picture."""
    monkeypatch.setattr(strips, "CACHED_PIXELS", 24 * 88)
    images = torch.cat([smooth(123, 85, seed=seed) for seed in range(count)])
    style = network.describe(torch.cat([noise(1, 3, 48, 64, seed=5 + seed) for seed in range(count)]))
    with torch.enable_grad():
        expected = network(images, style)
    with torch.inference_mode():
        folded = network(images, style)
    assert expected.std() > 0.05
    torch.testing.assert_close(folded, expected, rtol=0, atol=0.05 / 255)


def test_a_blend_of_a_style_with_itself_is_that_style() -> None:
    """And of two it is what lies between them, by their weights."""
    one, other = (measure_statistics([noise(1, 6, 9, 9, seed=seed)]) for seed in (1, 2))
    assert differences(blend_statistics([one, one], [0.3, 0.9]), one) < 1e-12
    blended = blend_statistics([one, other], [3.0, 1.0])
    torch.testing.assert_close(blended.means[0], 0.75 * one.means[0] + 0.25 * other.means[0])
    assert differences(blend_statistics([one, other], [1.0, 0.0]), one) < 1e-12


def test_the_transport_gives_features_the_mean_and_the_covariance_of_the_style() -> None:
    """Its map is symmetric and moves normal distributions exactly: T C T = S (Mroueh 2019, eq. 7)."""
    content, style = (measure_statistics([noise(1, 6, 30, 30, seed=seed)]) for seed in (1, 2))
    matrix = transport(content.covariances[0], style.covariances[0])
    torch.testing.assert_close(matrix, matrix.transpose(1, 2))
    # Within the thousandth of the variance that is added before the root
    moved = matrix @ content.covariances[0] @ matrix
    torch.testing.assert_close(moved, style.covariances[0], rtol=5e-3, atol=1e-4)
    features = noise(1, 6, 30, 30, seed=1)
    (pair,), (wanted,) = content.tensors, style.tensors
    torch.testing.assert_close(transfer(features, pair, wanted).mean((2, 3)).double(), wanted[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "tile"), [(437, 43, 96), (90, 350, 152), (20, 300, 48)])
def test_tiles_equal_the_whole(generator: StyledGenerator, height: int, width: int, tile: int) -> None:
    """With sides that are no multiples of 8, and a side that is smaller than the network's smallest."""
    images = smooth(height, width)
    whole = run_generator(generator, images, RUNTIME, "off")
    assert whole.std() > 0.05
    torch.testing.assert_close(run_generator(generator, images, RUNTIME, tile), whole, rtol=0, atol=1e-4)


def test_tiles_in_half_precision_equal_the_whole(generator: StyledGenerator) -> None:
    """Within half a gray level, as a rule to the bit: statistics are of float64."""
    images = smooth(50, 420)
    whole = run_generator(generator, images, HALF, "off")
    assert (run_generator(generator, images, HALF, 96) - whole).abs().mean() < 0.05 / 255


def test_statistics_of_tiles_are_those_of_the_whole(generator: StyledGenerator, network: AnyStyleGenerator) -> None:
    """Also of the pixels that are reflected at the right and the bottom."""
    images = smooth(202, 301)
    padded = nn.functional.pad(images, [0, 3, 0, 6], mode="reflect")
    merged = measure_content(generator, images, RUNTIME, 64)
    assert differences(merged, network.describe(padded)) < 1e-4


@pytest.mark.parametrize("tile", ["off", 96])
def test_what_stands_still_in_an_animation_stays_the_same(generator: StyledGenerator, tile: int | str) -> None:
    """With the statistics of all frames, beyond the reach of what moves; with its own each frame differs everywhere."""
    first = smooth(40, 320)
    second = first.clone()
    second[..., :40] = 1 - second[..., :40]
    content = measure_frames(generator, [first, second], RUNTIME)
    steady, own = (
        [run_generator(generator, frame, RUNTIME, tile, given)[..., 40 + 144 :] for frame in (first, second)]
        for given in (content, None)
    )
    torch.testing.assert_close(steady[0], steady[1], rtol=0, atol=1e-5)
    assert (own[0] - own[1]).abs().mean() > 1 / 255


def test_the_statistics_of_frames_are_those_of_all_their_pixels(generator: StyledGenerator) -> None:
    """The mean over frames, whatever their order; those of equal frames are those of one."""
    one, other = smooth(48, 64, seed=1), smooth(48, 64, seed=2)
    alone = measure_content(generator, one, RUNTIME, 1024)
    same, both, turned = (
        measure_frames(generator, frames, RUNTIME) for frames in ([one, one], [one, other], [other, one])
    )
    assert differences(same, alone) < 1e-9
    assert differences(both, turned) < 1e-9
    torch.testing.assert_close(both.means[0], (alone.means[0] + generator.network.describe(other).means[0]) / 2)


def test_a_restyled_frame_takes_the_statistics_of_all(generator: StyledGenerator) -> None:
    """At another size and stroke they are those of the pictures that the network gets."""
    photos = [Photo(smooth(80, 96, seed=seed)) for seed in (1, 2)]
    same, content = fit_to_frames(generator, photos, RUNTIME, size=64, stroke=2)
    expected = measure_frames(generator, [resize_image(photo.visible(64), 32, 39) for photo in photos], RUNTIME)
    assert same is generator
    assert content is not None
    assert differences(content, expected) < 1e-9
    own, shared = (
        restyle(photos[0], generator, RUNTIME, size=64, stroke=2, content=each).pixels for each in (None, content)
    )
    assert (own - shared).abs().mean() > 1 / 255


@pytest.mark.parametrize("norm", ["instance", "inner"])
def test_instance_norms_are_held_for_all_frames(norm: str) -> None:
    """What stands still stays the same; frames that are all alike are restyled as one picture; the network is as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = StyleGenerator(0.25, norm).eval().requires_grad_(False)
    first = smooth(64, 320)
    second = first.clone()
    second[..., :40] = 1 - second[..., :40]
    alone = run_generator(network, first, RUNTIME)
    held, content = fit_to_frames(network, [Photo(first), Photo(second)], RUNTIME)
    assert content is None
    steady, own = (
        [run_generator(each, frame, RUNTIME)[..., 200:] for frame in (first, second)] for each in (held, network)
    )
    torch.testing.assert_close(steady[0], steady[1], rtol=0, atol=1e-5)
    assert (own[0] - own[1]).abs().max() > 1e-3
    same, _ = fit_to_frames(network, [Photo(first)] * 2, RUNTIME)
    torch.testing.assert_close(run_generator(same, first, RUNTIME), alone, rtol=0, atol=1e-4)
    assert torch.equal(run_generator(network, first, RUNTIME), alone)


def test_the_stated_radius_is_the_smallest_multiple_that_holds(generator: StyledGenerator) -> None:
    """A pixel depends on pixels up to 143 away, by the extents of the convolutions; 8 fewer would not do."""
    # Convolutions of 3x3 at each level: in the encoder, in the decoder; the last of 5x5 comes beside.
    encoder, decoder = (2, 2, 3, 2), (3, 3, 7, 7)
    farthest = 0
    for pixel in range(8):
        first, last = pixel - 2, pixel + 2
        for level in range(4):
            first, last = first - decoder[level], last + decoder[level]
            low, high = first, last
            for below in range(level, -1, -1):
                low, high = low - encoder[below], high + encoder[below]
                if below:
                    low, high = 2 * low, 2 * high + 1
            farthest = max(farthest, pixel - low, high - pixel)
            first, last = (first - 1) // 2, (last + 1) // 2  # bilinear enlargement
    assert farthest == 143
    assert generator.receptive_radius == 144
    assert ENCODER_RADIUS % 8 == 0


def test_strength_and_colors_are_as_for_other_models(generator: StyledGenerator) -> None:
    """Strength 0 is the photograph, 1 the one pass, one half the mean."""
    photo = Photo(smooth(48, 56))
    styled = restyle(photo, generator, RUNTIME).pixels
    assert torch.equal(styled, run_generator(generator, photo.pixels, RUNTIME))
    assert torch.equal(restyle(photo, generator, RUNTIME, strength=0.0).pixels, photo.pixels)
    half = restyle(photo, generator, RUNTIME, strength=0.5).pixels
    torch.testing.assert_close(half, (photo.pixels + styled) / 2)


def test_paintings_of_unlike_sizes_are_blended(network: AnyStyleGenerator) -> None:
    """Two equal paintings are one; the weights matter."""
    one, other = noise(1, 3, 40, 40), smooth(64, 48, seed=3)
    images = smooth(40, 48)
    alone = run_generator(bind_style(network, [one]), images, RUNTIME)
    torch.testing.assert_close(run_generator(bind_style(network, [one, one], [2, 1]), images, RUNTIME), alone)
    first, second = (
        run_generator(bind_style(network, [one, other], weights), images, RUNTIME) for weights in ((1, 9), (9, 1))
    )
    assert (second - alone).abs().mean() < (first - alone).abs().mean()


def test_the_change_of_a_coarse_size_is_added_to_the_fine_start() -> None:
    """The fine start stays where nothing changed, and takes on a change that is the same everywhere."""
    begun, start = 0.25 + 0.5 * noise(1, 3, 16, 24), noise(1, 3, 8, 12)
    torch.testing.assert_close(add_change(begun, start, start.clone()), begun)
    torch.testing.assert_close(add_change(begun, start, start + 0.125), begun + 0.125)


def test_an_optimization_goes_on_from_the_one_pass() -> None:
    """It begins at the one pass, shrunk, whose loss is that of the first step; without one the init is refused."""
    extractor = RUNTIME.freeze(create_extractor("compact", ["relu2_2", "relu1_1"], "random"))
    content, style, begin = smooth(41, 51), noise(1, 3, 40, 44), noise(1, 3, 41, 51, seed=5)
    asked = StyleOptions(steps=3, init="one-pass", content_layers=("relu2_2",), style_layers=("relu1_1",))
    steps = list(optimize_style(content, [style], extractor, RUNTIME, asked, begin))
    assert (steps[0].image - begin).abs().max() <= 0.051  # Adam's first step is its rate
    assert steps[-1].total < steps[0].total
    with pytest.raises(UsageError, match="Unknown init 'one-pass'"):
        next(optimize_style(content, [style], extractor, RUNTIME, asked))


def test_from_one_pass_all_sizes_have_as_many_steps_and_a_higher_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's first step moves a pixel by the rate: 0.05 from one pass, 0.03 from the photograph."""
    monkeypatch.setattr(style_transfer, "COARSEST", 24)
    extractor = RUNTIME.freeze(create_extractor("compact", ["relu2_2", "relu1_1", "relu2_1"], "random"))
    content, style = 0.2 + 0.6 * smooth(48, 56), noise(1, 3, 40, 40)
    for init, split, rate in (("one-pass", [4, 4], 0.05), ("content", [5, 3], 0.03)):
        asked = StyleOptions(8, init=init, content_layers=["relu2_2"], style_layers=["relu1_1", "relu2_1"])
        steps = list(optimize_style(content, [style], extractor, RUNTIME, asked, content))
        widths = [step.image.shape[-1] for step in steps]
        assert [widths.count(width) for width in (28, 56)] == split
        moved = (steps[0].image - resize_image(content, 24, 28)).abs().max().item()
        assert moved == pytest.approx(rate, rel=1e-3)


def test_a_list_among_the_arguments_of_a_file_is_checked(network: AnyStyleGenerator) -> None:
    state = network.state_dict()
    build_generator(AnyStyleGenerator, {"widths": list(WIDTHS), "noise": 4}, state)
    for wrong in (8, [8, "8", 8, 8], [8, 8, 8, 1 << 20], [8] * 5000):
        with pytest.raises(ValueError, match="its argument 'widths'"):
            build_generator(AnyStyleGenerator, {"widths": wrong}, state)


def test_the_command_is_one_pass_and_steps_go_on_from_it(
    photos: Path, style_picture: Path, any_style_model: Path, tmp_path: Path, percept: Callable
) -> None:
    """`--steps 0` is the plain pass, which Python gives too; both say what they do."""
    line = ("stylize", photos / "hill.png", "--style", style_picture, "-m", any_style_model, "--no-provenance", *CPU)
    plain = percept(*line, "-o", tmp_path / "plain.png")
    assert plain.code == 0, plain.stderr
    assert "one pass of any\n" in plain.stderr
    assert percept(*line, "--steps", 0, "-o", tmp_path / "none.png").code == 0
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "none.png").read_bytes()
    polished = percept(*line, "--steps", 2, "--extractor-weights", "random", "-o", tmp_path / "two.png")
    assert polished.code == 0, polished.stderr
    assert "one pass of any; --steps 2 goes on from it" in polished.stderr
    one, two = (load_image(tmp_path / name).pixels for name in ("plain.png", "two.png"))
    assert 0 < (one - two).abs().max() < 0.11  # two steps of Adam of 0.05, and rounding


def test_names_tell_the_painting_and_the_model(
    photos: Path, style_picture: Path, any_style_model: Path, tmp_path: Path, percept: Callable
) -> None:
    """So that two networks of any style give two files."""
    outcome = percept(
        "stylize", photos / "hill.png", "--style", style_picture, "-m", any_style_model, *CPU, "-o", f"{tmp_path}/"
    )
    assert outcome.code == 0, outcome.stderr
    assert (tmp_path / f"hill_{style_picture.stem}_any.png").exists()


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ("-m wave --style STYLE", 2, "wave has its own style: leave -m or --style out"),
        ("-m ONE --style STYLE", 2, "has its own style: leave -m or --style out"),
        ("-m ANY", 2, "restyles after a picture: give it by --style PICTURE."),
        ("--style STYLE --steps 0 --loss gram", 2, "--steps 0 is one pass, and optimizes nothing: leave --loss out."),
        ("-m ANY --style STYLE --init noise", 2, "from --init noise begins without a network: leave --model out."),
        ("-m ANY --style STYLE --loss contextual", 2, "from --init content begins without a network: leave --model"),
        ("-m ANY --style STYLE --stroke auto --steps 5", 2, "--stroke auto is for one pass"),
        ("-m nope --style STYLE", 5, "Unknown any-style model 'nope'."),
        ("-m nope.safetensors --style STYLE", 5, "nope.safetensors: there is no such weights file."),
    ],
)
def test_what_does_not_go_together_is_refused(
    given: str, code: int, message: str, photos: Path, style_picture: Path, style_model: Path, any_style_model: Path,
    percept: Callable,
) -> None:  # fmt: skip
    files = {"STYLE": style_picture, "ONE": style_model, "ANY": any_style_model}
    outcome = percept("stylize", photos / "hill.png", *(files.get(word, word) for word in given.split()), "-o", "x.png")
    assert outcome.code == code
    assert message in outcome.stderr
