"""Files of weights that claim, lack or hide something are refused in a sentence, at once and without memory."""

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spandrel.architectures.ESRGAN import ESRGAN
from torch import Tensor

from percept_cli.core.extractors import FeatureExtractor, create_architecture
from percept_cli.core.generators import ARCHITECTURES, create_generator
from percept_cli.core.pretrained.extractors import create_extractor
from percept_cli.core.pretrained.files import load_weights, load_weights_and_metadata, save_weights
from percept_cli.core.pretrained.generators import load_generator
from percept_cli.errors import ModelError

resource = pytest.importorskip("resource")
SMALL: dict[str, dict[str, Any]] = {
    "style": {"width": 0.1}, "translation": {"width": 0.1}, "upscaler": {"scale": 2, "channels": 8, "blocks": 2},
    "inverter": {"channels": 8, "stride": 4, "width": 0.1}, "autoencoder": {"width": 0.1},
}  # fmt: skip
NAMES = {"style": "johnson", "translation": "unet", "upscaler": "swift", "inverter": "lean", "autoencoder": "lean"}
INVERTED = {"extractor": "compact", "layer": "conv1_1", "fingerprint": "0"}
Change = Callable[[Tensor], Tensor]


def save(path: Path, role: str, change: Change = torch.Tensor.half, name: str = "", **metadata: object) -> Path:
    """A small model of a role with changed tensors and metadata."""
    network = create_generator(role, name or NAMES[role], **SMALL[role])
    known = {"percept.format": "1", "role": role, "architecture": name or NAMES[role], "arguments": network.arguments}
    state = {
        key: change(tensor) if tensor.is_floating_point() else tensor for key, tensor in network.state_dict().items()
    }
    save_weights(path, state, {**known, **(INVERTED if role == "inverter" else {}), **metadata})
    return path


def refused(path: Path, role: str = "upscaler") -> str:
    """The sentence of the refusal, which took neither time nor memory."""
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError) as caught:
        load_generator(str(path), role)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("role", SMALL)
def test_numbers_that_are_not_finite_are_the_models_fault(role: str, tmp_path: Path) -> None:
    """In every role, one among all of them is enough; so are weights of integers."""
    for value in (torch.nan, torch.inf, -torch.inf):

        def change(tensor: Tensor, value: float = value) -> Tensor:
            tensor = tensor.half().clone()
            tensor.view(-1)[-1] = value
            return tensor

        assert "not finite numbers" in refused(save(tmp_path / "a.safetensors", role, change), role)
    for dtype in (torch.int8, torch.uint8, torch.int32, torch.int64):
        path = save(tmp_path / "a.safetensors", role, lambda tensor, dtype=dtype: tensor.to(dtype))  # type: ignore[misc]
        assert "not floating-point numbers" in refused(path, role)
    assert load_generator(str(save(tmp_path / "a.safetensors", role)), role).network


def test_numbers_of_extractors_and_of_others_files_too(tmp_path: Path) -> None:
    network = FeatureExtractor(create_architecture("compact"), ["relu1_1"])
    theirs = ESRGAN(num_filters=8, num_blocks=1, scale=2).state_dict()
    for weights, load in (
        (network.named_weights(), lambda path: create_extractor("compact", ["relu1_1"], path)),
        (theirs, lambda path: load_generator(str(path), "upscaler")),
    ):
        torch.save(dict(weights), tmp_path / "a.pth")
        load(tmp_path / "a.pth")
        for change in (lambda tensor: tensor.to(torch.int8), lambda tensor: tensor * torch.nan):
            torch.save({key: change(tensor) for key, tensor in weights.items()}, tmp_path / "a.pth")
            with pytest.raises(ModelError, match=r"a\.pth.*(not finite|not floating-point)"):
                load(tmp_path / "a.pth")


def test_a_format_that_is_not_known_is_refused(tmp_path: Path) -> None:
    for version in ("2", "", "x"):
        path = save(tmp_path / "a.safetensors", "style", **{"percept.format": version})
        with pytest.raises(ModelError, match=f"has format {version}; this version of percept knows format 1"):
            load_weights(path)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES["upscaler"]))
def test_a_network_larger_than_its_tensors_is_never_built(name: str, tmp_path: Path) -> None:
    """10^8 blocks, or 4,000 channels, in a file of some kilobytes."""
    known = create_generator("upscaler", "swift", **SMALL["upscaler"]).arguments
    for claims in ({"blocks": 10**8}, {"channels": 4000}, {"blocks": 14}, {"scale": 10**9}, {"channels": 10**12}):
        path = save(tmp_path / "a.safetensors", "upscaler", arguments={**known, **claims}, architecture=name)
        assert f"does not fit its architecture '{name}'" in refused(path)


