"""Format and size of an image in a few microseconds, for admission on gRPC's thread.

`read_header` asks the decoders and is the judge, on a decode thread; this looks at fixed places,
so that no file, however it is made, holds that thread up.
"""

import struct

from images.decoders import Header

MOST_SEGMENTS = 64
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def peek(data: bytes) -> Header | None:
    """Return what the file claims (width and height before EXIF orientation), None if nothing."""
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
    """Walk the segments to the frame header (ITU-T T.81, annex B)."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        start, marker, length = struct.unpack_from(">BBH", data, at)
        if start != 0xFF:
            return None
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Header("JPEG", width, height)
        at += 2 + length
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
