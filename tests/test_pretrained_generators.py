"""One way to load and to start generators of every role: facts, names, files, and what does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from percept_cli.core.generators import ARCHITECTURES, Generator, create_generator
from percept_cli.core.pretrained.files import load_weights_and_metadata, save_weights
from percept_cli.core.pretrained.generators import load_generator, start_generator
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.errors import ModelError, UsageError

SMALL: dict[str, dict[str, Any]] = {
    "style": {"width": 0.1}, "any-style": {"widths": [8, 8, 8, 8]}, "upscaler": {},
    "inverter": {"channels": 8, "stride": 4, "width": 0.1},
    "autoencoder": {"width": 0.1}, "translation": {"width": 0.1},
}  # fmt: skip
ALL = [(role, name) for role, known in ARCHITECTURES.items() for name in known]


def save(path: Path, role: str, name: str, network: Generator, **further: str) -> Path:
    """A file as percept writes it."""
    metadata = {
        "percept.format": "1",
        "role": role,
        "architecture": name,
        "arguments": json.dumps(dict(network.arguments)),
    }
    if role == "inverter":
        further = {"extractor": "compact", "layer": "conv3_4", "fingerprint": "", **further}
    save_weights(path, network.state_dict(), metadata | further)
    return path


@pytest.mark.parametrize(("role", "name"), ALL)
def test_every_architecture_states_its_facts_and_is_rebuilt_by_its_arguments(role: str, name: str) -> None:
    with torch.device("meta"):
        network = create_generator(role, name, **SMALL[role])
        again = ARCHITECTURES[role][name](**json.loads(json.dumps(dict(network.arguments))))
    assert network.arguments and again.arguments == network.arguments
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in again.state_dict().items()
    }
    for known in (network, again):
        assert known.scale >= 1 and known.size_multiple >= 1 and known.smallest >= 1 and known.inputs >= 3
        assert known.receptive_radius is None or known.receptive_radius >= known.scale // 2
    assert not network.fills_holes


@pytest.mark.parametrize("role", ARCHITECTURES)
def test_a_file_of_every_role_is_loaded_and_started_from(role: str, tmp_path: Path) -> None:
    """Ready to run when loaded, ready to train when started."""
    name = next(iter(ARCHITECTURES[role]))
    path = save(tmp_path / "model.safetensors", role, name, create_generator(role, name, **SMALL[role]))
    loaded = load_generator(str(path), role)
    assert (loaded.name, loaded.architecture) == ("model", name)
    assert not loaded.network.training and not any(each.requires_grad for each in loaded.network.parameters())
    features = {"layer": "conv3_4", "extractor": "compact"} if role == "inverter" else {}
    started = start_generator(role, name, str(path), **features, **(SMALL[role] or {"scale": 4}))
    assert started.training and all(each.requires_grad for each in started.parameters())
    for key, tensor in loaded.network.state_dict().items():
        assert torch.equal(started.state_dict()[key], tensor)


def test_a_translation_runs_as_a_style(tmp_path: Path) -> None:
    """And the other way round a training of a translation may begin from a style."""
    path = save(tmp_path / "a.safetensors", "translation", "unet", create_generator("translation", "unet", width=0.1))
    assert load_generator(str(path), "style").architecture == "unet"
    style = save(tmp_path / "b.safetensors", "style", "johnson", create_generator("style", "johnson", width=0.1))
    assert start_generator("translation", "johnson", str(style), inputs=3, width=0.1).arguments["width"] == 0.1
    with pytest.raises(UsageError, match="is a generator of 'unet', not 'unet'"):
        start_generator("style", "unet", str(path))


@pytest.mark.parametrize("role", ["style", "upscaler", "inverter"])
def test_shipped_models_are_loaded_by_name_and_only_for_their_role(role: str) -> None:
    models = [model for model in shipped_models().values() if model.role == role]
    assert load_generator(models[0].name, role).architecture == models[0].architecture
    with pytest.raises(ModelError, match=f"Unknown {role} model 'compact'"):
        load_generator("compact", role)


@pytest.mark.parametrize(
    ("role", "name", "known", "asked", "said"),
    [
        ("style", "johnson", {}, {"width": 0.2, "norm": None}, "was trained with {'width': 0.1, 'norm': 'inner'}: leave --width"),
        ("style", "johnson", {}, {"width": None, "norm": "batch"}, "leave --norm out"),
        ("translation", "unet", {}, {"inputs": 3, "width": 0.2}, "was trained with a width of 0.1: leave --width out"),
        ("translation", "unet", {}, {"inputs": 4, "width": 0.1}, "does not see a mask: begin from another"),
        ("translation", "unet", {"inputs": 4}, {"inputs": 3}, "fills holes: begin from another"),
        ("inverter", "lean", {}, {"channels": 8, "stride": 8}, "was trained with a stride of 4, not 8"),
    ],
)  # fmt: skip
def test_a_trained_one_of_other_arguments_is_refused(
    role: str, name: str, known: dict[str, Any], asked: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "model.safetensors", role, name, create_generator(role, name, **SMALL[role], **known))
    with pytest.raises(UsageError) as caught:
        start_generator(role, name, str(path), layer="conv3_4", extractor="compact", **asked)
    assert str(caught.value).startswith(f"--start {path} ") and said in str(caught.value)


def test_the_same_weights_and_metadata_are_the_same_bytes(tmp_path: Path) -> None:
    """So that a model has one checksum: the order of the metadata is not left to chance, and all is read back."""
    metadata = {"é": "ü", **{name: str(number) for number, name in enumerate("hgfedcba")}}
    weights = {"x": torch.arange(3.0), "y": torch.arange(5).half()}
    contents = set()
    for _ in range(4):
        save_weights(tmp_path / "x.safetensors", weights, metadata)
        contents.add((tmp_path / "x.safetensors").read_bytes())
    assert len(contents) == 1
    found, read = load_weights_and_metadata(tmp_path / "x.safetensors")
    assert read == metadata and all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("place", ["the tensors", "the metadata"])
def test_a_model_that_is_damaged_anywhere_is_refused(place: str, style_model: Path, tmp_path: Path) -> None:
    """One bit of a weight would give another picture, and one of an argument another network."""
    data = bytearray(style_model.read_bytes())
    position = len(data) - 5 if place == "the tensors" else data.index(b'"role":"style"') + len('"role":"')
    data[position] ^= 1
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="damaged: it does not fit its checksum"):
        load_weights_and_metadata(tmp_path / "x.safetensors")
