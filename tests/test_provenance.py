"""The file of a result tells how it was made, keeps what the photograph told, and claims nothing that is not true of it."""

import io
import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageCms, ImageFile, PngImagePlugin
from PIL.ExifTags import Base

from percept_cli.core.images.attachments import CREDENTIAL, GAIN_MAP, find_attachments
from percept_cli.core.images.decode import load_image, read_record
from percept_cli.core.images.encode import encode_image, save_image
from percept_cli.core.images.photo import Photo
from percept_cli.core.images.provenance import CHANGED, MADE, RECORD, SOURCE_TYPE, Record, name_of, parse_record
from percept_cli.core.images.xmp import RDF, Name, read_property, with_properties, without_properties
from percept_cli.errors import ImageError
from tests.conftest import Percept

TITLE = Name("http://purl.org/dc/elements/1.1/", "title", "dc")
RATING = Name("http://ns.adobe.com/xap/1.0/", "Rating", "xmp")
HDRGM = Name("http://ns.adobe.com/hdr-gain-map/1.0/", "Version", "hdrgm")
EXTENSIONS = ["png", "jpg", "webp", "avif", "tif"]
# As programs write it: a rating in an attribute, a title in a list, a comment, and room at the end.
PACKET = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><!-- by hand -->
<rdf:Description rdf:about="uuid:7" xmlns:xmp="{RATING.namespace}" xmlns:dc="{TITLE.namespace}"
  xmp:Rating="5"><dc:title><rdf:Alt><rdf:li xml:lang="x-default">Föhr &amp; Amrum</rdf:li></rdf:Alt></dc:title>
</rdf:Description></rdf:RDF></x:xmpmeta>
{" " * 200}<?xpacket end="w"?>""".encode()


def record(**changes: object) -> Record:
    made = Record(
        "0.1", "2.6", "upscale", ("--x2", "--look", "faithful"), "Küste <1>.jpg", "ab" * 32,
        {"swift-x2": "cd" * 32}, {"sky & sea.png": "ef" * 32}, "cpu", "bf16", 2,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def photo(**changes: object) -> Photo:
    made = Photo(torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0)))
    return replace(made, **changes)  # type: ignore[arg-type]


def packet_of(data: bytes) -> bytes:
    info = Image.open(io.BytesIO(data)).info
    found = info.get("xmp") or info["XML:com.adobe.xmp"]
    return found if isinstance(found, bytes) else found.encode()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_record_comes_back_from_its_file(tmp_path: Path, extension: str, bits: int) -> None:
    """With names that XML and ASCII cannot hold as they are; the pixels are those of a file without a record."""
    path, plain = tmp_path / f"a.{extension}", tmp_path / f"b.{extension}"
    assert save_image(photo(bits=bits), path, record=record()) == save_image(photo(bits=bits), plain)
    assert read_record(path) == record()
    assert torch.equal(load_image(path).pixels, load_image(plain).pixels)
    with pytest.raises(ImageError, match=r"b\.\w+' has no record of how it was made: percept did not make it"):
        read_record(plain)


def test_a_png_has_its_record_in_a_text_that_any_program_shows() -> None:
    data = encode_image(photo(), ".png", record=record())[0]
    assert json.loads(Image.open(io.BytesIO(data)).info["percept"])["arguments"] == ["--x2", "--look", "faithful"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_what_the_photograph_told_is_not_lost(extension: str) -> None:
    """The packet is as it was, to the byte, but for what is added; EXIF and its Software are the photograph's."""
    exif = Image.Exif()
    exif[Base.Software], exif[Base.ImageDescription] = "darkroom", "The sea"
    told = photo(xmp=PACKET, exif=exif.tobytes())
    data, notes = encode_image(told, f".{extension}", record=record())
    packet = packet_of(data)
    assert notes == ()
    assert read_property(packet, TITLE) == "Föhr & Amrum" and read_property(packet, RATING) == "5"
    end = PACKET.index(b"</rdf:RDF>")
    assert packet.startswith(PACKET[:end]) and packet.endswith(PACKET[end:])
    with Image.open(io.BytesIO(data)) as saved:
        assert (saved.getexif()[Base.Software], saved.getexif()[Base.ImageDescription]) == ("darkroom", "The sea")


