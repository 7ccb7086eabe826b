"""What is checked of a file of weights before anything is built of it: what it is, its declared sizes, its numbers."""

import codecs
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
# Of counters and tables of positions, beside the weights
WHOLE_NUMBERS = (torch.int64, torch.int32, torch.bool)
HEAD = 4096  # bytes that tell what a file is
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
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            return name
    # Every file of weights has a zero or bytes that are no UTF-8 among its first; a character may be cut at the end.
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        text = decoder.decode(head).lstrip()
    except UnicodeDecodeError:
        return ""
    if "\0" in text:
        return ""
    if text.startswith("<"):
        return "a web page (the link of its download was to a page, not to the file)"
    return "a text file"


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
    """Checks tensors of a file of `size` bytes. Raises ModelError, with the name of the tensor, where one is not ordinary.

    That is: a weight that is not of floating-point numbers; more memory than the file can fill; a value that is not
    finite, except in masks, which may hold -inf.
    """
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise ModelError(f"{source}: {name} is a sparse, quantized or empty tensor. Save it as an ordinary one.")
        is_weight = name.rpartition(".")[2] in ("weight", "bias")
        if not tensor.is_floating_point() and (is_weight or tensor.dtype not in WHOLE_NUMBERS):
            raise ModelError(
                f"{source}: {name} holds values of type {str(tensor.dtype).removeprefix('torch.')}, not floating-point "
                "numbers. Give the model as it was before it was quantized."
            )
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
    names, extremes = [], []
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            wide = tensor.detach() if tensor.element_size() > 1 else tensor.detach().float()
            names.append(name)
            # Of values among which one is NaN, both are NaN. On a processor 8 times as fast as `isfinite`.
            extremes.append(torch.stack(torch.aminmax(wide)).float())
    finite = torch.isfinite(torch.stack(extremes)).all(dim=1).tolist() if names else []
    return next((name for name, good in zip(names, finite, strict=True) if not good), None)
