"""How a picture was made, in its file: a record of percept, and the mark of pictures that a trained network changed.

A PNG has the record in a text with the keyword `percept`; JPEG, WebP, AVIF and TIFF in the property `percept:record` of their
XMP packet. All of them have the mark in XMP.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from percept_cli.core.images.xmp import Name, read_property, with_properties
from percept_cli.errors import ImageError

KEYWORD = "percept"
RECORD = Name("urn:percept:1.0/", "record", "percept")
LARGEST = 1 << 20  # bytes of a record that is read

# IPTC Photo Metadata Standard: the property, and its values for pictures that a trained network made or changed
SOURCE_TYPE = Name("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "DigitalSourceType", "Iptc4xmpExt")
_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MADE, CHANGED = f"{_TYPES}trainedAlgorithmicMedia", f"{_TYPES}compositeWithTrainedAlgorithmicMedia"


@dataclass(frozen=True)
class Record:
    """What decided the pixels of a result.

    percept, torch: their versions. command, arguments: the words of the command line that change pixels. input: the name of
    the photograph's file, None for standard input. models: name of a shipped model -> sha256. files: name of any other file
    that the arguments name -> sha256. No name has a folder, which might tell of the machine and its user.
    """

    percept: str
    torch: str
    command: str
    arguments: tuple[str, ...]
    input: str | None
    input_sha256: str
    models: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1

    def to_json(self) -> str:
        """The record as one line of ASCII."""
        return json.dumps(asdict(self))


def name_of(path: str) -> str:
    """A path without its folders, whose names may be separated as on this system or on another."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def parse_record(text: str) -> Record:
    """The record of a JSON object. Raises ValueError where it is none; what it does not know of is left out."""
    if len(text) > LARGEST:
        raise ValueError(f"it is longer than {LARGEST} bytes")
    try:
        given = json.loads(text)
    except RecursionError as error:
        raise ValueError("its lists are too deep") from error
    if not isinstance(given, dict):
        raise ValueError("it is no JSON object")
    values: dict[str, Any] = {}
    for key, fits in _CHECKS.items():
        if key not in given or not fits(given[key]):
            raise ValueError(f"its entry '{key}' is missing or of another type")
        values[key] = given[key]
    return Record(**{**values, "arguments": tuple(values["arguments"])})


def find_record(text: object, packet: bytes | None, name: str) -> Record:
    """The record of a file, which is in a text of a PNG or in an XMP packet; name: of the file, in messages.

    Raises ImageError where there is none, or one that cannot be read.
    """
    found = text if isinstance(text, str) else read_property(packet, RECORD) if packet else None
    if found is None:
        raise ImageError(
            f"'{name}' has no record of how it was made: percept did not make it, or did with --no-provenance or --strip, or "
            "another program has written it since."
        )
    try:
        return parse_record(found)
    except ValueError as error:
        raise ImageError(f"The record in '{name}' is damaged: {error}.") from error


def mark(packet: bytes | None, record: Record | None) -> bytes | None:
    """An XMP packet, or a new one for None, with the record, if any, and the mark of a picture that a network changed.

    The mark of a picture that a network has made altogether stays. Returns None for a packet that cannot be read.
    """
    made = packet is not None and read_property(packet, SOURCE_TYPE) == MADE
    properties = {SOURCE_TYPE: MADE if made else CHANGED}
    return with_properties(packet, properties if record is None else {RECORD: record.to_json(), **properties})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_hashes(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


_CHECKS = {
    "percept": _is_text, "torch": _is_text, "command": _is_text, "arguments": _are_texts,
    "input": lambda value: value is None or isinstance(value, str), "input_sha256": _is_text, "models": _are_hashes,
    "files": _are_hashes, "device": _is_text, "precision": _is_text,
    "threads": lambda value: isinstance(value, int) and not isinstance(value, bool),
}  # fmt: skip