def test_added_properties_can_be_taken_out_again() -> None:
    """What is left beside the empty description is the packet as it was; the description names the same resource."""
    added = with_properties(PACKET, {RECORD: "1 < 2"})
    assert added is not None and b'rdf:about="uuid:7"><percept:record>1 &lt; 2</percept:record>' in added
    again = with_properties(added, {RECORD: "3"})
    assert again is not None and read_property(again, RECORD) == "3" and again.count(b"percept:record>") == 2
    start, end = added.index(b"<rdf:Description xmlns:rdf"), added.index(b"</rdf:RDF>")
    assert added[:start] + added[end:] == PACKET


def test_an_attribute_is_taken_out_by_its_name_and_not_by_its_looks() -> None:
    """Text that looks like the attribute, in the value of another one, stays."""
    text = f"""<r:RDF xmlns:r="{RDF}"><r:Description xmlns:h="{HDRGM.namespace}" xmlns:d="{TITLE.namespace}"
      d:title="h:Version='1.0' > 0" h:Version='1.0'/></r:RDF>""".encode()
    assert without_properties(text, lambda name: name.key == HDRGM.key) == text.replace(b" h:Version='1.0'/>", b"/>")


def test_an_empty_packet_and_one_that_is_none() -> None:
    """`<rdf:RDF/>` is opened. A document type, which could define entities, is not read; nor is what is no XML."""
    filled = with_properties(f'<x xmlns:r="{RDF}"><r:RDF/></x>'.encode(), {RECORD: "1"})
    assert filled is not None and filled.endswith(b"</r:RDF></x>") and read_property(filled, RECORD) == "1"
    entity = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + filled.replace(b">1<", b">&a;<")
    for broken in (entity, b"<x/>", b"<x:y/>", b"\xff\xfe"):
        assert read_property(broken, RECORD) is None and with_properties(broken, {RECORD: "1"}) is None


def test_a_packet_that_cannot_be_read_gives_way_to_the_record(tmp_path: Path) -> None:
    notes = save_image(photo(xmp=b"<x:y/>"), tmp_path / "a.jpg", record=record())
    assert notes == ("The XMP data is damaged: it is not kept",)
    assert read_record(tmp_path / "a.jpg") == record()


def test_a_packet_that_leaves_no_room_stays() -> None:
    """A segment of a JPEG holds 65,504 bytes of XMP; the photograph's own come first."""
    large = with_properties(PACKET, {Name("urn:x/", "y", "x"): "z" * 64_000})
    data, notes = encode_image(photo(xmp=large), ".jpg", record=record(arguments=("--x2",) * 100))
    assert notes == ("The record of how it was made does not fit in a JPEG beside the XMP data",)
    assert packet_of(data) == large


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_result_says_that_a_trained_network_changed_it(extension: str) -> None:
    """By IPTC's property, in place of what the photograph said; one that a network made altogether still says that."""
    for before, after in ((None, CHANGED), (f"{CHANGED[:-42]}digitalCapture", CHANGED), (MADE, MADE)):
        told = with_properties(PACKET, {SOURCE_TYPE: before}) if before else None
        packet = packet_of(encode_image(photo(xmp=told), f".{extension}", record=record())[0])
        assert read_property(packet, SOURCE_TYPE) == after and packet.count(b"DigitalSourceType>") == 2


def test_a_result_of_a_result_has_its_own_record_alone(tmp_path: Path) -> None:
    """That of the first result is true of other pixels; without a new one there is none."""
    save_image(photo(), tmp_path / "first.jpg", record=record())
    again = load_image(tmp_path / "first.jpg")
    save_image(again, tmp_path / "second.jpg", record=record(input="first.jpg"))
    save_image(again, tmp_path / "third.jpg")
    assert read_record(tmp_path / "second.jpg").input == "first.jpg"
    with pytest.raises(ImageError, match="has no record"):
        read_record(tmp_path / "third.jpg")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_stripped_is_without_all_but_colors(extension: str) -> None:
    """No EXIF, no XMP, no text; the color profile stays, without which the colors would be others."""
    exif = Image.Exif()
    exif[Base.Make] = "Percept"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    told = photo(xmp=PACKET, exif=exif.tobytes(), icc=icc)
    data = encode_image(told.without_metadata(), f".{extension}")[0]
    with Image.open(io.BytesIO(data)) as saved:
        assert saved.info["icc_profile"] == icc and Base.Make not in saved.getexif()
        assert not {"xmp", "XML:com.adobe.xmp", "percept"} & saved.info.keys()
    assert b"adobe:ns:meta" in encode_image(told, f".{extension}")[0] and b"adobe:ns:meta" not in data


