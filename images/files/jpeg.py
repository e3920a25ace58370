"""A walk over a JPEG file (ITU-T T.81, annex B), segment by segment and scan by scan.

Kept is what decides the pixels: the frame, the tables, the scans, and the two APP segments that
say what the channels mean (JFIF and Adobe). What follows the end of the image, such as an MPO's
further pictures, is not looked at.
"""

import re
import struct
from typing import NamedTuple

import numpy as np

from images.errors import ImageError, damaged
from images.files.found import Found
from images.files.orientation import PREFIX, UPRIGHT, orientation
from images.limits import Cost, ImageLimits

SIGNATURE = b"\xff\xd8"
# What a decoder takes for the next marker: no fill byte, stuffed zero, restart or TEM.
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
# Bytes that are searched byte by byte, as the next segment is near; and those that are compared at
# once, as the pixels' end is far: the processor's cache holds them.
NEAR, WINDOW = 2**12, 2**16
EOI, SOS, APP0, APP1, APP14 = 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
HUFFMAN, QUANTIZATION, RESTART, LINES, COMMENT = 0xC4, 0xDB, 0xDD, 0xDC, 0xFE
TABLES = frozenset({HUFFMAN, QUANTIZATION, RESTART})
DROPPED = frozenset({LINES, COMMENT, *range(0xE0, 0xF0)})
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
READABLE, PROGRESSIVE = frozenset({0xC0, 0xC1, 0xC2}), 0xC2
COLOURS = {APP0: b"JFIF", APP14: b"Adobe"}
XMP = b"http://ns.adobe.com/xap/1.0/\0"
GREY, CMYK = 1, 4
# Sampling factors of brightness, beside colours of 1 x 1, that the fast decoder knows by a name.
SAMPLINGS = frozenset({0x11, 0x12, 0x21, 0x22, 0x41})
NS_PER_PART = 5_000  # CPU time of a segment or scan, however small