@pytest.mark.parametrize(
    "arguments",
    [
        "[]", "{", "null", '"x"', "[" * 100_000, {"scale": "2"}, {"scale": 2.0}, {"scale": True}, {"scale": None},
        {"scale": [2]}, {"scale": -2}, {"scale": 0}, {"scale": 10**400}, {"other": 1}, {"channels": 0},
    ],
)  # fmt: skip
def test_arguments_of_wrong_kinds_are_refused(arguments: object, tmp_path: Path) -> None:
    assert "does not fit its architecture" in refused(save(tmp_path / "a.safetensors", "upscaler", arguments=arguments))


@pytest.mark.parametrize(
    ("role", "arguments"),
    [
        ("inverter", {"channels": 8, "stride": 2**40}), ("inverter", {"channels": 10**9, "stride": 4}),
        ("inverter", {"channels": 8, "stride": 0, "side": 2**60}), ("style", {"width": 1e300}),
        ("style", {"width": "1"}), ("translation", {"inputs": 10**9}), ("autoencoder", {"channels": 60_000}),
        ("autoencoder", {"width": 4000.0}),
    ],
)  # fmt: skip
def test_other_roles_claim_nothing_either(role: str, arguments: dict[str, object], tmp_path: Path) -> None:
    assert "does not fit" in refused(save(tmp_path / "a.safetensors", role, arguments=arguments), role)


def test_networks_of_others_are_not_built_beyond_their_tensors(tmp_path: Path) -> None:
    theirs = ESRGAN(num_filters=8, num_blocks=2, scale=4).state_dict()
    for state in (
        {**theirs, "model.0.weight": torch.zeros(4000, 3, 3, 3)},
        {**theirs, f"model.1.sub.{10**8}.RDB1.conv1.0.weight": torch.zeros(1)},
        {f"body.{10**8}.rdb1.conv1.weight": torch.zeros(4, 4, 3, 3), "conv_first.weight": torch.zeros(4, 3, 3, 3)},
    ):
        torch.save(state, tmp_path / "a.pth")
        assert "does not fit the architecture" in refused(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({1: torch.zeros(2)}, "holds no state dict"),
        ({"params": {1: torch.zeros(2)}}, "holds no state dict"),
        ({"a.weight": torch.zeros(1).expand(10**6, 10**6)}, "declares tensors of 4,000,000,000,000"),
        ({"a.weight": torch.eye(3).to_sparse()}, "sparse, quantized or empty"),
        ({"a.weight": torch.empty(10**6, 10**6, device="meta")}, "sparse, quantized or empty"),
        ({"a.weight": torch.zeros(3, dtype=torch.complex64)}, "type complex64, not floating-point"),
    ],
)
def test_what_is_no_ordinary_tensor_is_refused(content: dict, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    assert said in refused(tmp_path / "a.pth")


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    buffer, path = io.BytesIO(), tmp_path / "a.pth"
    torch.save({"a.weight": torch.zeros(2_000_000)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    assert "bytes and declares a content of 8,000," in refused(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is an empty file"), (b"\n <!DOCTYPE html><html>", "is a web page"), (b"<HTML lang=en>", "is a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", "is a web page"), (b'{"message": "Not found"}', "is a text file"),
        ("<title>Nicht gefunden: Größe</title>".encode(), "is a web page"), (bytes(100), "is a file of zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n0000", "is a PNG picture"),
    ],
)  # fmt: skip
def test_what_holds_no_weights_is_called_what_it_is(data: bytes, said: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    assert said in refused(path)
    with pytest.raises(ModelError, match=said):
        load_weights_and_metadata(path)


def test_every_command_that_reads_weights_says_so(
    percept: Callable, photos: Path, style_picture: Path, tmp_path: Path
) -> None:
    page = tmp_path / "a.safetensors"
    page.write_bytes(b"<!doctype html><title>Log in</title>")
    hill, out = photos / "hill.png", f"{tmp_path / 'out'}/"
    train = ["--data", photos, "-o", tmp_path / "b.safetensors", "--device", "cpu"]
    for line in (
        ["stylize", hill, "-m", page, "-o", out], ["upscale", hill, "-m", page, "-o", out],
        ["invert", hill, "--layer", "conv1_1", "-m", page, "-o", out], ["models", "inspect", page],
        ["models", "blend", page, "wave", "-o", tmp_path / "c.safetensors"],
        ["compare", hill, hill, "--extractor", page, "--metrics", "perceptual"],
        ["visualize", "samples", "-m", page, "-o", out], ["visualize", "report", hill, "-m", page, "-o", tmp_path / "r.html"],
        ["train", "style", "--style", style_picture, "--start", page, *train],
        ["train", "extractor", "--teacher", f"vgg19={page}", *train],
    ):  # fmt: skip
        outcome = percept(*line)
        assert outcome.code == 5 and "is a web page" in outcome.stderr, (line, outcome)
