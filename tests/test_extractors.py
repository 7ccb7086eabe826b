"""Extractors measure what torchvision's networks compute, at every layer by its name, and refuse foreign weights."""

import hashlib
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from percept_cli.core.extractors import ARCHITECTURES, FeatureExtractor, create_architecture
from percept_cli.core.extractors.architecture import IMAGENET_MEAN, IMAGENET_STD
from percept_cli.core.pretrained import files as weights_module
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.files import DOWNLOAD_ROOT, TORCHVISION_FILES, load_weights, torchvision_weights
from percept_cli.core.pretrained.oxford import convert_oxford_vgg, is_blue_first, is_oxford_vgg
from percept_cli.errors import ModelError, UsageError

pytestmark = pytest.mark.numerical
# torchvision's positions in `features`
VGG_POSITIONS = {
    "vgg16": {"conv1_1": 0, "relu1_2": 3, "pool1": 4, "conv2_2": 7, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22},
    "vgg19": {"relu1_1": 1, "conv1_2": 2, "relu2_1": 6, "relu3_1": 11, "conv3_4": 16, "pool3": 18, "relu4_1": 20},
}
ALL_NAMES = pytest.mark.parametrize("name", ARCHITECTURES)


def noise_images(side: int = 32, count: int = 1, seed: int = 0) -> Tensor:
    return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(seed))


def normalized(images: Tensor) -> Tensor:
    return (images - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)


def torchvision_network(name: str, depth: int | None = None) -> nn.Module:
    """torchvision's own network, or its first `depth` feature modules, with seeded weights; nothing deeper is made."""
    arguments = {"init_weights": False} if name.startswith("vgg") else {}
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None, **arguments)
    if depth is not None:
        network = nn.Sequential(OrderedDict(features=network.features[:depth]))
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        # Weights that keep activations in scale, biases that would be missed.
        parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 0.1, generator=generator)
    return network


def convolutional_layers(name: str) -> list[str]:
    """The layers of an architecture before its fully connected ones, which for VGG weigh 500 MB."""
    names = list(create_architecture(name).layer_names)
    return names[: names.index("avgpool")] if "avgpool" in names else names


def counted_parameters(extractor: nn.Module) -> int:
    return sum(parameter.numel() for parameter in extractor.parameters())


def test_every_architecture_goes_by_its_own_name():
    assert {name: create_architecture(name).name for name in ARCHITECTURES} == {name: name for name in ARCHITECTURES}


# --- parity with torchvision


