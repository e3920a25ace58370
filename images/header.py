"""What an image file says of itself in its first bytes: microseconds, however the file is made.

Only fixed places are looked at, and a bounded number of JPEG segments, so that `sniff` may run on
a thread that must not be held up. It judges no file: `walk` has the last word.
"""

import struct
from typing import NamedTuple

# An ICC profile alone may take 255.
MOST_SEGMENTS = 320
START_OF_SCAN = 0xDA
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Header(NamedTuple):
    """Format and size of an image file, before its pixels are decoded."""

    format: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height


def sniff(data: bytes) -> Header | None:
    """Return what the file claims, with its size before EXIF orientation; None if nothing."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return Header("PNG", *struct.unpack_from(">II", data, 16))
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        return _bmp(data) if data.startswith(b"BM") else None
    except struct.error:
        return None


def _jpeg(data: bytes) -> Header | None:
    """Walk the segments up to the frame (ITU-T T.81, annex B)."""
    at, end = 2, len(data)
    for _ in range(MOST_SEGMENTS):
        if at + 4 > end or data[at] != 0xFF or data[at + 1] == START_OF_SCAN:
            return None
        if data[at + 1] in FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Header("JPEG", width, height)
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return None


def _webp(data: bytes) -> Header | None:
    """Read the first chunk (RFC 9649): lossy, lossless or extended."""
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF)
    if chunk == b"VP8L":
        [bits] = struct.unpack_from("<I", data, 21)
        return Header("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if chunk == b"VP8X":
        low, high = struct.unpack_from("<II", data, 23)
        return Header("WEBP", (low >> 8) + 1, (high & 0xFFFFFF) + 1)
    return None


def _bmp(data: bytes) -> Header:
    """Read the information header; a negative height only turns the rows."""
    [header_bytes] = struct.unpack_from("<I", data, 14)
    form = "<HH" if header_bytes == 12 else "<ii"
    width, height = struct.unpack_from(form, data, 18)
    return Header("BMP", abs(width), abs(height))
