"""Image files that are small to send and were made to be expensive to read; sizes are parameters.

Each is a sound file, or near to one, that a decoder without limits would work on for seconds.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
COMMENT, APP1 = 0xFE, 0xE1
BASELINE, PROGRESSIVE = 0xC0, 0xC2
COEFFICIENTS, HIGHEST_BIT = 63, 13
EMPTY_IFD = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
SHORT, RATIONAL, UNDEFINED, SIGNED_RATIONAL = 3, 5, 7, 10
ORIENTATION, BRIGHTNESS_VALUE, SUB_IFD_FREE = 0x0112, 0x9203, 0x02BC
RLE8, RLE4 = 1, 2

# ------------------------------------------------------------------------------------------- PNG


def png_chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """Return one chunk, with another check sum than the right one if it is given."""
    right = zlib.crc32(kind + data)
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", checksum or right)


def zeros(nbytes: int, level: int = 9) -> bytes:
    """Return a zlib stream of so many zeros, a thousandth of their size."""
    packer, block = zlib.compressobj(level), bytes(min(nbytes, 1 << 20))
    parts = [packer.compress(block) for _ in range(nbytes // max(1, len(block)))]
    rest = nbytes - len(block) * len(parts)
    return b"".join([*parts, packer.compress(bytes(rest)), packer.flush()])


def png(
    width: int,
    height: int,
    *,
    bits: int = 8,
    colour: int = 0,
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
    surplus: int = 0,
) -> bytes:
    """Return a black PNG: 6 KB for 50 megapixels.

    Args:
        width: in pixels.
        height: in pixels.
        bits: per sample.
        colour: PNG's colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
        interlaced: in seven passes (Adam7).
        before: chunks before the pixels.
        after: chunks behind the pixels.
        surplus: bytes that the pixels inflate to beyond what they need.
    """
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    row = 1 + (width * CHANNELS[colour] * bits + 7) // 8
    palette = png_chunk(b"PLTE", bytes(3 << bits)) if colour == 3 else b""
    return b"".join([
        PNG_SIGNATURE, png_chunk(b"IHDR", header), palette, before,
        png_chunk(b"IDAT", zeros(row * height * (2 if interlaced else 1) + surplus)),
        after, png_chunk(b"IEND", b""),
    ])  # fmt: skip


def png_chunks(count: int, kind: bytes = b"prVt") -> bytes:
    """Return a PNG of 8 x 8 with so many empty chunks before its pixels."""
    return png(8, 8, before=png_chunk(kind, b"") * count)


def png_split(data: bytes, count: int) -> bytes:
    """Return a PNG with its pixels followed by so many empty chunks of pixels."""
    end = data.index(b"IEND") - 4
    return data[:end] + png_chunk(b"IDAT", b"") * count + data[end:]


def png_text(kind: Literal["zTXt", "iTXt", "iCCP"], inflated: int) -> bytes:
    """Return a PNG of 8 x 8 with a text or a colour profile that inflates to so many bytes."""
    head = {"zTXt": b"k\0\0", "iTXt": b"k\0\1\0\0\0", "iCCP": b"k\0\0"}[kind]
    return png(8, 8, before=png_chunk(kind.encode(), head + zeros(inflated)))


def png_empty_blocks(nbytes: int) -> bytes:
    """Return a PNG of 8 x 8 behind so many bytes of deflate blocks that hold nothing but a code.

    A decoder builds its tables for each: 45 ns per byte of the file, where pixels take 8.
    """
    lengths = {18: 2, 0: 2, 1: 1}  # of the codes of the code lengths: long runs of 0, 0 and 1
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4), *((lengths.get(n, 0), 3) for n in order)]
    # 138 and 118 unused codes, one of one bit for the end, an unused distance; then the end.
    fields += [(3, 2), (127, 7), (3, 2), (107, 7), (0, 1), (1, 2), (0, 1)]
    block = "".join(f"{value:0{bits}b}"[::-1] for value, bits in fields) * 8
    blocks = int(block[::-1], 2).to_bytes(len(block) // 8, "little")
    sound = png(8, 8)
    at = sound.index(b"IDAT")
    pixels = sound[at + 4 : at + 4 + int.from_bytes(sound[at - 4 : at])]
    stream = pixels[:2] + blocks * (nbytes // len(blocks)) + pixels[2:]
    return sound[: at - 4] + png_chunk(b"IDAT", stream) + png_chunk(b"IEND", b"")


def png_with_wrong_checksum(kind: Literal["IHDR", "IDAT", "IEND", "tEXt"]) -> bytes:
    """Return a PNG of 8 x 8 of which one chunk has a wrong check sum."""
    data = png(8, 8, before=png_chunk(b"tEXt", b"key\0value"))
    at = data.index(kind.encode())
    checksum = at + 4 + int.from_bytes(data[at - 4 : at])
    return data[:checksum] + bytes(4) + data[checksum + 4 :]


def png_exif(tiff: bytes) -> bytes:
    """Return a PNG of 8 x 8 with Exif data."""
    return png(8, 8, before=png_chunk(b"eXIf", tiff))


# ------------------------------------------------------------------------------------------ JPEG


def segment(marker: int, data: bytes) -> bytes:
    """Return one JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _tables() -> bytes:
    """A quantization table of ones, and Huffman codes: one for DC (no change), 15 for AC.

    The AC codes, all of four bits, are EOB0 to EOB14: runs of up to 32,767 empty blocks.
    """
    runs = bytes(n << 4 for n in range(15))
    return b"".join([
        segment(0xDB, b"\0" + b"\1" * 64),
        segment(0xC4, b"\x00" + bytes([1, *[0] * 15]) + b"\0"),
        segment(0xC4, b"\x10" + bytes([0, 0, 0, 15, *[0] * 12]) + runs),
    ])  # fmt: skip