@pytest.mark.parametrize(("name", "side"), [("alexnet", 96), ("squeezenet1_0", 96), ("squeezenet1_1", 96)])
def test_whole_network_equals_torchvision(name, side):
    reference = torchvision_network(name)
    extractor = FeatureExtractor(create_architecture(name), ["prob"])
    extractor.load_weights(reference.state_dict(), name)
    images = noise_images(side, count=2)

    probabilities = extractor(images)["prob"]

    assert probabilities.shape == (2, 1000)
    torch.testing.assert_close(probabilities, reference(normalized(images)).softmax(1), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", VGG_POSITIONS)
def test_vgg_layers_equal_torchvision(name):
    positions = VGG_POSITIONS[name]
    reference = torchvision_network(name, max(positions.values()) + 1)
    extractor = FeatureExtractor(create_architecture(name), positions)
    extractor.load_weights(reference.state_dict(), name)
    images = noise_images()

    features = extractor(images)

    assert list(features) == list(positions)
    value = normalized(images)
    for position, module in enumerate(reference.features):
        value = module(value.clone())  # torchvision's ReLU works in place
        for layer in (layer for layer, wanted in positions.items() if wanted == position):
            torch.testing.assert_close(
                features[layer], value, atol=1e-4, rtol=1e-4, msg=lambda m, at=layer: f"{at}: {m}"
            )


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_keys_and_shapes_are_torchvisions(name):
    with torch.device("meta"):
        reference = torchvision.models.get_model(name, weights=None, init_weights=False) if name[:3] == "vgg" else (
            torchvision.models.get_model(name, weights=None)
        )  # fmt: skip
        extractor = FeatureExtractor(create_architecture(name), ["prob"])

    shapes = {key: tensor.shape for key, tensor in extractor.named_weights().items()}
    assert shapes == {key: tensor.shape for key, tensor in reference.state_dict().items()}


# --- taps


@ALL_NAMES
def test_tapped_together_equals_tapped_alone(name):
    layers = convolutional_layers(name)
    extractor = create_extractor(name, layers, weights="random")
    images = noise_images(64)

    together = extractor(images)

    assert list(together) == layers
    for layer in layers:
        assert torch.equal(extractor(images, (layer,))[layer], together[layer]), layer


@ALL_NAMES
def test_an_extractor_built_for_one_layer_gives_the_same(name):
    layers = convolutional_layers(name)[:9]
    together = create_extractor(name, layers, weights="random")
    images = noise_images()
    features = together(images)

    for layer in layers:
        alone = FeatureExtractor(create_architecture(name), [layer])
        alone.load_weights(together.named_weights(), "random")
        assert torch.equal(alone(images)[layer], features[layer]), layer


def activations(name: str) -> list[tuple[str, str]]:
    """Pairs of layers before and after a ReLU."""
    layers = convolutional_layers(name)
    pairs = [(layer, layer.replace("conv", "relu")) for layer in layers if layer.startswith("conv")]
    pairs += [(layer, layer.removesuffix("_expand")) for layer in layers if layer.endswith("_expand")]
    return pairs + [(layer, f"{layer}_relu") for layer in layers if layer.endswith("_squeeze")]


@ALL_NAMES
def test_conv_is_before_the_activation_and_relu_after(name):
    pairs = activations(name)
    extractor = create_extractor(name, [layer for pair in pairs for layer in pair], weights="random")

    features = extractor(noise_images(64))

    assert len(pairs) >= 5
    for before, after in pairs:
        assert features[before].min() < 0, before
        assert torch.equal(features[after], features[before].relu()), after


def test_layers_come_in_the_order_asked_for_and_once():
    extractor = create_extractor("vgg16", ["relu2_1", "conv1_1", "relu2_1"], weights="random")

    assert extractor.layers == ("relu2_1", "conv1_1")
    assert list(extractor(noise_images())) == ["relu2_1", "conv1_1"]


def test_some_layers_run_no_deeper_than_the_deepest_of_them():
    extractor = create_extractor("vgg19", ["relu1_1", "relu3_1"], weights="random")
    ran = []
    for layer, module in extractor.network.items():
        module.register_forward_hook(lambda *_, layer=layer: ran.append(layer))

    extractor(noise_images(), ("relu1_1",))

    assert ran == ["conv1_1", "relu1_1"]


def test_features_keep_the_type_of_the_weights_and_the_images_keep_their_values():
    extractor = create_extractor("compact", ["relu2_1"], weights="random").to(torch.bfloat16)
    images = noise_images()
    before = images.clone()

    assert extractor(images)["relu2_1"].dtype == torch.bfloat16
    assert torch.equal(images, before)


def test_the_network_is_frozen_but_the_images_get_gradients():
    extractor = create_extractor("compact", ["relu2_1"], weights="random").train()
    images = noise_images().requires_grad_()

    extractor(images)["relu2_1"].square().mean().backward()

    assert not extractor.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in extractor.parameters())
    assert images.grad is not None and images.grad.abs().sum() > 0


# --- nothing deeper than asked for


def test_deeper_layers_are_not_built():
    extractor = create_extractor("vgg16", ["relu1_2"], weights="random")

    assert list(extractor.network) == ["conv1_1", "relu1_1", "conv1_2", "relu1_2"]
    assert counted_parameters(extractor) == (3 * 9 * 64 + 64) + (64 * 9 * 64 + 64)


def test_layers_beside_the_way_are_not_built():
    with torch.device("meta"):
        extractor = FeatureExtractor(create_architecture("compact"), ["relu2_1"])
        one_side = FeatureExtractor(create_architecture("squeezenet1_1"), ["fire2_expand1x1"])

    assert {"conv1_1", "conv1_2", "relu1_2", "pool1"}.isdisjoint(extractor.network)
    assert "fire2_expand3x3" not in one_side.network


@ALL_NAMES
def test_a_file_of_just_the_layers_needed_loads(name, tmp_path):
    layer = convolutional_layers(name)[3]
    extractor = create_extractor(name, [layer], weights="random", seed=5)
    save_file(extractor.named_weights(), tmp_path / "short.safetensors")

    from_file = create_extractor(name, [layer], weights=tmp_path / "short.safetensors")

    images = noise_images()
    assert torch.equal(from_file(images)[layer], extractor(images)[layer])


def test_a_file_that_ends_too_early_names_the_layer(tmp_path):
    save_file(create_extractor("vgg16", ["relu1_2"], weights="random").named_weights(), tmp_path / "short.safetensors")

    with pytest.raises(ModelError, match=r"short\.safetensors holds no weights for conv2_1 \(features\.5\.weight\)"):
        create_extractor("vgg16", ["relu2_2"], weights=tmp_path / "short.safetensors")


