"""What is checked of a file of weights before anything is built of it: what it is, its declared sizes, its numbers."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from percept_cli.errors import ModelError

# How many times as large as its file an archive, or the tensors in it, may be. PyTorch does not compress, and trained
# weights hardly can be.
LARGEST_RATIO = 10
SLACK = 1 << 24  # bytes, for tensors that are one value repeated
HEAD = 4096  # bytes that tell what a file is
WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<?xml", b"<!--")
# What else is put in the place of weights by mistake, by the first bytes
MAGIC = {
    b"version https://git-lfs.github.com/spec": "a Git LFS pointer, not the file itself (`git lfs pull` fetches it)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x1f\x8b": "a gzip archive (unpack it)",
    b"%PDF": "a PDF document",
}


def describe_foreign(head: bytes) -> str:
    """What a file is that holds no weights, by its first `HEAD` bytes: `an empty file`, `a web page`; else empty text."""
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "a file of zeros (its download or copy was not finished)"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, name in MAGIC.items():
        if text.startswith(magic) or head.startswith(magic):
            return name
    return (
        "a web page (its download link was to a page, not to the file)" if text[:9].lower().startswith(WEB_PAGE) else ""
    )


def refuse_foreign(path: Path) -> None:
    """Raises ModelError, with what it is instead, for a file that is empty, a web page, a Git LFS pointer or a picture."""
    with path.open("rb") as file:
        if foreign := describe_foreign(file.read(HEAD)):
            raise ModelError(f"{path} is {foreign}: it holds no weights. Download or copy the weights again.")


def check_archive(file: BinaryIO, size: int, source: str, advice: str) -> None:
    """Checks the sizes that a zip archive declares, as of a PyTorch file, of `size` bytes; any other file passes.

    Raises ModelError where its content would take much more memory than the file has bytes.
    """
    if file.read(4) != b"PK\x03\x04":
        return
    try:
        with zipfile.ZipFile(file) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
        raise ModelError(f"{source} is not a whole archive. {advice}") from error
    if declared > LARGEST_RATIO * size:
        raise ModelError(
            f"{source} has {size:,} bytes and declares a content of {declared:,}: no weights are so. {advice}"
        )


def check_tensors(tensors: Mapping[str, Tensor], size: int, source: str) -> None:
    """Checks that tensors are ordinary ones, that they take no more memory than a file of `size` bytes can fill, and
    that their numbers are finite.

    Raises ModelError. Values of float tensors alone are looked at; those of masks, which add -inf, may be infinite.
    """
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise ModelError(f"{source}: {name} is a sparse, quantized or empty tensor. Save it as an ordinary one.")
    declared = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if declared > LARGEST_RATIO * size + SLACK:
        raise ModelError(
            f"{source} has {size:,} bytes and declares tensors of {declared:,}: no weights are so. Download or copy it "
            "again."
        )
    bad = first_not_finite({name: tensor for name, tensor in tensors.items() if "mask" not in name})
    if bad is not None:
        raise ModelError(
            f"{source} holds values that are not finite numbers ({bad}): the model is damaged, or its training failed. "
            "Use another one."
        )


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first float tensor with a value that is not a finite number; None where there is none.

    It takes one pass over the values, and on a GPU one wait for all tensors.
    """
    floats = {
        name: tensor.detach() for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()
    }
    if not floats:
        return None
    # A sum with an infinite value or NaN is never finite. That of finite values may be infinite too: so look closer.
    sums = torch.stack([tensor.sum(dtype=torch.float32).cpu() for tensor in floats.values()])
    if bool(torch.isfinite(sums).all()):
        return None
    return next((name for name, tensor in floats.items() if not bool(torch.isfinite(tensor).all())), None)


def require_floats(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises ModelError, with the name of the tensor, for weights of integers, as those of a quantized model."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ModelError(
                f"{source}: {name} holds values of type {str(tensor.dtype).removeprefix('torch.')}, not floating-point "
                "numbers. Give the model before it was quantized."
            )
