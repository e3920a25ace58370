"""A walk over a WebP file (RFC 9649), chunk by chunk.

Kept is the bare picture, the first of an animation; alpha is dropped by rule.
"""

import struct
from typing import NamedTuple

from images.errors import damaged
from images.files import vp8l
from images.files.found import Found
from images.files.orientation import orientation
from images.limits import Cost, ImageLimits

LOSSY, LOSSLESS, EXTENDED, FRAME = b"VP8 ", b"VP8L", b"VP8X", b"ANMF"
HAS_EXIF, HAS_XMP, IS_ANIMATED = 0x08, 0x04, 0x02
EXTENDED_HEADER, FRAME_HEADER = 10, 16
BYTES_PER_GROUP, NS_PER_GROUP, NS_PER_STEP = 13_000, 25_000, 2_000


class Chunk(NamedTuple):
    """One chunk: its kind, and where its contents begin and end."""

    kind: bytes
    start: int
    stop: int


def walk(data: bytes, limits: ImageLimits) -> Found:
    """Return what a WebP file holds; raise `ImageError`."""
    stop = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    chunks = _chunks(data, 12, stop, limits)
    if not chunks:
        raise damaged("the WebP is truncated, its first chunk is not whole")
    if chunks[0].kind not in (LOSSY, LOSSLESS, EXTENDED):
        raise damaged("the WebP does not begin with a picture or its size")
    first = chunks[0]
    if first.kind != EXTENDED:
        return _picture(data, chunks, limits)
    if first.stop - first.start < EXTENDED_HEADER:
        raise damaged("the WebP's header is too short")
    flags = data[first.start]
    exif = _contents(data, chunks, b"EXIF") if flags & HAS_EXIF else b""
    xmp = _contents(data, chunks, b"XMP ") if flags & HAS_XMP else b""
    width, height = (_u24(data, first.start + 4 + 3 * axis) + 1 for axis in range(2))
    limits.check_size(width, height)
    read = _first_frame if flags & IS_ANIMATED else _still
    found = read(data, chunks, (width, height), limits)
    return found._replace(width=width, height=height, orientation=orientation([exif], xmp))


def _still(data: bytes, chunks: list[Chunk], size: tuple[int, int], limits: ImageLimits) -> Found:
    found = _picture(data, chunks, limits)
    if (found.width, found.height) != size:
        stated, is_there = f"{size[0]} x {size[1]}", f"{found.width} x {found.height}"
        raise damaged(f"the WebP says {stated} pixels, its picture {is_there}")
    return found


def _first_frame(
    data: bytes, chunks: list[Chunk], size: tuple[int, int], limits: ImageLimits
) -> Found:
    """Return the first frame of an animation, and where it lies on the canvas."""
    frame = next((chunk for chunk in chunks if chunk.kind == FRAME), None)
    if frame is None or frame.stop - frame.start < FRAME_HEADER:
        raise damaged("the animated WebP has no frame, or it is truncated")
    limits.check_cost(_cost(len(data), *size, is_lossy=False))
    left, top = (2 * _u24(data, frame.start + 3 * axis) for axis in range(2))
    inside = _chunks(data, frame.start + FRAME_HEADER, frame.stop, limits)
    found = _picture(data, inside, limits)._replace(left=left, top=top)
    if left + found.width > size[0] or top + found.height > size[1]:
        raise damaged("the WebP's first frame lies outside its canvas")
    return found


def _chunks(data: bytes, at: int, stop: int, limits: ImageLimits) -> list[Chunk]:
    """Return the whole chunks up to `stop`; the last may lack its byte of padding."""
    chunks: list[Chunk] = []
    while at + 8 <= stop:
        kind, length = struct.unpack_from("<4sI", data, at)
        start, at = at + 8, at + 8 + length + (length & 1)
        if start + length > stop:
            break
        chunks.append(Chunk(kind, start, start + length))
        limits.check_parts(len(chunks), "chunks")
    return chunks


def _contents(data: bytes, chunks: list[Chunk], kind: bytes) -> bytes:
    return next((data[chunk.start : chunk.stop] for chunk in chunks if chunk.kind == kind), b"")


def _picture(data: bytes, chunks: list[Chunk], limits: ImageLimits) -> Found:
    """Return the first picture by itself, with the size that its own header states."""
    chunk = next((chunk for chunk in chunks if chunk.kind in (LOSSY, LOSSLESS)), None)
    if chunk is None:
        raise damaged("the WebP has no picture, or it is truncated")
    width, height = _size(data[chunk.start : min(chunk.stop, chunk.start + 10)], chunk.kind)
    limits.check_size(width, height)
    if chunk.kind == LOSSY:
        limits.check_cost(_cost(len(data), width, height, is_lossy=True))
    else:
        limits.check_cost(_lossless_cost(memoryview(data)[chunk.start : chunk.stop], width, height))
    length = chunk.stop - chunk.start
    if chunk.start == 20 and chunk.stop + (length & 1) == len(data):
        return Found("WEBP", width, height, data)
    body = data[chunk.start : chunk.stop] + bytes(length & 1)
    head = struct.pack("<4sI4s4sI", b"RIFF", 12 + len(body), b"WEBP", chunk.kind, length)
    return Found("WEBP", width, height, head + body)


def _size(head: bytes, kind: bytes) -> tuple[int, int]:
    if kind == LOSSY and len(head) == 10 and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == LOSSLESS and len(head) >= 5 and head[0] == 0x2F:
        [bits] = struct.unpack_from("<I", head, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise damaged("the WebP's picture has no header")


def _u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _cost(size: int, width: int, height: int, *, is_lossy: bool) -> Cost:
    """Return an upper bound of what decoding takes: memory of 7 bytes per pixel."""
    pixels = width * height
    ns = 31 * pixels + 18 * size if is_lossy else 16 * pixels + 12 * size
    return Cost(f"WebP of {pixels / 1e6:.1f} megapixels", 7 * pixels + 2 * size, ns)


def _lossless_cost(body: memoryview, width: int, height: int) -> Cost:
    """Return likewise; each Huffman group has tables of its own, and is found step by step."""
    walk = vp8l.Walk(body)
    groups = walk.groups(width, height)
    what, nbytes, ns = _cost(len(body), width, height, is_lossy=False)
    ns += groups * NS_PER_GROUP + walk.steps * NS_PER_STEP
    return Cost(f"{what}, {groups} Huffman groups", nbytes + groups * BYTES_PER_GROUP, ns)
