"""XMP packets: their properties are found, removed and added in place, and all else stays as it was.

ISO 16684-1: a packet is RDF in XML. A property is an element in, or an attribute of, an `rdf:Description` in `rdf:RDF`. Packets
come with photographs from anywhere, so that none is read which declares a document type, and with it entities.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple
from xml.parsers import expat

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EMPTY = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()
_SEPARATOR = "\n"  # which no address of a namespace holds
_ATTRIBUTE = rb"\s+([^\s=]+)\s*=\s*(?:\"[^\"]*\"|'[^']*')"
_START_TAG = re.compile(rb"<([^\s/>]+)(?:" + _ATTRIBUTE + rb")*\s*/?>")


class Name(NamedTuple):
    """The name of a property: the address of its namespace, its name there, and the prefix with which it is written."""

    namespace: str
    local: str
    prefix: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The name without its prefix, which each packet chooses."""
        return self.namespace, self.local

    @property
    def written(self) -> str:
        """The name as it stands in a packet."""
        return f"{self.prefix}:{self.local}" if self.prefix else self.local


@dataclass
class _Property:
    """A property of a packet: its name, the texts of its value, and the bytes from `start` to `end` that it takes."""

    name: Name
    start: int
    end: int = -1
    texts: list[str] = field(default_factory=list)


@dataclass
class _Packet:
    """What a packet holds: properties, the value of `rdf:about`, and the bytes from `start` to `end` of its `rdf:RDF`."""

    properties: list[_Property] = field(default_factory=list)
    about: str = ""
    start: int = -1
    end: int = -1


def read_property(packet: bytes, name: Name) -> str | None:
    """The text of a property; None where the packet has none of that name or cannot be read."""
    found = _scan(packet)
    texts = ("".join(each.texts).strip() for each in found.properties if each.name.key == name.key) if found else ()
    return next(iter(texts), None)


def without_properties(packet: bytes, remove: Callable[[Name], bool]) -> bytes:
    """The packet without the properties for which `remove` is true; one that cannot be read is as it was."""
    found = _scan(packet)
    spans = [(each.start, each.end) for each in found.properties if remove(each.name)] if found else []
    for start, end in sorted(spans, reverse=True):
        packet = packet[:start] + packet[end:]
    return packet


def with_properties(packet: bytes | None, properties: Mapping[Name, str]) -> bytes | None:
    """The packet, or an empty one for None, with the properties, in place of those that have their names.

    Returns None for a packet that cannot be read.
    """
    keys = {name.key for name in properties}
    packet = without_properties(packet or _EMPTY, lambda name: name.key in keys)
    found = _scan(packet)
    tag = _START_TAG.match(packet, found.start) if found else None
    if found is None or tag is None:
        return None
    spaces = {"rdf": RDF} | {name.prefix: name.namespace for name in properties}
    declared = " ".join(f'xmlns:{prefix}="{escape(space)}"' for prefix, space in spaces.items())
    inside = "".join(
        f"<{name.written}>{escape(text, quote=False)}</{name.written}>" for name, text in properties.items()
    )
    # All descriptions of a packet have the same value of rdf:about (ISO 16684-1).
    added = f'<rdf:Description {declared} rdf:about="{escape(found.about)}">{inside}</rdf:Description>'.encode()
    if tag.end() == found.end:  # <rdf:RDF/>
        opened = tag[0].removesuffix(b"/>") + b">"
        return packet[: found.start] + opened + added + b"</" + tag[1] + b">" + packet[found.end :]
    close = packet.rindex(b"</", found.start, found.end)
    return packet[:close] + added + packet[close:]


def _scan(packet: bytes) -> _Packet | None:
    """What a packet holds; None where it is no XML, has no `rdf:RDF` or declares a document type."""
    reader = _Reader(packet.rstrip(b"\0"))
    try:
        reader.parser.Parse(reader.packet, True)
    except (expat.ExpatError, ValueError):
        return None
    return reader.found if reader.found.end >= 0 else None


class _Reader:
    """Reads a packet by expat, which tells at which byte an element begins and ends."""

    def __init__(self, packet: bytes):
        self.packet, self.found = packet, _Packet()
        self._around: list[tuple[str, str]] = []  # the names of the elements around the place of the parser
        self._property: _Property | None = None  # the one around it
        self.parser = expat.ParserCreate("utf-8", _SEPARATOR)
        self.parser.namespace_prefixes = True
        self.parser.StartDoctypeDeclHandler = _refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._read_text

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name, start = _parse_name(tag), self.parser.CurrentByteIndex
        parents = self._around[-2:]
        if name.key == (RDF, "RDF") and self.found.start < 0:
            self.found.start = start
        elif name.key == (RDF, "Description") and parents[-1:] == [(RDF, "RDF")]:
            named = {_parse_name(each): value for each, value in attributes.items()}
            abouts = (value for each, value in named.items() if each.key == (RDF, "about"))
            self.found.about = self.found.about or next(abouts, "")
            self.found.properties += self._attributes(start, named)
        elif parents == [(RDF, "RDF"), (RDF, "Description")]:
            self._property = _Property(name, start)
            self.found.properties.append(self._property)
        self._around.append(name.key)

    def _attributes(self, start: int, named: Mapping[Name, str]) -> Iterator[_Property]:
        tag = _START_TAG.match(self.packet, start)
        assert tag is not None  # expat has read it
        names = {name.written.encode(): name for name in named if name.namespace not in ("", RDF)}
        for attribute in re.finditer(_ATTRIBUTE, self.packet[tag.end(1) : tag.end()]):
            if name := names.get(attribute[1]):
                begin = tag.end(1)
                yield _Property(name, begin + attribute.start(), begin + attribute.end(), [named[name]])

    def _read_text(self, text: str) -> None:
        if self._property is not None:
            self._property.texts.append(text)

    def _end(self, tag: str) -> None:
        name = _parse_name(tag).key
        self._around.pop()
        if name == (RDF, "RDF") and name not in self._around:
            self.found.end = self._end_of(self.found.start)
        elif self._property is not None and self._around[-2:] == [(RDF, "RDF"), (RDF, "Description")]:
            self._property.end = self._end_of(self._property.start)
            self._property = None

    def _end_of(self, start: int) -> int:
        """The byte after the element that ends at the place of the parser and begins at `start`."""
        tag = _START_TAG.match(self.packet, start)
        if tag is not None and tag[0].endswith(b"/>"):
            return tag.end()
        return self.packet.index(b">", self.parser.CurrentByteIndex) + 1


def _parse_name(text: str) -> Name:
    """A name as expat gives it: its namespace, itself and its prefix, of which all but itself may be missing."""
    parts = text.split(_SEPARATOR)
    return Name("", parts[0]) if len(parts) == 1 else Name(*parts)


def _refuse(*_: object) -> None:
    raise ValueError("an XMP packet has no document type")