class Frame(NamedTuple):
    """The frame header: the sampling factors are one byte per channel."""

    marker: int
    width: int
    height: int
    samplings: bytes

    @property
    def is_common(self) -> bool:
        """Whether the fast decoder knows its colours."""
        if len(self.samplings) == GREY:
            return True
        brightness, *colours = self.samplings
        return brightness in SAMPLINGS and colours == [0x11, 0x11]

    @property
    def pixels(self) -> int:
        """Number of pixels with those that fill the last blocks: eight rows if there is one."""
        across, down = (8 * max(pair[axis] for pair in self.factors) for axis in range(2))
        return -(-self.width // across) * across * (-(-self.height // down) * down)

    @property
    def factors(self) -> list[tuple[int, int]]:
        """Sampling factors across and down, of each channel; a zero, which nobody takes, as 1."""
        return [(byte >> 4 or 1, byte & 15 or 1) for byte in self.samplings]


class Walk:
    """One walk over one file."""

    def __init__(self, data: bytes, limits: ImageLimits) -> None:
        self._data, self._limits = data, limits
        self._kept = [(0, len(SIGNATURE))]
        self._frame: Frame | None = None
        self._exif: list[bytes] = []
        self._xmp = b""
        self._parts = self._scans = self._passes = 0
        self._is_partial = False

    def run(self) -> Found:
        """Return what was found; raise `ImageError`."""
        is_whole = self._segments()
        if self._frame is None or not self._scans:
            raise damaged("the JPEG is truncated, it ends before its pixels")
        frame, turned = self._frame, orientation(self._exif, self._xmp)
        is_plain = is_whole and len(frame.samplings) != CMYK and frame.is_common
        self._limits.check_cost(self._cost(frame, turned, is_plain=is_plain))
        return Found(
            "JPEG",
            frame.width,
            frame.height,
            self._reduced(),
            turned,
            is_grey=len(frame.samplings) == GREY,
            is_plain=is_plain,
        )

    def _segments(self) -> bool:
        """Visit every segment; return whether the image has an end."""
        at, end = len(SIGNATURE), len(self._data)
        while (start := self._next_marker(at)) is not None:
            marker = self._data[start + 1]
            if marker == EOI:
                self._keep(start, start + 2)
                return True
            self._parts += 1
            self._limits.check_parts(self._parts, "segments and scans")
            length = int.from_bytes(self._data[start + 2 : start + 4])
            at = start + 2 + max(2, length)
            if at > end:
                self._keep(start, end)
                return False
            self._visit(marker, start, at)
            if marker == SOS:
                # What follows are the pixels, up to the next marker.
                at = self._next_marker(at) or end
                self._keep(start, at)
        return False

    def _visit(self, marker: int, start: int, stop: int) -> None:
        body = start + 4
        if marker in FRAMES:
            self._read_frame(marker, body, stop)
        elif marker == SOS:
            self._read_scan(body)
        elif marker == APP1:
            self._read_metadata(self._data[body:stop])
        elif marker not in TABLES and marker not in DROPPED:
            raise damaged(f"a JPEG has no segment of kind 0x{marker:02X} in this place")
        prefix = COLOURS.get(marker)
        if marker not in DROPPED or (prefix and self._data.startswith(prefix, body)):
            self._keep(start, stop)

    def _read_frame(self, marker: int, body: int, stop: int) -> None:
        if marker not in READABLE:
            raise ImageError(
                f"the image is a JPEG of kind SOF{marker & 15} (lossless, hierarchical or "
                f"arithmetic-coded), which is not read; save it as baseline or progressive"
            )
        if self._frame:
            raise damaged("the JPEG has two frames")
        if stop - body < 6:
            raise damaged("the JPEG's frame header is too short")
        bits, height, width, channels = struct.unpack_from(">BHHB", self._data, body)
        if bits != 8:
            raise ImageError(f"the image is a JPEG of {bits} bits per sample; only 8 are read")
        samplings = self._data[body + 7 : min(stop, body + 6 + 3 * channels) : 3]
        if channels not in (GREY, 3, CMYK) or len(samplings) != channels:
            raise damaged(f"the JPEG has {channels} channels; 1, 3 or 4 are read")
        if not height:
            raise ImageError("the image is a JPEG that states its height behind the pixels (DNL)")
        self._limits.check_size(width, height)
        self._frame = Frame(marker, width, height, samplings)

    def _read_scan(self, body: int) -> None:
        if self._frame is None:
            raise damaged("the JPEG has pixels before its size")
        channels = self._data[body : body + 1]
        self._scans += 1
        self._passes += 1 if channels == b"\1" else 2
        self._is_partial |= channels != bytes([len(self._frame.samplings)])

    def _read_metadata(self, body: bytes) -> None:
        if body.startswith(PREFIX):
            self._exif.append(body.removeprefix(PREFIX))
        elif body.startswith(XMP):
            self._xmp = body

    def _next_marker(self, at: int) -> int | None:
        match = MARKER.search(self._data, at, at + NEAR + 1)
        return match.start() if match else self._far_marker(at + NEAR)

    def _far_marker(self, at: int) -> int | None:
        """Return likewise, three times as fast where bytes 255 are followed by stuffed zeros.

        A window with any other is searched byte by byte, once, so that a file full of them costs
        what it has bytes.
        """
        samples = np.frombuffer(self._data, np.uint8)
        for start in range(at, len(samples) - 1, WINDOW):
            window = samples[start : start + WINDOW + 1]
            suspects = (window[:-1] == 0xFF) & (window[1:] != 0)
            first = int(suspects.argmax())
            if suspects[first]:
                match = MARKER.search(self._data, start + first, start + WINDOW + 1)
                if match:
                    return match.start()
        return None

    def _keep(self, start: int, stop: int) -> None:
        """Keep these bytes; together with the last ones if they touch."""
        before, last = self._kept[-1]
        if start <= last:
            self._kept[-1] = before, stop
        else:
            self._kept.append((start, stop))

    def _reduced(self) -> bytes:
        if len(self._kept) == 1:
            return self._data
        view = memoryview(self._data)
        return b"".join(view[start:stop] for start, stop in self._kept)

    def _cost(self, frame: Frame, turned: int, *, is_plain: bool) -> Cost:
        """Return an upper bound of what decoding takes.

        Memory per pixel: 4 bytes of an array; 5 if it is turned without antialias (3 and two of
        channels); 7 if Pillow decodes it. An image of several scans is also held as coefficients of
        2 bytes. Time: each scan passes every block, twice as slowly with several channels; a bit of
        its own corrects each coefficient, so that bytes cost more; and the blocks may be smoothed.
        """
        pixels, channels, size = frame.pixels, len(frame.samplings), len(self._data)
        kind = f"{frame.width * frame.height / 1e6:.1f} megapixels"
        nbytes = 1 if channels == GREY else 4
        tenths = (40 if channels == GREY else 85) if is_plain else 145
        per_byte = 9
        if frame.marker == PROGRESSIVE or self._is_partial:
            samples = [across * down for across, down in frame.factors]
            nbytes += -(-2 * sum(samples) // max(samples))
            tenths += 6 * self._passes + 30 * sum(samples) // max(samples)
            per_byte, kind = 28, f"{kind}, {self._scans} scans"
        if turned != UPRIGHT:
            nbytes, tenths = max(nbytes, 3 if channels == GREY else 5), tenths + 20
        if not is_plain:
            nbytes = max(nbytes + 1, 2 if channels == GREY else 7)
        ns = pixels * tenths // 10 + size * per_byte + self._parts * NS_PER_PART
        return Cost(f"JPEG of {kind}", pixels * nbytes + 2 * size, ns)


def walk(data: bytes, limits: ImageLimits) -> Found:
    """Return what a JPEG file holds; raise `ImageError`."""
    return Walk(data, limits).run()
