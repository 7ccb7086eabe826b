"""Weight files: safe loading, atomic saving, downloads of torchvision's weights with checksums."""

import contextlib
import hashlib
import json
import os
import pickle
import tempfile
import urllib.error
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from percept_cli.core.files.atomic import atomic_write_bytes, sync_file, sync_folder
from percept_cli.core.files.locks import try_lock
from percept_cli.core.pretrained.checks import check_archive, check_tensors, first_not_finite, refuse_foreign
from percept_cli.core.pretrained.manifest import cache_folder, check_weights, is_offline, shipped_models
from percept_cli.errors import ModelError

DOWNLOAD_ROOT = "https://download.pytorch.org/models/"
FORMAT = "1"  # of percept's own files, `percept.format` in their metadata
CHECKSUM = "percept.sha256"  # the key of the metadata of a safetensors file that holds that of the rest
# torchvision's names: the digits after the dash are the first of the file's sha256.
TORCHVISION_FILES = {
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "alexnet": "alexnet-owt-7be5be79.pth",
    "squeezenet1_0": "squeezenet1_0-b66bff10.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
}


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch file, whose pickled code is never executed.

    Raises ModelError, with the reason, for a file that is missing, damaged or holds anything but tensors.
    """
    return load_weights_and_metadata(path)[0]


def load_weights_and_metadata(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The result of `load_weights`, and the metadata of a safetensors file (empty for a PyTorch file)."""
    check_weights(path)
    try:
        size = path.stat().st_size
        refuse_foreign(path)
        tensors, metadata = _load_safetensors(path)
        if tensors is None:
            with path.open("rb") as file:
                check_archive(file, size, str(path), "Copy or download it again.")
            tensors = _load_pytorch(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    check_tensors(tensors, size, str(path))
    return tensors, metadata


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor] | None, dict[str, str]]:
    """The tensors and the metadata of a safetensors file; None for a file that may be of PyTorch."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("percept.format", FORMAT) != FORMAT:
                raise ModelError(
                    f"{path} has format {metadata['percept.format']}; this version of percept knows format {FORMAT}. "
                    "Install the version that wrote it, or a newer one."
                )
            _verify(path, metadata.pop(CHECKSUM, ""))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except SafetensorError as error:
        if path.suffix == ".safetensors":
            raise ModelError(f"{path} is not a whole safetensors file ({error}). Copy or download it again.") from error
        return None, {}
    except (TypeError, ValueError, AttributeError) as error:  # a type of numbers that this torch does not have
        raise ModelError(f"{path} holds tensors that cannot be read ({error}).") from error


def _load_pytorch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings(action="ignore"):  # TorchScript's; it is an error below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is damaged, or holds Python objects beside its weights, which percept never runs. "
            "Save its state dict alone, or convert it to safetensors."
        ) from error
    except Exception as error:
        # For a damaged file the reader raises almost any class: RuntimeError, IndexError, struct.error, AssertionError.
        raise ModelError(f"{path} is not a weights file that PyTorch can read. Copy or download it again.") from error
    for wrapper in ("state_dict", "params_ema", "params-ema", "params", "model_state_dict", "model", "net"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise ModelError(f"{path} holds no state dict (a mapping from names to tensors).")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def in_16_bits(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights on the processor, in 16 bits where the values of a tensor are not too large for them."""
    weights = {name: tensor.detach().cpu() for name, tensor in weights.items()}
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    return {name: weights[name] if first_not_finite({name: tensor}) else tensor for name, tensor in half.items()}


def save_weights(
    path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, object], *, overwrite: bool = True
) -> None:
    """Writes a safetensors file atomically, the same bytes for the same content; metadata that is not text becomes JSON.

    The file holds a checksum, so that damage is found when it is read. overwrite: whether it may replace a file. Raises as
    `atomic_path`.
    """
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, metadata=text)
    header, body = _split(data)
    # The library writes the metadata in an order of chance.
    header["__metadata__"] = dict(sorted({**header.get("__metadata__", {}), CHECKSUM: _checksum(header, body)}.items()))
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)  # tensors begin at a multiple of 8 bytes
    atomic_write_bytes(path, len(head).to_bytes(8, "little") + head + body, overwrite=overwrite)