def _frame(kind: int, width: int, height: int, components: int) -> bytes:
    each = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    return segment(kind, struct.pack(">BHHB", 8, height, width, components) + each)


def _scan(components: Iterable[int], first: int, last: int, high: int, low: int) -> bytes:
    named = b"".join(bytes([component, 0]) for component in components)
    limits = bytes([first, last, high << 4 | low])
    return segment(0xDA, bytes([len(named) // 2]) + named + limits)


def _padded(bits: str) -> bytes:
    """Return entropy-coded data: padded with ones, and with a zero after each byte of ones."""
    bits += "1" * (-len(bits) % 8)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1)[1:].replace(b"\xff", b"\xff\0")


def _empty_blocks(blocks: int) -> bytes:
    """Return an AC scan without a coefficient: a few bytes, whatever the size of the image."""
    bits = ""
    while blocks:
        run = min(blocks, 32767)
        power = run.bit_length() - 1
        bits += f"{power:04b}" + f"{run:b}"[1:]
        blocks -= run
    return _padded(bits)


def _blocks(width: int, height: int) -> int:
    return -(-width // 8) * -(-height // 8)


def black_jpeg(width: int, height: int, *, before: bytes = b"") -> bytes:
    """Return a grey baseline JPEG without detail, with segments in front."""
    pixels = bytes(5 * _blocks(width, height) // 8 + 1)  # a bit of DC and four of EOB for each
    frame = _frame(BASELINE, width, height, 1)
    return SOI + before + _tables() + frame + _scan([1], 0, COEFFICIENTS, 0, 0) + pixels + EOI


def progressive_scans(
    width: int, height: int, scans: int, *, components: int = 1, valid: bool = True
) -> bytes:
    """Return a progressive JPEG of so many scans, a few bytes each, which all pass every block.

    Args:
        width: in pixels.
        height: in pixels.
        scans: the first has the DC values, each of the others one bit of one coefficient.
        components: 1 or 3.
        valid: in the order that the standard allows, at most 1 + 882 per component; else one scan
            again and again, which decoders read with a warning.
    """
    numbers, empty = range(1, components + 1), _empty_blocks(_blocks(width, height))
    steps: Iterable[tuple[int, int, int, int, int]] = (
        (number, place, place, 0 if low == HIGHEST_BIT else low + 1, low)
        for number in numbers
        for place in range(1, COEFFICIENTS + 1)
        for low in range(HIGHEST_BIT, -1, -1)
    )
    if not valid:
        steps = ((1, 1, COEFFICIENTS, 1, 0) for _ in range(scans))
    parts = [SOI, _tables(), _frame(PROGRESSIVE, width, height, components)]
    parts += [_scan(numbers, 0, 0, 0, 0), bytes(_blocks(width, height) * components // 8 + 1)]
    for (number, *limits), _ in zip(steps, range(scans - 1), strict=False):
        parts += [_scan([number], *limits), empty]
    return b"".join([*parts, EOI])


def jpeg_segments(count: int, marker: int = COMMENT, data: bytes = b"") -> bytes:
    """Return a JPEG of 8 x 8 behind so many segments."""
    return black_jpeg(8, 8, before=segment(marker, data) * count)


def jpeg_fill_bytes(count: int) -> bytes:
    """Return a JPEG of 8 x 8 behind so many fill bytes, which may precede any marker."""
    return black_jpeg(8, 8, before=b"\xff" * count)


def jpeg_junk(count: int) -> bytes:
    """Return a JPEG of 8 x 8 behind so many bytes that belong to no segment."""
    return black_jpeg(8, 8, before=segment(COMMENT, b"") + bytes(count))


def jpeg_exif_joins(long_segments: int, short_segments: int) -> bytes:
    """Return a JPEG whose Exif data is in pieces: the first ones of 64 KB, the rest of a byte.

    Who joins them one by one copies the long ones for each short one.
    """
    first = segment(APP1, b"Exif\0\0" + EMPTY_IFD + bytes(65_000))
    long = segment(APP1, b"Exif\0\0" + bytes(65_500)) * long_segments
    return black_jpeg(8, 8, before=first + long + segment(APP1, b"Exif\0\0\0") * short_segments)


# ------------------------------------------------------------------------------------------ Exif


def tiff(entries: Iterable[tuple[int, int, int, int]], values: bytes = b"") -> bytes:
    """Return Exif data: a directory of (tag, type, count, value or offset), then the values."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(packed) // 12)
    return head + packed + bytes(4) + values


def turned_with_signed_rational(image: Image.Image, orientation: int = 6) -> bytes:
    """Return a JPEG that is turned, as cameras write it, and states a negative brightness."""
    entries = [(ORIENTATION, SHORT, 1, orientation), (BRIGHTNESS_VALUE, SIGNED_RATIONAL, 1, 38)]
    exif = tiff(entries, struct.pack("<ii", -71, 10))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, exif=b"Exif\0\0" + exif)
    return buffer.getvalue()


def exif_rationals(nbytes: int, tag: int = SUB_IFD_FREE) -> bytes:
    """Return Exif data in which one tag has millions of values; orientation 6."""
    entries = sorted([(ORIENTATION, SHORT, 1, 6), (tag, RATIONAL, nbytes // 8, 38)])
    return tiff(entries, struct.pack("<II", 70_001, 70_003) * (nbytes // 8))


def exif_warnings(tags: int = 65_535, seed: int = 0) -> bytes:
    """Return Exif data of which each entry lies outside, in numbers that no other file has."""
    chance = np.random.default_rng(seed)
    numbers = chance.integers(1 << 28, 1 << 32, (tags, 2)).tolist()
    return tiff((tag, UNDEFINED, count, offset) for tag, (count, offset) in enumerate(numbers))


# ------------------------------------------------------------------------------------------- BMP


def bmp(width: int, height: int, bits: int, compression: int, data: bytes) -> bytes:
    """Return a BMP with a palette of zeros if it has at most 8 bits per pixel."""
    colours = 1 << bits if bits <= 8 else 0
    start = 54 + 4 * colours
    header = (40, width, height, 1, bits, compression, len(data), 0, 0, colours, 0)
    head = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    return head + struct.pack("<IiiHHIIiiII", *header) + bytes(4 * colours) + data


def bmp_line_ends(width: int, height: int) -> bytes:
    """Return an RLE-compressed BMP of one pixel and an end of line for each row: 4 bytes a row."""
    return bmp(width, height, 8, RLE8, b"\1\1\0\0" * height + b"\0\1")


def bmp_runs(width: int, height: int) -> bytes:
    """Return an RLE-compressed BMP of 16 colours, in runs of 255 pixels."""
    row = b"\xff\x12" * (width // 255) + bytes([width % 255, 0x12, 0, 0])
    return bmp(width, height, 4, RLE4, row * height + b"\0\1")


# ------------------------------------------------------------------------------------------ WebP


def webp_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk, padded to an even size."""
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1)


def webp(*chunks: bytes) -> bytes:
    """Return a WebP file of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_frame(width: int, height: int) -> bytes:
    """Return the chunk of a black lossless picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()[12:]


def _u24(*values: int) -> bytes:
    return b"".join(struct.pack("<I", value)[:3] for value in values)


def webp_exif(exif: bytes, width: int = 8, height: int = 8) -> bytes:
    """Return a WebP with Exif data."""
    extended = webp_chunk(b"VP8X", b"\x08\0\0\0" + _u24(width - 1, height - 1))
    return webp(extended, webp_frame(width, height), webp_chunk(b"EXIF", exif))


def webp_chunks(count: int) -> bytes:
    """Return a WebP of 8 x 8 with so many chunks that no reader knows."""
    extended = webp_chunk(b"VP8X", bytes(4) + _u24(7, 7))
    return webp(extended, webp_frame(8, 8), webp_chunk(b"none", b"") * count)


def webp_groups(side: int = 1_024) -> bytes:
    """Return a black WebP of side x side with a Huffman group for each tile of 4 x 4 pixels.

    At most 65,536 are told apart. 300 KB with so many took 370 MB to read.
    """

    def field(value: int, bits: int) -> str:
        return f"{value:0{bits}b}"[::-1]

    alone = "1000"  # a code of one symbol, 0
    order = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)
    eights = "0" + field(8, 4) + "".join(field(n in (0, 8), 3) for n in order) + "0" + "1" * 256
    codes = eights + "0" * 24 + eights + alone * 3  # green's, red's, and the others'
    tiles = range((-(-side // 4)) ** 2)
    numbers = "".join(f"{n & 255:08b}{n >> 8 & 255:08b}" for n in tiles)
    head = field(0x2F, 8) + field(side - 1, 14) * 2 + "0" * 4 + "0" + "0" + "1" + "000" + "0"
    bits = head + codes + numbers + alone * 5 * min(len(tiles), 65_536)
    bits += "0" * (-len(bits) % 8)
    return webp(webp_chunk(b"VP8L", int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")))


def webp_animation(width: int, height: int, frames: int, side: int = 8) -> bytes:
    """Return an animated WebP: on a canvas of this size, so many small frames."""
    extended = webp_chunk(b"VP8X", b"\x02\0\0\0" + _u24(width - 1, height - 1))
    place = _u24(0, 0, side - 1, side - 1, 100) + b"\0"
    frame = webp_chunk(b"ANMF", place + webp_frame(side, side))
    return webp(extended, webp_chunk(b"ANIM", bytes(6)), frame * frames)


# ------------------------------------------------------------------------------- One of each kind

MEGAPIXELS_50 = 7_071
MAKERS: dict[str, Callable[[], bytes]] = {
    "valid scans": lambda: progressive_scans(7_000, 7_000, 883),
    "invalid scans": lambda: progressive_scans(MEGAPIXELS_50, MEGAPIXELS_50, 400, valid=False),
    "comments": lambda: jpeg_segments(200_000),
    "fill bytes": lambda: jpeg_fill_bytes(900_000),
    "junk between segments": lambda: jpeg_junk(900_000),
    "Exif joins": lambda: jpeg_exif_joins(9, 30_000),
    "PNG chunks": lambda: png_chunks(80_000),
    "PNG chunks of pixels": lambda: png_split(png(8, 8), 80_000),
    "PNG text": lambda: png_text("zTXt", 500_000_000),
    "PNG colour profile": lambda: png_text("iCCP", 500_000_000),
    "PNG surplus": lambda: png(8, 8, surplus=500_000_000),
    "PNG of empty blocks": lambda: png_empty_blocks(30_000_000),
    "PNG 1 x 50,000,000": lambda: png(1, 50_000_000),
    "PNG 50,000,000 x 1": lambda: png(50_000_000, 1),
    "PNG of 50 megapixels": lambda: png(MEGAPIXELS_50, MEGAPIXELS_50),
    "PNG of 50 megapixels, RGBA of 16 bits": lambda: png(
        MEGAPIXELS_50, MEGAPIXELS_50, bits=16, colour=6
    ),
    "Exif warnings": lambda: png_exif(exif_warnings()),
    "Exif rationals": lambda: webp_exif(exif_rationals(800_000)),
    "BMP line ends": lambda: bmp_line_ends(200_000, 250),
    "BMP runs": lambda: bmp_runs(MEGAPIXELS_50, MEGAPIXELS_50),
    "WebP canvas": lambda: webp_animation(MEGAPIXELS_50, MEGAPIXELS_50, 1_000),
    "WebP of 50 megapixels": lambda: webp(webp_frame(MEGAPIXELS_50, MEGAPIXELS_50)),
    "WebP of many Huffman groups": webp_groups,
    "WebP chunks": lambda: webp_chunks(100_000),
}