def test_a_file_of_another_network_names_the_shapes(tmp_path):
    save_file(torchvision_network("squeezenet1_1").state_dict(), tmp_path / "other.safetensors")

    with pytest.raises(ModelError, match=r"features\.0\.weight has shape \(64, 3, 3, 3\).*\(64, 3, 11, 11\)"):
        create_extractor("alexnet", ["conv1"], weights=tmp_path / "other.safetensors")


# --- names


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("vgg16", "conv5", "conv5_3"),
        ("vgg16", "relu5", "relu5_3"),
        ("vgg19", "conv5", "conv5_4"),
        ("vgg19", "relu5", "relu5_4"),
        ("vgg19", "conv1", "conv1_2"),
        ("compact", "conv5", "conv5_2"),
        ("compact", "relu5", "relu5_2"),
        ("compact", "conv3", "conv3_4"),
        ("alexnet", "conv5", "conv5"),
        ("alexnet", "relu5", "relu5"),
        ("vgg16", "conv3_2", "conv3_2"),
    ],
)
def test_a_bare_block_is_its_last_layer(name, given, meant):
    assert create_architecture(name).resolve(given) == meant


@pytest.mark.parametrize(
    ("given", "suggested"), [("relu3_33", "relu3_3"), ("conv33", "conv3_3"), ("Relu2_2", "relu2_2")]
)
def test_a_misspelt_layer_gets_a_suggestion_and_the_list(given, suggested):
    with pytest.raises(UsageError) as caught:
        create_extractor("vgg16", [given], weights="random")

    message = str(caught.value)
    assert message.startswith(f"Unknown layer of vgg16 '{given}'. Did you mean '{suggested}'?")
    assert all(layer in message for layer in create_architecture("vgg16").layer_names)


@pytest.mark.parametrize("given", ["trunk1_1", "trunk_pool1", "image", ""])
def test_inner_parts_have_no_name(given):
    with pytest.raises(UsageError, match="Unknown layer of compact"):
        create_architecture("compact").resolve(given)


def test_a_misspelt_extractor_gets_a_suggestion():
    with pytest.raises(UsageError, match=r"Unknown extractor 'vgg-16'\. Did you mean 'vgg16'\?.*compact, vgg16, vgg19"):
        create_extractor("vgg-16", ["relu1_1"])


def test_no_layer_is_refused():
    with pytest.raises(UsageError, match="No layer of vgg16 was asked for"):
        create_extractor("vgg16", [], weights="random")


@ALL_NAMES
def test_the_usual_layers_are_there(name):
    architecture = create_architecture(name)

    assert architecture.content_layer in architecture.layer_names
    for layers in (architecture.style_layers, architecture.comparator_layers):
        assert layers and set(layers) <= set(architecture.layer_names)


def test_layers_are_those_given_else_the_papers_else_the_networks_own():
    paper = ("relu3_2", "relu4_2")
    compact, alexnet = create_architecture("compact"), create_architecture("alexnet")
    assert compact.choose_layers(["conv3", "relu1_1"], paper) == ("conv3_4", "relu1_1")
    assert compact.choose_layers(None, paper) == paper
    assert alexnet.choose_layers((), paper) == ("relu4", "relu5")  # as many of its deepest style layers
    assert alexnet.choose_layers((), paper, (alexnet.content_layer,)) == ("relu3",)
    assert alexnet.choose_layers(None) == alexnet.style_layers
    with pytest.raises(UsageError, match="relu9"):
        compact.choose_layers(["relu9"], paper)


# --- weights


def test_random_weights_follow_their_seed():
    images = noise_images()
    features = [create_extractor("compact", ["relu2_1"], "random", seed)(images)["relu2_1"] for seed in (1, 1, 2)]

    assert torch.equal(features[0], features[1])
    assert not torch.allclose(features[0], features[2])