def _verify(path: Path, checksum: str) -> None:
    """Raises ModelError where a safetensors file does not fit its checksum, or a shipped one that of the manifest.

    checksum: empty for a file of others or of an earlier version.
    """
    shipped = next((model for model in shipped_models().values() if model.path == path), None)
    if shipped is not None and sha256_of(path) != shipped.sha256:
        raise ModelError(f"{path}, which is shipped, is damaged: it does not fit its checksum. Install percept again.")
    if checksum and checksum != _checksum(*_split(path.read_bytes())):
        raise ModelError(
            f"{path} is damaged: it does not fit its checksum. Copy or download it again, or train it anew."
        )


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes of its tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def _checksum(header: Mapping[str, Any], body: bytes) -> str:
    """The sha256 of a safetensors file, whatever the order of its header and without the checksum in it."""
    metadata = {key: value for key, value in header.get("__metadata__", {}).items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps({**header, "__metadata__": metadata}, sort_keys=True).encode() + body).hexdigest()


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def torchvision_folder() -> Path:
    """The folder of downloaded torchvision weights."""
    return cache_folder() / "extractors"


def cached_torchvision_weights(name: str) -> Path | None:
    """The file of torchvision's ImageNet weights in percept's or torch's cache, None if it is in neither.

    Raises ModelError for a file of that name with another sha256, such as an interrupted copy.
    """
    file = TORCHVISION_FILES[name]
    digits = _sha256_digits(file)
    for known in (torchvision_folder() / file, Path(torch.hub.get_dir()) / "checkpoints" / file):
        if known.is_file():
            if not sha256_of(known).startswith(digits):
                refuse_foreign(known)
                raise ModelError(
                    f"{known} is damaged (its sha256 does not begin with {digits}). Delete it and try again."
                )
            return known
    return None


def _sha256_digits(file: str) -> str:
    return file.rsplit("-", 1)[1].removesuffix(".pth")


def torchvision_weights(name: str, announce: Callable[[str], None] | None = None) -> Path:
    """The file of torchvision's ImageNet weights, from percept's or torch's cache, else downloaded.

    The download goes to a temporary file, which gets its name once its sha256 is verified. announce: called with a
    message before a download. Raises ModelError for a failed or forbidden download and a wrong sha256.
    """
    if cached := cached_torchvision_weights(name):
        return cached
    file = TORCHVISION_FILES[name]
    target = torchvision_folder() / file
    digits = _sha256_digits(file)
    advice = (
        f"Fetch {DOWNLOAD_ROOT}{file} elsewhere and give it with --extractor-weights FILE, or use --extractor compact."
    )
    if is_offline():
        raise ModelError(f"The weights of {name} are not in {target.parent} and PERCEPT_OFFLINE is set. {advice}")
    if announce:
        announce(f"downloading {file} to {target.parent} (once)")
    handle, temporary = -1, ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_killed_downloads(target)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{file}.")
        try_lock(handle)
        torch.hub.download_url_to_file(f"{DOWNLOAD_ROOT}{file}", temporary, hash_prefix=digits, progress=True)
        sync_file(Path(temporary))
        os.replace(temporary, target)
        sync_folder(target.parent)
    except (urllib.error.URLError, OSError) as error:
        raise ModelError(f"The weights of {name} could not be downloaded ({error}). {advice}") from error
    except RuntimeError as error:
        raise ModelError(f"The download of {file} was damaged on its way ({error}). Try again. {advice}") from error
    finally:
        if handle != -1:
            os.close(handle)
            Path(temporary).unlink(missing_ok=True)
    return target


def _remove_killed_downloads(target: Path) -> None:
    """Removes what processes that were killed had downloaded of a file; those of running ones are locked and stay."""
    for begun in target.parent.glob(f".{target.name}.*"):
        if begun.suffix == ".partial":  # torch's own, beside the file that is locked
            continue
        with contextlib.suppress(OSError), begun.open("r+b") as file:
            if try_lock(file.fileno()):
                for part in (*target.parent.glob(f"{begun.name}*.partial"), begun):
                    part.unlink()
