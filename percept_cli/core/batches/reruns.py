"""A result made again: the record that is put in it, the files that a record names, and what differs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from percept_cli.core.batches.work import hash_path
from percept_cli.core.files.formats import WRITABLE
from percept_cli.core.images.decode import load_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.provenance import Record, name_of
from percept_cli.core.pretrained.manifest import shipped_models
from percept_cli.errors import ImageError, ModelError, UsageError


def record_of(entry: Mapping[str, Any]) -> Record:
    """The record of a picture, of the facts that a manifest has of it, without the folders of files.

    Of two files with one name and other contents, the second is named `name-2`, in the arguments too.
    """
    names = _names(entry["files"])
    given = entry.get("input")
    return Record(
        percept=entry["percept"],
        torch=entry["torch"],
        command=entry["command"],
        arguments=tuple(names.get(word, word) for word in entry["arguments"]),
        input=None if given is None else name_of(given),
        input_sha256=entry["input_sha256"],
        models=dict(entry["models"]),
        files={names[path]: sha256 for path, sha256 in entry["files"].items()},
        device=entry["device"],
        precision=entry["precision"],
        threads=entry["threads"],
    )


def _names(files: Mapping[str, str]) -> dict[str, str]:
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for path, sha256 in files.items():
        own = name = name_of(path)
        number = 1
        while taken.setdefault(name, sha256) != sha256:
            number += 1
            name = f"{Path(own).stem}-{number}{Path(own).suffix}"
        names[path] = name
    return names


def find_input(record: Record, result: Path, given: Path | None) -> Path:
    """The photograph of a result: `given`, or the file of its name beside the result or in the current folder.

    Raises UsageError where there is none, or only one with another content.
    """
    if given is not None:
        return _choose(given.name, record.input_sha256, [given], "--input")
    if record.input is None:
        raise UsageError(f"'{result}' was made from standard input: give the photograph by --input.")
    return _choose(record.input, record.input_sha256, _places(record.input, result), "--input")


def find_files(record: Record, result: Path, given: Sequence[Path]) -> dict[str, Path]:
    """The files that the arguments of a record name, by these names: among `given`, whatever their names are, beside the
    result or in the current folder. Raises UsageError as `find_input`.
    """
    return {
        name: _choose(name, sha256, [*given, *_places(name, result)], "--file") for name, sha256 in record.files.items()
    }


def check_models(record: Record, result: Path) -> None:
    """Raises ModelError for the shipped models of a record that this installation has not, or has with other weights."""
    shipped = shipped_models()
    for name, sha256 in record.models.items():
        if name not in shipped or shipped[name].sha256 != sha256:
            found = f"has another '{name}'" if name in shipped else f"has no '{name}'"
            raise ModelError(
                f"'{result}' was made with the model '{name}' of percept {record.percept}; this installation {found}: install "
                f"that version."
            )


def _places(name: str, result: Path) -> list[Path]:
    return [folder / name_of(name) for folder in (result.parent, Path())]


def _choose(name: str, sha256: str, places: Iterable[Path], option: str) -> Path:
    """The first of the files that has a content. Raises UsageError where none has."""
    others: list[Path] = []
    for place in places:
        if place.exists():
            if hash_path(place) == sha256:
                return place
            others.append(place)
    same = [place for place in others if place.name == name]
    if same:
        raise UsageError(
            f"'{same[0]}' is not the file that the result was made with: its sha256 is {hash_path(same[0])[:16]}..., that of "
            f"the record {sha256[:16]}.... Give the right one by {option}."
        )
    raise UsageError(f"'{name}', which the result was made with, was not found: give it by {option} FILE.")


@dataclass(frozen=True)
class Difference:
    """How two results differ. identical: not in one byte. share: of the pixels that differ, 0 to 1. largest: difference of a
    channel in gray levels, 0 to 255. sizes: (height, width) of both where these differ, else None.
    """

    identical: bool
    share: float = 0.0
    largest: float = 0.0
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None

    @property
    def same_pixels(self) -> bool:
        """Whether the pixels are equal, though perhaps not all metadata."""
        return self.sizes is None and self.largest == 0


def compare_results(first: Path, second: Path) -> Difference:
    """How two image files differ. Raises ImageError for one that cannot be read."""
    if _read(first) == _read(second):
        return Difference(identical=True)
    ours, theirs = _channels(load_image(first)), _channels(load_image(second))
    sizes = (ours.shape[-2], ours.shape[-1]), (theirs.shape[-2], theirs.shape[-1])
    if sizes[0] != sizes[1]:
        return Difference(False, 1.0, 255.0, sizes)
    largest = (ours - theirs).abs_().amax(dim=1)
    return Difference(False, float((largest > 0).float().mean()), 255 * float(largest.max()))


def extension_of(result: Path) -> str:
    """The extension of a result, or the usual one of its format where percept writes none of that name.

    Raises ImageError for a file that cannot be read, or of a format that percept does not write.
    """
    if result.suffix.lower() in WRITABLE:
        return result.suffix
    name = load_image(result).format
    found = next((extension for extension, known in WRITABLE.items() if known.name == name), None)
    if found is None:
        raise ImageError(f"'{result}' is a {name} file, which percept does not write.")
    return found


def _channels(photo: Photo) -> Tensor:
    """Colors and opacity (1, 4, H, W) in [0, 1]."""
    alpha = torch.ones_like(photo.pixels[:, :1]) if photo.alpha is None else photo.alpha
    return torch.cat((photo.pixels, alpha), dim=1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read: {error.strerror or error}.") from error
