"""The size of a plain JPEG from its segments, many times faster than opening it (ITU-T T.81, B)."""

from typing import NamedTuple

START_OF_IMAGE = b"\xff\xd8"
FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # Huffman-coded: baseline, extended, progressive
TABLES = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})  # and comments, applications
START_OF_SCAN, APP1, APP2 = 0xDA, 0xE1, 0xE2
GREY, RGB = 1, 3


class JpegSize(NamedTuple):
    """Width and height, in pixels."""

    width: int
    height: int


def plain_jpeg_size(data: bytes) -> JpegSize | None:
    """Return the size of an upright JPEG of 8-bit grey or RGB; None for whatever may be another.

    None says nothing of soundness: the image may be turned by EXIF data, hold several pictures,
    be CMYK, of another format or damaged.
    """
    if not data.startswith(START_OF_IMAGE):
        return None
    size, at, end = None, 2, len(data)
    while at + 4 <= end and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == START_OF_SCAN:
            return size
        if marker in FRAMES and size is None:
            size = _frame(data[at + 4 : at + 2 + length])
        elif marker not in TABLES or _turns(marker, data, at + 4):
            return None
        at += 2 + length
    return None


def _frame(segment: bytes) -> JpegSize | None:
    if len(segment) < 6 or segment[0] != 8 or segment[5] not in (GREY, RGB):
        return None
    height, width = int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
    return JpegSize(width, height) if width and height else None


def _turns(marker: int, data: bytes, at: int) -> bool:
    """Whether an application segment may hold an orientation, or tell of further pictures."""
    return marker == APP1 or (marker == APP2 and data.startswith(b"MPF\0", at))
