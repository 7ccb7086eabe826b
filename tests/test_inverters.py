"""Inverters make images of the right size in the right place, know their layer, and survive their files."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.generators import ARCHITECTURES, Generator, create_generator
from percept_cli.core.generators.discriminators import DeepsimDiscriminator
from percept_cli.core.generators.inversion import GRAY, Inverter, double_by_pooling
from percept_cli.core.inference.invert import invert, run_inverter
from percept_cli.core.losses.functional import typical_square
from percept_cli.core.pretrained import manifest
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.files import save_weights
from percept_cli.core.pretrained.generators import check_inverter, load_generator, start_generator
from percept_cli.core.pretrained.manifest import Model, find_inverter
from percept_cli.core.runtime import Runtime
from percept_cli.errors import ModelError, UsageError

INVERTERS = ARCHITECTURES["inverter"]

pytestmark = pytest.mark.numerical
COMPACT_LAYERS = create_architecture("compact").layer_names


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def compact() -> FeatureExtractor:
    """All layers of compact, with random weights."""
    return create_extractor("compact", COMPACT_LAYERS, "random")


def save_inverter(path: Path, network: Inverter, extractor: FeatureExtractor, layer: str) -> Path:
    """A file as `percept train invert` writes it."""
    metadata = {
        "percept.format": "1", "role": "inverter", "architecture": "lean", "arguments": network.arguments,
        "extractor": extractor.architecture.name, "layer": layer, "fingerprint": extractor.fingerprint(layer),
    }  # fmt: skip
    save_weights(path, {name: tensor.half() for name, tensor in network.state_dict().items()}, metadata)
    return path


@pytest.fixture(scope="module")
def saved(compact: FeatureExtractor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = create_generator("inverter", "lean", channels=256, stride=4, width=0.1)
    with torch.no_grad():
        network.calibrate(compact(torch.rand(4, 3, 32, 32), ["conv3_4"])["conv3_4"])
    return save_inverter(tmp_path_factory.mktemp("inverter") / "c3.safetensors", network, compact, "conv3_4")


# --- places and sizes


def test_every_layer_of_compact_gives_an_image_of_its_size(compact: FeatureExtractor) -> None:
    """At an odd size, of which pooling drops the last rows and columns."""
    with torch.no_grad():
        for layer, features in compact(torch.rand(1, 3, 75, 98)).items():
            grid = compact.grid(layer)
            assert grid is not None
            network = create_generator("inverter", "lean", channels=features.shape[1], stride=grid.stride, width=0.05)
            assert network(features, (75, 98)).shape == (1, 3, 75, 98), layer


@pytest.mark.parametrize("generator", INVERTERS)
@pytest.mark.parametrize(
    ("extractor", "layer"), [("alexnet", "conv5"), ("squeezenet1_0", "pool1"), ("alexnet", "pool5")]
)
def test_layers_without_padding_give_images_of_their_size_too(generator: str, extractor: str, layer: str) -> None:
    """AlexNet's 13x13 units, 16 pixels each, cover no more than the middle of 224 pixels: the outer ones are repeated."""
    frozen = create_extractor(extractor, [layer], "random")
    grid = frozen.grid(layer)
    assert grid is not None
    with torch.no_grad():
        features = frozen(torch.rand(1, 3, 131, 99))[layer]
        arguments = {"channels": features.shape[1], "stride": grid.stride, "offset": grid.offset, "width": 0.05}
        assert create_generator("inverter", generator, **arguments)(features, (131, 99)).shape == (1, 3, 131, 99)


@pytest.mark.parametrize("generator", INVERTERS)
@pytest.mark.parametrize("code", [(2, 10), (2, 10, 1, 1)])
def test_a_code_of_the_whole_image_gives_an_image_of_any_size(generator: str, code: tuple[int, ...]) -> None:
    """Of its own 64 pixels, or enlarged and shrunk to what is asked for."""
    network = create_generator("inverter", generator, channels=10, stride=0, side=64, width=0.05)
    with torch.no_grad():
        assert network(torch.rand(code)).shape == (2, 3, 64, 64)
        assert network(torch.rand(code), (70, 33)).shape == (2, 3, 70, 33)


