"""What a command left, as JSON that can be compared: what varies from run to run is put aside."""

import hashlib
import io
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
TEXTS = (".jsonl", ".json", ".csv", ".html", ".svg", ".txt")
# Pattern, and what stands in its place
VARIES = (
    (r"\bpercept \d+\.\d+\.\d+\S*?(?=[\s.]|$)", "percept <version>"),
    (r'"seconds": [\d.e+-]+', '"seconds": <seconds>'),
    (r'"megapixels_per_second": [\d.e+-]+', '"megapixels_per_second": <speed>'),
    (r"[\d.]+ megapixels of the result a second", "<speed> megapixels of the result a second"),
    # A plain line of progress comes every 30 seconds: only on slow machines.
    (r"(?m)^\w+ \d+/\d+, [\d.]+ min left:.*\n", ""),
    # Where a library's warning comes from, and the source line below it
    (r"(?m)^\S+\.py:\d+: (\w*Warning: .*)\n  .*$", r"<code>: \1"),
)


class Words:
    """What is named otherwise from run to run, and the words that stand for it."""

    def __init__(self, folders: Mapping[str, Path]):
        self._words = {str(path): word for word, given in folders.items() for path in (given, given.resolve())}

    def add_model(self, path: Path) -> None:
        """The sha256 of a model that a command wrote: the order of its metadata is random."""
        self._words[hashlib.sha256(path.read_bytes()).hexdigest()] = f"<sha256 of {path.name}>"

    def normalize(self, text: str) -> str:
        """The text without what varies: folders, versions, durations, speeds, embedded pictures."""
        for varying in sorted(self._words, key=len, reverse=True):
            text = text.replace(varying, self._words[varying])
        for pattern, word in VARIES:
            text = re.sub(pattern, word, text)
        return re.sub(r"data:([\w/+-]+);base64,([A-Za-z0-9+/=\s]+)", _shorten_embedded, text)


def _shorten_embedded(found: re.Match[str]) -> str:
    return f"data:{found[1]};sha256,{digest(''.join(found[2].split()).encode())}"


def digest(data: bytes) -> str:
    """The first 16 hexadecimal digits of the sha256."""
    return hashlib.sha256(data).hexdigest()[:16]


def describe_stream(data: bytes, words: Words, in_order: bool = True) -> list[str] | dict[str, Any]:
    """What a command printed: lines of text, or a picture. in_order: else the lines, or the keys of JSON, are sorted."""
    try:
        lines = words.normalize(data.decode("utf-8")).splitlines()
    except UnicodeDecodeError:
        return describe_picture(data, "")
    if in_order:
        return lines
    return sorted(json.dumps(json.loads(line), sort_keys=True) if line.startswith("{") else line for line in lines)


def describe_file(path: Path, words: Words) -> dict[str, Any]:
    """What a file holds: text, pixels, tensors, or a hash of its bytes where it is of another kind."""
    kind, data = path.suffix.lower(), path.read_bytes()
    if kind in TEXTS:
        return {"text": words.normalize(data.decode("utf-8")).splitlines()}
    if kind in PICTURES:
        return describe_picture(data, kind)
    if kind == ".safetensors":
        return describe_safetensors(data, words)
    if kind == ".pt":
        import torch

        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return {"content": dict(flatten(content, ""))}
    return {"bytes": digest(data), "size": len(data)}


def describe_picture(data: bytes, kind: str) -> dict[str, Any]:
    """A hash of the bytes and one of the decoded pixels, with their shape and mean, and hashes of what goes with them."""
    described: dict[str, Any] = {"bytes": digest(data)}
    try:
        pixels = np.ascontiguousarray(decode(data, kind))
        with Image.open(io.BytesIO(data)) as image:
            beside = {name: image.info[name] for name in ("icc_profile", "exif", "dpi") if name in image.info}
    except Exception as error:  # what cannot be decoded is a result too
        return described | {"undecodable": f"{type(error).__name__}: {error}"}
    described["pixels"] = f"{pixels.dtype} {list(pixels.shape)} {digest(pixels.tobytes())}"
    described["mean"] = str(np.asarray(pixels, np.float64).mean(axis=(0, 1)).round(3).tolist())
    return described | {
        name: digest(value) if isinstance(value, bytes) else str(value) for name, value in beside.items()
    }


def decode(data: bytes, kind: str) -> np.ndarray:
    """The pixels (H, W) or (H, W, C) at the depth of the file."""
    if kind in (".tif", ".tiff"):
        import tifffile

        pixels: np.ndarray = tifffile.imread(io.BytesIO(data))
        return pixels
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16:
        return decode_deep_png(data)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def decode_deep_png(data: bytes) -> np.ndarray:
    """The pixels of a PNG with 16 bits a channel, not interlaced, of which Pillow keeps 8."""
    width, height, _, color, _, _, _ = struct.unpack(">IIBBBBB", data[16:29])
    parts, at = [], 8
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if name == b"IDAT":
            parts.append(data[at + 8 : at + 8 + length])
        at += length + 12
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    step = 2 * channels
    rows = np.frombuffer(zlib.decompress(b"".join(parts)), np.uint8).reshape(height, 1 + step * width)
    pixels = np.zeros((height + 1, step * (width + 1)), int)  # with a row above and a pixel at the left of zeros
    for row, (method, *values) in enumerate(rows.tolist(), 1):
        for column, value in enumerate(values, step):
            left, above, corner = pixels[row, column - step], pixels[row - 1, column], pixels[row - 1, column - step]
            near = min((left, above, corner), key=lambda one: abs(left + above - corner - one))  # Paeth
            pixels[row, column] = (value + (0, left, above, (left + above) // 2, near)[method]) % 256
    return pixels[1:, step:].astype(np.uint8).view(">u2").astype(np.uint16).reshape(height, width, channels)


def describe_safetensors(data: bytes, words: Words) -> dict[str, Any]:
    """Every tensor by its name, type, shape and bytes, and the metadata as text."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, tensor in sorted(header.items()):
        start, end = (8 + length + offset for offset in tensor["data_offsets"])
        tensors[name] = f"{tensor['dtype']} {tensor['shape']} {digest(data[start:end])}"
    return {"metadata": {key: words.normalize(text) for key, text in sorted(metadata.items())}, "tensors": tensors}


def flatten(content: Any, name: str) -> Iterator[tuple[str, str]]:
    """The leaves of nested dictionaries and lists as text, each under its way there."""
    import torch

    if isinstance(content, dict):
        for key, value in content.items():
            yield from flatten(value, f"{name}/{key}")
    elif isinstance(content, list | tuple) and len(content) > 64:  # the state of a random source
        yield name, digest(repr(content).encode())
    elif isinstance(content, list | tuple):
        for key, value in enumerate(content):
            yield from flatten(value, f"{name}/{key}")
    elif isinstance(content, torch.Tensor):
        raw = content.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        yield name, f"{content.dtype} {list(content.shape)} {digest(raw)}"
    else:
        yield name, repr(content)
