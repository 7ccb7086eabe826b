"""What lossy compression did to a photograph, which decides on the network that enlarges it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from percept_cli.errors import UsageError

if TYPE_CHECKING:
    from percept_cli.core.images.photo import Photo

AUTO, NONE = "auto", "none"
FILE, PIXELS, GIVEN = "file", "pixels", "given"
# Of a file that was saved at this quality or a lower one, the pixels tell nothing that would change the network.
CERTAIN = 82


@dataclass(frozen=True)
class Compression:
    """How much a picture lost: `quality`, 1 to 100, of a JPEG that loses as much; None if it lost nothing that is known.

    source: FILE, PIXELS or GIVEN, how that is known.
    """

    quality: int | None = None
    source: str = GIVEN


def parse_compression(text: str) -> int | str:
    """The value of `--compression`: `auto`, `none` or a quality from 1 to 100. Raises UsageError for another."""
    if text in (AUTO, NONE):
        return text
    if text.isdecimal() and 1 <= int(text) <= 100:
        return int(text)
    raise UsageError(f"--compression {text}: give auto, none or the quality of a JPEG, 1 to 100.")


def find_compression(photo: "Photo", given: int | str = AUTO) -> Compression:
    """The compression of a photograph. given: as `parse_compression` returns it.

    `auto` is what the file tells (`Photo.compression`), and what the pixels tell where the file tells nothing or a quality
    above `CERTAIN`: traces of a JPEG that was saved again, without loss or at a better quality; the worse one counts. They
    are searched for in a tenth of a second, whatever the size.
    """
    if given == NONE:
        return Compression()
    if isinstance(given, int):
        return Compression(given, GIVEN)
    told = photo.compression
    if told is not None and told <= CERTAIN:
        return Compression(told, FILE)
    from percept_cli.core.images.quantization import measured_quality  # only here, for its tables

    measured = measured_quality(photo.pixels[0].numpy())
    if told is not None and (measured is None or measured >= told):
        return Compression(told, FILE)
    return Compression() if measured is None else Compression(measured, PIXELS)
