"""The header of a lossy WebP's frame: how coarsely its coefficients were quantized (RFC 6386)."""

from typing import BinaryIO

_SEGMENTS = 4
_HEADER_BYTES = 512  # of a frame, more than its header's quantizers take


def quantizer_index(stream: BinaryIO) -> float | None:
    """The mean index (0, the finest, to 127) of a lossy WebP's quantizers; None for a lossless or damaged file.

    Where the encoder has sorted the blocks into segments, each with an index of its own, they are weighted by how often the
    header expects a block in each. The stream is left where it was.
    """
    position = stream.tell()
    try:
        stream.seek(0)
        frame = _frame(stream)
    finally:
        stream.seek(position)
    # RFC 6386, section 9.1: a key frame has a cleared lowest bit and a start code.
    if frame is None or frame[0] & 1 or frame[3:6] != b"\x9d\x01\x2a":
        return None
    return _mean_index(BoolDecoder(frame[10:]))


def _frame(stream: BinaryIO) -> bytes | None:
    """The beginning of the frame in a RIFF file: of its chunk `VP8 `, which a lossless file has not."""
    if stream.read(4) != b"RIFF" or stream.read(8)[4:] != b"WEBP":
        return None
    while len(head := stream.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"VP8 ":
            frame = stream.read(min(size, _HEADER_BYTES))
            return frame if len(frame) > 10 else None
        stream.seek(size + size % 2, 1)
    return None


class BoolDecoder:
    """The arithmetic decoder of RFC 6386, section 7; data that has ended goes on with zeros."""

    def __init__(self, data: bytes):
        self._data = data
        self._value = int.from_bytes(data[:2].ljust(2, b"\0"), "big")
        self._next, self._range, self._shifted = 2, 255, 0

    def bit(self, probability: int = 128) -> int:
        """The next bit; probability: of a zero, in 256ths."""
        split = 1 + ((self._range - 1) * probability >> 8)
        found = int(self._value >= split << 8)
        if found:
            self._value -= split << 8
            self._range -= split
        else:
            self._range = split
        while self._range < 128:
            self._value, self._range, self._shifted = self._value << 1, self._range << 1, self._shifted + 1
            if self._shifted == 8:
                self._value |= self._data[self._next] if self._next < len(self._data) else 0
                self._next, self._shifted = self._next + 1, 0
        return found

    def number(self, bits: int) -> int:
        """The next unsigned number of some bits, the highest first."""
        value = 0
        for _ in range(bits):
            value = value << 1 | self.bit()
        return value

    def optional(self, bits: int) -> int:
        """The next number with a sign behind it where a flag before it is set, else 0."""
        if not self.bit():
            return 0
        value = self.number(bits)
        return -value if self.bit() else value


def _mean_index(header: BoolDecoder) -> float:
    """The mean index of a key frame's header, RFC 6386, section 9.2 to 9.6."""
    header.number(2)  # color space and clamping
    segments, absolute, shares = [0] * _SEGMENTS, False, [1.0, 0.0, 0.0, 0.0]
    if header.bit():
        changes_map, changes_data = header.bit(), header.bit()
        if changes_data:
            absolute = bool(header.bit())
            segments = [header.optional(7) for _ in range(_SEGMENTS)]
            for _ in range(_SEGMENTS):
                header.optional(6)  # strength of the loop filter
        if changes_map:
            first, low, high = ((header.number(8) if header.bit() else 255) / 255 for _ in range(3))
            shares = [first * low, first * (1 - low), (1 - first) * high, (1 - first) * (1 - high)]
    header.number(1 + 6 + 3)  # the loop filter
    if header.bit() and header.bit():
        for _ in range(8):
            header.optional(6)
    header.number(2)  # partitions
    index = header.number(7)
    indices = [each if absolute else index + each for each in segments]
    return sum(share * min(127, max(0, each)) for share, each in zip(shares, indices, strict=True))