def test_names_are_without_folders() -> None:
    given = ["/home/ann/a.jpg", "a.jpg", "C:\\Users\\ann\\a.jpg", "masks/", "./a.jpg", "12:30.jpg"]
    assert [name_of(path) for path in given] == ["a.jpg", "a.jpg", "a.jpg", "masks", "a.jpg", "12:30.jpg"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ("[" * 100_000, "too deep"),
        ("[]", "it is no JSON object"),
        (record().to_json().replace('"threads": 2', '"threads": "2"'), "its entry 'threads' is missing or of another"),
        (record().to_json().replace('"--x2"', "2"), "its entry 'arguments' is missing or of another type"),
        (record().to_json().replace('"input":', '"in":'), "its entry 'input' is missing"),
        (" " * (1 << 20) + record().to_json(), "longer than 1048576 bytes"),
    ],
)
def test_a_record_of_another_kind_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_record(text)


def test_a_record_that_tells_more_is_read() -> None:
    """A later version of percept may add entries."""
    assert parse_record(json.dumps({**json.loads(record().to_json()), "later": [1]})) == record()


def signed(extension: str) -> bytes:
    """A picture with a box, chunk or segment as appendix A of C2PA 2.1 places a manifest in; the manifest itself is empty."""
    jumbf = (
        struct.pack(">I4sI4s", 38, b"jumb", 30, b"jumd") + b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x008\x9bq\x03c2pa\x00"
    )
    buffer = io.BytesIO()
    picture = Image.new("RGB", (9, 7))
    if extension == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add(b"caBX", jumbf)
        picture.save(buffer, "PNG", pnginfo=chunks)
    elif extension == "jpg":
        picture.save(buffer, "JPEG")
        payload = b"JP\0\1\0\0\0\1" + jumbf
        segment = b"\xff\xeb" + struct.pack(">H", len(payload) + 2) + payload
        return buffer.getvalue()[:2] + segment + buffer.getvalue()[2:]
    elif extension == "webp":
        picture.save(buffer, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")  # the extended form, which has chunks
        data = buffer.getvalue() + b"C2PA" + struct.pack("<I", len(jumbf)) + jumbf
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    elif extension == "tif":
        exif = Image.Exif()
        exif[0xCD41] = jumbf
        picture.save(buffer, "TIFF", exif=exif)
    elif extension == "gif":
        picture.save(buffer, "GIF")
        data, block = buffer.getvalue(), b"\x21\xff\x0bC2PA_GIF\x01\0\0" + bytes([len(jumbf)]) + jumbf + b"\0"
        place = data.index(b"\x2c", 13)
        return data[:place] + block + data[place:]
    else:
        picture.save(buffer, "AVIF")
        kind = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
        data = buffer.getvalue()
        return data + struct.pack(">I4s", 24 + len(jumbf), b"uuid") + kind + jumbf
    return buffer.getvalue()


@pytest.mark.parametrize("extension", [*EXTENSIONS, "gif"])
def test_a_content_credential_is_named_as_lost(extension: str) -> None:
    """It signs the bytes of the photograph: the result has nothing of it, and says so once."""
    source = load_image(io.BytesIO(signed(extension)))
    assert source.notes == () and source.lost == (CREDENTIAL,)
    written = "png" if extension == "gif" else extension
    data, notes = encode_image(source, f".{written}", record=record())
    assert notes == (CREDENTIAL,)
    assert not any(mark in data for mark in (b"caBX", b"jumb", b"C2PA", b"c2pa"))
    assert load_image(io.BytesIO(data)).lost == ()


def test_a_link_to_a_credential_elsewhere_is_one_too() -> None:
    """In XMP, by dcterms:provenance. The result's XMP does not point to a manifest of other pixels."""
    link = Name("http://purl.org/dc/terms/", "provenance", "dcterms")
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7)).save(buffer, "JPEG", xmp=with_properties(PACKET, {link: "https://example.org/m.c2pa"}))
    source = load_image(io.BytesIO(buffer.getvalue()))
    data, notes = encode_image(source, ".jpg")
    assert notes == (CREDENTIAL,) and b"example.org" not in data
    assert read_property(packet_of(data), RATING) == "5"


