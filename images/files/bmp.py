"""A look at the headers of a BMP file, which has nothing but pixels behind them."""

import struct

from images.errors import ImageError, damaged
from images.files.found import Found
from images.limits import Cost, ImageLimits

CORE, HEADERS = 12, frozenset({40, 52, 56, 64, 108, 124})
DEPTHS = (1, 4, 8, 16, 24, 32)
PLAIN, RUN_LENGTHS, BIT_FIELDS = 0, (1, 2), 3


def walk(data: bytes, limits: ImageLimits) -> Found:
    """Return what a BMP file holds; raise `ImageError`."""
    try:
        width, height, bits, compression = _header(data)
    except struct.error as error:
        raise damaged("the BMP is truncated, it ends in its header") from error
    limits.check_size(width, height)
    if compression in RUN_LENGTHS:
        raise ImageError(
            "the image is a BMP with run-length compression, which is not read; "
            "save it without compression, or as PNG"
        )
    if bits not in DEPTHS or compression not in (PLAIN, BIT_FIELDS):
        raise damaged(f"a BMP of {bits} bits per pixel, compression {compression}, is not read")
    needed = height * ((width * bits + 31) // 32 * 4)
    if needed > len(data):
        raise damaged(f"the BMP is truncated: {needed} bytes of pixels in a file of {len(data)}")
    pixels = width * height
    what = f"BMP of {pixels / 1e6:.1f} megapixels"
    limits.check_cost(Cost(what, pixels * 7 + 2 * len(data), pixels * 15))
    return Found("BMP", width, height, data)


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Return width, height, bits per pixel and compression."""
    [header] = struct.unpack_from("<I", data, 14)
    if header == CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return width, height, bits, PLAIN
    if header not in HEADERS:
        raise damaged(f"no BMP has a header of {header} bytes")
    width, height, _, bits, compression = struct.unpack_from("<IIHHI", data, 18)
    # Rows from the top have a negative height; no other number is near 2 ** 32.
    return width, 2**32 - height if height >> 24 == 0xFF else height, bits, compression
