"""Which way up an image is, from its metadata; junk turns nothing."""

import re
import struct
from collections.abc import Iterable

ORIENTATION_TAG = 0x0112
UPRIGHT, TURNS = 1, frozenset(range(2, 9))
SWAPS_AXES = frozenset({5, 6, 7, 8})
ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# Types of an unsigned number; the standard says SHORT. Any other is not an orientation.
VALUES = {1: "B", 3: "H", 4: "I"}
XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
PREFIX = b"Exif\0\0"


def orientation(exif: Iterable[bytes], xmp: bytes = b"") -> int:
    """Return EXIF's orientation, 1 to 8.

    Only the first directory is looked at (TIFF 6.0, section 2), and in it only this tag: whatever
    else is broken there does not matter to the pixels. Without one, XMP's counts, as in Pillow.

    Args:
        exif: the pieces of the Exif data, a TIFF file.
        xmp: the XMP packet.
    """
    found = _of_tiff(b"".join(exif))
    if found is None:
        match = XMP.search(xmp)
        found = int(match[1]) if match else UPRIGHT
    return found if found in TURNS else UPRIGHT


def _of_tiff(tiff: bytes) -> int | None:
    tiff = tiff.removeprefix(PREFIX)
    order = ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return None
    [start] = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return None
    [count] = struct.unpack_from(f"{order}H", tiff, start)
    whole = min(count, (len(tiff) - start - 2) // 12)
    directory = memoryview(tiff)[start + 2 : start + 2 + 12 * whole]
    found = None
    for tag, kind, number, value in struct.iter_unpack(f"{order}HHI4s", directory):
        if tag == ORIENTATION_TAG:
            form = VALUES.get(kind) if number == 1 else None
            found = struct.unpack_from(order + form, value)[0] if form else UPRIGHT
    return found