def gain_mapped(kind: str) -> bytes:
    """A JPEG of a telephone with the picture of a gain map behind it, told of by XMP or by a segment."""
    picture, gain_map, buffer = Image.new("RGB", (16, 8), "red"), Image.new("L", (4, 2)), io.BytesIO()
    xmp, behind = PACKET, b""
    if kind == "Ultra HDR":
        directory = Name("http://ns.google.com/photos/1.0/container/", "Directory", "Container")
        told = with_properties(PACKET, {HDRGM: "1.0", directory: "GainMap"})
        assert told is not None
        xmp = told
    elif kind == "Apple":
        told = with_properties(None, {Name("http://ns.apple.com/HDRGainMap/1.0/", "HDRGainMapVersion", "HDR"): "65536"})
        assert told is not None
        behind = told
    gain_map.encoderinfo = {"xmp": behind}  # of the second picture
    picture.save(buffer, "MPO", save_all=True, append_images=[gain_map], xmp=xmp)
    data = buffer.getvalue()
    if kind == "ISO":
        payload = b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"
        data = data[:2] + b"\xff\xe2" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
    return data


@pytest.mark.parametrize("kind", ["Ultra HDR", "Apple", "ISO"])
def test_a_gain_map_is_named_as_lost(kind: str) -> None:
    """The result has one picture, and says nowhere that a gain map follows; the rest of the XMP stays."""
    source = load_image(io.BytesIO(gain_mapped(kind)))
    assert source.lost == (GAIN_MAP,)
    data, notes = encode_image(source, ".jpg", record=record())
    assert notes == (GAIN_MAP,)
    packet = packet_of(data)
    assert read_property(packet, HDRGM) is None and b"Directory" not in packet and b"GainMap" not in packet
    assert read_property(packet, TITLE) == "Föhr & Amrum"
    assert load_image(io.BytesIO(data)).lost == ()


def test_the_gain_map_of_an_avif_is_named_by_a_brand() -> None:
    """At the beginning of the file; elsewhere the four letters mean nothing."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7)).save(buffer, "AVIF")
    data = buffer.getvalue()
    assert data[:32].endswith(b"MA1B")
    with Image.open(buffer) as image:
        assert isinstance(image, ImageFile.ImageFile)
        assert find_attachments(image, io.BytesIO(data[:28] + b"tmap" + data[32:]), None) == (GAIN_MAP,)
        assert find_attachments(image, io.BytesIO(data + b"tmap"), None) == ()


def test_of_a_telephones_xmp_what_is_true_of_the_result_stays() -> None:
    """A panorama is one still; a video behind the photograph, a map of depth and more XMP are in the telephone's file alone."""
    google = "http://ns.google.com/photos/1.0/"
    panorama = Name(f"{google}panorama/", "ProjectionType", "GPano")
    gone = [
        Name(f"{google}camera/", "MotionPhoto", "GCamera"),
        Name(f"{google}depthmap/", "Format", "GDepth"),
        Name("http://ns.adobe.com/xmp/note/", "HasExtendedXMP", "xmpNote"),
    ]
    buffer = io.BytesIO()
    told = with_properties(PACKET, {panorama: "equirectangular"} | dict.fromkeys(gone, "1"))
    Image.new("RGB", (9, 7)).save(buffer, "JPEG", xmp=told)
    kept = load_image(io.BytesIO(buffer.getvalue())).xmp
    assert kept is not None and read_property(kept, panorama) == "equirectangular"
    assert [read_property(kept, name) for name in gone] == [None] * 3


@pytest.mark.parametrize("option", ["--quality=90", "--strip"])
def test_a_command_says_it_once_for_each_picture(tmp_path: Path, percept: Percept, option: str) -> None:
    """Of a signed one and of one with a gain map; with --strip too, as a gain map is more than metadata."""
    (tmp_path / "signed.jpg").write_bytes(signed("jpg"))
    (tmp_path / "bright.jpg").write_bytes(gain_mapped("Ultra HDR"))
    outcome = percept(
        "upscale", tmp_path / "signed.jpg", tmp_path / "bright.jpg", "--x2", option, "-o", f"{tmp_path}/out/"
    )
    assert outcome.code == 0
    for name, note in (("signed", CREDENTIAL), ("bright", GAIN_MAP)):
        assert outcome.stderr.count(f"warning: {tmp_path / name}.jpg: {note}\n") == 1


def test_another_picture_behind_a_photograph_is_no_gain_map() -> None:
    assert load_image(io.BytesIO(gain_mapped("none"))).lost == ()


def test_a_damaged_head_of_a_box_ends_the_search() -> None:
    """A length of nothing, or of more than any file holds, after a picture that can be read."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7)).save(buffer, "AVIF")
    for head in (struct.pack(">I4s", 0, b"free"), struct.pack(">I4sQ", 1, b"free", 2**63 + 1), b"\0\0"):
        assert load_image(io.BytesIO(buffer.getvalue() + head)).lost == ()
