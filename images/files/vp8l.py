"""How many Huffman groups a lossless WebP picture has (RFC 9649, section 3).

Each takes up to 13 KB and microseconds to build, whatever the size of the picture, and 3 bytes of
the file suffice for one. Their number lies behind the small images of the transforms, which must be
decoded to find it; no encoder makes those large.
"""

from images.errors import ImageError, damaged

HEADER_BITS = 40
PREDICTOR, COLOUR, SUBTRACT_GREEN = range(3)
CODE_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
REPEATS = {16: (3, 2), 17: (3, 3), 18: (11, 7)}
GREENS, BYTES, DISTANCES, LITERALS = 280, 256, 40, 256
MOST_STEPS = 100_000  # a tenth of a second

# A table of 2 ** bits entries, by the next bits of the stream: how many count, and their symbol.
Code = tuple[int, list[tuple[int, int]]]


class Walk:
    """One walk over the beginning of one picture."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at, self.steps = data, HEADER_BITS, 0

    def groups(self, width: int, height: int) -> int:
        """Return the number of Huffman groups; raise `ImageError`."""
        seen: set[int] = set()
        while self._read(1):
            kind = self._read(2)
            if kind in seen:
                raise damaged("the WebP has a transform twice")
            seen.add(kind)
            if kind in (PREDICTOR, COLOUR):
                self._tiles(width, height)
            elif kind != SUBTRACT_GREEN:
                colours = self._read(8) + 1
                self._image(colours)
                packed = sum(
                    colours <= most for most in (2, 4, 16)
                )  # pixels of few colours share one
                width = -(-width >> packed)
        if self._read(1):
            self._read(4)
        return self._tiles(width, height) + 1 if self._read(1) else 1

    def _tiles(self, width: int, height: int) -> int:
        bits = self._read(3) + 2
        return self._image(-(-width >> bits) * -(-height >> bits))

    def _image(self, pixels: int) -> int:
        """Pass an image; return the largest number that red and green make of a pixel.

        Copies, of earlier pixels or from the cache, make no larger one.
        """
        cached = 1 << self._read(4) if self._read(1) else 0
        codes = [self._code(n) for n in (GREENS + cached, BYTES, BYTES, BYTES, DISTANCES)]
        green, red, blue, alpha, distance = codes
        if not any(bits for bits, _ in codes[:4]) and green[1][0][1] < LITERALS:
            return red[1][0][1] << 8 | green[1][0][1]
        largest = 0
        while pixels > 0:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise ImageError(
                    f"the image is a lossless WebP whose transforms have more than {MOST_STEPS} "
                    f"tiles, which is not read; save it with larger ones, or as PNG"
                )
            symbol, passed = self._symbol(green), 1
            if symbol < LITERALS:
                largest = max(largest, self._symbol(red) << 8 | symbol)
                self._symbol(blue)
                self._symbol(alpha)
            elif symbol < GREENS:
                passed = self._number(symbol - LITERALS)
                self._number(self._symbol(distance))
            pixels -= passed
        return largest

    def _number(self, prefix: int) -> int:
        """Return a length, or a distance, of which the prefix was read."""
        if prefix < 4:
            return prefix + 1
        extra = (prefix - 2) >> 1
        return ((2 + (prefix & 1)) << extra) + self._read(extra) + 1

    def _code(self, symbols: int) -> Code:
        if self._read(1):
            count = self._read(1) + 1
            found = [self._read(8 if self._read(1) else 1)]
            found += [self._read(8) for _ in range(count - 1)]
            return _table(dict.fromkeys(found, 1))
        count = self._read(4) + 4
        code = _table({symbol: self._read(3) for symbol in CODE_LENGTH_ORDER[:count]})
        most = 2 + self._read(2 + 2 * self._read(3)) if self._read(1) else symbols
        lengths: list[int] = []
        last = 8
        while len(lengths) < symbols and most > 0:
            most -= 1
            length = self._symbol(code)
            if length in REPEATS:
                least, bits = REPEATS[length]
                lengths += [last if length == 16 else 0] * (least + self._read(bits))
            else:
                last = length or last
                lengths.append(length)
        return _table(dict(enumerate(lengths)))

    def _symbol(self, code: Code) -> int:
        bits, table = code
        count, symbol = table[self._peek(bits)]
        self._at += count
        return symbol

    def _read(self, bits: int) -> int:
        value = self._peek(bits)
        self._at += bits
        return value

    def _peek(self, bits: int) -> int:
        at = self._at >> 3
        if at > len(self._data):
            raise damaged("the WebP's picture is truncated")
        return int.from_bytes(self._data[at : at + 5], "little") >> (self._at & 7) & (1 << bits) - 1


def _table(lengths: dict[int, int]) -> Code:
    """Return the table of a canonical code; one symbol alone takes no bits."""
    used = sorted((length, symbol) for symbol, length in lengths.items() if length)
    if not used:
        raise damaged("the WebP has a Huffman code without symbols")
    if len(used) == 1:
        return 0, [(0, used[0][1])]
    bits = used[-1][0]
    table, value = [(0, 0)] * (1 << bits), 0
    if sum(1 << bits - length for length, _ in used) != 1 << bits:
        raise damaged("the WebP has a Huffman code that is not complete")
    for length, symbol in used:
        first = int(f"{value >> bits - length:0{length}b}"[::-1], 2)
        table[first :: 1 << length] = [(length, symbol)] * (1 << bits - length)
        value += 1 << bits - length
    return bits, table