def caffe_vgg(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """A file as jcjohnson converted Oxford's: their first biases, small weights."""
    state = {key: tensor * 0.1 for key, tensor in torchvision_network("vgg16", 6).state_dict().items()}
    state["features.0.bias"][:4] = torch.tensor([0.7302, 0.0649, 0.0343, 0.8265])
    # Blue, green, red of the first filter's first pixel, as in Oxford's VGG-19.
    state["features.0.weight"][0, :, 0, 0] = torch.tensor([0.3412, 0.4642, 0.3942])
    path = folder / "vgg16-00b39a1b.pth"
    torch.save(state, path)
    return path, state


def test_caffe_weights_are_recognized_and_converted(tmp_path):
    path, state = caffe_vgg(tmp_path)
    messages: list[str] = []
    layers = ["conv1_1", "relu1_2", "conv2_1"]
    images = noise_images()

    features = create_extractor("vgg16", layers, weights=path, announce=messages.append)(images)

    assert messages == ["vgg16-00b39a1b.pth is a Caffe VGG (BGR, 0 to 255): converted to RGB in [0, 1]"]
    # Caffe's own way: blue first, 0 to 255, the mean color of ImageNet taken away.
    pixels = 255 * images[:, [2, 1, 0]] - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    first = F.conv2d(pixels, state["features.0.weight"], state["features.0.bias"], padding=1)
    second = F.conv2d(first.relu(), state["features.2.weight"], state["features.2.bias"], padding=1).relu()
    pooled = F.max_pool2d(second, 2)
    third = F.conv2d(pooled, state["features.5.weight"], state["features.5.bias"], padding=1)
    # The border differs: zeros around the picture are the mean color, which is not quite the same for both.
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(features["conv1_1"][inside], first[inside], atol=2e-3, rtol=1e-4)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(features["relu1_2"][inside], second[inside], atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(features["conv2_1"][inside], third[inside], atol=2e-3, rtol=1e-4)


def test_the_border_of_converted_caffe_weights_is_close(tmp_path):
    path, state = caffe_vgg(tmp_path)
    images = noise_images()

    converted = create_extractor("vgg16", ["conv1_1"], weights=path)(images)["conv1_1"]

    pixels = 255 * images.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    first = F.conv2d(pixels, state["features.0.weight"], state["features.0.bias"], padding=1)
    # The two means differ by half a gray level at most, of some 60 by which photographs do.
    assert (converted - first).abs().max() < 0.05 * first.std()


def test_other_vgg_files_are_not_taken_for_caffes(tmp_path):
    _, caffe = caffe_vgg(tmp_path)

    assert is_oxford_vgg(caffe)
    assert not is_oxford_vgg(torchvision_network("vgg16", 6).state_dict())
    assert not is_oxford_vgg(convert_oxford_vgg(caffe))
    # Oxford's weights for pixels in [0, 1]: the biases stay, the weights are 255 times as large.
    assert not is_oxford_vgg(caffe | {"features.0.weight": 255 * caffe["features.0.weight"]})
    assert not is_oxford_vgg({"features.0.bias": caffe["features.0.bias"]})
    assert not is_oxford_vgg(torchvision_network("squeezenet1_0", 1).state_dict())


def test_oxford_weights_turned_to_rgb_are_not_turned_again(tmp_path):
    """torchvision's VGG-16 from SSD has Oxford's range and biases but takes red first."""
    _, caffe = caffe_vgg(tmp_path)
    turned = caffe | {"features.0.weight": caffe["features.0.weight"].flip(1)}

    assert is_blue_first(caffe) and not is_blue_first(turned)
    assert torch.equal(convert_oxford_vgg(turned)["features.0.weight"], convert_oxford_vgg(caffe)["features.0.weight"])


class Marker:
    """What a hostile file holds: unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_python_objects_is_refused_and_not_run(tmp_path, zipped):
    marker, path = tmp_path / "executed", tmp_path / "hostile.pth"
    torch.save({"features.0.weight": Marker(marker)}, path, _use_new_zipfile_serialization=zipped)

    with pytest.raises(ModelError, match=r"hostile\.pth is damaged, or holds Python objects"):
        create_extractor("vgg16", ["conv1_1"], weights=path)

    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # it was hostile indeed


def test_damaged_files_are_model_errors(tmp_path):
    whole = tmp_path / "whole.safetensors"
    save_file(create_extractor("vgg16", ["conv1_1"], weights="random").named_weights(), whole)
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "whole.pth")
    files = {
        "cut.safetensors": whole.read_bytes()[:-100],
        "empty.safetensors": b"",
        "noise.safetensors": b"\xff" * 64,
        "cut.pth": (tmp_path / "whole.pth").read_bytes()[:-300],
        "empty.pth": b"",
        "text.pth": b"<html>404</html>",
        "pickle.pth": pickle.dumps({"a": 1}, protocol=2),
    }
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
        with pytest.raises(ModelError, match=file):
            load_weights(tmp_path / file)
    with pytest.raises(ModelError, match=r"absent\.pth: there is no such weights file"):
        load_weights(tmp_path / "absent.pth")


def test_a_file_of_other_things_than_tensors_is_refused(tmp_path):
    torch.save({"step": 3}, tmp_path / "numbers.pth")

    with pytest.raises(ModelError, match="holds no state dict"):
        load_weights(tmp_path / "numbers.pth")


@pytest.mark.parametrize("wrapper", ["state_dict", "params_ema", "params", "model_state_dict", "model"])
def test_a_state_dict_is_found_in_its_wrapper(wrapper, tmp_path):
    torch.save({wrapper: {"module.features.0.weight": torch.ones(1)}, "step": 3}, tmp_path / "wrapped.pth")

    assert load_weights(tmp_path / "wrapped.pth") == {"features.0.weight": torch.ones(1)}


@pytest.fixture
def offline(tmp_path, monkeypatch) -> Path:
    """No downloads and empty caches; the folder that a download would go to."""
    monkeypatch.setenv("PERCEPT_OFFLINE", "1")
    monkeypatch.setenv("PERCEPT_HOME", str(tmp_path / "percept"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "percept" / "extractors"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", TORCHVISION_FILES)
def test_offline_names_the_address(name, offline):
    with pytest.raises(ModelError, match="PERCEPT_OFFLINE") as caught:
        create_extractor(name, [create_architecture(name).layer_names[0]])

    assert f"{DOWNLOAD_ROOT}{TORCHVISION_FILES[name]}" in str(caught.value)


def test_a_cached_file_with_another_checksum_is_refused(offline):
    cached = offline / TORCHVISION_FILES["alexnet"]
    cached.write_bytes(b"\x80half a download")

    with pytest.raises(ModelError, match=r"is damaged .* does not begin with 7be5be79") as caught:
        torchvision_weights("alexnet")
    assert str(cached) in str(caught.value)
    assert cached.exists()


def test_a_cached_file_with_its_checksum_is_taken(offline, monkeypatch):
    digits = hashlib.sha256(b"whole").hexdigest()[:8]
    monkeypatch.setitem(weights_module.TORCHVISION_FILES, "alexnet", f"alexnet-owt-{digits}.pth")
    in_torch_cache = offline.parent.parent / "torch" / "hub" / "checkpoints" / f"alexnet-owt-{digits}.pth"
    in_torch_cache.parent.mkdir(parents=True)
    in_torch_cache.write_bytes(b"whole")

    assert torchvision_weights("alexnet") == in_torch_cache
    (offline / in_torch_cache.name).write_bytes(b"whole")
    assert torchvision_weights("alexnet") == offline / in_torch_cache.name


# --- sizes


@pytest.mark.parametrize(("layer", "smallest"), [("relu1_2", 1), ("pool1", 2), ("relu3_3", 4), ("relu4_1", 8)])
def test_too_small_an_image_is_refused(layer, smallest):
    extractor = create_extractor("vgg16", [layer], weights="random")

    assert min(extractor(noise_images(smallest))[layer].shape) >= 1
    if smallest > 1:
        with pytest.raises(UsageError, match=f"{smallest}x{smallest - 1} pixels but {layer} of vgg16 needs at least"):
            extractor(noise_images(smallest)[..., :-1, :])


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_0", "squeezenet1_1"])
def test_too_small_an_image_is_refused_by_every_extractor(name):
    layer = convolutional_layers(name)[-1]
    extractor = create_extractor(name, [layer], weights="random")

    for side in range(1, 70):
        try:
            assert min(extractor(noise_images(side))[layer].shape) >= 1
        except UsageError:
            continue


# --- the cost of compact


def multiplications(name: str, layer: str) -> int:
    """Multiply-accumulates to one layer tapped alone, for 64x64 pixels, counted from the shapes that pass by."""
    with torch.device("meta"):
        extractor = FeatureExtractor(create_architecture(name), [layer])
    counts = []

    def count(module: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(output.numel() * module.weight[0].numel())

    for module in extractor.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    extractor(torch.empty(1, 3, 64, 64, device="meta"))
    return sum(counts)


def test_multiplications_are_counted_right():
    assert multiplications("vgg19", "relu1_2") == 64 * 64 * (27 * 64 + 9 * 64 * 64)


@pytest.mark.parametrize("layer", ["relu1_2", "relu2_2", "relu3_3", "relu3_4"])
def test_compact_is_five_times_cheaper(layer):
    assert multiplications("vgg19", layer) >= 5 * multiplications("compact", layer)


def test_compact_is_small():
    with torch.device("meta"):
        compact = FeatureExtractor(create_architecture("compact"), create_architecture("compact").layer_names)

    assert counted_parameters(compact) <= 3_000_000


def test_compact_has_the_channels_of_vgg19():
    with torch.device("meta"):
        layers = ["conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "relu3_4"]
        images = torch.empty(1, 3, 64, 64, device="meta")
        features = [FeatureExtractor(create_architecture(name), layers)(images) for name in ("compact", "vgg19")]

    assert {layer: found.shape for layer, found in features[0].items()} == {
        layer: found.shape for layer, found in features[1].items()
    }
