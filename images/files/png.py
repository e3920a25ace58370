"""A walk over a PNG file (PNG specification, third edition), chunk by chunk.

Kept are the header, the palette and the pixels of the still image; transparency is dropped by rule.
The check sums of these must be right. All other chunks are not pixels, so it does not matter
whether theirs are, or what they would inflate to.
"""

import struct
import zlib

from images.errors import damaged
from images.files.found import Found
from images.files.orientation import orientation
from images.limits import Cost, ImageLimits

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP = b"XML:com.adobe.xmp\0"
END = b"\0\0\0\0IEND\xae\x42\x60\x82"
PIXELS = frozenset({b"IHDR", b"PLTE", b"IDAT"})
GREY, PALETTE = 0, 3
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


class Walk:
    """One walk over one file."""

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self._data, self._limits = data, limits
        self._header: tuple[int, ...] | None = None
        self._palette, self._pixels = b"", list[memoryview]()
        self._exif = self._xmp = b""
        self._is_bare = True

    def run(self) -> Found:
        """Return what was found; raise `ImageError`."""
        at, parts, end = len(SIGNATURE), 0, len(self._data)
        while at + 8 <= end:
            parts += 1
            self._limits.check_parts(parts, "chunks")
            length, kind = struct.unpack_from(">I4s", self._data, at)
            body, at = at + 8, at + 12 + length
            if kind in PIXELS:
                _check(memoryview(self._data), body, length, kind)
            elif kind == b"IEND" or at > end:
                self._is_bare &= kind == b"IEND"
                break
            self._visit(kind, body, body + length)
        if self._header is None or not self._pixels:
            raise damaged("the PNG is truncated, it ends before its pixels")
        width, height = self._header[:2]
        turned = orientation([self._exif], self._xmp)
        return Found("PNG", width, height, self._reduced(), turned)

    def _visit(self, kind: bytes, start: int, stop: int) -> None:
        data = self._data
        if self._header is None:
            self._header = _header(data[start:stop], kind)
            self._limits.check_size(*self._header[:2])
            self._limits.check_cost(_cost(len(data), *self._header))
        elif kind == b"PLTE" and not self._palette:
            self._palette = data[start - 8 : stop + 4]
        elif kind == b"IDAT":
            self._pixels.append(memoryview(data)[start:stop])
        else:
            self._is_bare = False
            if kind == b"eXIf":
                self._exif = data[start:stop]
            elif kind == b"iTXt" and data.startswith(XMP, start):
                self._xmp = data[start:stop]

    def _reduced(self) -> bytes:
        """Return a file of the chunks that matter, with the pixels in one."""
        if self._is_bare and len(self._pixels) == 1:
            return self._data
        head, length = self._data[: len(SIGNATURE) + 25], sum(map(len, self._pixels))
        # Nobody checks this sum again: `_check` has.
        pixels: list[bytes | memoryview] = [
            struct.pack(">I4s", length, b"IDAT"),
            *self._pixels,
            bytes(4),
        ]
        return b"".join([head, self._palette, *pixels, END])


def walk(data: bytes, limits: ImageLimits) -> Found:
    """Return what a PNG file holds; raise `ImageError`."""
    return Walk(data, limits).run()


def _check(view: memoryview, body: int, length: int, kind: bytes) -> None:
    if body + length + 4 > len(view):
        raise damaged(
            f"the PNG is truncated: its chunk {kind.decode()} has {length} bytes, "
            f"of which {max(0, len(view) - body)} are there"
        )
    stated = int.from_bytes(view[body + length : body + length + 4])
    if zlib.crc32(view[body - 4 : body + length]) != stated:
        raise damaged(f"the PNG's check sum of {kind.decode()} is wrong")


def _header(body: bytes, kind: bytes) -> tuple[int, ...]:
    """Return width, height, bits per sample, colour type and whether it is interlaced."""
    if kind != b"IHDR" or len(body) != 13:
        raise damaged("the PNG does not begin with its header")
    width, height, bits, colour, compression, filtering, interlaced = struct.unpack_from(
        ">IIBBBBB", body
    )
    if bits not in DEPTHS.get(colour, ()):
        raise damaged(f"no PNG has {bits} bits per sample with colour type {colour}")
    if compression or filtering:
        raise damaged("the PNG is compressed or filtered in an unknown way")
    return width, height, bits, colour, interlaced


def _cost(size: int, width: int, height: int, bits: int, colour: int, interlaced: int) -> Cost:
    """Return an upper bound of what decoding takes.

    Memory per pixel: 4 bytes in Pillow and 3 as an array; less for grey. Time: to convert, most
    for a palette; per inflated byte, with the costliest filter; and per byte that is inflated,
    unless its blocks are tiny, which only the decoder finds out.
    """
    pixels, channels = width * height, CHANNELS[colour]
    inflated = height * -(-width * channels * bits // 8)
    nbytes = (3 if bits == 16 else 2) if colour == GREY else 7
    tenths = (50 if bits >= 8 else 85) if colour == GREY else (160 if colour == PALETTE else 105)
    ns = pixels * (tenths + 30 * interlaced) // 10 + 8 * inflated + 8 * size
    what = f"PNG of {pixels / 1e6:.1f} megapixels, {inflated / 1e6:.1f} MB inflated"
    return Cost(what, pixels * nbytes + 2 * size, ns)