@pytest.mark.parametrize(
    ("extractor", "layer"),
    [
        ("alexnet", "conv1"),
        ("alexnet", "pool1"),
        ("squeezenet1_0", "pool1"),
        ("squeezenet1_1", "pool1"),
        ("compact", "pool2"),
    ],
)
def test_a_grid_is_where_the_receptive_fields_are(extractor: str, layer: str) -> None:
    """A unit lies in the middle of the pixels that reach it, by gradients over many random images."""
    frozen = create_extractor(extractor, [layer], "random")
    images = torch.rand(48, 3, 64, 64, requires_grad=True)
    unit = 3
    (gradient,) = torch.autograd.grad(frozen(images)[layer][:, :, unit, unit].sum(), images)
    touched = gradient.abs().sum((0, 1, 2)).nonzero()
    grid = frozen.grid(layer)
    assert grid is not None
    assert (touched.min() + touched.max()).item() / 2 == grid.offset + grid.stride * (unit + 0.5) - 0.5


def test_fully_connected_layers_have_no_grid() -> None:
    with torch.device("meta"):
        alexnet = FeatureExtractor(create_architecture("alexnet"), ["conv5", "fc6", "prob"])
    assert alexnet.grid("fc6") is None and alexnet.grid("prob") is None
    assert alexnet.grid("conv5") is not None


@pytest.mark.parametrize(("offset", "size"), [(0.0, (21, 16)), (7.5, (50, 47)), (3.5, (30, 33))])
def test_units_are_painted_where_they_lie(offset: float, size: tuple[int, int]) -> None:
    """Pixel p shows unit floor((p - offset) / stride), or the outermost one beyond the last."""

    def nearest(channels: int, doublings: int, width: float, dense: bool) -> tuple[nn.Module, nn.Module, nn.Module]:
        return nn.Identity(), nn.Upsample(scale_factor=2**doublings), nn.Identity()

    stride, units = 8, (2, 3)
    code = torch.arange(6.0).view(1, 1, *units).repeat(1, 3, 1, 1)
    painted = Inverter(nearest, channels=3, stride=stride, offset=offset)(code, size)[0, 0] - GRAY
    for y in range(size[0]):
        for x in range(size[1]):
            row, column = (
                min(max(math.floor((place - math.floor(offset)) / stride), 0), count - 1)
                for place, count in zip((y, x), units, strict=True)
            )
            assert painted[y, x].item() == pytest.approx(code[0, 0, row, column].item(), abs=1e-5)


# --- networks


def test_the_reproducible_enlargement_is_the_bilinear_one() -> None:
    features = torch.rand(2, 3, 5, 4)
    wanted = F.interpolate(features, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(double_by_pooling(features), wanted)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_papers_generator_of_fc6_has_its_layers() -> None:
    """Three dense layers of 4096, 256 maps of 4x4, the ladder to 256 pixels; convolutions have no bias."""
    with torch.device("meta"):
        network = create_generator("inverter", "deepsim-2016", channels=4096, stride=0, side=256)
        linear = create_generator("inverter", "deepsim-2016-linear", channels=4096, stride=0, side=256)
    dense = 3 * (4096 * 4096 + 4096)
    kernels = [(256, 256), (512, 256), (256, 128), (128, 64), (64, 32), (32, 3)]
    between = 9 * (256 * 512 + 256 * 256 + 128 * 128)
    assert parameters(network) == dense + 16 * sum(a * b for a, b in kernels) + between
    assert parameters(linear) == dense + 9 * sum(a * b for a, b in kernels) + between


def test_the_papers_generator_of_pool5_has_its_layers() -> None:
    """Three 3x3 convolutions of 512 and the five last steps of the ladder, as a stride of 32 needs."""
    with torch.device("meta"):
        network = create_generator("inverter", "deepsim-2016", channels=256, stride=32)
    kernels = [(512, 256), (256, 128), (128, 64), (64, 32), (32, 3)]
    between = 9 * (256 * 256 + 128 * 128)
    assert parameters(network) == 9 * (256 + 2 * 512) * 512 + 16 * sum(a * b for a, b in kernels) + between


@pytest.mark.parametrize(("channels", "stride"), [(256, 4), (512, 8), (1000, 16), (1000, 32)])
def test_lean_inverters_are_small_enough_to_ship(channels: int, stride: int) -> None:
    """4 MB in 16 bits, for every layer of compact."""
    with torch.device("meta"):
        assert 2 * parameters(create_generator("inverter", "lean", channels=channels, stride=stride)) < 4e6


@pytest.mark.parametrize("generator", INVERTERS)
def test_an_untrained_inverter_shows_something_like_gray(generator: str) -> None:
    network = create_generator("inverter", generator, channels=32, stride=4, width=0.25)
    with torch.no_grad():
        image = network(torch.randn(1, 32, 12, 12))
    assert (image - GRAY).std() < 0.3


def test_a_stride_that_doubling_cannot_reach_is_refused() -> None:
    with pytest.raises(UsageError, match="powers of 2"):
        create_generator("inverter", "lean", channels=3, stride=6)


def test_an_unknown_generator_is_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean 'lean'"):
        create_generator("inverter", "laen", channels=3, stride=4)


@pytest.mark.parametrize("shape", [(6, 3, 5, 4), (40, 3)])
def test_the_scale_of_a_layer_is_kept(shape: tuple[int, ...]) -> None:
    """Every channel gets mean 0 and deviation 1, but one that hardly varies is not blown up to that."""
    scale = torch.tensor([5.0, 2.0, 1e-4]).view(1, 3, *[1] * (len(shape) - 2))
    features = 7 + scale * torch.randn(shape)
    network = create_generator("inverter", "lean", channels=3, stride=4 if len(shape) == 4 else 0, side=16, width=0.1)
    network.calibrate(features)
    rows = network.normalize(features).movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(rows.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(rows.std(0, correction=0)[:2], torch.ones(2))
    assert rows[:, 2].std() < 0.01


def test_the_papers_discriminator() -> None:
    """227 pixels become the 11x11 that the paper pools; 32, 64, 128, 256, 256 maps, 256 units, one logit."""
    judge = DeepsimDiscriminator()
    with torch.no_grad():
        maps = judge.features(torch.rand(1, 3, 227, 227))
    assert maps["conv5"].shape == (1, 256, 11, 11)
    weights = 49 * 3 * 32 + 25 * 32 * 64 + 9 * (64 * 128 + 128 * 256 + 256 * 256) + 256 * 256 + 256
    assert parameters(judge) == weights + (32 + 64 + 128 + 256 + 256) + 256 + 1


@pytest.mark.parametrize("code", [(2, 7, 3, 3), (2, 7)])
def test_a_discriminator_with_a_branch_sees_the_code(code: tuple[int, ...]) -> None:
    """The same images with other codes are judged otherwise; without the branch the code is not looked at."""
    images = torch.rand(2, 3, 64, 64)
    judge = DeepsimDiscriminator(4, code_channels=7).eval()
    assert judge(images, torch.rand(code)).shape == (2, 1)
    assert not torch.equal(judge(images, torch.rand(code)), judge(images, 3 + torch.rand(code)))
    blind = DeepsimDiscriminator(4).eval()
    assert torch.equal(blind(images, torch.rand(code)), blind(images))


def test_dropout_is_for_training_alone() -> None:
    judge, images = DeepsimDiscriminator(8), torch.rand(4, 3, 64, 64)
    assert not torch.equal(judge(images), judge(images))
    judge.eval()
    assert torch.equal(judge(images), judge(images))


def test_fully_connected_features_have_a_typical_size_too() -> None:
    """Twice the variance over the batch: the mean squared difference of two different rows."""
    features = torch.randn(5, 9)
    pairs = [(features[a] - features[b]).square().mean() for a in range(5) for b in range(5) if a != b]
    assert typical_square(features).item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-5)
    assert typical_square(features[:1]).item() == pytest.approx(2 * features[0].var(correction=0).item(), rel=1e-5)


# --- files


def test_a_file_gives_the_same_images(saved: Path, compact: FeatureExtractor) -> None:
    """Through 16 bits and back, scale of the layer included."""
    loaded = load_generator(str(saved), "inverter")
    assert (loaded.architecture, loaded.metadata["layer"]) == ("lean", "conv3_4")
    check_inverter(loaded, compact, "conv3")
    with torch.no_grad():
        features = compact(torch.rand(1, 3, 50, 41), ["conv3"])["conv3"]
        images = loaded.network(features, (50, 41))
    assert images.shape == (1, 3, 50, 41)
    assert not loaded.network.training and not any(p.requires_grad for p in loaded.network.parameters())
    begun = start_generator(
        "inverter", "lean", str(saved), extractor="compact", layer="conv3_4", channels=256, stride=4, width=0.1
    )
    assert begun.training and torch.equal(begun.get_buffer("mean"), loaded.network.get_buffer("mean"))


def test_running_in_half_precision_gives_nearly_the_same(saved: Path, compact: FeatureExtractor) -> None:
    """In [0, 1], of the size asked for; bf16 differs by a few levels at most."""
    network = load_generator(str(saved), "inverter").network
    with torch.no_grad():
        features = compact(torch.rand(1, 3, 37, 40), ["conv3"])["conv3"]
    images = [
        run_inverter(network, features, (37, 40), Runtime(torch.device("cpu"), dtype, ""))
        for dtype in (torch.float32, torch.bfloat16)
    ]
    assert images[0].shape == (1, 3, 37, 40) and images[0].min() >= 0 and images[0].max() <= 1
    assert (images[0] - images[1]).abs().max() < 6 / 255


def test_a_photograph_is_inverted_in_a_few_lines(saved: Path, compact: FeatureExtractor) -> None:
    """By an inverter from a file, as by its features: the image has the photograph's size."""
    runtime = Runtime(torch.device("cpu"), torch.float32, "")
    loaded = load_generator(str(saved), "inverter")
    check_inverter(loaded, compact, "conv3")
    photo = torch.rand(1, 3, 37, 40)
    image = invert(photo, "conv3", compact, runtime.place_network(loaded.network), runtime)
    assert image.shape == photo.shape and image.min() >= 0 and image.max() <= 1
    features = compact(photo, ["conv3"])["conv3"]
    torch.testing.assert_close(image, run_inverter(loaded.network, features, (37, 40), runtime), atol=1e-5, rtol=0)


def test_another_layer_extractor_or_weights_are_one_sentence(saved: Path, compact: FeatureExtractor) -> None:
    """Exit code 2: the file is good, it was given to the wrong network."""
    loaded = load_generator(str(saved), "inverter")
    with pytest.raises(
        UsageError, match=r"c3 inverts conv3_4 of compact, not conv5_2 of compact. Give --layers conv3_4"
    ):
        check_inverter(loaded, compact, "conv5")
    with pytest.raises(UsageError, match="not conv1_2 of vgg16"):
        check_inverter(loaded, create_extractor("vgg16", ["conv1"], "random"), "conv1")
    with pytest.raises(UsageError, match="with other weights than these"):
        check_inverter(loaded, create_extractor("compact", ["conv3"], "random", seed=1), "conv3")
    with pytest.raises(UsageError, match="is a 'lean' of conv3_4 of compact, not a 'lean' of conv5_2 of compact"):
        start_generator("inverter", "lean", str(saved), extractor="compact", layer="conv5_2")
    with pytest.raises(UsageError, match=r"trained with a width of 0.1, not 1.0"):
        start_generator("inverter", "lean", str(saved), extractor="compact", layer="conv3_4", channels=256, width=1.0)


def test_weights_have_one_fingerprint_however_they_are_held() -> None:
    """In bf16 and float32, tapped deeper or not; a deeper layer has another."""
    alone, deeper = create_extractor("compact", ["conv2"]), create_extractor("compact", ["conv2", "conv3"])
    assert alone.fingerprint("conv2") == deeper.fingerprint("conv2_2")
    assert alone.bfloat16().fingerprint("conv2") == deeper.fingerprint("conv2")
    assert deeper.fingerprint("conv2") != deeper.fingerprint("conv3")


def test_what_is_no_inverter_is_refused(style_model: Path, saved: Path, tmp_path: Path) -> None:
    """Exit code 5: a style, a pickle of others, a damaged file, a name that is not shipped."""
    with pytest.raises(ModelError, match="is not an inverter"):
        load_generator(str(style_model), "inverter")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="is not an inverter"):
        load_generator(str(tmp_path / "other.pth"), "inverter")
    (tmp_path / "half.safetensors").write_bytes(saved.read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_generator(str(tmp_path / "half.safetensors"), "inverter")
    with pytest.raises(ModelError, match="Unknown inverter model 'nothing'"):
        load_generator("nothing", "inverter")


def test_a_shipped_inverter_is_found_by_its_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there names what is, and the command that makes it."""

    def model(name: str, layer: str) -> Model:
        return Model(name, f"{name}.safetensors", "inverter", "lean", "", "", "", "", extractor="compact", layer=layer)

    shipped = {name: model(name, layer) for name, layer in (("a", "conv3_4"), ("b", "conv5_2"))}
    monkeypatch.setattr(manifest, "shipped_models", lambda: shipped)
    assert find_inverter("compact", "conv5_2").name == "b"
    with pytest.raises(
        ModelError, match=r"No inverter of conv4_4 of compact.*conv3_4 of compact, conv5_2 of compact.*train"
    ):
        find_inverter("compact", "conv4_4")
    monkeypatch.setattr(manifest, "shipped_models", dict)
    with pytest.raises(ModelError, match="Shipped: none"):
        find_inverter("alexnet", "fc6")


def test_gradients_reach_every_weight() -> None:
    """Of each architecture, for both kinds of codes."""
    cases: list[tuple[dict, Tensor]] = [
        ({"stride": 4}, torch.randn(2, 12, 4, 4)),
        ({"stride": 0, "side": 32}, torch.randn(2, 12)),
    ]
    create: Callable[..., Generator]
    for create in INVERTERS.values():
        for arguments, code in cases:
            network = create(channels=12, width=0.05, **arguments)
            network(code).square().sum().backward()
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
